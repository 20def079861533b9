"""The semantic look-up of a site, on a real Redis."""

import asyncio
import base64
import math
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import ConnectionError as NotThere

from tenantry.base.errors import InvalidInput, NotFound, Unavailable
from tenantry.services.caching.semantic import records, service
from tenantry.services.caching.semantic.model import EmbedderFailed, Mode, TextRefused, checked
from tenantry.services.caching.semantic.service import SemanticLookup
from tenantry_cache.rules.nearness import Vectors

STORED = "how do I pay"
ASKED = "how can I pay"


@pytest.fixture(scope="module")
def socket() -> Iterator[str]:
    """Return the Unix socket of a Redis or Valkey that ends with the module."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    assert program, "./check installs it"
    with tempfile.TemporaryDirectory(prefix="tnt-redis-") as folder:
        path = str(Path(folder) / "redis.sock")
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            yield path
        finally:
            server.kill()
            server.wait()


@pytest.fixture
async def redis(socket: str) -> AsyncIterator[Redis]:
    retry = Retry(ConstantBackoff(0.01), 1000)
    client = Redis(
        unix_socket_path=socket, decode_responses=True, retry=retry, retry_on_error=[NotThere]
    )
    await client.flushdb()
    yield client
    await client.aclose()


class Angles:
    """Texts are at angles, and so their cosines are known: those of ``cosines`` to ``STORED``."""

    dim = 2

    def __init__(self, cosines: dict[str, float], identifier: str = "angles") -> None:
        self.id = identifier
        self.cosines = cosines
        self.asked: list[str] = []
        self.error: Exception | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        if self.error is not None:
            raise self.error
        angles = [math.acos(self.cosines.get(text, 1.0)) for text in texts]
        raw = [[math.cos(angle), math.sin(angle)] for angle in angles]
        return checked(raw, count=len(texts), dim=self.dim)


class Site:
    """A site with its entries, of which only the keys matter here."""

    def __init__(self, redis: Redis, embedder: Angles, mode: Mode = "on") -> None:
        self.id = uuid.uuid4()
        self.redis: Any = redis  # its annotations do not know that answers are decoded
        self.embedder = embedder
        self.lookup = self.opened(mode)

    def opened(self, mode: Mode) -> SemanticLookup:
        return SemanticLookup(self.id, self.redis, self.embedder, self.key, mode=mode)

    def key(self, entry_id: str) -> str:
        return f"cache:{self.id}:entry:{entry_id}"

    async def store(
        self, entry_id: str = "e1", text: str = STORED, scope: str = "", milliseconds: int = 60_000
    ) -> None:
        await self.redis.set(self.key(entry_id), "answer", px=milliseconds)
        await self.lookup.store(entry_id, scope, text, {})

    async def found(self, text: str = ASKED, scope: str = "") -> str | None:
        candidate = (await self.lookup.search(scope, text, {})).candidate
        return candidate.entry_id if candidate else None

    async def vector_keys(self) -> list[str]:
        return [key async for key in self.redis.scan_iter(match=f"cache:{self.id}:vector:*")]


@pytest.fixture
def site(redis: Redis) -> Iterator[Site]:
    made = Site(redis, Angles({ASKED: 0.96}))
    yield made
    made.lookup.close()


async def test_a_stored_question_is_found_by_one_that_means_the_same(site: Site) -> None:
    assert await site.found() is None
    await site.store()
    candidate = (await site.lookup.search("", ASKED, {})).candidate
    assert candidate is not None
    assert (candidate.entry_id, candidate.text) == ("e1", STORED)
    assert candidate.cosine == pytest.approx(0.96, abs=1e-3)
    assert candidate.similarity == pytest.approx(0.98, abs=1e-3)
    await site.lookup.remove("e1")
    assert await site.found() is None
    assert await site.vector_keys() == []


async def test_nothing_is_found_across_scopes_attributes_sites_and_embedders(
    site: Site, redis: Redis
) -> None:
    await site.store(scope="alice")
    assert await site.found(scope="alice") == "e1"
    assert await site.found(scope="bob") is None
    assert (await site.lookup.search("alice", ASKED, {"tenant": "b"})).candidate is None
    for other in (Site(redis, site.embedder), Site(redis, Angles({ASKED: 0.96}, "another"))):
        if other.embedder is not site.embedder:
            other.id = site.id
            other.lookup = other.opened("on")
        assert await other.lookup.load() == 0
        assert await other.found(scope="alice") is None
        other.lookup.close()


async def test_what_is_similar_only_is_not_given(site: Site) -> None:
    site.embedder.cosines |= {"looser": 0.93, "far": 0.5, "how do I pay 2": 0.99}
    await site.store()
    assert await site.found("looser") is None
    assert await site.found("far") is None
    assert await site.found("how do I pay 2") is None
    figures = await site.lookup.figures()
    assert (figures.hits.cases, figures.hits.found, figures.unjudged) == (3, 0, 1)
    assert figures.vetoes == {"numbers": 1}


async def test_shadow_records_what_it_would_have_given(site: Site) -> None:
    site.lookup.mode = "shadow"
    await site.store()
    assert await site.found() is None
    [hit] = await site.lookup.to_judge(10)
    assert (hit.asked, hit.stored, hit.entry_id, hit.served) == (ASKED, STORED, "e1", False)
    assert hit.cosine == pytest.approx(0.96, abs=1e-3)
    figures = await site.lookup.figures()
    assert (figures.hits.found, figures.hits.share) == (1, 1)


async def test_a_vector_lives_as_long_as_its_entry(site: Site) -> None:
    await site.store("e1", milliseconds=50_000)
    [key] = await site.vector_keys()
    assert 0 < await site.redis.pttl(key) <= 50_000
    await site.redis.pexpire(site.key("e1"), 90_000)  # a sliding expiry
    assert await site.found() == "e1"
    assert 50_000 < await site.redis.pttl(key) <= 90_000
    await site.redis.unlink(site.key("e1"))
    assert await site.found() is None
    assert await site.vector_keys() == []
    await site.lookup.store("never there", "", STORED, {})
    assert await site.vector_keys() == []


async def test_the_next_nearest_is_found_if_the_nearest_is_gone(site: Site) -> None:
    await site.store("gone", ASKED)
    await site.store("there")
    await site.redis.unlink(site.key("gone"))
    assert await site.found() == "there"


async def test_vectors_of_expired_entries_leave_the_memory(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_SWEEP_AT_LEAST", 3)
    for number in range(3):
        await site.store(str(number))
        await site.redis.unlink(*await site.vector_keys())
    await site.store("last")
    assert site.lookup._index.identifiers == ["last"]


async def test_the_index_is_rebuilt_and_what_is_malformed_is_passed_over(site: Site) -> None:
    await site.store("good")
    for number in range(5):
        await site.store(f"bad{number}", f"question {number}")
    by_entry = {key.rsplit(":", 1)[1]: key for key in await site.vector_keys()}
    whole = await site.redis.hget(by_entry["good"], "vector")
    nan = base64.b64encode(np.asarray([np.nan, 1], "<f2").tobytes()).decode()
    for number, vector in enumerate(("", "no base64!", f"{whole}AAAA", nan)):
        await site.redis.hset(by_entry[f"bad{number}"], "vector", vector)
    await site.redis.set(by_entry["bad4"], "no hash")
    again = site.opened("on")
    assert await again.load() == 1
    found = (await again.search("", ASKED, {})).candidate
    assert found is not None
    assert found.entry_id == "good"
    again.close()


async def test_a_vector_that_a_program_moved_to_another_scope_is_not_given(site: Site) -> None:
    await site.store("e1", scope="alice")
    [key] = await site.vector_keys()
    where = await site.redis.hget(key, "partition")
    await site.store("e2", scope="bob")
    for each in await site.vector_keys():
        await site.redis.hset(each, "partition", where or "")
    assert await site.found(scope="bob") is None


@pytest.mark.parametrize("error", [EmbedderFailed("NaN"), TimeoutError()])
async def test_without_the_embedder_nothing_is_found_and_it_is_left_alone(
    site: Site, error: Exception
) -> None:
    await site.store()
    site.embedder.error = error
    assert await site.found() is None
    site.embedder.error = None
    assert await site.found() is None  # it rests
    assert site.embedder.asked.count(ASKED) == 1
    site.lookup._rests_until = 0.0
    assert await site.found() == "e1"


async def test_a_text_that_is_refused_harms_no_other(site: Site) -> None:
    await site.store()
    site.embedder.error = TextRefused("too long")
    assert await site.found("refused") is None
    site.embedder.error = None
    assert await site.found() == "e1"
    assert await site.found("x" * 3000) is None
    assert "x" * 3000 not in site.embedder.asked


async def test_a_text_that_cannot_be_sent_harms_no_other(site: Site) -> None:
    await site.store()
    site.embedder.asked.clear()
    assert await site.found("\ud800") is None
    assert site.embedder.asked == []
    assert await site.found() == "e1"


async def test_an_embedder_that_hangs_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: Sequence[str]) -> Vectors:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(service, "_EMBED_SECONDS", 0.01)
    monkeypatch.setattr(site.embedder, "embed", hang)
    assert await site.found() is None


async def test_without_redis_nothing_is_found(site: Site) -> None:
    await site.store()
    gone = Redis(unix_socket_path="/nowhere", decode_responses=True, retry=Retry(NoBackoff(), 0))
    site.lookup._records._redis = gone
    assert await site.found() is None
    await site.store("e2", "another")
    with pytest.raises(Unavailable):
        await site.lookup.certify(0.05)
    with pytest.raises(Unavailable):
        await site.lookup.load()


# ── certificates ─────────────────────────────────────────────────────────────


async def _judge(site: Site, count: int, cosine: float, *, right: bool = True) -> None:
    for number in range(count):
        asked = f"{ASKED} {'please ' * number}{' ' * round(cosine * 100)}"  # a text for each cosine
        site.embedder.cosines[asked] = cosine
        await site.found(asked)
        [hit] = await site.lookup.to_judge(1)
        await site.lookup.judge(hit.id, right=right)


async def test_a_looser_threshold_is_in_force_once_it_is_certified(site: Site) -> None:
    site.lookup.mode = "shadow"
    site.embedder.cosines["looser"] = 0.92
    await site.store()
    await _judge(site, 20, 0.97)
    found = await site.lookup.certify(0.05)
    assert found.threshold is None
    assert [(step.judged, step.wrong) for step in found.steps] == [(20, 0)]
    assert (await site.lookup.figures()).policy.threshold == 0.95

    await _judge(site, 60, 0.91)
    await _judge(site, 20, 0.96)
    found = await site.lookup.certify(0.1)
    assert found.threshold == pytest.approx(0.80)
    assert found.steps[-1].judged == 100
    site.lookup.mode = "on"
    assert await site.found("looser") == "e1"
    # It is stored: another process, and one after a restart, keep to it.
    again = site.opened("on")
    await again.load()
    assert (await again.search("", "looser", {})).candidate is not None
    again.close()

    # Judgements that do not support it any more withdraw it.
    await _judge(site, 12, 0.91, right=False)
    figures = await site.lookup.figures()
    assert figures.policy.threshold == 0.95
    assert await site.found("looser") is None


async def test_a_smaller_budget_ends_an_earlier_certificate(site: Site) -> None:
    site.lookup.mode = "shadow"
    await site.store()
    await _judge(site, 60, 0.96)
    assert (await site.lookup.certify(0.06)).threshold == pytest.approx(0.80)
    assert (await site.lookup.certify(0.001)).threshold is None
    assert (await site.lookup.figures()).policy.threshold == 0.95
    for budget in (0, 1, -0.5, math.nan):
        with pytest.raises(InvalidInput):
            await site.lookup.certify(budget)


async def test_a_hit_is_judged_once(site: Site) -> None:
    await site.store()
    await site.found()
    [hit] = await site.lookup.to_judge(5)
    assert hit.served
    await site.lookup.judge(hit.id, right=False)
    for hit_id in (hit.id, "0-0", "nonsense", "*", "-"):
        with pytest.raises(NotFound):
            await site.lookup.judge(hit_id, right=True)
    figures = await site.lookup.figures()
    assert (figures.false_hits.cases, figures.false_hits.found, figures.unjudged) == (1, 1, 0)


async def test_few_hits_are_stored(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_MOST_HITS", 3)
    await site.store()
    for _ in range(5):
        await site.found()
    assert len(await site.lookup.to_judge(10)) == 3
    assert len(await site.lookup.to_judge(2)) == 2


async def test_a_flush_leaves_nothing(site: Site) -> None:
    await site.store()
    await site.found()
    await site.lookup.flush()
    await site.redis.unlink(site.key("e1"))
    assert [key async for key in site.redis.scan_iter(match=f"cache:{site.id}:*")] == []
    assert await site.found() is None
