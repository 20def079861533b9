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
    """An object that was not restored unchanged, and PostgreSQL's reason."""

    object: str = Field(examples=["CHECK CONSTRAINT public.vouchers vouchers_ends_check"])
    reason: str = Field(
        examples=[
            'It is NOT VALID: check constraint "vouchers_ends_check" of relation "vouchers" is '
            "violated by some row"
        ]
    )


class Compared(BaseModel):
    """The comparison of a drill; null for what it did not reach.

    All ``tables`` of the copy were read. Of those, ``equal_to_live`` match the live ones,
    ``changing`` were written to meanwhile, and ``too_large`` ones were not read in the live one.
    ``changed`` are objects that a restore changes, ``lost`` those that it loses.
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
    """The result of a drill: restoring the database into a sandbox, to ``moment``."""

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
    """Restore the database into a sandbox and compare it; the operation fails on any difference."""
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
    """List the results of the database's drills, newest first."""
    page = await platform.drills.page(principal.actor, database_id, cursor=cursor, limit=limit)
    return answers.listing(
        [Proof.model_validate(row, from_attributes=True) for row in page.rows],
        next_cursor=page.next_cursor,
    )
