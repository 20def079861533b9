"""/api/databases/{id}/sql"""

import dataclasses
import datetime as dt
import uuid
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, DatabaseId, TextId, calling
from tenantry.pg.sql_runs import Ran
from tenantry.services.bodies.insights import RunSql, SaveSql
from tenantry.services.requests import leaving
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}", tags=["sql"])

Reader = Annotated[Caller, calling("data:read")]


class Column(BaseModel):
    """A column of a result, with the name of its type as PostgreSQL has it."""

    name: str = Field(examples=["total"])
    type: str = Field(examples=["numeric(10,2)"])


class Result(BaseModel):
    """What one statement returned.

    Integers up to 2^53 and booleans are such, NULL is null, and everything else is text, as
    PostgreSQL writes it. ``row_count`` is how many rows it returned or changed; ``truncated`` is
    whether there were more than ``rows`` has. ``cut`` are values of which only the first 64 KiB
    are there: row and column, from 0, and the bytes of the whole. ``notices`` are the server's.
    """

    command: str = Field(examples=["SELECT 1"])
    columns: list[Column]
    rows: list[list[Any]] = Field(examples=[[[7, "19.90", None]]])
    row_count: int = Field(examples=[1])
    truncated: bool
    cut: list[tuple[int, int, int]]
    notices: list[str]
    duration_ms: float = Field(examples=[1.4])


class Run(BaseModel):
    """The results of the statements, in order."""

    results: list[Result]


async def gone(request: Request) -> NoReturn:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect


@router.post("/sql", response_model=Answer[Run])
async def run(
    request: Request,
    body: RunSql,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
) -> Response:
    """Run statements with the rights of the owner role, as one transaction.

    A client that closes the connection cancels them. To change something takes `data:write`, too;
    under an `Idempotency-Key` that happens at most once, and a repeated request returns 409.
    """
    wanted = body.wanted()
    working = platform.sql_runs.run_once(caller, database_id, wanted, application="tenantry sql")
    return answer(await leaving.unless(gone(request), working))


def answer(ran: Ran) -> Response:
    """Return the results of a run. The rows are not parsed here: they may have 8 MiB."""
    text = f'{{"success":true,"message":null,"data":{ran.document}}}'
    return Response(text, media_type="application/json")


class SqlText(BaseModel):
    """A text of the caller's: saved by a name, or, without one, run the last time at `used_at`."""

    id: uuid.UUID
    name: str | None = Field(examples=["top customers"])
    sql: str = Field(examples=["SELECT 1"])
    used_at: dt.datetime


class Names(BaseModel):
    """Names in a database, for completion: the columns of tables and views, by schema and name.

    `complete` is false if there are more.
    """

    tables: dict[str, dict[str, list[str]]] = Field(
        examples=[{"public": {"orders": ["id", "total"]}}]
    )
    functions: list[str]
    complete: bool


@router.get("/sql/names", response_model=Answer[Names])
async def names(platform: CurrentPlatform, caller: Reader, database_id: DatabaseId) -> Response:
    """Return the names of tables, columns and functions, but for the system's."""
    found = await platform.sql_runs.names(caller, database_id)
    return answers.answer(Names.model_validate(dataclasses.asdict(found)))


@router.get("/sql/texts", response_model=Listing[SqlText])
async def texts(platform: CurrentPlatform, caller: Reader, database_id: DatabaseId) -> Response:
    """List the caller's own texts for a database: saved ones by name, then the last 50 that ran."""
    found = await platform.sql_runs.texts.every(caller.actor, database_id)
    return answers.listing([SqlText.model_validate(dataclasses.asdict(each)) for each in found])


@router.put("/sql/texts", response_model=Listing[SqlText])
async def save(
    platform: CurrentPlatform, caller: Reader, database_id: DatabaseId, body: SaveSql
) -> Response:
    """Save a text by a name, in place of one that has it; at most 100 for a database."""
    await platform.sql_runs.texts.save(caller.actor, database_id, body.name, body.sql)
    return await texts(platform, caller, database_id)


@router.delete("/sql/texts/{text_id}", response_model=Listing[SqlText])
async def forget(
    platform: CurrentPlatform, caller: Reader, database_id: DatabaseId, text_id: TextId
) -> Response:
    """Delete one of the caller's texts; return the others."""
    await platform.sql_runs.texts.remove(caller.actor, database_id, text_id)
    return await texts(platform, caller, database_id)
