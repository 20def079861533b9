"""The verbs on what a site found by meaning: hits to be judged, and the threshold in force.

The process of the AI cache carries them out, which alone has the site's index. It is asked on its
Unix socket; who asks was identified here.
"""

import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tenantry.base.errors import Conflict, InvalidInput, NotFound, TenantryError, Unavailable
from tenantry.base.home import Home
from tenantry.control import audit
from tenantry.control.audit import Actor
from tenantry.control.store import ControlStore
from tenantry.services.caching import process
from tenantry.services.caching.lookups import OPEN_SECONDS
from tenantry.services.sites.model import Site
from tenantry.services.sites.service import Sites

_SECONDS = OPEN_SECONDS + 10.0  # the embedder may have to start first
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # by default all of the CA bundle is read
_ERRORS: dict[int, type[TenantryError]] = {
    each.status: each for each in (Conflict, InvalidInput, NotFound, Unavailable)
}


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored question that was found for another one, and whether its answer was given."""

    id: str
    prompt: str
    stored_prompt: str
    entry_id: str
    similarity: float
    cosine: float
    served: bool


@dataclass(frozen=True, slots=True)
class Step:
    """The judged hits at or above a cosine, and the rate that their error is at most."""

    cosine: float
    judged: int
    wrong: int
    at_most: float


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the judged hits of a site allow; ``cosine`` None: nothing beyond the strict one."""

    certified: bool
    budget: float
    cosine: float | None
    steps: list[Step]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of cases with its interval of 95 %; ``share`` is None without any case."""

    cases: int
    found: int
    share: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold in force, and what was measured there."""

    cosine: float
    similarity: float
    budget: float | None
    hit_rate: Rate
    false_hit_rate: Rate
    vetoes: dict[str, int]
    unjudged: int


class Judging:
    """The verbs on the hits of a site. All raise NotFound, Conflict (its mode), Unavailable."""

    def __init__(self, store: ControlStore, sites: Sites, home: Home) -> None:
        self._store = store
        self._sites = sites
        self._socket = process.socket_of(home)

    async def hits(self, actor: Actor, site_id: uuid.UUID, *, limit: int) -> list[Hit]:
        """Return some of the hits that nobody has judged, drawn by lot."""
        site = await self._sites.show(actor, site_id)
        found = await self._ask("GET", site, f"hits?limit={limit}")
        return [Hit(**each) for each in found["data"]]

    async def judge(self, actor: Actor, site_id: uuid.UUID, hit_id: str, *, correct: bool) -> None:
        """Note whether the stored answer was right for what was asked."""
        site = await self._sites.show(actor, site_id)
        if not hit_id.replace("-", "").isalnum() or not hit_id.isascii():
            raise NotFound("There is no such hit.")
        await self._ask("POST", site, f"hits/{hit_id}/feedback", {"correct": correct})

    async def certify(self, actor: Actor, site_id: uuid.UUID, budget: float) -> Certificate:
        """Put the loosest threshold in force that the judged hits certify for the budget."""
        site = await self._sites.show(actor, site_id)
        found = await self._ask("POST", site, "certify", {"budget": budget})
        async with self._store.transaction(actor) as tx:
            await audit.record(
                tx,
                actor,
                "site.certify",
                resource_kind="site",
                resource_id=site.id,
                resource_name=site.name,
                details={"budget": budget, "cosine": found["cosine"]},
            )
        return Certificate(**found | {"steps": [Step(**each) for each in found["steps"]]})

    async def threshold(self, actor: Actor, site_id: uuid.UUID) -> Threshold:
        """Return the threshold in force, and what was measured there."""
        site = await self._sites.show(actor, site_id)
        found = await self._ask("GET", site, "semantic")
        rates = {name: Rate(**found[name]) for name in ("hit_rate", "false_hit_rate")}
        return Threshold(**found | rates)

    async def _ask(
        self, method: str, site: Site, path: str, body: Mapping[str, object] | None = None
    ) -> Any:
        transport = httpx.AsyncHTTPTransport(verify=_NO_TLS, uds=str(self._socket))
        url = f"http://cache/v1/caches/{site.id}/{path}"
        try:
            async with httpx.AsyncClient(transport=transport, timeout=_SECONDS) as client:
                answer = await client.request(method, url, json=body)
        except httpx.HTTPError as error:
            raise Unavailable(
                "The AI cache does not answer.", hint="Try again in a moment."
            ) from error
        if answer.is_success:
            return answer.json() if answer.content else None
        problem = answer.json()
        kind = _ERRORS.get(answer.status_code, Unavailable)
        raise kind(problem["detail"], hint=problem.get("hint"))
