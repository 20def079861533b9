"""Which site a request is for, and its cache."""

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

from fastapi import Depends, Request
from fastapi import Path as PathParameter
from redis.asyncio import Redis
from starlette.types import Scope

from tenantry.base.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable
from tenantry.base.ids import parse_id
from tenantry.base.secrets import Secret
from tenantry.control.sites import BY_MEANING
from tenantry.host import environment
from tenantry.services.cache_usage.counting import Counts
from tenantry.services.caching.lookups import Lookups
from tenantry.services.caching.metering import Meter
from tenantry.services.caching.proxying import Served
from tenantry.services.caching.service import SiteCache, connected
from tenantry.services.requests import proxies
from tenantry.services.sites.model import ServedSite

if TYPE_CHECKING:
    from tenantry.services.caching.semantic.service import SemanticLookup
    from tenantry.services.caching.vectors.service import Collections

_TIDY_SECONDS = 60
PREFIX = "/v1/caches/"
OWN = "own"  # in a path, in place of a site's id: the site of the key


class Directory(Protocol):
    """What knows the sites and their keys: ``SiteServing``."""

    async def find(self, site_id: uuid.UUID) -> ServedSite | None: ...

    async def identify(self, api_key: Secret) -> uuid.UUID | None: ...


@dataclass(slots=True)
class _Open:
    """A client of a site's Redis, and where that was; what is in memory of the site."""

    socket: Path
    password: Secret
    data_folder: str
    redis: Redis
    meter: Meter = field(default_factory=Meter)
    vectors: "Collections | None" = None


class Sites:
    """The sites by their keys, each with connections to its Redis, opened when they are used."""

    def __init__(
        self, directory: Directory, counts: Counts, lookups: Lookups | None = None
    ) -> None:
        """Without ``lookups`` questions are found by their text only."""
        self._directory = directory
        self._counts = counts
        self._lookups = lookups
        self._open: dict[uuid.UUID, _Open] = {}

    async def of_key(self, key: Secret | None, address: str | None) -> Served:
        """Return the site of an API key, for a client at an address.

        Raises Unauthenticated, Forbidden if its allowlist does not admit that, Unavailable.
        """
        site_id = None if key is None else await self._directory.identify(key)
        site = None if site_id is None else await self._directory.find(site_id)
        if site is None:
            raise Unauthenticated(
                "This is no key of a site.",
                hint="Send the site's api_key, as Authorization: Bearer KEY.",
            )
        if not site.admits(address):
            raise Forbidden(
                f"The allowlist of this site does not admit {address or 'this client'}.",
                hint="Add it: `tenantry cache whitelist add`, or POST /api/sites/{id}/whitelist.",
            )
        return self._served(site)

    async def of_platform(self, site_id: uuid.UUID | None) -> Served:
        """Return a site for the platform, which has no key of it. Raises NotFound, Unavailable."""
        site = None if site_id is None else await self._directory.find(site_id)
        if site is None:
            raise NotFound("There is no such site.")
        return self._served(site)

    def _served(self, site: ServedSite) -> Served:
        there = self._open.get(site.id)
        place = (site.socket, site.password, site.data_folder)
        # With other data, after a restore, nothing that is in memory of it holds any more.
        if there is None or (there.socket, there.password, there.data_folder) != place:
            redis = connected(str(site.socket), site.username, site.password)
            meter = Meter() if there is None else there.meter  # what was used today stays used
            there = self._open[site.id] = _Open(*place, redis, meter)
        cache = SiteCache(site.id, there.redis, there.meter)
        lookup = None
        if self._lookups is not None:
            lookup = self._lookups.of(site.id, there.redis, site.mode, cache.entry_key)
        return Served(site, cache, self._counts.of(site.id), lookup)

    async def semantic(self, served: Served) -> "SemanticLookup | None":
        """Return what compares a site's questions, once the embedder answers; None in other modes.

        Raises Conflict if the embedder is not installed, Unavailable if it does not answer.
        """
        if served.site.mode not in BY_MEANING:
            return None
        if served.semantic is None and self._lookups is not None:
            await self._lookups.ready()
            served = self._served(served.site)
        return served.semantic

    def vectors(self, site: ServedSite) -> "Collections":
        """Return the vectors of a site that ``of_key`` has returned.

        Raises Conflict without the packages that compare vectors.
        """
        there = self._open[site.id]
        if there.vectors is None:
            environment.add_embedder()
            try:
                # Here, since its packages are larger than the platform, and may not be installed.
                from tenantry.services.caching.vectors.service import Collections  # noqa: PLC0415
            except ModuleNotFoundError:
                raise Conflict(
                    "The packages that compare vectors are not installed.",
                    hint="Whoever runs the platform installs them: ./tenantry install-embedder.",
                ) from None
            there.vectors = Collections(site.id, there.redis)
        return there.vectors

    async def tidy(self) -> None:
        """Let go of what is held of sites that are gone, every minute, until cancelled."""
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            await self.tidy_once()

    async def tidy_once(self) -> None:
        for site_id in list(self._open):
            with suppress(Unavailable):
                if await self._directory.find(site_id) is None:
                    if self._lookups is not None:
                        self._lookups.forget(site_id)
                    await self._open.pop(site_id).redis.aclose()
        for each in self._open.values():
            if each.vectors is not None:
                each.vectors.tidy()

    async def close(self) -> None:
        if self._lookups is not None:
            await self._lookups.close()
        for each in self._open.values():
            await each.redis.aclose()


def _key(request: Request) -> Secret | None:
    """Return the key of a request: as OpenAI's clients send it, or as Anthropic's do."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    return Secret(given) if given else None


async def identified(sites: Sites, scope: Scope) -> Served:
    """Return the site of a request, by its headers. Raises as ``Sites.of_key``."""
    return await sites.of_key(_key(Request(scope)), proxies.address_of(scope.get("client")))


async def named(sites: Sites, scope: Scope) -> Served:
    """Return the site that a request of the platform names in its path."""
    return await sites.of_platform(parse_id(scope["path"].removeprefix(PREFIX).split("/")[0]))


# Dependencies are coroutines even if they await nothing: FastAPI runs others in a thread.
async def _by_key(request: Request) -> Served:
    served: Served = request.state.served
    return served


ByKey = Annotated[Served, Depends(_by_key)]


async def _by_path(site_id: Annotated[str, PathParameter()], served: ByKey) -> Served:
    if site_id != OWN and parse_id(site_id) != served.site.id:
        raise NotFound("This key has no such site.")
    return served


ByPath = Annotated[Served, Depends(_by_path)]
