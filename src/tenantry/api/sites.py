"""/api/sites: the sites of the AI cache"""

import datetime as dt
import uuid
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, Limit, SiteId, allowed, calling
from tenantry.base.connection_strings import MASK
from tenantry.control.sites import Eviction, Isolation, Mode, Persistence
from tenantry.services.access.service import Principal
from tenantry.services.bodies.fields import Storable
from tenantry.services.bodies.sites import CreateSite, RotateSite, UpdateSite
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller
from tenantry.services.sites import model

router = APIRouter(prefix="/api/sites", tags=["AI cache"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
KeyReader = Annotated[Principal, allowed("data:read")]

_KEEP = "Keep the secrets: they are not shown again."


class Site(BaseModel):
    """A site of the AI cache. ``redis_url`` is without the password."""

    id: uuid.UUID
    name: str = Field(examples=["shop"])
    status: Literal["active", "starting", "deleting"]
    redis_url: str = Field(examples=["rediss://site:***@db.example.com:6379/0"])
    cache_url: str = Field(examples=["https://db.example.com:3002"])
    key_prefix: str = Field(
        description="How the names of its keys and channels have to begin.",
        examples=["site:0b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5:"],
    )
    memory_mb: int
    max_clients: int
    eviction: Eviction
    persistence: Persistence
    semantic: Mode
    isolation: Isolation
    networks: list[str] = Field(
        description="The addresses that its allowlist admits now; none: see reached_from."
    )
    reached_from: model.ReachedFrom = Field(
        description="From everywhere; from the platform's machine and its allowlist's addresses; or"
        " from that machine only, as its list cannot be obeyed."
    )
    reached_why: str | None = Field(
        description="Why a site with an allowlist is reached from the platform's machine only."
    )
    created_at: dt.datetime
    updated_at: dt.datetime


class NewSite(Site):
    """A site with its new secrets, which are shown only once; null for one that was not replaced.

    ``redis_url`` has the password, if that is new.
    """

    api_key: str | None = Field(description="The bearer token of its requests to the AI cache.")


class SiteStats(BaseModel):
    """What a site holds now, and has done since its Redis started.

    Null is what a shared Redis counts for all its sites only.
    """

    server: str = Field(examples=["Redis 7.0.15"])
    uptime_seconds: int
    memory_bytes: int = Field(description="What counts against the limit.")
    memory_limit_bytes: int
    process_bytes: int = Field(description="What its process takes.")
    keys: int
    clients: int
    max_clients: int
    commands: int | None
    hits: int | None
    misses: int | None
    evicted_keys: int | None
    expired_keys: int | None


class SiteKey(BaseModel):
    key: str
    type: str = Field(examples=["string"])
    ttl_seconds: int | None = Field(description="Null if it does not expire.")
    bytes: int


class GoneSite(BaseModel):
    id: uuid.UUID
    status: Literal["deleted"]


@router.post("", status_code=201, response_model=Answer[NewSite])
async def create(body: CreateSite, platform: CurrentPlatform, caller: Writer) -> Response:
    """Create a site. Its connection string and its API key are shown only in this answer."""
    made = await caller.idempotent(
        model.NewSite,
        lambda tx, secrets: platform.sites.create(tx, caller.actor, body.wanted(), secrets),
    )
    found = await _new(platform, made)
    said = f"Site made. {_KEEP}{closed(found.reached_why)}"
    return answers.answer(found, message=said, status=201)


@router.get("", response_model=Listing[Site])
async def index(platform: CurrentPlatform, principal: Reader) -> Response:
    """List sites, the oldest first."""
    found = await platform.sites.every(principal.actor)
    return answers.listing([await _shown(platform, each) for each in found])


@router.get("/{identifier}", response_model=Answer[Site])
async def show(platform: CurrentPlatform, principal: Reader, site_id: SiteId) -> Response:
    """Return one site, without its secrets."""
    found = await platform.sites.show(principal.actor, site_id)
    return answers.answer(await _shown(platform, found))


@router.patch("/{identifier}", response_model=Answer[Site])
async def update(
    body: UpdateSite, platform: CurrentPlatform, caller: Writer, site_id: SiteId
) -> Response:
    """Change a site. Its Redis goes on, and its keys stay, unless less memory has no room."""
    async with caller.transaction() as tx:
        changed = await platform.sites.update(tx, caller.actor, site_id, body.changes())
    found = await _shown(platform, changed)
    return answers.answer(found, message=f"Site changed.{closed(found.reached_why)}")


@router.delete("/{identifier}", response_model=Answer[GoneSite])
async def delete(platform: CurrentPlatform, caller: Writer, site_id: SiteId) -> Response:
    """Delete a site with all its keys."""
    async with caller.transaction() as tx:
        await platform.sites.delete(tx, caller.actor, site_id)
    return answers.answer(GoneSite(id=site_id, status="deleted"), message="Site deleted.")


@router.post("/{identifier}/rotate", response_model=Answer[NewSite])
async def rotate(
    body: RotateSite, platform: CurrentPlatform, caller: Writer, site_id: SiteId
) -> Response:
    """Replace the secrets of a site: the former ones end at once, and connections with them."""
    made = await caller.idempotent(
        model.NewSite,
        lambda tx, secrets: platform.sites.rotate(tx, caller.actor, site_id, body.secrets, secrets),
    )
    return answers.answer(await _new(platform, made), message=f"Secrets replaced. {_KEEP}")


@router.post("/{identifier}/flush", response_model=Answer[Site])
async def flush(platform: CurrentPlatform, caller: Writer, site_id: SiteId) -> Response:
    """Delete all keys of a site."""
    found = await platform.sites.flush(caller.actor, site_id)
    return answers.answer(await _shown(platform, found), message="All its keys are deleted.")


@router.get("/{identifier}/stats", response_model=Answer[SiteStats])
async def stats(platform: CurrentPlatform, principal: Reader, site_id: SiteId) -> Response:
    """Return what a site's Redis reports of its memory, keys, clients and hits."""
    found = await platform.sites.stats(principal.actor, site_id)
    return answers.answer(SiteStats.model_validate(asdict(found)))


@router.get("/{identifier}/keys", response_model=Listing[SiteKey])
async def keys(
    platform: CurrentPlatform,
    principal: KeyReader,
    site_id: SiteId,
    match: Annotated[
        Storable, Query(max_length=200, description="A pattern after key_prefix, as SCAN has it.")
    ] = "*",
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=20)] = None,
) -> Response:
    """List about so many keys, in no order. A page may be empty although more follow."""
    page = await platform.sites.keys(
        principal.actor, site_id, match=match, cursor=cursor, limit=limit
    )
    rows = [SiteKey.model_validate(asdict(each)) for each in page.rows]
    return answers.listing([*rows], next_cursor=page.next_cursor)


async def _shown(platform: Platform, site: model.Site) -> Site:
    return Site.model_validate(await _fields(platform, site, MASK))


async def _new(platform: Platform, made: model.NewSite) -> NewSite:
    password = MASK if made.password is None else made.password.reveal()
    key = None if made.api_key is None else made.api_key.reveal()
    fields = await _fields(platform, made.site, password)
    return NewSite.model_validate(fields | {"api_key": key})


async def _fields(platform: Platform, site: model.Site, password: str) -> dict[str, object]:
    here = platform.settings
    status = site.status
    reach = await platform.site_filter.reach(site)
    return asdict(site) | {
        "status": "starting" if status == "active" and not platform.sites.runs(site) else status,
        "redis_url": site.redis_url(here.domain, password, reach),
        "cache_url": here.cache_url,
        "key_prefix": site.key_prefix,
        "networks": [str(each) for each in site.networks or ()],
        "reached_from": reach.reached_from,
        "reached_why": reach.why,
    }


def closed(why: str | None) -> str:
    """Return what to add to a message about a site that is closed despite its allowlist, if any."""
    return "" if why is None else f" It is reached from the platform's machine only: {why}."
