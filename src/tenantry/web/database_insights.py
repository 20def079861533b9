"""What one database does: its statements, sessions, locks and tables."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from tenantry.control.store import Tx
from tenantry.pg.sessions import Signal, Signalled
from tenantry.pg.statement_statistics import Order
from tenantry.services.bodies.fields import Storable
from tenantry.services.bodies.insights import SignalSession
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
ProcessId = Annotated[int, Path(ge=1, le=2**31 - 1)]

_PATH = "/databases/{database_id}"
_CONSTANTS = "audit:read"  # the scope for what statements have of the data
_A_PAGE = 50


@router.get(f"{_PATH}/queries")
async def queries(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    sort: Order = "total_ms",
    search: Annotated[Storable, Query(max_length=200)] = "",
    own: bool = False,
) -> Response:
    """Show the statements that take most of the time."""
    found = None
    with attempt() as tried:
        found = await platform.insights.statements(
            caller.actor,
            database_id,
            order=sort,
            search=search.strip() or None,
            limit=_A_PAGE,
            since=None,
            constants=caller.principal.may(_CONSTANTS),
            own=own,
        )
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_queries.html",
        tab="/queries",
        found=found,
        problem=tried.problem,
        sort=sort,
        search=search,
        own=own,
        may_read=caller.principal.may("data:read"),
    )


@router.post(f"{_PATH}/queries/reset")
async def reset(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Count the statements again, from now on."""

    async def work(tx: Tx, _: object) -> str:
        await platform.insights.reset_statements(tx, caller.actor, database_id)
        return str(database_id)

    await once(lambda: caller.idempotent(str, work))
    return pages.go(request, f"/databases/{database_id}/queries?done=counted-again")


@router.post(f"{_PATH}/pool/reconnect")
async def reconnect(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Replace the pooler's connections to the server; with ``end_clients`` end its sessions."""
    await platform.provisioning.reconnect_pool(
        caller, database_id, end_clients=form.get("end_clients") == "yes"
    )
    return pages.go(request, f"/databases/{database_id}/sessions?done=reconnected")


@router.get(f"{_PATH}/sessions")
async def sessions(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show the open sessions, and who waits for whom."""
    found, waiting = [], []
    constants = caller.principal.may(_CONSTANTS)
    with attempt() as tried:
        found = await platform.insights.sessions(caller.actor, database_id, constants=constants)
        if any(each.activity.blocked_by for each in found):
            async with caller.visiting():
                waiting = await platform.insights.locks(
                    caller.actor, database_id, constants=constants
                )
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_sessions.html",
        tab="/sessions",
        sessions=found,
        waiting=waiting,
        problem=tried.problem,
    )


@router.get(f"{_PATH}/tables")
async def tables(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show the largest tables with their indexes."""
    found = []
    with attempt() as tried:
        async with caller.visiting():
            found = await platform.insights.tables(caller.actor, database_id)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_tables.html",
        tab="/tables",
        tables=found,
        may_read=caller.principal.may("data:read"),
        problem=tried.problem,
    )


@router.post(f"{_PATH}/sessions/{{pid}}/cancel")
async def cancel(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    pid: ProcessId,
    form: CurrentForm,
) -> Response:
    """Cancel the statement of a session."""
    return await _signal(request, platform, caller, database_id, pid, "cancel", form)


@router.post(f"{_PATH}/sessions/{{pid}}/terminate")
async def terminate(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    pid: ProcessId,
    form: CurrentForm,
) -> Response:
    """End a session."""
    return await _signal(request, platform, caller, database_id, pid, "terminate", form)


async def _signal(
    request: Request,
    platform: CurrentPlatform,
    caller: Caller,
    database_id: DatabaseId,
    pid: int,
    signal: Signal,
    form: dict[str, str],
) -> Response:
    meant = read(SignalSession, form)
    await once(
        lambda: caller.idempotent(
            Signalled,
            lambda tx, _: platform.insights.signal(
                tx, caller.actor, database_id, pid, signal, started_at=meant.started_at
            ),
        )
    )
    return pages.go(request, f"/databases/{database_id}/sessions?done=signalled")
