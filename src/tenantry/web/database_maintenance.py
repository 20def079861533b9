"""Tables that are vacuumed, rewritten and analyzed, and indexes that are created and rebuilt."""

import uuid
from typing import Annotated

from fastapi import Request, Response

from tenantry.base.errors import InvalidInput
from tenantry.services.bodies.maintenance import (
    Analyze,
    CreateIndex,
    Reindex,
    Vacuum,
    VacuumFull,
)
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    Form,
    calling,
    chosen,
    commas,
    new_router,
    once,
    read,
)

router = new_router()

Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/databases/{database_id}"


@router.post(f"{_PATH}/vacuum-full")
async def rewrite(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to give the space of deleted rows back to the disk."""
    return await _begin(request, platform, caller, database_id, form, VacuumFull)


@router.post(f"{_PATH}/vacuum")
async def vacuum(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to make the space of deleted rows available to new ones."""
    return await _begin(request, platform, caller, database_id, form, Vacuum)


@router.post(f"{_PATH}/analyze")
async def analyze(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to collect the planner's statistics."""
    return await _begin(request, platform, caller, database_id, form, Analyze)


@router.post(f"{_PATH}/reindex")
async def reindex(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to rebuild the indexes of a table, or one index."""
    if "index" in form:
        body = read(Reindex, {}, indexes=[form["index"]])
        return await _maintain(request, platform, caller, database_id, body)
    if "table" not in form:
        raise InvalidInput.of("table", "choose one: indexes are rebuilt table by table")
    return await _begin(request, platform, caller, database_id, form, Reindex)


@router.post(f"{_PATH}/indexes")
async def create_index(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to create an index while its table is used."""
    columns = chosen(form, "column") or commas(form, "columns")
    body = read(CreateIndex, form, columns=columns)
    return await _maintain(request, platform, caller, database_id, body)


async def _begin(
    request: Request,
    platform: Platform,
    caller: Caller,
    database_id: uuid.UUID,
    form: Form,
    kind: type[Analyze] | type[Reindex] | type[VacuumFull],
) -> Response:
    """Begin an operation on the table of a form, or on all that its kind takes by default."""
    body = read(kind, {}, tables=[form["table"]] if "table" in form else [])
    return await _maintain(request, platform, caller, database_id, body)


async def _maintain(
    request: Request,
    platform: Platform,
    caller: Caller,
    database_id: uuid.UUID,
    body: Analyze | CreateIndex | Reindex | VacuumFull,
) -> Response:
    await once(
        lambda: caller.begin(
            lambda tx: platform.vacuuming.begin(tx, caller.actor, database_id, body.wanted())
        )
    )
    return pages.go(request, f"/databases/{database_id}/operations?done=begun")
