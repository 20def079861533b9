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
    networks: list[str]
    reached_from: Literal["everywhere", "this_machine"] = Field(
        description="A site with an allowlist is reached from the platform's machine only."
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
    said = f"Site made. {_KEEP}{_limited(made.site)}"
    return answers.answer(_new(platform, made), message=said, status=201)


@router.get("", response_model=Listing[Site])
async def index(platform: CurrentPlatform, principal: Reader) -> Response:
    """List sites, the oldest first."""
    found = await platform.sites.every(principal.actor)
    return answers.listing([Site.model_validate(_fields(platform, each)) for each in found])


@router.get("/{identifier}", response_model=Answer[Site])
async def show(platform: CurrentPlatform, principal: Reader, site_id: SiteId) -> Response:
    """Return one site, without its secrets."""
    found = await platform.sites.show(principal.actor, site_id)
    return answers.answer(Site.model_validate(_fields(platform, found)))


@router.patch("/{identifier}", response_model=Answer[Site])
async def update(
    body: UpdateSite, platform: CurrentPlatform, caller: Writer, site_id: SiteId
) -> Response:
    """Change a site. Its Redis goes on, and its keys stay, unless less memory has no room."""
    async with caller.transaction() as tx:
        changed = await platform.sites.update(tx, caller.actor, site_id, body.changes())
    found = Site.model_validate(_fields(platform, changed))
    return answers.answer(found, message=f"Site changed.{_limited(changed)}")


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
    return answers.answer(_new(platform, made), message=f"Secrets replaced. {_KEEP}")


@router.post("/{identifier}/flush", response_model=Answer[Site])
async def flush(platform: CurrentPlatform, caller: Writer, site_id: SiteId) -> Response:
    """Delete all keys of a site."""
    found = await platform.sites.flush(caller.actor, site_id)
    return answers.answer(
        Site.model_validate(_fields(platform, found)), message="All its keys are deleted."
    )


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


def _fields(platform: Platform, site: model.Site, password: str = MASK) -> dict[str, object]:
    here = platform.settings
    status = site.status
    return asdict(site) | {
        "status": "starting" if status == "active" and not platform.sites.runs(site) else status,
        "redis_url": site.redis_url(here.domain, password),
        "cache_url": here.cache_url,
        "key_prefix": site.key_prefix,
        "networks": [str(each) for each in site.networks],
        "reached_from": "this_machine" if site.networks else "everywhere",
    }


def _new(platform: Platform, made: model.NewSite) -> NewSite:
    password = MASK if made.password is None else made.password.reveal()
    key = None if made.api_key is None else made.api_key.reveal()
    return NewSite.model_validate(_fields(platform, made.site, password) | {"api_key": key})


def _limited(site: model.Site) -> str:
    if not site.networks:
        return ""
    return " It is reached from the platform's machine only: Redis knows no allowlists."
