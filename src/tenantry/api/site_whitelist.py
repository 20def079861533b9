"""/api/sites/{id}/whitelist"""

import uuid
from typing import Annotated

from fastapi import APIRouter, Response

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, SiteEntryId, SiteId, allowed, calling
from tenantry.api.sites import closed
from tenantry.api.whitelist import (
    AddedEntry,
    RemovedEntry,
    WhitelistEntry,
    WhitelistListing,
    WhitelistPreview,
    added_entry,
    added_message,
    listed,
    previewed,
    removed_entry,
    shown,
)
from tenantry.services.access.service import Principal
from tenantry.services.bodies.allowlists import PreviewWhitelist, Whitelist
from tenantry.services.bodies.allowlists import WhitelistEntry as Entry
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/sites/{identifier}/whitelist", tags=["AI cache"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]


async def _closed(platform: Platform, caller: Caller, site_id: uuid.UUID) -> str:
    """Return what to add to a message if a site cannot obey its allowlist, and is closed."""
    site = await platform.sites.show(caller.actor, site_id)
    return closed((await platform.site_filter.reach(site)).why)


@router.get("", response_model=WhitelistListing)
async def index(platform: CurrentPlatform, principal: Reader, site_id: SiteId) -> Response:
    """List the addresses that may reach the site; an empty list allows all addresses."""
    return listed(await platform.site_allowlists.entries(principal.actor, site_id), principal)


@router.post("", status_code=201, response_model=Answer[AddedEntry])
async def add(body: Entry, platform: CurrentPlatform, caller: Writer, site_id: SiteId) -> Response:
    """Allow an address or a range. The first entry closes the site to all other addresses.

    Programs on the platform's machine are always allowed. Connections from other addresses are
    ended. A site in the shared Redis cannot have an allowlist.
    """
    added = await platform.site_allowlists.add(caller, site_id, body.wanted())
    said = added_message(body, added) + await _closed(platform, caller, site_id)
    return answers.answer(added_entry(added), message=said, status=201)


@router.post("/preview", response_model=Answer[WhitelistPreview])
async def preview(
    body: PreviewWhitelist, platform: CurrentPlatform, caller: Writer, site_id: SiteId
) -> Response:
    """Show what replacing the allowlist would change, and which connections would end."""
    found = await platform.site_allowlists.preview(caller.actor, site_id, body.wanted())
    return answers.answer(previewed(found))


@router.put("", response_model=Listing[WhitelistEntry])
async def replace(
    body: Whitelist, platform: CurrentPlatform, caller: Writer, site_id: SiteId
) -> Response:
    """Replace the whole allowlist; an empty one allows all addresses."""
    entries = await platform.site_allowlists.replace(
        caller, site_id, body.wanted(), version=body.version
    )
    return answers.listing([shown(row) for row in entries])


@router.delete("/{whitelist_id}", response_model=Answer[RemovedEntry])
async def remove(
    platform: CurrentPlatform, caller: Writer, site_id: SiteId, entry_id: SiteEntryId
) -> Response:
    """Remove an address and end its connections. Removing the last entry allows all addresses."""
    removed = await platform.site_allowlists.remove(caller, site_id, entry_id)
    said = "Address no longer admitted."
    if removed.opens:
        said += " It was the last: the site may be reached from everywhere."
    said += await _closed(platform, caller, site_id)
    return answers.answer(removed_entry(removed), message=said)
