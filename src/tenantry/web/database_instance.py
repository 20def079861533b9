"""A database's instance: what it is doing and takes of the machine; start, stop and restart."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Request, Response

from tenantry.base.errors import NotFound
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import Filter, OperationRow
from tenantry.control.store import Tx
from tenantry.services.databases.hosts import direct_host
from tenantry.services.instances.model import InstanceUse
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller
from tenantry.web import pages, words
from tenantry.web.database_pages import attempt, page_of
from tenantry.web.routing import CurrentPlatform, DatabaseId, calling, new_router, once

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_SHOWN = 5


@router.get("/databases/{database_id}/instance")
async def instance(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show what an instance is doing, and what it takes of the machine now."""
    try:
        row = await instance_row(platform, caller, database_id)
    except NotFound:
        if not pages.is_fragment(request):
            raise
        # It was deleted, or given up while it was created: the operation says why.
        return pages.go(request, "/operations")
    use: InstanceUse | None = None
    with attempt() as tried:
        _, use = await platform.instances.statistics(caller.actor, database_id)
    latest = await platform.operations.page(
        caller.actor, Filter(resource_id=database_id), cursor=None, limit=_SHOWN
    )
    return await page_of(
        request,
        platform,
        caller,
        row,
        "database_instance.html",
        tab="/instance",
        use=use,
        doing=words.instance_state(use.status if use else None, latest.rows),
        problem=tried.problem,
        operations=latest.rows,
        host=direct_host(platform.settings, row.container_name, row.direct_port),
        enforced=platform.instances.limits_are_enforced(row.driver),
    )


@router.get("/databases/{database_id}/stop")
async def ask_to_stop(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Say whom a stop disconnects, and ask for consent."""
    row = await instance_row(platform, caller, database_id)
    use: InstanceUse | None = None
    with attempt():
        _, use = await platform.instances.statistics(caller.actor, database_id)
    return pages.dialog(
        request, "instance_stop.html", row=row, use=use, path=f"/databases/{row.id}"
    )


@router.post("/databases/{database_id}/start")
async def start(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Begin to start an instance."""
    return await _accepted(
        request,
        caller,
        database_id,
        lambda tx: platform.instances.start(tx, caller.actor, database_id),
    )


@router.post("/databases/{database_id}/stop")
async def stop(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Begin to stop an instance."""
    return await _accepted(
        request,
        caller,
        database_id,
        lambda tx: platform.instances.stop(tx, caller.actor, database_id),
    )


@router.post("/databases/{database_id}/restart")
async def restart(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Begin to stop an instance and to start it again."""
    return await _accepted(
        request,
        caller,
        database_id,
        lambda tx: platform.instances.restart(tx, caller.actor, database_id),
    )


async def _accepted(
    request: Request,
    caller: Caller,
    database_id: uuid.UUID,
    begin: Callable[[Tx], Awaitable[OperationRow]],
) -> Response:
    await once(lambda: caller.begin(begin))
    return pages.go(request, f"/databases/{database_id}/instance?done=begun")


async def instance_row(platform: Platform, caller: Caller, database_id: uuid.UUID) -> DatabaseRow:
    """Return the managed database of an instance. Raises NotFound."""
    row = await platform.databases.show(caller.actor, database_id)
    if not row.is_instance:
        raise NotFound(
            f"{words.title(row)} has no instance of its own.",
            hint="A database gets one when it is created.",
        )
    return row
