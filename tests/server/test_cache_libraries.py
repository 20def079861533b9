"""The client library, in Python, with LangChain, and in JavaScript, with the AI cache itself."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cache_service import KEY, Service, cache_service
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
from langchain_core.language_models.fake import FakeListLLM

from tenantry_cache import AsyncSemanticCache, CacheError, Item, Message, SemanticCache
from tenantry_cache.langchain import TenantryCache

JAVASCRIPT = Path(__file__).resolve().parents[2] / "libs" / "tenantry_cache" / "javascript"

SCRIPT = """
import { CacheError, SemanticCache } from "%(module)s";
const cache = new SemanticCache({ url: "%(url)s", key: "%(key)s", ttl: 60 });
const scope = { user: "ada" };
const missed = await cache.check("Grüße?", { scope });
const id = await cache.store("Grüße?", "ja", { scope, attributes: { app: "a" } });
const found = await cache.check("Grüße?", { scope, attributes: { app: "a" } });
const judged = await cache.judge(id, true);
const count = await cache.deleteWith({ app: "a" });
await cache.append("s/1", [{ role: "user", content: "one" }, { role: "user", content: "two" }]);
const last = await cache.messages("s/1", { maxTokens: 1 });
const gone = [await cache.forget("s/1"), await cache.forget("s/1")];
const wrong = new SemanticCache({ url: "%(url)s", key: "tnx_wrong" });
const refused = await wrong.check("p").catch((e) => [e instanceof CacheError, e.status]);
const away = await new SemanticCache({ url: "http://127.0.0.1:1", key: "k" }).check("p");
const out = { missed, same: found.id === id, response: found.response, judged, count };
console.log(JSON.stringify({ ...out, last, gone, refused, away }));
"""


VECTORS = """
import { SemanticCache } from "%(module)s";
const cache = new SemanticCache({ url: "%(url)s", key: "%(key)s" });
const shoes = cache.vectors("shoes");
const count = await shoes.upsert([
  { id: "a/1", vector: [3, 4], text: "red", attributes: { price: 40 } },
  { id: "b", vector: new Float32Array([0, 1]), attributes: { price: 60 } },
]);
const near = await shoes.search({ vector: [0.6, 0.8], filter: { price: { $lt: 50 } } });
const { vector, text } = await shoes.get("a/1");
const hybrid = await shoes.search({ vector: [0, 1], text: "red", hybrid: true, k: 1 });
const names = await cache.collections();
const deleted = await shoes.delete({ filter: { price: 60 } });
await shoes.drop();
const gone = await shoes.search({ vector: [1, 0] }).catch((error) => error.status);
const found = near.map(({ id, similarity }) => [id, similarity]);
const length = Math.round(Math.hypot(...vector) * 1000) / 1000;
const out = { count, found, length, text, hybrid: hybrid[0].id, names, deleted, gone };
console.log(JSON.stringify(out));
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with cache_service() as found:
        yield found


@pytest.fixture
def cache(running: Service) -> Iterator[SemanticCache]:
    with SemanticCache(running.url, KEY.reveal(), ttl=60) as client:
        client.flush()
        yield client


def test_python_with_threads(cache: SemanticCache) -> None:
    entry = cache.store("p", "r", scope={"user": 1}, attributes={"app": "a"})
    assert entry is not None
    found = cache.check(" p ", scope={"user": 1}, attributes={"app": "a"})
    assert found is not None
    assert (found.id, found.response, found.similarity) == (entry, "r", 1.0)
    assert cache.check("p") is None
    assert cache.judge(entry, correct=False)
    assert not cache.delete(entry)
    cache.store("p", "r", attributes={"app": "a"})
    assert cache.delete_with({"app": "a"}) == 1
    assert cache.append("s", [Message("user", "hello"), Message("assistant", "hi", 3)]) == 2
    assert cache.messages("s", max_tokens=3) == [Message("assistant", "hi", 3)]
    assert cache.forget("s")
    assert cache.stats()["counts"]["judged_wrong"] == 1


def test_python_with_asyncio(running: Service, cache: SemanticCache) -> None:
    async def ask() -> None:
        async with AsyncSemanticCache(running.url, KEY.reveal()) as client:
            await client.store("p", "r", sliding=True, ttl=60)
            found = await client.check("p")
            assert found is not None
            assert found.response == "r"

    asyncio.run(ask())
    assert cache.check("p") is not None
    with SemanticCache(running.url, "tnx_wrong") as wrong, pytest.raises(CacheError):
        wrong.check("p")


def test_langchain(running: Service, cache: SemanticCache) -> None:
    async def ask(model: FakeListChatModel) -> str:
        async with AsyncSemanticCache(running.url, KEY.reveal()) as client:
            set_llm_cache(TenantryCache(cache, client))
            return str((await model.ainvoke("hello?")).content)

    set_llm_cache(TenantryCache(cache, AsyncSemanticCache(running.url, KEY.reveal())))
    try:
        text = FakeListLLM(responses=["one", "two"])
        chat = FakeListChatModel(responses=["three", "four"])
        assert [text.invoke("hello?") for _ in range(2)] == ["one", "one"]
        assert [chat.invoke("hello?").content for _ in range(2)] == ["three", "three"]
        assert asyncio.run(ask(chat)) == "three"
    finally:
        set_llm_cache(None)


def test_javascript(running: Service, cache: SemanticCache) -> None:
    del cache  # emptied
    module = (JAVASCRIPT / "semantic-cache.js").as_uri()
    script = SCRIPT % {"module": module, "url": running.url, "key": KEY.reveal()}
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "missed": None,
        "same": True,
        "response": "ja",
        "judged": True,
        "count": 1,
        "last": [{"role": "user", "content": "two", "tokens": 1}],
        "gone": [True, False],
        "refused": [True, 401],
        "away": None,
    }


def test_vectors_in_python(running: Service, cache: SemanticCache) -> None:
    shoes = cache.vectors("shoes")
    items = [Item("a/1", [3, 4], "red", {"price": 40}), Item("b", [0, 1], None, {"price": 60})]
    assert shoes.upsert(items) == 2
    [found] = shoes.search([0.6, 0.8], filter={"price": {"$lt": 50}})
    assert (found.item.id, found.item.text, found.similarity) == ("a/1", "red", 1.0)
    [first, _] = shoes.search([0, 1], text="red", hybrid=True)
    assert first.item.id == "a/1"
    assert first.score is not None
    assert list(shoes.get("a/1").vector or ()) == pytest.approx([0.6, 0.8])
    assert cache.collections() == ["shoes"]

    async def others() -> None:
        async with AsyncSemanticCache(running.url, KEY.reveal()) as client:
            shoes = client.vectors("shoes")
            assert [each.item.id for each in await shoes.search([0, 1], k=1)] == ["b"]
            assert (await shoes.get("b")).attributes == {"price": 60}
            assert await shoes.upsert([Item("c", [1, 1])]) == 3
            assert await shoes.delete(filter={"price": {"$exists": False}}) == 1
            assert await shoes.delete(["b"]) == 1
            assert await client.collections() == ["shoes"]
            await shoes.drop()

    asyncio.run(others())
    with pytest.raises(CacheError, match="There is no collection shoes"):
        shoes.search([0, 1])


def test_vectors_in_javascript(running: Service) -> None:
    module = (JAVASCRIPT / "semantic-cache.js").as_uri()
    script = VECTORS % {"module": module, "url": running.url, "key": KEY.reveal()}
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "count": 2,
        "found": [["a/1", 1]],
        "length": 1,
        "text": "red",
        "hybrid": "a/1",
        "names": ["shoes"],
        "deleted": 1,
        "gone": 404,
    }
