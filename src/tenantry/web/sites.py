"""Sites of the AI cache: what they hold, new ones, and new secrets."""

from typing import Annotated, get_args

from fastapi import Request, Response

from tenantry.base.secrets import Secret
from tenantry.control.sites import Eviction, Mode
from tenantry.services.bodies.sites import CreateSite, RotateSite
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller
from tenantry.services.sites.model import NewSite
from tenantry.web import pages
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    calling,
    new_router,
    once,
    parsed,
    read,
    words,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_SECTION = "AI cache"


@router.get("/sites")
async def index(request: Request, platform: CurrentPlatform, caller: Reader) -> Response:
    """Show the sites, the oldest first, with what each holds."""
    found = await platform.sites.every(caller.actor)
    stats = await platform.sites.stats_of(found)
    return pages.render(
        request,
        "sites.html",
        sites=[(site, stats.get(site.id)) for site in found],
        reached={site.id: await platform.site_filter.reach(site) for site in found},
        evictions=get_args(Eviction),
        modes=get_args(Mode),
        may_write=caller.principal.may("databases:write"),
    )


@router.post("/sites")
async def create(
    request: Request, platform: CurrentPlatform, caller: Writer, form: CurrentForm
) -> Response:
    """Create a site, and show its secrets, this once."""
    body = read(CreateSite, form, networks=words(form, "networks"))
    made = await once(
        lambda: caller.idempotent(
            NewSite,
            lambda tx, secrets: platform.sites.create(tx, caller.actor, body.wanted(), secrets),
        )
    )
    return await _shown(request, platform, made, f"The site {made.site.name} is ready")


@router.post("/sites/{site_id}/rotate")
async def rotate(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, form: CurrentForm
) -> Response:
    """Replace a site's secrets, both or one, and show the new ones, this once."""
    found, which = parsed(site_id, "site"), read(RotateSite, form).secrets
    made = await once(
        lambda: caller.idempotent(
            NewSite,
            lambda tx, secrets: platform.sites.rotate(tx, caller.actor, found, which, secrets),
        )
    )
    return await _shown(request, platform, made, f"The site {made.site.name} has new secrets")


@router.post("/sites/{site_id}/flush")
async def flush(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str
) -> Response:
    """Delete all keys of a site."""
    await platform.sites.flush(caller.actor, parsed(site_id, "site"))
    return pages.go(request, "/sites?done=site-emptied")


@router.post("/sites/{site_id}/delete")
async def delete(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str
) -> Response:
    """Delete a site with all its keys."""
    found = parsed(site_id, "site")
    async with caller.transaction() as tx:
        await platform.sites.delete(tx, caller.actor, found)
    return pages.go(request, "/sites?done=site-deleted")


async def _shown(request: Request, platform: Platform, made: NewSite, heading: str) -> Response:
    secrets: dict[str, Secret] = {}
    reach = await platform.site_filter.reach(made.site)
    if made.password is not None:
        url = made.site.redis_url(platform.settings.domain, made.password.reveal(), reach)
        secrets["Redis URL"] = Secret(url)
    if made.api_key is not None:
        secrets["API key"] = made.api_key
    return pages.shown_once(
        request,
        secrets,
        heading=heading,
        note=f"The names of its keys begin with {made.site.key_prefix}"
        + (
            f". It is reached from the machine of the platform only: {reach.why}"
            if reach.why
            else ""
        ),
        onward="/sites",
        section=_SECTION,
    )
