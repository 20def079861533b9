"""Questions that mean the same, found by the client library with a Redis alone."""

import asyncio
import logging
from typing import Any

import numpy as np
import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
from site_redis import ASKED, PREFIX, STORED, VECTORS, with_embedder

from tenantry_cache import AsyncSemanticCache
from tenantry_cache.langchain import TenantryCache
from tenantry_cache.rules.nearness import EXACT_MOST
from tenantry_cache.standalone import connections, similar


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


def test_what_is_in_memory_is_limited_and_read_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "MOST_SCOPES", 3)
    monkeypatch.setattr(similar, "MOST_IN_MEMORY", 4)
    with with_embedder(url) as one:
        held: Any = one._transport
        for user in range(10):
            one.store(STORED, "by card", scope={"user": user})
            assert one.check(ASKED, scope={"user": user})
            assert one.check(ASKED, scope={"nobody": user}) is None
        assert len(held._standalone._similar._scopes) == 3
        for _ in range(2):
            assert all(one.check(ASKED, scope={"user": user}) for user in range(10))
        for text in VECTORS:
            one.store(text, "r", scope={"user": 1})
        assert one.check("what is an order", scope={"user": 1})
        assert one.check("how do I pay the order", scope={"user": 1}) is None
        assert len(held._standalone._similar._scopes) == 1


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


def test_langchain_compares_the_last_turn_only(url: str) -> None:
    chat = FakeListChatModel(responses=["by card", "two", "three"])
    with with_embedder(url) as cache:
        set_llm_cache(TenantryCache(cache, AsyncSemanticCache(url, prefix=PREFIX)))
        try:
            assert [chat.invoke(each).content for each in (STORED, ASKED)] == ["by card"] * 2
            assert chat.invoke([("system", "be rude"), ("human", ASKED)]).content == "two"
            assert chat.invoke("what is an order").content == "three"
        finally:
            set_llm_cache(None)


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
