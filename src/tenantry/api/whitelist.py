"""/api/databases/{id}/whitelist"""

import datetime as dt
import uuid
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.asking import DatabaseId, EntryId, PlatformHere, allowed, changing, once
from tenantry.api.requests.databases import Whitelist
from tenantry.api.requests.databases import WhitelistEntry as Entry
from tenantry.base.secrets import SecretSource
from tenantry.control.store import Tx
from tenantry.control.whitelist import EntryRow
from tenantry.services.access.service import Principal

router = APIRouter(prefix="/api/databases/{identifier}/whitelist", tags=["allowlist"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Principal, allowed("databases:write")]


class WhitelistEntry(BaseModel):
    id: uuid.UUID
    ip_address: str = Field(examples=["203.0.113.0/24"])
    description: str | None
    expires_at: dt.datetime | None
    created_at: dt.datetime


def _shown(row: EntryRow) -> WhitelistEntry:
    return WhitelistEntry(
        id=row.id,
        ip_address=str(row.network),
        description=row.description,
        expires_at=row.expires_at,
        created_at=row.created_at,
    )


@router.get("", response_model=Listing[WhitelistEntry])
async def index(platform: PlatformHere, principal: Reader, database_id: DatabaseId) -> Response:
    """From where the database may be reached; no entry means from anywhere."""
    entries = await platform.network.entries(principal.actor, database_id)
    return answers.listing([_shown(row) for row in entries])


@router.post("", status_code=201, response_model=Answer[WhitelistEntry])
async def add(
    request: Request,
    body: Entry,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
) -> Response:
    """Admit an address or a range; the first one closes the database to all others.

    It is in force at both doors when this answers, and sessions from elsewhere are ended.
    """
    entry = body.wanted()

    async def work(tx: Tx, _: SecretSource) -> JSONResponse:
        row = await platform.network.add(tx, principal.actor, database_id, entry)
        return answers.answer(_shown(row), message="Address admitted.", status=201)

    response = await once(request, principal, work)
    await platform.network.end_foreign_sessions()
    return response


@router.put("", response_model=Listing[WhitelistEntry])
async def replace(
    request: Request,
    body: Whitelist,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
) -> Response:
    """Make this the whole allowlist; an empty one opens the database."""
    wanted = [entry.wanted() for entry in body.entries]
    async with changing(request, principal) as tx:
        entries = await platform.network.replace(tx, principal.actor, database_id, wanted)
    await platform.network.end_foreign_sessions()
    return answers.listing([_shown(row) for row in entries])


@router.delete("/{whitelist_id}", response_model=Answer[WhitelistEntry])
async def remove(
    request: Request,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
    entry_id: EntryId,
) -> Response:
    """No longer admit an address, and end its sessions; without the last entry it is open."""
    async with changing(request, principal) as tx:
        row = await platform.network.remove(tx, principal.actor, database_id, entry_id)
    await platform.network.end_foreign_sessions()
    return answers.answer(_shown(row), message="Address no longer admitted.")
