"""/api/databases/{id}/sessions, …/locks, …/tables"""

import datetime as dt
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, DatabaseId, allowed, calling
from tenantry.pg.sessions import Signal, Signalled
from tenantry.pg.table_statistics import IndexStatistics
from tenantry.services.access.service import Principal
from tenantry.services.bodies.insights import SignalSession
from tenantry.services.insights import model
from tenantry.services.insights.model import Port
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}", tags=["insights"])

Reader = Annotated[Principal, allowed("databases:read")]
Visitor = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
CONSTANTS = "audit:read"  # the scope for what statements have of the data
ProcessId = Annotated[int, Path(ge=1, le=2**31 - 1, description="The session's `pid`.")]


class Session(BaseModel):
    """A session of the database's owner role or of an additional role.

    ``client_address`` of a pooled session is that of the client that has the server connection at
    present, null if none has. ``query`` is the present or last statement, without secrets; its
    constants are there with the scope ``audit:read`` only. ``blocked_by`` are sessions of this
    list; ``blocked_by_others`` is whether another one, such as autovacuum, blocks it, too.
    """

    pid: int = Field(examples=[48213])
    database_name: str = Field(examples=["tenant_b7kx2mw9qz4p"])
    role: str = Field(examples=["user_b7kx2mw9qz4p"])
    application: str = Field(examples=["shop"])
    port: Port
    client_address: str | None = Field(examples=["203.0.113.7"])
    state: str | None = Field(examples=["active"])
    query: str = Field(examples=["UPDATE orders SET paid = true WHERE id = 7"])
    query_id: str | None = Field(examples=["-5362312811405923021"])
    started_at: dt.datetime
    transaction_started_at: dt.datetime | None
    query_started_at: dt.datetime | None
    age_seconds: float = Field(examples=[812.4])
    transaction_seconds: float | None = Field(examples=[12.8])
    state_seconds: float | None = Field(examples=[12.8])
    wait_event_type: str | None = Field(examples=["Lock"])
    wait_event: str | None = Field(examples=["transactionid"])
    blocked_by: list[int] = Field(examples=[[48199]])
    blocked_by_others: bool


class Lock(BaseModel):
    """The lock that a session waits for; its type and mode are as in pg_locks."""

    lock_type: str = Field(examples=["transactionid"])
    mode: str = Field(examples=["ShareLock"])
    relation: str | None = Field(examples=["public.orders"])
    seconds: float | None = Field(examples=[12.8])


class Waiting(Session):
    """A session in the blocking tree: followed by those that wait for it, one ``depth`` deeper.

    ``blocks`` is how many sessions wait for it, directly or not. ``lock`` is null if it waits for
    none.
    """

    depth: int = Field(examples=[1])
    blocks: int = Field(examples=[0])
    lock: Lock | None


class SignalledSession(BaseModel):
    """The session that got the signal. ``done`` is false if a terminated one has not ended yet."""

    pid: int = Field(examples=[48213])
    database_name: str = Field(examples=["tenant_b7kx2mw9qz4p"])
    role: str = Field(examples=["user_b7kx2mw9qz4p"])
    started_at: dt.datetime
    done: bool


class Index(BaseModel):
    """An index. ``last_scan_at`` is null before PostgreSQL 16, and if there was no scan."""

    index: str = Field(examples=["public.orders_pkey"])
    definition: str = Field(
        examples=["CREATE UNIQUE INDEX orders_pkey ON public.orders USING btree (id)"]
    )
    unique: bool
    primary_key: bool
    valid: bool
    size_bytes: int = Field(examples=[2_260_992])
    scans: int = Field(examples=[18_233])
    last_scan_at: dt.datetime | None
    cache_hit_ratio: float | None = Field(examples=[0.998])


class Table(BaseModel):
    """A table or materialized view; ``size_bytes`` is with its indexes and TOAST.

    ``rows`` and ``dead_rows`` are the server's estimates. ``bloat_bytes`` estimates what a rewrite
    would return, null if unknown. ``root`` is the partitioned table that it is a part of. Scans and
    cache hits are counted since ``counted_since``.
    """

    table: str = Field(examples=["public.orders"])
    kind: Literal["table", "materialized_view"]
    root: str | None
    size_bytes: int = Field(examples=[12_582_912])
    heap_bytes: int = Field(examples=[8_388_608])
    index_bytes: int = Field(examples=[4_194_304])
    rows: int | None = Field(examples=[104_211])
    dead_rows: int = Field(examples=[912])
    bloat_bytes: int | None = Field(examples=[1_048_576])
    modified_since_analyze: int = Field(examples=[412])
    last_vacuum_at: dt.datetime | None
    last_analyze_at: dt.datetime | None
    sequential_scans: int = Field(examples=[12])
    sequential_rows_read: int = Field(examples=[1_250_532])
    index_scans: int = Field(examples=[18_233])
    cache_hit_ratio: float | None = Field(examples=[0.991])
    counted_since: dt.datetime
    indexes: list[Index]


def _index(found: IndexStatistics) -> Index:
    return Index(
        index=found.title,
        unique=found.is_unique,
        primary_key=found.is_primary_key,
        valid=found.is_valid,
        definition=found.definition,
        size_bytes=found.size_bytes,
        scans=found.scans,
        last_scan_at=found.last_scan_at,
        cache_hit_ratio=found.cache_hit_ratio,
    )


def _table(found: model.TableUse) -> Table:
    return Table.model_validate(
        asdict(found.table)
        | {
            "table": found.table.title,
            "kind": "materialized_view" if found.table.is_materialized_view else "table",
            "bloat_bytes": found.bloat_bytes,
            "index_scans": sum(each.scans for each in found.indexes),
            "counted_since": found.counted_since,
            "indexes": [_index(each) for each in found.indexes],
        }
    )


def _fields(session: model.Session) -> dict[str, object]:
    activity = session.activity
    return asdict(activity) | {
        "query_id": None if activity.query_id is None else str(activity.query_id),
        "port": session.port,
        "client_address": session.client_address,
        "query": session.query,
        "blocked_by": list(session.blocked_by),
        "blocked_by_others": session.blocked_by_others,
    }


def _waiting(found: model.Waiting) -> Waiting:
    wait = found.wait
    lock = wait and Lock(
        lock_type=wait.lock_type, mode=wait.mode, relation=found.relation, seconds=wait.seconds
    )
    fields = _fields(found.session) | {"depth": found.depth, "blocks": found.blocks, "lock": lock}
    return Waiting.model_validate(fields)


@router.get("/sessions", response_model=Listing[Session])
async def sessions(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId
) -> Response:
    """List the open sessions of the database and its shadow, those in a transaction first."""
    found = await platform.insights.sessions(
        principal.actor, database_id, constants=principal.may(CONSTANTS)
    )
    return answers.listing([Session.model_validate(_fields(each)) for each in found])


@router.get("/locks", response_model=Listing[Waiting])
async def locks(platform: CurrentPlatform, caller: Visitor, database_id: DatabaseId) -> Response:
    """List the sessions that wait for a lock and those that they wait for, as a tree."""
    async with caller.visiting():
        found = await platform.insights.locks(
            caller.actor, database_id, constants=caller.principal.may(CONSTANTS)
        )
    return answers.listing([_waiting(each) for each in found])


@router.get("/tables", response_model=Listing[Table])
async def tables(platform: CurrentPlatform, caller: Visitor, database_id: DatabaseId) -> Response:
    """List the tables of the database with their indexes, the largest first; at most 1,000."""
    async with caller.visiting():
        found = await platform.insights.tables(caller.actor, database_id)
    return answers.listing([_table(each) for each in found])


@router.post("/sessions/{pid}/cancel", response_model=Answer[SignalledSession])
async def cancel(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    pid: ProcessId,
    body: SignalSession | None = None,
) -> Response:
    """Cancel the statement that a session runs; the session stays open."""
    done = await _signal(platform, caller, database_id, pid, "cancel", body)
    return answers.answer(done, message="Its statement is being cancelled.")


@router.post("/sessions/{pid}/terminate", response_model=Answer[SignalledSession])
async def terminate(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    pid: ProcessId,
    body: SignalSession | None = None,
) -> Response:
    """End a session; its transaction is rolled back."""
    done = await _signal(platform, caller, database_id, pid, "terminate", body)
    return answers.answer(
        done, message="Session ended." if done.done else "The session is being ended."
    )


async def _signal(
    platform: Platform,
    caller: Caller,
    database_id: DatabaseId,
    pid: int,
    signal: Signal,
    body: SignalSession | None,
) -> SignalledSession:
    started_at = None if body is None else body.started_at
    done = await caller.idempotent(
        Signalled,
        lambda tx, _: platform.insights.signal(
            tx, caller.actor, database_id, pid, signal, started_at=started_at
        ),
    )
    return SignalledSession.model_validate(asdict(done))
