"""/api/databases/{id}/vacuum-full"""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.asking import DatabaseId, PlatformHere, allowed, begun, visiting
from tenantry.api.requests.databases import VacuumFull
from tenantry.services.access.service import Principal

router = APIRouter(prefix="/api/databases/{identifier}/vacuum-full", tags=["databases"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Principal, allowed("databases:write")]

_MOST = 1000


class Table(BaseModel):
    """A table with its indexes. ``returned_bytes`` is an estimate, and null if nothing is known."""

    table: str = Field(examples=["public.events"])
    size_bytes: int = Field(examples=[524_288_000])
    returned_bytes: int | None = Field(examples=[402_653_184])


@router.get("", response_model=Listing[Table])
async def estimate(
    request: Request, platform: PlatformHere, principal: Reader, database_id: DatabaseId
) -> Response:
    """What rewriting each table would give back, the most first; 1,000 tables at most."""
    async with visiting(request, principal):
        found = await platform.vacuuming.estimate(principal.actor, database_id)
    return answers.listing(
        [
            Table(table=each.title, size_bytes=each.size_bytes, returned_bytes=each.returned_bytes)
            for each in found[:_MOST]
        ]
    )


@router.post("", status_code=202, response_model=Answer[Operation])
async def begin(
    request: Request,
    body: VacuumFull,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
) -> Response:
    """Rewrite tables without the room that deleted rows have left. Nobody uses one meanwhile.

    The result has ``tables`` with their sizes ``before_bytes`` and ``after_bytes``,
    ``returned_bytes`` of all, and what was ``skipped``, with the ``reason``.
    """
    return await begun(
        request,
        principal,
        lambda tx: platform.vacuuming.begin(tx, principal.actor, database_id, body.wanted()),
        "The tables are being rewritten.",
    )
