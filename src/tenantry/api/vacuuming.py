"""/api/databases/{id}/vacuum-full, …/vacuum, …/analyze, …/reindex, …/indexes"""

import uuid
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.deps import CurrentPlatform, DatabaseId, calling
from tenantry.services.bodies.maintenance import (
    Analyze,
    CreateIndex,
    Reindex,
    Vacuum,
    VacuumFull,
)
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}", tags=["databases"])

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_MOST = 1000


class Table(BaseModel):
    """A table with its indexes. ``returned_bytes`` is an estimate, null if there is none."""

    table: str = Field(examples=["public.events"])
    size_bytes: int = Field(examples=[524_288_000])
    returned_bytes: int | None = Field(examples=[402_653_184])


@router.get("/vacuum-full", response_model=Listing[Table])
async def estimate(platform: CurrentPlatform, caller: Reader, database_id: DatabaseId) -> Response:
    """Estimate what rewriting each table would give back, largest first; at most 1,000 tables."""
    async with caller.visiting():
        found = await platform.vacuuming.estimate(caller.actor, database_id)
    return answers.listing(
        [
            Table(table=each.title, size_bytes=each.size_bytes, returned_bytes=each.returned_bytes)
            for each in found[:_MOST]
        ]
    )


@router.post("/vacuum-full", status_code=202, response_model=Answer[Operation])
async def rewrite(
    body: VacuumFull,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Rewrite tables to give back the space of deleted rows. Each is locked while it is rewritten.

    The result has ``tables`` with their sizes ``before_bytes`` and ``after_bytes``, the total
    ``returned_bytes``, and what was ``skipped`` with the ``reason``.
    """
    return await _begin(platform, caller, database_id, body, "The tables are being rewritten.")


@router.post("/vacuum", status_code=202, response_model=Answer[Operation])
async def vacuum(
    body: Vacuum, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Make the space of deleted rows available to new ones. Tables can be used meanwhile.

    The result has ``tables`` with their sizes ``before_bytes`` and ``after_bytes``, and what was
    ``skipped`` with the ``reason``.
    """
    return await _begin(platform, caller, database_id, body, "The tables are being vacuumed.")


@router.post("/analyze", status_code=202, response_model=Answer[Operation])
async def analyze(
    body: Analyze, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Collect the planner's statistics of tables again.

    The result has ``tables``, and what was ``skipped`` with the ``reason``.
    """
    return await _begin(platform, caller, database_id, body, "The tables are being analyzed.")


@router.post("/reindex", status_code=202, response_model=Answer[Operation])
async def reindex(
    body: Reindex, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Rebuild indexes, while their tables are used (REINDEX CONCURRENTLY).

    The result has ``indexes`` with their sizes ``before_bytes`` and ``after_bytes``, the total
    ``returned_bytes``, and what was ``skipped`` with the ``reason``.
    """
    return await _begin(platform, caller, database_id, body, "The indexes are being rebuilt.")


@router.post("/indexes", status_code=202, response_model=Answer[Operation])
async def create_index(
    body: CreateIndex, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Create an index, while its table is used (CREATE INDEX CONCURRENTLY).

    The result has ``index``, as ``schema.name``, and ``size_bytes``. If it fails or is cancelled,
    no invalid index is left.
    """
    return await _begin(platform, caller, database_id, body, "The index is being created.")


async def _begin(
    platform: Platform,
    caller: Caller,
    database_id: uuid.UUID,
    body: Analyze | CreateIndex | Reindex | Vacuum | VacuumFull,
    message: str,
) -> Response:
    wanted = body.wanted()
    operation = await caller.begin(
        lambda tx: platform.vacuuming.begin(tx, caller.actor, database_id, wanted)
    )
    return answers.accepted(operation, message)
