"""/api/databases/{id}/restore and /replaced"""

import dataclasses
import datetime as dt
import uuid
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.deps import CurrentPlatform, DatabaseId, allowed, calling
from tenantry.services.access.service import Principal
from tenantry.services.bodies.copies import Restore
from tenantry.services.requests.service import Caller
from tenantry.services.restores import model

router = APIRouter(prefix="/api/databases/{identifier}", tags=["restores"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_STARTED = "It is being restored; until it is put in service, everything goes on as it is."
_TABLES = (
    "The tables are being restored beside the database; then one transaction brings them back."
)
_NEW = f"{_STARTED} A new database gets its password by POST …/rotate-password."


class Replaced(BaseModel):
    """A retained database, replaced, or left by a move. It does not count towards the quota.

    Clients cannot connect to it.
    """

    id: uuid.UUID
    database_id: uuid.UUID
    database_name: str = Field(examples=["tenant_bcdfghjkmnpq_before_0b7c1a52f3aa"])
    operation_id: uuid.UUID
    size_bytes: int = Field(description="0 for one that a move has left on another cluster.")
    can_be_put_back: bool = Field(
        description="Whether a restore to `previous`, or to its id, can put it in service again."
    )
    replaced_at: dt.datetime
    expires_at: dt.datetime


def _shown(found: model.Replaced) -> Replaced:
    return Replaced.model_validate(
        dataclasses.asdict(found.row)
        | {"size_bytes": found.size_bytes, "can_be_put_back": found.can_be_put_back}
    )


@router.post("/restore", status_code=202, response_model=Answer[Operation])
async def restore(
    body: Restore,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Restore a database to a past state, beside it or in place. Other databases are unaffected.

    In place, clients of the pooler wait for a moment, direct sessions are ended, and the replaced
    contents are retained for a while.

    With `tables`, for which it takes `data:write`, too, only these are brought back, within the
    database: copies in a new schema, or the rows that were deleted since.
    """
    tables = body.wanted_tables()
    if tables is not None:
        await caller.require("data:write")
        operation = await caller.begin(
            lambda tx: platform.lost_rows.restore_tables(tx, caller.actor, database_id, tables)
        )
        return answers.accepted(operation, _TABLES)
    wanted = body.wanted()
    operation = await caller.begin(
        lambda tx: platform.restores.begin(tx, caller.actor, database_id, wanted)
    )
    return answers.accepted(operation, _STARTED if wanted.into == "in_place" else _NEW)


@router.get("/replaced", response_model=Listing[Replaced])
async def replaced(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId
) -> Response:
    """List the retained databases that were replaced, or are left by moves, newest first."""
    found = await platform.restores.retained(principal.actor, database_id)
    return answers.listing([_shown(each) for each in found])
