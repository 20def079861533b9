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
_NEW = f"{_STARTED} A new database gets its password by POST …/rotate-password."


class Replaced(BaseModel):
    """A retained database, replaced by a restore in place. It does not count towards the quota.

    Clients cannot connect to it.
    """

    id: uuid.UUID
    database_id: uuid.UUID
    database_name: str = Field(examples=["tenant_bcdfghjkmnpq_before_0b7c1a52f3aa"])
    operation_id: uuid.UUID
    size_bytes: int
    replaced_at: dt.datetime
    expires_at: dt.datetime


def _shown(found: model.Replaced) -> Replaced:
    return Replaced.model_validate(dataclasses.asdict(found.row) | {"size_bytes": found.size_bytes})


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
    """
    wanted = body.wanted()
    operation = await caller.begin(
        lambda tx: platform.restores.begin(tx, caller.actor, database_id, wanted)
    )
    return answers.accepted(operation, _STARTED if wanted.into == "in_place" else _NEW)


@router.get("/replaced", response_model=Listing[Replaced])
async def replaced(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId
) -> Response:
    """List the retained databases that restores in place have replaced, newest first."""
    found = await platform.restores.retained(principal.actor, database_id)
    return answers.listing([_shown(each) for each in found])
