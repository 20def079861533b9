"""The keys that a site of the AI cache has."""

from typing import Annotated

from fastapi import Query, Request, Response

from tenantry.services.bodies.fields import Storable
from tenantry.services.requests.service import Caller
from tenantry.services.sites.model import KeyPage
from tenantry.web import pages
from tenantry.web.database_pages import attempt
from tenantry.web.routing import CurrentPlatform, Cursor, calling, new_router, parsed

router = new_router()

Reader = Annotated[Caller, calling("data:read")]

_SHOWN = 50


@router.get("/sites/{site_id}/keys")
async def keys(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    site_id: str,
    match: Annotated[Storable, Query(max_length=200)] = "",
    cursor: Cursor = None,
) -> Response:
    """Show some of a site's keys, by a pattern of their names."""
    found = parsed(site_id, "site")
    site = await platform.sites.show(caller.actor, found)
    page = KeyPage([], None)
    with attempt() as tried:
        page = await platform.sites.keys(
            caller.actor, found, match=match or "*", cursor=cursor, limit=_SHOWN
        )
    return pages.render(
        request,
        "site_keys.html",
        tab="/keys",
        site=site,
        match=match,
        keys=page.rows,
        following=pages.following(request, page.next_cursor),
        problem=tried.problem,
        may_read_names=True,
    )
