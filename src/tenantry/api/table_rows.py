"""/api/databases/{id}/rows"""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from tenantry.api import answers
from tenantry.api.answers import Answer
from tenantry.api.deps import CurrentPlatform, DatabaseId, calling
from tenantry.api.frame import CSV
from tenantry.services.bodies.table_rows import ChangeRows, SomeRows, TableName
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs.service import WRITES

router = APIRouter(prefix="/api/databases/{identifier}/rows", tags=["sql"])

Reader = Annotated[Caller, calling("data:read")]

_FILE = {"type": "string", "format": "binary"}


class Changed(BaseModel):
    """What was done: the statements, and how many rows they changed; with dry_run none."""

    sql: str = Field(examples=['UPDATE "public"."orders"\nSET "v" = \'b\'\nWHERE "id" = \'7\''])
    rows: int = Field(examples=[1])


class Loaded(BaseModel):
    rows: int = Field(examples=[1000], description="How many were inserted.")


@router.post("", response_model=Answer[Changed])
async def change(
    platform: CurrentPlatform, caller: Reader, database_id: DatabaseId, body: ChangeRows
) -> Response:
    """Insert, update and delete rows of one table, each by its primary key, as one transaction.

    It takes `data:write`, too. If one of them is not there, or has another `xmin`, nothing is
    changed: 409 `row_changed`.
    """
    await caller.require(WRITES)
    table = await platform.table_rows.table(caller, database_id, body.schema_, body.table)
    changes = [each.wanted() for each in body.changes]
    sql, rows = table.statements(changes), 0
    if not body.dry_run:
        rows = (await platform.table_rows.change(caller, database_id, table, changes)).rows
    return answers.answer(Changed(sql=sql, rows=rows))


@router.get("/csv", response_class=Response, responses={200: {"content": {CSV: {"schema": _FILE}}}})
async def export(
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    wanted: Annotated[SomeRows, Query()],
) -> Response:
    """Return all rows of a table or view as CSV, with the names of the columns in the first line.

    NULL is an empty field, and an empty text is `""`. It may take ten minutes.
    """
    pieces = await platform.table_rows.export(
        caller, database_id, wanted.schema_, wanted.table, wanted.page()
    )
    return StreamingResponse(pieces, media_type=CSV)


@router.post(
    "/csv",
    response_model=Answer[Loaded],
    openapi_extra={"requestBody": {"required": True, "content": {CSV: {"schema": _FILE}}}},
)
async def load(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    table: Annotated[TableName, Query()],
) -> Response:
    """Insert the rows of a CSV file, as one transaction. It takes `data:write`, too.

    The first line names the columns that the file has; others get their defaults. An error names
    the line. Under an `Idempotency-Key` they are inserted at most once, and a repeated request
    returns 409, whatever the file.
    """
    if request.state.media_type != CSV:
        raise HTTPException(415, f"the body must be {CSV}")
    rows = await platform.table_rows.load(
        caller, database_id, table.schema_, table.table, request.stream()
    )
    return answers.answer(Loaded(rows=rows))
