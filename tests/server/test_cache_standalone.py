"""The client library with a Redis alone, as a site of the platform lets a program use it."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from cache_service import Redis
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
from site_redis import (
    ASKED,
    PREFIX,
    STORED,
    VECTORS,
    ensure_user,
    site_redis,
    url_of,
    with_embedder,
)

from tenantry.services.caching.model import Question, scope_digest
from tenantry_cache import (
    AsyncSemanticCache,
    CacheError,
    Item,
    Message,
    SemanticCache,
    requests,
)
from tenantry_cache.langchain import TenantryCache
from tenantry_cache.standalone.model import Commands


@pytest.fixture
def cache(url: str) -> Iterator[SemanticCache]:
    with SemanticCache(url, prefix=PREFIX, ttl=60) as client:
        yield client


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
    assert admin.keys("*") == [f"{PREFIX}history:s"]
    assert cache.check("last") is None


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


def test_a_redis_that_hangs_is_a_miss() -> None:
    with site_redis() as server, server.client() as admin:
        pid = admin.info("server")["process_id"]
        with SemanticCache(url_of(server), prefix=PREFIX, timeout=0.2) as client:
            client.store("p", "r")
            os.kill(pid, signal.SIGSTOP)
            try:
                assert client.check("p") is None
            finally:
                os.kill(pid, signal.SIGCONT)
            while client.check("p") is None:  # it may not run yet
                pass


def test_a_full_redis_still_answers(cache: SemanticCache, admin: Any) -> None:
    cache.store("p", "r", sliding=True)
    cache.store("p", "r", attributes={"a": "b"})
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("maxmemory", "1")
    try:
        assert cache.check("p")
        assert cache.store("q", "a secret") is None
        with pytest.raises(CacheError, match="refuses a command") as raised:
            cache.append("s", [Message("user", "a secret")])
        assert raised.value.temporary
        assert "secret" not in str(raised.value)
        assert cache.delete_with({"a": "b"}) == 1
        cache.flush()
        assert admin.dbsize() == 0
    finally:
        admin.config_set("maxmemory", "64mb")
        admin.config_set("maxmemory-policy", "volatile-lru")


def test_another_programs_key_is_an_error(cache: SemanticCache, admin: Any) -> None:
    admin.set(f"{PREFIX}names", "x")
    with pytest.raises(CacheError, match="WRONGTYPE") as raised:
        cache.store("p", "a secret")
    assert (raised.value.status, "secret" in str(raised.value)) == (400, False)


def test_without_redis_everything_is_a_miss_and_it_comes_back() -> None:
    with site_redis() as server, with_embedder(url_of(server)) as client:
        client.store(STORED, "by card")
        assert client.check(ASKED)
        server.kill()
        assert client.check(STORED) is None
        assert client.store("q", "r") is None
        with pytest.raises(CacheError, match="does not answer"):
            client.stats()
        server.start()
        ensure_user(server)
        assert client.check(STORED) is None
        assert client.check(ASKED) is None
        assert client.store(STORED, "by card")
        assert client.check(ASKED)


# What a client may have sent when it is killed: so many steps, and so many commands of the next.
@pytest.mark.parametrize("killed_after", [(step, sent) for step in range(6) for sent in range(4)])
@pytest.mark.parametrize("change", ["store", "delete", "delete_with", "flush"])
def test_what_a_killed_client_leaves_is_deleted_next_time(
    url: str, admin: Any, change: str, killed_after: tuple[int, int]
) -> None:
    given: dict[str, Any] = {"attributes": {"a": "b"}}
    requested = {
        "store": requests.store(ASKED, "new", ttl=60, sliding=False, scope=None, **given),
        "delete": requests.delete(Question(STORED, attributes={"a": "b"}).entry_id),
        "delete_with": requests.delete_with({"a": "b"}),
        "flush": requests.FLUSH,
    }
    with with_embedder(url) as other, with_embedder(url) as killed:
        other.store(STORED, "by card", **given)
        killed_at(killed._transport, requested[change], *killed_after)
        for prompt in (STORED, ASKED):
            found = other.check(prompt, **given)
            if found is not None:
                assert found.response == ("by card" if found.prompt == STORED else "new")
        other.delete_with({"a": "b"})
        assert other.check(STORED, **given) is None
        assert other.check(ASKED, **given) is None
        assert not admin.keys("*:entry:*")
        other.flush()
        assert not admin.keys("*:questions:*")


def killed_at(transport: Any, request: requests.Request, steps: int, sent: int) -> None:
    """Do the first steps of a request, and of the next the first commands."""
    program = transport._standalone.answer(request)
    answer = None
    with suppress(StopIteration):
        for _ in range(steps):
            answer = transport._do(program.send(answer))
        wanted = program.send(answer)
        if isinstance(wanted, Commands) and not wanted.atomic:
            transport._do(replace(wanted, each=wanted.each[:sent]))


def test_threads_that_change_the_same_answers_get_no_wrong_one(url: str) -> None:
    scopes = [{"user": number} for number in range(3)]

    def work(client: SemanticCache, seed: int) -> int:
        chance, hits = random.Random(seed), 0  # noqa: S311
        for _ in range(150):
            scope, prompt = chance.choice(scopes), chance.choice([STORED, ASKED])
            match chance.randrange(6):
                case 0:
                    client.flush()
                case 1:
                    client.delete(Question(prompt, scope_digest(scope)).entry_id)
                case 2 | 3:
                    client.store(prompt, f"{scope['user']} {prompt}", scope=scope)
                case _:
                    found = client.check(prompt, scope=scope)
                    hits += found is not None
                    assert found is None or found.response == f"{scope['user']} {found.prompt}"
        return hits

    with with_embedder(url) as one, with_embedder(url) as other, ThreadPoolExecutor(4) as threads:
        hits = list(threads.map(work, [one, one, other, other], range(4)))
    assert all(hits)


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
