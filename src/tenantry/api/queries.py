"""/api/databases/{id}/queries, …/explain"""

import datetime as dt
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, DatabaseId, Limit, allowed, calling
from tenantry.api.insights import CONSTANTS
from tenantry.pg.statement_statistics import Order
from tenantry.services.access.service import Principal
from tenantry.services.bodies.fields import Moment, Storable
from tenantry.services.bodies.insights import Explain
from tenantry.services.insights.model import Period, Statement
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}", tags=["insights"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
Search = Annotated[
    Storable | None, Query(min_length=1, max_length=200, description="Only queries with this text.")
]
Since = Annotated[
    Moment | None,
    Query(description="From the history, from this hour on; else all since counted_since."),
]


class Now(BaseModel):
    """What a statement has done in the present hour, which begins at ``hour``, so far."""

    hour: dt.datetime
    calls: int = Field(examples=[212])
    calls_per_second: float = Field(examples=[0.11])
    mean_ms: float = Field(examples=[7.5])
    incomplete: bool = Field(description="Whether the server evicted entries in that hour.")


class Before(Now):
    """What it did in an earlier hour, and the change since: 0.5 is half as much again.

    ``calls_change`` is that of ``calls_per_second``. Both are null if there is no ``now``.
    """

    mean_change: float | None = Field(examples=[0.5])
    calls_change: float | None = Field(examples=[-0.1])


class QueryStatistics(BaseModel):
    """A statement with parameters in place of its constants, of all roles of the database.

    ``share`` is its part of the time of all statements. ``wal_bytes`` is an estimate. ``min_ms``
    and ``max_ms`` are null with ``since``. ``now`` and what follows it are null for an hour in
    which it was not executed, or not one of the 50 that took most time, or that was not measured.
    ``own`` is whether it is Tenantry's own, as of the console that shows rows.
    """

    query_id: str = Field(examples=["-5362312811405923021"])
    database_name: str = Field(examples=["tenant_b7kx2mw9qz4p"])
    query: str = Field(examples=["SELECT * FROM orders WHERE customer_id = $1"])
    calls: int = Field(examples=[18_233])
    total_ms: float = Field(examples=[91_165.2])
    mean_ms: float = Field(examples=[5.0])
    min_ms: float | None = Field(examples=[0.2])
    max_ms: float | None = Field(examples=[812.9])
    rows: int = Field(examples=[182_330])
    share: float = Field(examples=[0.61])
    cache_hit_ratio: float | None = Field(examples=[0.98])
    blocks_read: int = Field(examples=[4_096])
    temp_bytes: int = Field(examples=[0])
    wal_bytes: int = Field(examples=[0])
    own: bool = Field(examples=[False])
    now: Now | None
    hour_before: Before | None
    day_before: Before | None
    week_before: Before | None


class QueryListing(Listing[QueryStatistics]):
    """Statements, counted since ``counted_since``.

    ``incomplete_since`` is not null if the server has evicted entries since then. ``recorded`` is
    false while new sessions' statements are not recorded, since their texts took too much space.
    """

    counted_since: dt.datetime
    incomplete_since: dt.datetime | None
    recorded: bool


class Node(BaseModel):
    """A node of the plan, below the last one before it with a smaller ``depth``.

    ``share`` is its own part of the plan's time or, if it was not executed, of its cost.
    ``row_error`` is by which factor the planner was wrong about the number of rows.
    """

    depth: int = Field(examples=[1])
    node_type: str = Field(examples=["Seq Scan"])
    relation: str | None = Field(examples=["orders"])
    index: str | None = Field(examples=["orders_pkey"])
    self_cost: float = Field(examples=[2041.0])
    self_ms: float | None = Field(examples=[12.7])
    planned_rows: float = Field(examples=[100.0])
    actual_rows: float | None = Field(examples=[97.0])
    loops: float | None = Field(examples=[1])
    row_error: float | None = Field(examples=[1.03])
    share: float = Field(examples=[0.93])
    expensive: bool


class Explained(BaseModel):
    """``plan`` is what EXPLAIN (FORMAT JSON) returned; ``nodes`` are its nodes in order."""

    plan: list[dict[str, Any]]
    nodes: list[Node]
    total_cost: float = Field(examples=[2141.0])
    planning_ms: float | None = Field(examples=[0.3])
    execution_ms: float | None = Field(examples=[13.1])


class Reset(BaseModel):
    """The database whose statements are counted again."""

    id: str


def _shown(statement: Statement) -> QueryStatistics:
    found, compared = statement.statistics, statement.comparison
    wanted = found.blocks_hit + found.blocks_read
    return QueryStatistics.model_validate(
        asdict(found)
        | {
            "query_id": str(found.query_id),
            "cache_hit_ratio": found.blocks_hit / wanted if wanted else None,
            "now": compared.now and asdict(compared.now),
            "hour_before": _before(compared.hour_before, compared.now),
            "day_before": _before(compared.day_before, compared.now),
            "week_before": _before(compared.week_before, compared.now),
        }
    )


def _before(then: Period | None, now: Period | None) -> Before | None:
    if then is None:
        return None
    return Before(
        **asdict(then),
        mean_change=_change(then.mean_ms, now.mean_ms if now else None),
        calls_change=_change(then.calls_per_second, now.calls_per_second if now else None),
    )


def _change(then: float, now: float | None) -> float | None:
    return None if now is None or not then else now / then - 1


@router.get("/queries", response_model=QueryListing)
async def queries(
    platform: CurrentPlatform,
    principal: Reader,
    database_id: DatabaseId,
    sort: Order = "total_ms",
    search: Search = None,
    since: Since = None,
    own: Annotated[
        bool,
        Query(
            description="Also those of Tenantry's own: of the console that shows rows, of the"
            " record of migrations, of the data API that reads the catalog."
        ),
    ] = False,
    limit: Limit = 50,
) -> Response:
    """List the statements of the database and its shadow, those first with most of ``sort``.

    Each is compared with an hour, a day and a week before.
    """
    found = await platform.insights.statements(
        principal.actor,
        database_id,
        order=sort,
        search=search,
        limit=limit,
        since=since,
        constants=principal.may(CONSTANTS),
        own=own,
    )
    page = QueryListing(
        count=len(found.statements),
        data=[_shown(each) for each in found.statements],
        counted_since=found.counted_since,
        incomplete_since=found.incomplete_since,
        recorded=found.recorded,
    )
    return JSONResponse(page.model_dump(mode="json", exclude={"next_cursor"}))


@router.post("/queries/reset", response_model=Answer[Reset])
async def reset(platform: CurrentPlatform, caller: Writer, database_id: DatabaseId) -> Response:
    """Count the statements of the database again."""

    async def work(tx: Any, _: object) -> str:
        await platform.insights.reset_statements(tx, caller.actor, database_id)
        return str(database_id)

    done = await caller.idempotent(str, work)
    return answers.answer(Reset(id=done), message="Statements are counted again.")


@router.post("/explain", response_model=Answer[Explained])
async def explain(
    body: Explain, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Show the plan of a statement, with the rights of the owner role; nothing of it lasts."""
    async with caller.visiting():
        found = await platform.insights.explain(caller.actor, database_id, body.wanted())
    return answers.answer(Explained.model_validate(asdict(found)))
