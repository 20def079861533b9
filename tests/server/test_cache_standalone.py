"""The client library with a Redis alone, as a site of the platform lets a program use it."""

import asyncio
import logging
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from cache_service import PASSWORD, Redis
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel

from database_rows import site_row
from tenantry.host.redis_engines import RedisVersion
from tenantry.services.caching.model import Question, scope_digest
from tenantry.services.sites import plan
from tenantry.services.sites.model import digest
from tenantry_cache import AsyncSemanticCache, CacheError, Item, Message, SemanticCache
from tenantry_cache.langchain import TenantryCache
from tenantry_cache.rules.nearness import EXACT_MOST
from tenantry_cache.standalone import connections, similar

SITE = uuid.UUID("0b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5")
PREFIX = f"site:{SITE}:"
STORED, ASKED = "how do I pay an order", "how can I pay an order"
VECTORS = {
    STORED: [1.0, 0.0, 0.0],
    ASKED: [0.99, 0.1, 0.0],  # a cosine of 0.995
    "how do I not pay an order": [0.99, 0.1, 0.0],
    "how do I ship an order": [0.9, 0.5, 0.0],  # 0.87
    "what is an order": [0.0, 1.0, 0.0],
}


def embed(text: str) -> list[float]:
    return VECTORS[text]


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """Return a Redis whose user "site" has the rights of a site's programs."""
    with tempfile.TemporaryDirectory(prefix="tnt-alone-") as folder:
        server = Redis(Path(folder))
        server.start()
        ensure_user(server)
        try:
            yield server
        finally:
            server.kill()


def ensure_user(server: Redis) -> None:
    with server.client() as client:
        version = RedisVersion.read("redis", client.info("server")["redis_version"])
        row = site_row(SITE, password_hash=digest(PASSWORD))
        client.execute_command("ACL", "SETUSER", "site", *plan.tenant_rules(row, version))


def url_of(server: Redis, password: str = PASSWORD.reveal()) -> str:
    return f"unix://site:{quote(password)}@{server.socket}"


@pytest.fixture
def admin(redis: Redis) -> Iterator[Any]:
    with redis.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def url(redis: Redis, admin: Any) -> str:
    del admin  # which has emptied it
    return url_of(redis)


@pytest.fixture
def cache(url: str) -> Iterator[SemanticCache]:
    with SemanticCache(url, prefix=PREFIX, ttl=60) as client:
        yield client


def with_embedder(url: str, **options: Any) -> SemanticCache:
    return SemanticCache(url, prefix=PREFIX, **{"embed": embed, "model": "m", **options})


def test_a_question_has_one_answer_as_on_the_platform(cache: SemanticCache, admin: Any) -> None:
    scope, attributes = {"user": 1, "model": "small"}, {"app": "a"}
    entry = cache.store(" Grüße?\n", "r", scope=scope, attributes=attributes)
    assert entry == Question("Grüße?", scope_digest(scope), attributes).entry_id
    found = cache.check("Gru\u0308ße?", scope=scope, attributes=attributes)
    assert found is not None
    assert (found.id, found.prompt, found.response) == (entry, " Grüße?\n", "r")
    assert (found.similarity, found.strategy) == (1.0, "exact")
    assert cache.check("Grüße?") is None
    assert cache.check("Grüße?", scope=scope) is None
    assert cache.check("Grüße?", scope={**scope, "user": 2}, attributes=attributes) is None
    assert cache.store("Grüße?", "s", scope=scope, attributes=attributes) == entry
    again = cache.check("Grüße?", scope=scope, attributes=attributes)
    assert again is not None
    assert again.response == "s"
    assert 59_000 < admin.pttl(f"{PREFIX}entry:{entry}") <= 60_000
    assert all(key.startswith(PREFIX) for key in admin.keys("*"))
    stats = cache.stats()
    assert stats["counts"] == {"exact_hits": 2, "misses": 3, "stored": 2}
    assert stats["hit_rate"] == 0.4


def test_deleting(cache: SemanticCache, admin: Any) -> None:
    entries = [cache.store(f"q{n}", "r", attributes={"n": str(n), "k": "x"}) for n in range(3)]
    other = cache.store("q", "r", attributes={"k": "y"})
    assert cache.delete(str(entries[0]))
    assert not cache.delete(str(entries[0]))
    assert not cache.delete("../names")
    assert cache.delete_with({"k": "x", "n": "1"}) == 1
    assert cache.delete_with({"k": "x"}) == 1
    assert cache.delete_with({"k": "z"}) == 0
    with pytest.raises(CacheError, match="flush deletes all"):
        cache.delete_with({})
    assert cache.judge(str(other), correct=True)
    assert cache.judge(str(other), correct=False)
    assert not cache.judge(str(other), correct=True)
    cache.store("last", "r")
    cache.append("s", [Message("user", "hello")])
    cache.flush()
    assert cache.check("last") is None
    assert admin.keys("*") == [f"{PREFIX}history:s"]


def test_what_is_not_listed_is_not_given(cache: SemanticCache, admin: Any) -> None:
    entry = cache.store("q", "r")
    admin.delete(f"{PREFIX}names")  # as an eviction may: then delete_with could not find it
    assert cache.check("q") is None
    assert cache.store("q", "s") == entry
    admin.set(f"{PREFIX}entry:{entry}", "not JSON")
    assert cache.check("q") is None


def test_how_long_answers_live(cache: SemanticCache, admin: Any) -> None:
    fixed, sliding = cache.store("f", "r", ttl=50), cache.store("s", "r", ttl=50, sliding=True)
    keys = [f"{PREFIX}entry:{each}" for each in (fixed, sliding)]
    for key in keys:
        admin.pexpire(key, 20_000)
    admin.zadd(f"{PREFIX}names", {f"entry:{sliding}": 1})
    assert cache.check("f")
    assert cache.check("s")
    assert admin.pttl(keys[0]) <= 20_000
    assert admin.pttl(keys[1]) > 49_000
    assert admin.zscore(f"{PREFIX}names", f"entry:{sliding}") > 1  # or it would be removed next
    cache.store("gone", "r", ttl=0.001)
    while admin.exists(f"{PREFIX}entry:{Question('gone').entry_id}"):
        pass
    assert cache.check("gone") is None
    admin.zadd(f"{PREFIX}names", {"entry:old": 1})
    cache.store("q", "r")
    assert admin.zscore(f"{PREFIX}names", "entry:old") is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"ttl": 400 * 24 * 3600}, "at most a year"),
        ({"attributes": {"": "x"}}, "Attributes are up to 20"),
        ({"attributes": {"a": 1}}, "Attributes are up to 20"),
        ({"attributes": {str(n): "x" for n in range(21)}}, "Attributes are up to 20"),
        ({"response": "x" * 1024 * 1024}, "longer than 1 MiB"),
        ({"prompt": ""}, "The prompt is no text, or empty"),
    ],
)
def test_what_the_platform_refuses_is_refused(
    cache: SemanticCache, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CacheError, match=reason) as raised:
        cache.store(**{"prompt": "p", "response": "r", **options})
    assert raised.value.status == 422


def test_conversations(cache: SemanticCache) -> None:
    turns = [Message("user", "hello"), Message("assistant", "hi", 3)]
    assert cache.append("a/1?", turns, ttl=60) == 2
    assert cache.messages("a/1?") == [Message("user", "hello", 2), turns[1]]
    assert cache.messages("a/1?", max_tokens=4) == [turns[1]]
    assert cache.messages("a/1?", max_tokens=2) == []
    assert cache.append("a/1?", [Message("user", "x")] * 1000) == 1000
    assert cache.forget("a/1?")
    assert not cache.forget("a/1?")
    with pytest.raises(CacheError, match="no messages"):
        cache.append("s", [])


def test_vectors_need_the_platform(cache: SemanticCache) -> None:
    with pytest.raises(CacheError, match="Use a site of the platform"):
        cache.vectors("shoes").upsert([Item("a", [1, 0])])
    with pytest.raises(CacheError, match="Use a site of the platform"):
        cache.collections()


# ── questions that mean the same ─────────────────────────────────────────────


def test_a_similar_question_is_answered_also_by_another_process(url: str) -> None:
    with with_embedder(url) as one, with_embedder(url) as other:
        entry = one.store(STORED, "by card")
        for each in (one, other):
            found = each.check(ASKED)
            assert found is not None
            assert (found.id, found.prompt, found.response) == (entry, STORED, "by card")
            assert (found.strategy, found.similarity) == ("semantic", 0.9975)
        assert other.stats()["counts"] == {"semantic_hits": 2, "stored": 1}
        exact = other.check(STORED)
        assert exact is not None
        assert exact.strategy == "exact"


def test_what_is_not_the_same_question(url: str) -> None:
    with with_embedder(url) as one, with_embedder(url, model="n") as of_other_model:
        one.store(STORED, "by card", scope={"user": 1}, attributes={"a": "b"})
        here: dict[str, Any] = {"scope": {"user": 1}, "attributes": {"a": "b"}}
        assert one.check(ASKED, **here)
        assert one.check("how do I not pay an order", **here) is None  # a guard objects
        assert one.check("how do I ship an order", **here) is None  # too far
        assert one.check(ASKED, scope={"user": 2}, attributes={"a": "b"}) is None
        assert one.check(ASKED, scope={"user": 1}) is None
        assert of_other_model.check(ASKED, **here) is None
        assert one.check(f"{ASKED}{' very' * 500}", **here) is None  # too long to be embedded


def test_what_was_deleted_is_not_found_by_meaning(url: str, admin: Any) -> None:
    with with_embedder(url) as one, with_embedder(url) as other:
        for delete in (
            other.delete,
            lambda _: other.delete_with({"a": "b"}),
            lambda _: other.flush(),
            lambda entry: admin.unlink(f"{PREFIX}entry:{entry}"),  # evicted
        ):
            entry = str(one.store(STORED, "by card", attributes={"a": "b"}))
            assert one.check(ASKED, attributes={"a": "b"})
            delete(entry)
            assert one.check(ASKED, attributes={"a": "b"}) is None
        one.store(STORED, "by card", attributes={"a": "b"})
        assert other.check(ASKED, attributes={"a": "b"})  # as the stream was read again
        other.flush()
        assert [key for key in admin.keys("*") if "questions" in key] == []


def test_the_questions_expire_with_the_last_answer(url: str, admin: Any) -> None:
    with with_embedder(url) as one:
        one.store(STORED, "by card", ttl=1000)
        one.store("what is an order", "a thing", ttl=10)
        [stream] = [key for key in admin.keys("*") if "questions" in key]
        assert 990_000 < admin.pttl(stream) <= 1_000_000
        one.store(STORED, "by card", ttl=2000)
        assert admin.pttl(stream) > 1_990_000
        assert admin.xlen(stream) == 2  # a question that is stored again is not another one


def test_many_questions_are_read_in_parts_and_limited(
    url: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_embedder(url) as one, with_embedder(url) as other:
        one.store(STORED, "by card")
        [stream] = [key for key in admin.keys("*") if "questions" in key]
        far = np.asarray([0, 0, 1], np.float32)
        with admin.pipeline(transaction=False) as pipe:
            for number in range(2500):
                pipe.execute_command(*similar.addition(stream, f"{number:032x}", far))
            pipe.execute()
        assert other.check(ASKED)
        assert other._transport._standalone._similar.has(  # type: ignore[attr-defined]
            stream.removeprefix(PREFIX), f"{2499:032x}"
        )
        monkeypatch.setattr(similar, "EXACT_MOST", 100)
        one.store("what is an order", "a thing")
        assert admin.xlen(stream) == 100  # the oldest ones went
        with with_embedder(url) as third:
            assert third.check(ASKED) is None
    assert EXACT_MOST == 10_000


@pytest.mark.parametrize(
    "wrong",
    [[float("nan")] * 3, [0, 0, 0], [1, 0], [], None, [[1, 0, 0]], "abc", RuntimeError("secret")],
)
def test_without_its_embedder_a_cache_is_exact(
    url: str, wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def failing(text: str) -> list[float]:
        calls.append(text)
        if text == STORED:
            return VECTORS[text]
        if isinstance(wrong, Exception):
            raise wrong
        result: list[float] = wrong
        return result

    with with_embedder(url, embed=failing) as one, caplog.at_level(logging.WARNING):
        one.store(STORED, "by card")
        assert one.check(ASKED) is None
        assert one.check("another question") is None
        assert calls == [STORED, ASKED]  # it rests
        assert one.check(STORED)
        assert "secret" not in caplog.text
        assert "exact text only" in caplog.text


# ── asyncio, decorators, LangChain ───────────────────────────────────────────


def test_asyncio(url: str, cache: SemanticCache) -> None:
    calls = []

    async def embedded(text: str) -> list[float]:
        return VECTORS[text]

    async def run() -> None:
        options: dict[str, Any] = {"prefix": PREFIX, "embed": embedded, "model": "m"}
        async with AsyncSemanticCache(url, **options) as client:

            @client.cached
            async def ask(prompt: str, *, user: int) -> str:
                calls.append(prompt)
                return f"{user}: {prompt}"

            assert [await ask(STORED, user=1), await ask(ASKED, user=1)] == [f"1: {STORED}"] * 2
            assert await ask(ASKED, user=2) == f"2: {ASKED}"
            found = await asyncio.gather(*(client.check(STORED) for _ in range(20)))
            assert found == [None] * 20
            assert await client.append("s", [Message("user", "x")]) == 1
            entry = await client.store("what is an order", "a thing", attributes={"a": "b"})
            assert await client.judge(str(entry), correct=True)
            assert await client.delete_with({"a": "b"}) == 1
            assert (await client.stats())["counts"]["stored"] == 3
            await client.flush()

    asyncio.run(run())
    assert calls == [STORED, ASKED]
    assert cache.messages("s") == [Message("user", "x", 1)]


def test_a_hanging_embedder_is_not_awaited_for_long(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_EMBED_SECONDS", 0.01)

    async def hanging(_: str) -> list[float]:
        await asyncio.Event().wait()
        return []

    async def run() -> None:
        async with AsyncSemanticCache(url, prefix=PREFIX, embed=hanging, model="m") as client:
            assert await client.store("p", "r")
            assert await client.check("p")
            assert await client.check("q") is None

    asyncio.run(run())


def test_langchain(url: str, cache: SemanticCache) -> None:
    async def ask(model: FakeListChatModel) -> str:
        async with AsyncSemanticCache(url, prefix=PREFIX) as client:
            set_llm_cache(TenantryCache(cache, client))
            return str((await model.ainvoke("hello?")).content)

    chat = FakeListChatModel(responses=["one", "two"])
    set_llm_cache(TenantryCache(cache, AsyncSemanticCache(url, prefix=PREFIX)))
    try:
        assert [chat.invoke("hello?").content for _ in range(2)] == ["one", "one"]
        assert asyncio.run(ask(chat)) == "one"
    finally:
        set_llm_cache(None)


# ── failures ─────────────────────────────────────────────────────────────────


def test_refused_logins_and_keys_are_errors(redis: Redis, url: str) -> None:
    with SemanticCache(url_of(redis, "wrong"), prefix=PREFIX) as wrong:
        with pytest.raises(CacheError, match="refuses the user or the password") as raised:
            wrong.check("p")
        assert raised.value.status == 401
    with SemanticCache(url) as other_prefix:
        with pytest.raises(CacheError, match="site:ID:, which is its prefix") as raised:
            other_prefix.check("a secret")
        assert raised.value.status == 403
        assert raised.value.__cause__ is None


def test_a_full_redis_still_answers(cache: SemanticCache, admin: Any) -> None:
    cache.store("p", "r", sliding=True)
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("maxmemory", "1")
    try:
        assert cache.check("p")
        assert cache.store("q", "a secret") is None
        with pytest.raises(CacheError, match="refuses a command") as raised:
            cache.append("s", [Message("user", "a secret")])
        assert raised.value.temporary
        assert "secret" not in str(raised.value)
        cache.flush()
    finally:
        admin.config_set("maxmemory", "64mb")
        admin.config_set("maxmemory-policy", "volatile-lru")


def test_another_programs_key_is_an_error(cache: SemanticCache, admin: Any) -> None:
    admin.set(f"{PREFIX}names", "x")
    with pytest.raises(CacheError, match="WRONGTYPE") as raised:
        cache.store("p", "a secret")
    assert (raised.value.status, "secret" in str(raised.value)) == (400, False)


def test_without_redis_everything_is_a_miss_and_it_comes_back() -> None:
    with tempfile.TemporaryDirectory(prefix="tnt-alone-") as folder:
        server = Redis(Path(folder))
        server.start()
        ensure_user(server)
        with with_embedder(url_of(server)) as client:
            client.store(STORED, "by card")
            assert client.check(ASKED)
            server.kill()
            assert client.check(STORED) is None
            assert client.store("q", "r") is None
            with pytest.raises(CacheError, match="does not answer"):
                client.stats()
            server.start()
            ensure_user(server)
            try:
                assert client.check(STORED) is None
                assert client.check(ASKED) is None
                assert client.store(STORED, "by card")
                assert client.check(ASKED)
            finally:
                server.kill()


def test_without_numpy_the_exact_cache_works(url: str) -> None:
    program = (
        "import sys; sys.modules['numpy'] = None\n"
        "from tenantry_cache import SemanticCache\n"
        f"cache = SemanticCache({url!r}, prefix={PREFIX!r})\n"
        "cache.store('p', 'r'); print(cache.check('p').response)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "r\n", done.stderr
