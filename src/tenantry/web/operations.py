"""Operations: of the whole platform, or of one database, with their progress."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import Request, Response

from tenantry.control.grants import ADMIN
from tenantry.control.migration_runs import TargetStatus
from tenantry.control.operations import Filter, OperationRow
from tenantry.services.operations.model import pace
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_pages import page_of
from tenantry.web.routing import (
    CurrentPlatform,
    Cursor,
    DatabaseId,
    calling,
    new_router,
    once,
    parsed,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Administrator = Annotated[Caller, calling(ADMIN)]
Writer = Annotated[Caller, calling("databases:write")]
Status = Literal["", "queued", "running", "succeeded", "failed", "cancelled"]

_A_PAGE = 50
_OPEN = {"queued", "running"}
_LIST = "_operations.html"


@router.get("/operations")
async def index(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    status: Status = "",
    cursor: Cursor = None,
) -> Response:
    """Show what is being done, and what was."""
    page = await platform.operations.page(
        caller.actor, Filter(status=status or None), cursor=cursor, limit=_A_PAGE
    )
    values = _listed(request, page.rows, page.next_cursor, {})
    template = _LIST if _is_poll(request) else "operations.html"
    return pages.render(
        request, template, status_filter=status, may_write=_may_write(caller), **values
    )


@router.get("/databases/{database_id}/operations")
async def of_database(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    cursor: Cursor = None,
) -> Response:
    """Show what is being done with one database, and what was."""
    page = await platform.operations.page(
        caller.actor, Filter(resource_id=database_id), cursor=cursor, limit=_A_PAGE
    )
    inside = await platform.migrations.in_database(caller.actor, database_id, page.rows)
    values = _listed(request, page.rows, page.next_cursor, inside)
    if _is_poll(request):
        return pages.render(request, _LIST, may_write=_may_write(caller), **values)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_operations.html",
        tab="/operations",
        **values,
    )


@router.post("/operations/{operation_id}/cancel")
async def cancel(
    request: Request, platform: CurrentPlatform, caller: Writer, operation_id: str
) -> Response:
    """Cancel an operation, and undo what it has done."""
    found = parsed(operation_id, "operation")
    await once(lambda: caller.begin(lambda tx: platform.operations.cancel(tx, caller.actor, found)))
    return pages.go(request, "/operations?done=cancelling")


@router.post("/operations/{operation_id}/abandon")
async def abandon(
    request: Request, platform: CurrentPlatform, caller: Administrator, operation_id: str
) -> Response:
    """End an operation that neither ends nor can be cancelled, without undoing its steps."""
    found = parsed(operation_id, "operation")
    await once(
        lambda: caller.idempotent(
            OperationRow, lambda tx, _: platform.operations.abandon(tx, caller.actor, found)
        )
    )
    return pages.go(request, "/operations?done=abandoned")


def _is_poll(request: Request) -> bool:
    return request.headers.get("hx-target") == "operations"


def _may_write(caller: Caller) -> bool:
    return caller.principal.may("databases:write")


def _listed(
    request: Request,
    listed: Sequence[OperationRow],
    next_cursor: str | None,
    inside: Mapping[uuid.UUID, TargetStatus],
) -> dict[str, Any]:
    """Return what the list shows; it is asked for again while something is under way.

    ``inside`` is the status of the page's database in runs over many.
    """
    now = dt.datetime.now(dt.UTC)
    return {
        "operations": listed,
        "inside": inside,
        "pace": lambda row: pace(row, now),
        "here": pages.here(request),
        "is_open": any(row.status in _OPEN for row in listed),
        "following": pages.following(request, next_cursor),
    }
