"""/api/databases/{id}/whitelist"""

import datetime as dt
import json
import uuid
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.asking import (
    DatabaseId,
    EntryId,
    PlatformHere,
    address_of,
    allowed,
    changing,
    once,
)
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


class AddedEntry(WhitelistEntry):
    """``ended_sessions`` are those of the database that were open from elsewhere."""

    closes: bool = Field(description="Whether it is the first: all others are refused from now on.")
    ended_sessions: int


class RemovedEntry(WhitelistEntry):
    """``ended_sessions`` are those of the database that were open from there."""

    opens: bool = Field(description="Whether it was the last: all are admitted from now on.")
    ended_sessions: int


class WhitelistListing(Listing[WhitelistEntry]):
    """The list; ``caller_address`` is where this request came from, as the server sees it."""

    caller_address: str | None


def _shown(row: EntryRow) -> WhitelistEntry:
    return WhitelistEntry(
        id=row.id,
        ip_address=str(row.network),
        description=row.description,
        expires_at=row.expires_at,
        created_at=row.created_at,
    )


@router.get("", response_model=WhitelistListing)
async def index(
    request: Request, platform: PlatformHere, principal: Reader, database_id: DatabaseId
) -> Response:
    """From where the database may be reached; no entry means from anywhere."""
    entries = await platform.network.entries(principal.actor, database_id)
    told = WhitelistListing(
        count=len(entries),
        caller_address=address_of(request),
        data=[_shown(row) for row in entries],
    )
    return JSONResponse(told.model_dump(mode="json", exclude={"next_cursor"}))


@router.post("", status_code=201, response_model=Answer[AddedEntry])
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
        row, closes = await platform.network.add(tx, principal.actor, database_id, entry)
        said = ["Address admitted."]
        if "/" in body.ip_address and str(row.network) != body.ip_address.strip():
            said.append(f"{body.ip_address.strip()} was taken for all of {row.network}.")
        if closes:
            said.append("It is the first: all others are refused from now on.")
        added = AddedEntry(**dict(_shown(row)), closes=closes, ended_sessions=0)
        return answers.answer(added, message=" ".join(said), status=201)

    response = await once(request, principal, work)
    ended = await platform.network.enforce(principal.actor, database_id)
    return _with_ended(response, ended)


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


def _with_ended(response: Response, ended: int) -> Response:
    """The answer, which may be one that was kept, with what was ended after it was made."""
    told = json.loads(bytes(response.body))
    told["data"]["ended_sessions"] = ended
    return JSONResponse(told, status_code=response.status_code)


@router.delete("/{whitelist_id}", response_model=Answer[RemovedEntry])
async def remove(
    request: Request,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
    entry_id: EntryId,
) -> Response:
    """No longer admit an address, and end its sessions; without the last entry it is open."""
    async with changing(request, principal) as tx:
        row, opens = await platform.network.remove(tx, principal.actor, database_id, entry_id)
    ended = await platform.network.enforce(principal.actor, database_id)
    said = "Address no longer admitted."
    if opens:
        said += " It was the last: the database may be reached from everywhere."
    removed = RemovedEntry(**dict(_shown(row)), opens=opens, ended_sessions=ended)
    return answers.answer(removed, message=said)
