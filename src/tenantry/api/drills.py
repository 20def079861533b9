"""/api/databases/{id}/drill and …/proofs"""

import datetime as dt
import uuid
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.deps import CurrentPlatform, Cursor, DatabaseId, Limit, allowed, calling
from tenantry.services.access.service import Principal
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}", tags=["backups"])

Reader = Annotated[Principal, allowed("backups:read")]
Writer = Annotated[Caller, calling("backups:write")]


class Remark(BaseModel):
    """An object that is not as it was, and PostgreSQL's reason."""

    object: str = Field(examples=["CHECK CONSTRAINT public.vouchers vouchers_ends_check"])
    reason: str = Field(
        examples=[
            'It is NOT VALID: check constraint "vouchers_ends_check" of relation "vouchers" is '
            "violated by some row"
        ]
    )


class Compared(BaseModel):
    """What a drill has looked at; null where it did not come so far.

    All ``tables`` of the copy were read. Of those ``equal_to_live`` are as the live ones were,
    ``changing`` were being written to meanwhile, and ``too_large`` ones were not read there.
    ``changed`` is what a restore brings back in another form, ``lost`` what it does not.
    """

    tables: int | None = Field(None, examples=[12])
    rows: int | None = Field(None, examples=[48_210])
    equal_to_live: int | None = Field(None, examples=[11])
    changing: int | None = Field(None, examples=[1])
    too_large: int | None = Field(None, examples=[0])
    amcheck: str | None = Field(None, examples=["passed"])
    changed: list[Remark] | None = None
    lost: list[Remark] | None = None


class Proof(BaseModel):
    """What came of restoring the database into a sandbox, as it was at ``moment``."""

    id: uuid.UUID = Field(description="That of the operation.")
    database_id: uuid.UUID
    at: dt.datetime
    moment: dt.datetime | None
    seconds: float = Field(examples=[9.4])
    passed: bool
    compared: Compared
    error: str | None


@router.post("/drill", status_code=202, response_model=Answer[Operation])
async def drill(platform: CurrentPlatform, caller: Writer, database_id: DatabaseId) -> Response:
    """Restore it into a sandbox now, and compare: an operation that fails if anything is wrong."""
    operation = await caller.begin(lambda tx: platform.drills.begin(tx, caller.actor, database_id))
    return answers.accepted(operation, "The drill begins.")


@router.get("/proofs", response_model=Listing[Proof])
async def proofs(
    platform: CurrentPlatform,
    principal: Reader,
    database_id: DatabaseId,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """What came of its drills, newest first."""
    page = await platform.drills.page(principal.actor, database_id, cursor=cursor, limit=limit)
    return answers.listing(
        [Proof.model_validate(row, from_attributes=True) for row in page.rows],
        next_cursor=page.next_cursor,
    )
