"""/api/databases/{id}/past: a database as it was, compared with now, and rows brought back"""

import dataclasses
import datetime as dt
import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from tenantry.api import answers, sql_runs
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.deps import (
    ComparisonId,
    CurrentPlatform,
    DatabaseId,
    PastId,
    allowed,
    calling,
)
from tenantry.control.past_sessions import PastSession
from tenantry.pg.lost_rows import Kind
from tenantry.services.access.service import Principal
from tenantry.services.bodies.insights import RunSql
from tenantry.services.bodies.lost_rows import BringBack, CompareTable, LookBack
from tenantry.services.lost_rows import model
from tenantry.services.requests import leaving
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}/past", tags=["restores"])

Lister = Annotated[Principal, allowed("databases:read")]
Counter = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
Reader = Annotated[Caller, calling("data:read")]
RowWriter = Annotated[Caller, calling("data:write")]

_STARTED = f"It can be read when the operation has succeeded, for {model.MINUTES} minutes."
_ONE = "/{past_id}"
_COMPARISON = f"{_ONE}/comparisons/{{comparison_id}}"


class Past(BaseModel):
    """A database as it was at `moment`. It can be read from when it has an expiry until then."""

    id: uuid.UUID = Field(description="That of the operation which makes it, too.")
    moment: dt.datetime
    created_at: dt.datetime
    expires_at: dt.datetime | None


Why = Literal["", "missing", "unlogged", "forbidden", "no_time"]


class TableRows(BaseModel):
    """The rows of a table then and now; null for a reason that `then_why` or `now_why` names.

    `missing`: there was, or is, no such table. `unlogged`: no backup has its rows. `forbidden`: the
    owner role may not read all of them. `no_time`: they are too many to be counted in a minute.
    """

    schema_: str = Field(alias="schema", examples=["public"])
    table: str = Field(examples=["orders"])
    then: int | None
    then_why: Why
    now: int | None
    now_why: Why


class Column(BaseModel):
    """A column that is compared, with the name of its type as PostgreSQL has it."""

    name: str = Field(examples=["total"])
    type: str = Field(examples=["numeric(10,2)"])


class Counts(BaseModel):
    """How many rows there are of each kind."""

    deleted: int
    changed: int
    added: int
    same: int


class Comparison(BaseModel):
    """What a table was and is.

    Rows are the same by `key`, the primary key; if that is empty, whole rows are compared. Columns
    that were added or dropped, and generated ones, are not compared. `truncated` is whether only
    the first 100,000 differences are listed (fewer where keys are long); `blocked` is why rows
    cannot be brought back. `moved` is the number of deleted rows whose values an added row has: if
    their keys were changed, they are there twice after they are brought back.
    """

    id: uuid.UUID
    schema_: str = Field(alias="schema", examples=["public"])
    table: str = Field(examples=["orders"])
    key: list[str] = Field(examples=[["id"]])
    columns: list[Column]
    only_then: list[str]
    only_now: list[str]
    counts: Counts
    truncated: bool
    moved: int
    blocked: str | None


class Difference(BaseModel):
    """A row that differs, by its place in the comparison. Values and keys are text, cut at 1,000
    characters.

    `then` and `now` are in the order of the comparison's columns; null where there is no such row.
    `restored` is whether the row is now as it was then, because it was brought back since.
    """

    place: int
    kind: Kind
    key: list[str] = Field(examples=[["7"]])
    then: list[str | None] | None
    now: list[str | None] | None
    restored: bool


class Differences(BaseModel):
    """A page of differences; `next` is the place after which to go on, null on the last one."""

    rows: list[Difference]
    next: int | None


class Left(BaseModel):
    """A row that was left as it is.

    `changed_since`, `deleted_since`, `exists_again`: it is not what was compared any more.
    `unique_or_trigger`: another row has one of its unique values, or a trigger has refused it.
    `refused_by_trigger`, `cannot_be_set`: PostgreSQL does not let it be changed. `others_refer`: a
    foreign key with ON UPDATE CASCADE, SET NULL or SET DEFAULT would change rows that refer to it.
    """

    schema_: str = Field(alias="schema")
    table: str
    key: list[str]
    reason: Literal[
        "changed_since",
        "deleted_since",
        "exists_again",
        "unique_or_trigger",
        "refused_by_trigger",
        "cannot_be_set",
        "others_refer",
    ]


class BroughtBack(BaseModel):
    """What became of the rows. `already` were as they are; `altered` by a trigger, of the others.

    `rows` are the first 100 of those that were skipped.
    """

    inserted: int
    updated: int
    altered: int
    already: int
    skipped: int
    rows: list[Left]


def _shown(found: PastSession) -> Past:
    return Past.model_validate(dataclasses.asdict(found))


def _compared(found: model.Comparison) -> Comparison:
    return Comparison.model_validate(dataclasses.asdict(found))


@router.post("", status_code=202, response_model=Answer[Operation])
async def begin(
    body: LookBack, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Make the database readable as it was, beside it; nothing of it changes.

    Another one that can be read is ended.
    """
    operation = await caller.begin(
        lambda tx: platform.lost_rows.begin(tx, caller.actor, database_id, body.to)
    )
    return answers.accepted(operation, _STARTED)


@router.get("", response_model=Listing[Past])
async def sessions(
    platform: CurrentPlatform, principal: Lister, database_id: DatabaseId
) -> Response:
    """List what is being made, or can be read."""
    found = await platform.lost_rows.sessions(principal.actor, database_id)
    return answers.listing([_shown(each) for each in found])


@router.delete(_ONE, response_model=Answer[Past])
async def end(
    platform: CurrentPlatform, caller: Writer, database_id: DatabaseId, past_id: PastId
) -> Response:
    """End it before it expires."""
    async with caller.transaction() as tx:
        gone = await platform.lost_rows.end(tx, caller.actor, database_id, past_id)
    return answers.answer(_shown(gone), message="Ended.")


@router.get(f"{_ONE}/tables", response_model=Listing[TableRows])
async def tables(
    platform: CurrentPlatform, caller: Counter, database_id: DatabaseId, past_id: PastId
) -> Response:
    """Count the rows of each table then and now."""
    found = await platform.lost_rows.tables(caller, database_id, past_id)
    return answers.listing([TableRows.model_validate(each) for each in found])


@router.post(f"{_ONE}/sql", response_model=Answer[sql_runs.Run])
async def sql(
    request: Request,
    body: RunSql,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    past_id: PastId,
) -> Response:
    """Run statements in the database as it was, read-only, with the rights of its owner role."""
    working = platform.lost_rows.sql(caller, database_id, past_id, body.wanted())
    return sql_runs.answer(await leaving.unless(sql_runs.gone(request), working))


@router.post(f"{_ONE}/comparisons", status_code=201, response_model=Answer[Comparison])
async def compare(
    request: Request,
    body: CompareTable,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    past_id: PastId,
) -> Response:
    """Compare a table with what it was, by its primary key. The newest 20 comparisons are kept."""
    working = platform.lost_rows.compare(caller, database_id, past_id, *body.named())
    found = await leaving.unless(sql_runs.gone(request), working)
    return answers.answer(_compared(found), status=201)


@router.get(_COMPARISON, response_model=Answer[Comparison])
async def comparison(
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    past_id: PastId,
    comparison_id: ComparisonId,
) -> Response:
    """Return what a comparison has found."""
    found = await platform.lost_rows.comparison(caller, database_id, past_id, comparison_id)
    return answers.answer(_compared(found))


@router.get(f"{_COMPARISON}/rows", response_model=Answer[Differences])
async def rows(
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    past_id: PastId,
    comparison_id: ComparisonId,
    kind: Annotated[Kind | None, Query(description="All, if left out.")] = None,
    after: Annotated[int, Query(ge=0, description="The `next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Show a page of the rows that differ, with their values then and now."""
    kinds: list[Kind] = ["deleted", "changed", "added"] if kind is None else [kind]
    found = await platform.lost_rows.page(
        caller,
        database_id,
        past_id,
        comparison_id=comparison_id,
        kinds=kinds,
        after=after,
        limit=limit,
    )
    return answers.answer(Differences.model_validate(found))


@router.post(f"{_COMPARISON}/bring-back", response_model=Answer[BroughtBack])
async def bring_back(
    body: BringBack,
    platform: CurrentPlatform,
    caller: RowWriter,
    database_id: DatabaseId,
    past_id: PastId,
    comparison_id: ComparisonId,
) -> Response:
    """Bring deleted and changed rows back, in one transaction, with the rights of the owner role.

    It takes `databases:write`, too. Rows that are not what was compared any more are left as they
    are; nothing is deleted.
    """
    await caller.require("databases:write")
    found = await platform.lost_rows.bring_back(
        caller,
        database_id,
        past_id,
        comparison_id=comparison_id,
        kinds=body.kinds,
        places=body.places,
    )
    return answers.answer(BroughtBack.model_validate(found))
