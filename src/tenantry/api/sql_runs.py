"""/api/databases/{id}/sql"""

from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from tenantry.api.answers import Answer
from tenantry.api.deps import CurrentPlatform, DatabaseId, calling
from tenantry.services.bodies.insights import RunSql
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


async def _gone(request: Request) -> NoReturn:
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

    A client that closes the connection cancels them. To change something takes `data:write`, too.
    """
    working = platform.sql_runs.run(caller, database_id, body.wanted())
    ran = await leaving.unless(_gone(request), working)
    # The rows are not parsed here: they may have 8 MiB.
    text = f'{{"success":true,"message":null,"data":{ran.document}}}'
    return Response(text, media_type="application/json")
