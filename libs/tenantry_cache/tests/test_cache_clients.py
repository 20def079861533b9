"""The clients against a cache whose answers are given; tests/server has the real one."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from tenantry_cache import (
    AsyncSemanticCache,
    CacheError,
    Item,
    SemanticCache,
    langchain,
    requests,
)

ENTRY = {
    "id": "e",
    "prompt": "p",
    "response": "r",
    "attributes": {},
    "similarity": 1.0,
    "searchStrategy": "exact",
}
Answering = Callable[[httpx.Request], httpx.Response]


def client(answer: Answering) -> SemanticCache:
    made = SemanticCache("http://cache/", "key", ttl=2)
    there: Any = made._transport
    there.client = httpx.Client(
        transport=httpx.MockTransport(answer),
        base_url=there.client.base_url,
        headers=there.client.headers,
    )
    return made


def async_client(answer: Answering) -> AsyncSemanticCache:
    made = AsyncSemanticCache("http://cache/", "key", ttl=2)
    there: Any = made._transport
    there.client = httpx.AsyncClient(
        transport=httpx.MockTransport(answer), base_url=there.client.base_url
    )
    return made


def test_what_is_sent_and_read() -> None:
    sent: list[tuple[str, str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer key"
        sent.append((request.method, request.url.path, json.loads(request.content)))
        if request.url.path.endswith("/search"):
            return httpx.Response(200, json={"data": [ENTRY]})
        return httpx.Response(201, json={"entryId": "e"})

    cache = client(answer)
    found = cache.check("p", scope={"user": 1})
    assert found is not None
    assert (found.id, found.response, found.strategy) == ("e", "r", "exact")
    assert cache.store("p", "r", attributes={"a": "b"}) == "e"
    strategies = ["exact", "semantic"]
    search = {"prompt": "p", "searchStrategies": strategies, "scope": {"user": 1}}
    entry = {
        "prompt": "p",
        "response": "r",
        "sliding": False,
        "ttlMillis": 2000,
        "attributes": {"a": "b"},
    }
    assert sent == [
        ("POST", "/v1/caches/own/entries/search", search),
        ("POST", "/v1/caches/own/entries", entry),
    ]


@pytest.mark.parametrize("status", [None, 429, 503])
def test_a_cache_that_does_not_answer_is_empty(status: int | None) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        if status is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(status, json={"detail": "later"})

    assert client(answer).check("p") is None
    assert client(answer).store("p", "r") is None
    assert asyncio.run(async_client(answer).check("p")) is None
    with pytest.raises(CacheError):
        client(answer).stats()


def test_a_wrong_key_is_an_error() -> None:
    problem = {"detail": "This is no key of a site.", "hint": "Send it."}
    cache = client(lambda _: httpx.Response(401, json=problem))
    with pytest.raises(CacheError, match=r"no key of a site\. Send it\.") as raised:
        cache.check("p")
    assert (raised.value.status, raised.value.temporary) == (401, False)


def test_further_arguments_of_a_cached_function_are_its_scope() -> None:
    stored: dict[str, str] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        name = json.dumps([body["prompt"], body["scope"]])
        if not request.url.path.endswith("/search"):
            stored[name] = body["response"]
            return httpx.Response(201, json={"entryId": "e"})
        found = [{**ENTRY, "response": stored[name]}] if name in stored else []
        return httpx.Response(200, json={"data": found})

    calls = []

    @client(answer).cached
    def say(prompt: str, *, loud: bool = False) -> str:
        calls.append(prompt)
        return prompt.upper() if loud else prompt

    assert [say("a"), say("a"), say("a", loud=True), say(prompt="a", loud=True)] == [
        "a",
        "a",
        "A",
        "A",
    ]
    assert calls == ["a", "a"]

    @async_client(answer).cached
    async def whisper(prompt: str) -> str:
        calls.append(prompt)
        return prompt

    async def twice() -> list[str]:
        return [await whisper("b"), await whisper("b")]

    assert asyncio.run(twice()) == ["b", "b"]
    assert calls == ["a", "a", "b"]


def test_of_langchains_messages_the_last_text_is_the_question() -> None:
    system, human = SystemMessage("be kind"), HumanMessage("How?")
    asked, scope = langchain._question(dumps([system, human]), "model")
    assert asked == "How?"
    assert scope == langchain._question(dumps([system, HumanMessage("Why?")]), "model")[1]
    assert scope != langchain._question(dumps([human]), "model")[1]
    assert scope != langchain._question(dumps([system, human]), "other")[1]
    assert langchain._question("How?", "model") == ("How?", {"langchain": "model"})
    assert langchain._question("[]", "model") == ("[]", {"langchain": "model"})
    parts = HumanMessage([{"type": "text", "text": "How?"}])
    for last in (parts, HumanMessage(""), AIMessage("a")):
        text = dumps([system, last])
        whole = {"langchain": "model", "messages": text}
        assert langchain._question(text, "model") == ("messages", whole)


def test_arguments_without_json_are_refused() -> None:
    def function(prompt: str, other: object) -> str:
        return f"{prompt}{other}"

    with pytest.raises(TypeError):
        requests.prompt_and_scope(function, ("p", object()), {})
    with pytest.raises(TypeError):
        requests.prompt_and_scope(function, (1, "x"), {})


def test_what_is_sent_and_read_of_vectors() -> None:
    sent: list[tuple[str, str, object]] = []
    row = {"id": "a/b", "text": None, "attributes": {"n": 1}, "similarity": 0.9, "cosine": 0.8}

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode().removeprefix("/v1/caches/own/vectors")
        sent.append((request.method, path, json.loads(request.content or "null")))
        answers = {"/p": {"count": 2}, "/p/search": {"data": [row]}, "/p/delete": {"deleted": 1}}
        return httpx.Response(200, json=answers.get(path, {**row, "vector": [1, 0]}))

    products = client(answer).vectors("p")
    embedded: Any = np.asarray([1, 0], np.float32)  # as embedders return it
    assert products.upsert([Item("1", embedded), Item("2", text="t", attributes={"a": True})]) == 2
    [found] = products.search(embedded, k=3, filter={"n": 1}, min_similarity=0.5)
    assert (found.item.id, found.item.attributes, found.score) == ("a/b", {"n": 1}, None)
    assert products.get("a/b").vector == [1, 0]
    assert products.delete(["1"]) == 1
    products.drop()
    assert sent == [
        (
            "POST",
            "/p",
            {
                "items": [
                    {"id": "1", "attributes": {}, "vector": [1, 0]},
                    {"id": "2", "attributes": {"a": True}, "text": "t"},
                ]
            },
        ),
        (
            "POST",
            "/p/search",
            {"vector": [1, 0], "k": 3, "filter": {"n": 1}, "min_similarity": 0.5, "hybrid": False},
        ),
        ("GET", "/p/items/a%2Fb", None),
        ("POST", "/p/delete", {"ids": ["1"]}),
        ("DELETE", "/p", None),
    ]
    others = async_client(answer).vectors("p")
    assert asyncio.run(others.search(text="t", hybrid=True)) == [found]


def test_a_query_of_redisvl_is_refused_with_what_to_write() -> None:
    query = type("VectorQuery", (), {"__module__": "redisvl.query.query"})()
    with pytest.raises(TypeError, match=r"FT\.SEARCH.*pass the vector itself"):
        client(lambda _: httpx.Response(500)).vectors("p").search(query)


@pytest.mark.parametrize("kind", [SemanticCache, AsyncSemanticCache])
@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        ("http://cache", {}, "needs its key"),
        ("http://cache", {"key": "k", "prefix": "p:"}, "are for a cache in a Redis"),
        ("http://cache", {"key": "k", "embed": len, "model": "m"}, "are for a cache in a Redis"),
        ("redis://cache", {"key": "k"}, "has no key"),
        ("redis://cache", {"verify": False}, r"rediss://…\?ssl_ca_certs=ca.crt"),
        ("redis://cache", {"prefix": ""}, "prefix is empty"),
        ("redis://cache", {"embed": len}, "belong together"),
        ("redis://cache", {"model": "m"}, "belong together"),
        ("redis://:pass/word@cache", {}, "percent-encoded"),
    ],
)
def test_options_that_do_not_fit_a_url_are_refused(
    kind: Any, url: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        kind(url, **options)
    assert "pass" not in str(raised.value).replace("password", "").replace("PASSWORD", "")


def test_a_redis_that_does_not_answer_is_empty() -> None:
    with SemanticCache("redis://:secret@127.0.0.1:1", timeout=1) as cache:
        assert cache.check("p") is None
        assert cache.store("p", "r") is None
        with pytest.raises(CacheError, match="does not answer") as raised:
            cache.flush()
        assert (raised.value.status, "secret" in str(raised.value)) == (None, False)
