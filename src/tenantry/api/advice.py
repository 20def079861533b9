"""/api/databases/{id}/advice"""

import datetime as dt
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, DatabaseId, calling
from tenantry.control.store import Tx
from tenantry.services.advice.model import Code, Severity
from tenantry.services.bodies.insights import FindingObject, MuteAdvice
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}/advice", tags=["insights"])

Visitor = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
Muted = Annotated[bool, Query(description="Whether to list muted findings, too.")]


class MissingIndex(BaseModel):
    """What ``POST /api/databases/{id}/indexes`` takes to create an index."""

    table: str = Field(examples=["public.orders"])
    columns: list[str] = Field(examples=[["customer_id"]])


class Finding(BaseModel):
    """Something to do about ``object``, and why.

    ``statement`` is SQL that the owner role can run as it is, or a command of ``tenantry`` where no
    SQL helps; null if neither can be given. ``index`` is null unless an index is missing that can
    be created while its table is used. ``muted_at`` is null unless the finding is muted.
    """

    code: Code
    severity: Severity
    object: str = Field(examples=["public.orders.orders_customer_id_fkey"])
    detail: str = Field(
        examples=[
            "No index begins with customer_id: each row that is deleted from public.customers, or"
            " whose key is changed, reads all 104,211 rows of public.orders (8.0 MiB)."
        ]
    )
    statement: str | None = Field(
        examples=['CREATE INDEX CONCURRENTLY ON "public"."orders" ("customer_id");']
    )
    risk: str = Field(examples=["Takes disk space, and time at each write."])
    index: MissingIndex | None
    muted_at: dt.datetime | None


class Muting(BaseModel):
    """A finding that was muted, or is reported again."""

    code: Code
    object: str = Field(examples=["public.orders_note_idx"])


@router.get("", response_model=Listing[Finding])
async def advice(
    platform: CurrentPlatform, caller: Visitor, database_id: DatabaseId, muted: Muted = False
) -> Response:
    """List what is wrong with the database and what to do, the most severe first."""
    async with caller.visiting():
        found = await platform.advisor.advice(caller.actor, database_id, muted=muted)
    return answers.listing(
        [
            Finding.model_validate(asdict(each.finding) | {"muted_at": each.muted_at})
            for each in found
        ]
    )


@router.post("/mutes", response_model=Answer[Muting])
async def mute(
    body: MuteAdvice, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Mute a finding: it is listed with ``muted=true`` only."""

    async def work(tx: Tx, _: object) -> Muting:
        await platform.advisor.mute(tx, caller.actor, database_id, body.code, body.object)
        return Muting(code=body.code, object=body.object)

    return answers.answer(await caller.idempotent(Muting, work), message="Muted.")


@router.delete("/mutes", response_model=Answer[Muting])
async def unmute(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    code: Annotated[Code, Query()],
    object: Annotated[FindingObject, Query()],  # noqa: A002 (the parameter's name in the API)
) -> Response:
    """Report a muted finding again."""
    async with caller.transaction() as tx:
        await platform.advisor.unmute(tx, caller.actor, database_id, code, object)
    return answers.answer(Muting(code=code, object=object), message="Reported again.")
