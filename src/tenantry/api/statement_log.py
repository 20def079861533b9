"""/api/databases/{id}/logs"""

import dataclasses
import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from tenantry.api import answers, database_answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, Cursor, DatabaseId, Limit, allowed, calling
from tenantry.control.pages import LONGEST_CURSOR
from tenantry.services.access.service import Principal
from tenantry.services.bodies.databases import SetLog
from tenantry.services.bodies.fields import Moment
from tenantry.services.requests.service import Caller
from tenantry.services.statement_log.model import Kind
from tenantry.services.statement_log.service import Filter

router = APIRouter(prefix="/api/databases/{identifier}/logs", tags=["logs"])

Auditor = Annotated[Principal, allowed("audit:read")]
Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
After = Annotated[
    str | None,
    Query(max_length=LONGEST_CURSOR, description="An entry's id: only those after it, in order."),
]


class LogEntry(BaseModel):
    """An event of a session, or a ``notice`` of the platform about the log itself.

    ``application`` is the client's own name for itself. ``client_address`` is null through the
    pooler.
    """

    id: str = Field(examples=["00000001-00004711"])
    time: dt.datetime
    kind: Kind
    database_name: str | None = Field(examples=["tenant_b7kx2mw9qz4p"])
    role: str | None = Field(examples=["user_b7kx2mw9qz4p"])
    application: str | None = Field(examples=["psql"])
    client_address: str | None = Field(examples=["203.0.113.7"])
    session_id: str | None = Field(examples=["6929d2f5.1f4a"])
    statement: str | None = Field(examples=["CREATE TABLE orders (id bigint PRIMARY KEY)"])
    truncated: bool = Field(description="Whether only the beginning of the statement is here.")
    duration_ms: float | None = Field(examples=[12.345])
    sqlstate: str | None = Field(examples=["23505"])
    message: str | None


@router.get("", response_model=Listing[LogEntry])
async def index(
    platform: CurrentPlatform,
    principal: Auditor,
    database_id: DatabaseId,
    kind: Kind | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    after: After = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List what was logged of the database, newest first, without secrets; see its log settings."""
    page = await platform.statement_log.page(
        principal.actor,
        database_id,
        Filter(kind, since, until),
        cursor=cursor,
        after=after,
        limit=limit,
    )
    shown: list[BaseModel] = [LogEntry(**dataclasses.asdict(row)) for row in page.rows]
    return answers.listing(shown, next_cursor=page.next_cursor)


@router.get("/settings", response_model=Answer[database_answers.Log])
async def settings(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId
) -> Response:
    """Return the log settings of the database."""
    row = await platform.databases.show(principal.actor, database_id)
    return answers.answer(database_answers.log(row))


@router.put("/settings", response_model=Answer[database_answers.Log])
async def change(
    body: SetLog,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Replace the log settings of the database; an omitted setting is turned off.

    They apply to new sessions, and to pooled clients once the pool is renewed.
    """
    async with caller.transaction() as tx:
        row = await platform.statement_log.change(tx, caller.actor, database_id, body.wanted())
    return answers.answer(database_answers.log(row), message="Log settings changed.")
