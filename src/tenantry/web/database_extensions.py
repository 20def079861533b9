"""The extensions of one database."""

import uuid
from typing import Annotated

from fastapi import Request, Response

from tenantry.base.errors import NotFound
from tenantry.pg.extensions import Extension
from tenantry.services.bodies.databases import AddExtension, is_extension_name
from tenantry.services.extensions.service import Changed
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_pages import attempt, page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
    new_router,
    once,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/databases/{database_id}/extensions"


@router.get(_PATH)
async def index(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show the extensions that a database has, and that it may have."""
    found: list[Extension] = []
    with attempt() as tried:
        async with caller.visiting():
            found = await platform.extensions.of_database(caller.actor, database_id)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_extensions.html",
        tab="/extensions",
        there=[each for each in found if each.installed_version or each.pending_restart],
        offered=[each for each in found if each.installed_version is None and each.installable],
        preloads=any(each.preloads for each in found),
        problem=tried.problem,
    )


@router.post(_PATH)
async def add(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Create an extension, with those that it requires."""
    body = read(AddExtension, form)
    made = await once(
        lambda: caller.idempotent(
            Changed,
            lambda tx, _: platform.extensions.add(
                tx, caller.actor, database_id, body.name, body.schema_, restart=body.restart
            ),
        )
    )
    return _go(request, database_id, made, "extension-added")


@router.post(f"{_PATH}/{{name}}/remove")
async def remove(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    name: str,
    form: CurrentForm,
) -> Response:
    """Drop an extension that nothing uses."""
    if not is_extension_name(name):
        raise NotFound("This database has no such extension.")
    async with caller.transaction() as tx:
        gone = await platform.extensions.remove(
            tx, caller.actor, database_id, name, restart=form.get("restart") == "yes"
        )
    return _go(request, database_id, gone, "extension-removed")


def _go(request: Request, database_id: uuid.UUID, changed: Changed, done: str) -> Response:
    path = f"/databases/{database_id}"
    if changed.operation is not None:
        return pages.go(request, f"{path}/instance?done=begun")
    waits = changed.extension.pending_restart
    return pages.go(request, f"{path}/extensions?done={'extension-waits' if waits else done}")
