"""The semantic look-up of one site: find stored questions, record what was found, certify.

What goes wrong with the embedder or with Redis is a miss: the exact cache goes on without it.
"""

import asyncio
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import structlog

from tenantry.base.errors import InvalidInput, NotFound, Unavailable
from tenantry.services.caching.semantic import plan
from tenantry.services.caching.semantic.index import Index
from tenantry.services.caching.semantic.model import (
    LOOSEST,
    Candidate,
    Certificate,
    Embedder,
    EmbedderFailed,
    Figures,
    Hit,
    Mode,
    Policy,
    Search,
    TextRefused,
)
from tenantry.services.caching.semantic.records import Records, Stored
from tenantry_cache.rules import guards
from tenantry_cache.rules.nearness import MOST_CHARACTERS, STRICT, Vectors
from tenantry_cache.rules.questions import partition

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger()

_P = ParamSpec("_P")
_T = TypeVar("_T")

_SURROGATE = re.compile("[\ud800-\udfff]")  # a lone one: such a text cannot be sent
_NEAREST = 4  # so many whose entries are gone are passed over in one search
_EMBED_SECONDS = 2.0
_REST_SECONDS = 5.0  # without the embedder, after it has failed
_MOST_RECENT = 256  # vectors of questions that were searched and may be stored next
_SWEEP_AT_LEAST = 1000


class SemanticLookup:
    """The questions of one site and one embedder. Only one process may have it.

    ``entry_key`` returns the key of an entry in ``redis``, whose answers are decoded. A question
    is found only with the same scope and the same attributes as it was stored with.
    """

    def __init__(
        self,
        site_id: uuid.UUID,
        redis: "Redis",
        embedder: Embedder,
        entry_key: Callable[[str], str],
        *,
        mode: Mode,
    ) -> None:
        self.mode: Mode = mode
        self._site_id = site_id
        self._embedder = embedder
        self._records = Records(
            redis, site_id, entry_key, embedder_id=embedder.id, dim=embedder.dim
        )
        self._index = Index(embedder.dim)
        self._thread = ThreadPoolExecutor(1, "index")  # in turn, and beside the event loop
        self._recent: OrderedDict[str, Vectors] = OrderedDict()
        self._rests_until = 0.0
        self._added = 0

    @property
    def embedder(self) -> Embedder:
        return self._embedder

    async def load(self) -> int:
        """Read the stored vectors. Until then none of them is found. Returns how many there are.

        Raises Unavailable.
        """
        async for part in self._records.every():
            await self._in_thread(self._add, part)
        return len(self._index)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def search(self, scope: str, text: str, attributes: Mapping[str, str]) -> Search:
        """Find the stored question whose answer may be given; in mode shadow there is none.

        ``scope`` is all that the answer depends on besides the text. Only the nearest question
        is looked at. What is found with a cosine of 0.80 or more is recorded, given or not.
        """
        vector = await self._vector(text)
        if vector is None:
            return Search()
        try:
            return await self._search(partition(scope, attributes), text, vector)
        except Unavailable as error:
            log.warning("semantic.not_searched", site=str(self._site_id), error=str(error))
            return Search()

    async def store(
        self, entry_id: str, scope: str, text: str, attributes: Mapping[str, str]
    ) -> None:
        """Let an entry that was stored be found by its question, for as long as it exists."""
        vector = await self._vector(text)
        if vector is None:
            return
        stored = Stored(entry_id, partition(scope, attributes), text, vector)
        try:
            if await self._records.put(stored):
                await self._in_thread(self._add, [stored])
                await self._sweep_sometimes()
        except Unavailable as error:
            log.warning("semantic.not_stored", site=str(self._site_id), error=str(error))

    async def remove(self, entry_id: str) -> None:
        """Forget the question of an entry that was deleted."""
        await self._in_thread(self._index.remove, entry_id)
        await self._records.remove([entry_id])

    async def flush(self) -> None:
        """Forget all questions, hits, judgements and counts; the strict threshold is in force."""
        entry_ids = await self._in_thread(lambda: self._index.identifiers)
        await self._in_thread(self._index.clear)
        await self._records.remove(entry_ids)
        await self._records.forget()

    # ── judgements ───────────────────────────────────────────────────────────

    async def to_judge(self, most: int) -> list[Hit]:
        """Return some recorded hits, drawn by lot, for somebody to judge. Raises Unavailable."""
        return await self._records.unjudged(most)

    async def judge(self, hit_id: str, *, right: bool) -> None:
        """Note whether a stored answer was right for what was asked, given or not.

        Withdraws the certified threshold if the judged hits do not support it any more. Raises
        NotFound for a hit that was judged before, or is not among the last 1,000; Unavailable.
        """
        if not await self._records.judge(hit_id, right=right):
            raise NotFound(
                f"There is no hit {hit_id} to be judged.",
                hint="It was judged already, or it is older than the last 1,000.",
            )
        policy = await self._records.policy()
        if right or policy.budget is None:
            return
        if plan.at(await self._records.judged(), policy.threshold).upper > policy.budget:
            await self._records.set_policy(Policy())
            log.warning("semantic.certificate_withdrawn", site=str(self._site_id))

    async def certify(self, budget: float) -> Certificate:
        """Put the loosest threshold in force whose false hits are certified below ``budget``.

        ``budget`` is a share of the hits, above 0 and below 1. Without a certificate the
        threshold is 0.95. Raises InvalidInput, Unavailable.
        """
        if not 0 < budget < 1:
            raise InvalidInput.of("budget", "is not above 0 and below 1, such as 0.02 for 2 %")
        found = plan.certify(await self._records.judged(), budget)
        certified = found.threshold is not None and found.threshold < STRICT
        policy = Policy(found.threshold, budget) if certified else Policy()  # type: ignore[arg-type]
        await self._records.set_policy(policy)
        return found

    async def figures(self) -> Figures:
        """Return what was measured, at the threshold in force. Raises Unavailable."""
        policy = await self._records.policy()
        counts, unjudged = await self._records.counts()
        judged = plan.at(await self._records.judged(), policy.threshold)
        hits = sum(
            count
            for name, count in counts.items()
            if (cosine := name.removeprefix("hit:")).isdecimal()
            and int(cosine) >= round(policy.threshold * 100)
        )
        return Figures(
            policy,
            plan.rate(hits, max(hits, counts.get("searches", 0))),
            plan.rate(judged.wrong, judged.judged),
            {name[5:]: count for name, count in counts.items() if name.startswith("veto:")},
            unjudged,
        )

    # ── inside ───────────────────────────────────────────────────────────────

    async def _search(self, where: str, text: str, vector: Vectors) -> Search:
        counted = ["searches"]
        found = Search()
        for entry_id, cosine in await self._in_thread(self._index.search, where, vector, _NEAREST):
            if cosine < LOOSEST:
                found = Search(cosine=cosine)
                break
            stored, policy = await self._records.get(entry_id)
            if stored is None or stored.partition != where:  # expired, evicted, or tampered with
                await self._in_thread(self._index.remove, entry_id)
                continue
            if vetoes := guards.vetoes(stored.text, text):
                counted += [f"veto:{each}" for each in vetoes]
                found = Search(cosine=cosine, vetoes=tuple(vetoes))
                break
            await self._records.count(*counted, f"hit:{int(cosine * 100 + 1e-6)}")
            is_served = self.mode == "on" and cosine >= policy.threshold
            hit = Hit("", text, stored.text, entry_id, cosine, is_served)
            hit_id = await self._records.record(hit)
            candidate = Candidate(entry_id, stored.text, cosine, hit_id) if is_served else None
            return Search(candidate, cosine)
        await self._records.count(*counted)
        return found

    async def _vector(self, text: str) -> Vectors | None:
        """Return the vector of a text; None if the embedder cannot give one now."""
        if not text.strip() or len(text) > MOST_CHARACTERS or _SURROGATE.search(text):
            return None
        if (known := self._recent.get(text)) is not None:
            return known
        if time.monotonic() < self._rests_until:
            return None
        vector: Vectors
        try:
            async with asyncio.timeout(_EMBED_SECONDS):
                [vector] = await self._embedder.embed([text])
        except TextRefused:
            return None
        except (EmbedderFailed, TimeoutError) as error:
            self._rests_until = time.monotonic() + _REST_SECONDS
            log.warning("semantic.embedder_failed", error=str(error) or "it did not answer")
            return None
        self._recent[text] = vector
        if len(self._recent) > _MOST_RECENT:
            self._recent.popitem(last=False)
        return vector

    def _add(self, part: list[Stored]) -> None:
        for each in part:
            self._index.add(each.partition, each.entry_id, each.vector)

    async def _sweep_sometimes(self) -> None:
        """Remove the vectors of expired entries from memory, once many were added."""
        self._added += 1
        if self._added > max(_SWEEP_AT_LEAST, len(self._index) // 4):
            self._added = 0
            entry_ids = await self._in_thread(lambda: self._index.identifiers)
            for each in await self._records.missing(entry_ids):
                await self._in_thread(self._index.remove, each)

    async def _in_thread(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))
