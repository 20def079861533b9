"""/api/databases/{id}/whitelist"""

import datetime as dt
import uuid
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, DatabaseId, EntryId, allowed, calling
from tenantry.control.whitelist import EntryRow
from tenantry.services.access.service import Principal
from tenantry.services.bodies.allowlists import PreviewWhitelist, Whitelist
from tenantry.services.bodies.allowlists import WhitelistEntry as Entry
from tenantry.services.network.model import Added, Preview, Removed
from tenantry.services.network.plan import Change
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}/whitelist", tags=["allowlist"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]


class WhitelistEntry(BaseModel):
    id: uuid.UUID
    ip_address: str = Field(examples=["203.0.113.0/24"])
    description: str | None
    expires_at: dt.datetime | None
    created_at: dt.datetime


class AddedEntry(WhitelistEntry):
    """An added entry. ``ended_sessions`` counts sessions from addresses that are refused now."""

    closes: bool = Field(description="Whether it is the first: all others are refused from now on.")
    ended_sessions: int


class RemovedEntry(WhitelistEntry):
    """A removed entry. ``ended_sessions`` counts the sessions from its addresses."""

    opens: bool = Field(description="Whether it was the last: all are admitted from now on.")
    ended_sessions: int


class WhitelistChange(BaseModel):
    """An entry that would be added, changed or removed, as it would be, or was if removed."""

    action: Literal["add", "change", "remove"]
    ip_address: str = Field(examples=["203.0.113.0/24"])
    description: str | None
    expires_at: dt.datetime | None


class EndingSessions(BaseModel):
    """Open sessions of a login from one address, which would end."""

    username: str
    address: str
    endpoint: str = Field(
        description="pooler, or the database's cluster; redis for a site.", examples=["pooler"]
    )
    sessions: int


class WhitelistPreview(BaseModel):
    """What replacing the allowlist would do; ``version`` is that of the list as it is."""

    changes: list[WhitelistChange]
    closes: bool = Field(description="Whether it is the first list: all others would be refused.")
    opens: bool = Field(description="Whether no entry is left: all addresses would be admitted.")
    ending_sessions: list[EndingSessions]
    version: str = Field(examples=["9f86d081884c7d65"])


class WhitelistListing(Listing[WhitelistEntry]):
    """The allowlist; ``caller_address`` is the address of this request as the server sees it."""

    caller_address: str | None


def shown(row: EntryRow) -> WhitelistEntry:
    """Return an entry as the API shows it."""
    return WhitelistEntry(
        id=row.id,
        ip_address=str(row.network),
        description=row.description,
        expires_at=row.expires_at,
        created_at=row.created_at,
    )


def _changed(change: Change) -> WhitelistChange:
    entry = change.entry
    return WhitelistChange(
        action=change.action,
        ip_address=str(entry.network),
        description=entry.description,
        expires_at=entry.expires_at,
    )


def previewed(found: Preview) -> WhitelistPreview:
    """Return a preview as the API shows it."""
    return WhitelistPreview(
        changes=[_changed(each) for each in found.changes],
        closes=found.closes,
        opens=found.opens,
        ending_sessions=[EndingSessions(**asdict(each)) for each in found.endings],
        version=found.version,
    )


def listed(entries: list[EntryRow], principal: Principal) -> Response:
    """Return the answer with a whole allowlist."""
    reported = WhitelistListing(
        count=len(entries),
        caller_address=principal.actor.address,
        data=[shown(row) for row in entries],
    )
    return JSONResponse(reported.model_dump(mode="json", exclude={"next_cursor"}))


def added_message(body: Entry, added: Added) -> str:
    """Return what happened when an entry was added."""
    said = ["Address admitted."]
    if "/" in body.ip_address and str(added.entry.network) != body.ip_address.strip():
        said.append(f"{body.ip_address.strip()} was taken for all of {added.entry.network}.")
    if added.closes:
        said.append("It is the first: all others are refused from now on.")
    return " ".join(said)


def added_entry(added: Added) -> AddedEntry:
    """Return an added entry as the API shows it."""
    return AddedEntry(
        **dict(shown(added.entry)), closes=added.closes, ended_sessions=added.ended_sessions
    )


def removed_entry(removed: Removed) -> RemovedEntry:
    """Return a removed entry as the API shows it."""
    return RemovedEntry(
        **dict(shown(removed.entry)), opens=removed.opens, ended_sessions=removed.ended_sessions
    )


@router.get("", response_model=WhitelistListing)
async def index(platform: CurrentPlatform, principal: Reader, database_id: DatabaseId) -> Response:
    """List the addresses that may reach the database; an empty list allows all addresses."""
    entries = await platform.network.entries(principal.actor, database_id)
    return listed(entries, principal)


@router.post("", status_code=201, response_model=Answer[AddedEntry])
async def add(
    body: Entry,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Allow an address or a range. The first entry closes the database to all other addresses.

    It is in force for direct and pooled connections when this answers, and sessions from other
    addresses are ended.
    """
    added = await platform.network.add(caller, database_id, body.wanted())
    return answers.answer(added_entry(added), message=added_message(body, added), status=201)


@router.post("/preview", response_model=Answer[WhitelistPreview])
async def preview(
    body: PreviewWhitelist,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Show what replacing the allowlist would change, and which sessions would end."""
    found = await platform.network.preview(caller.actor, database_id, body.wanted())
    return answers.answer(previewed(found))


@router.put("", response_model=Listing[WhitelistEntry])
async def replace(
    body: Whitelist,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Replace the whole allowlist; an empty one allows all addresses."""
    entries = await platform.network.replace(
        caller, database_id, body.wanted(), version=body.version
    )
    return answers.listing([shown(row) for row in entries])


@router.delete("/{whitelist_id}", response_model=Answer[RemovedEntry])
async def remove(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    entry_id: EntryId,
) -> Response:
    """Remove an address and end its sessions. Removing the last entry allows all addresses."""
    removed = await platform.network.remove(caller, database_id, entry_id)
    said = "Address no longer admitted."
    if removed.opens:
        said += " It was the last: the database may be reached from everywhere."
    return answers.answer(removed_entry(removed), message=said)
