"""/api/databases/{id}/marks and /timeline"""

import datetime as dt
import uuid
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, DatabaseId, MarkId, allowed, calling
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal
from tenantry.services.bodies.fields import Moment
from tenantry.services.bodies.lost_rows import CreateMark
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}", tags=["restores"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
Since = Annotated[Moment | None, Query(description="The first moment; left out, all.")]


class Mark(BaseModel):
    """A named moment of a database."""

    id: uuid.UUID
    label: str = Field(examples=["deploy 2026-11-30"])
    at: dt.datetime
    created_at: dt.datetime


class Event(BaseModel):
    """What has changed a database: `mark`, or an action of the audit such as `database.migrate`."""

    at: dt.datetime
    kind: str = Field(examples=["mark"])
    label: str | None = Field(description="That of a mark.", examples=["deploy 2026-11-30"])


@router.post("/marks", status_code=201, response_model=Answer[Mark])
async def create(
    body: CreateMark, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Mark a moment, so that it is found on the timeline: for scripts that deploy something.

    A database has its newest 1,000 marks.
    """

    async def work(tx: Tx, _: object) -> Mark:
        made = await platform.marks.create(tx, caller.actor, database_id, body.label, body.at)
        return Mark.model_validate(asdict(made))

    return answers.answer(await caller.idempotent(Mark, work), status=201)


@router.get("/marks", response_model=Listing[Mark])
async def marks(platform: CurrentPlatform, principal: Reader, database_id: DatabaseId) -> Response:
    """List the marks, newest first."""
    found = await platform.marks.of_database(principal.actor, database_id)
    return answers.listing([Mark.model_validate(asdict(each)) for each in found])


@router.delete("/marks/{mark_id}", response_model=Answer[Mark])
async def remove(
    platform: CurrentPlatform, caller: Writer, database_id: DatabaseId, mark_id: MarkId
) -> Response:
    """Delete a mark."""
    async with caller.transaction() as tx:
        gone = await platform.marks.remove(tx, caller.actor, database_id, mark_id)
    return answers.answer(Mark.model_validate(asdict(gone)), message="Mark deleted.")


@router.get("/timeline", response_model=Listing[Event])
async def timeline(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId, since: Since = None
) -> Response:
    """List marks, migrations, backups, restores and the like, newest first, at most 500."""
    found = await platform.marks.timeline(principal.actor, database_id, since)
    return answers.listing([Event.model_validate(asdict(each)) for each in found])
