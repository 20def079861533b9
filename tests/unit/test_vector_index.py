"""The index of a collection: it finds what a comparison with all items finds."""

import asyncio
import base64
import threading
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from tenantry.base.errors import InvalidInput
from tenantry.services.caching.vectors import filters, model
from tenantry.services.caching.vectors import index as index_module
from tenantry.services.caching.vectors.index import Index
from tenantry.services.caching.vectors.model import Item, Meta, Query, Vector
from tenantry.services.caching.vectors.service import THREADS, Collections
from tenantry_cache.rules.nearness import Vectors

_DIM = 4


def vector(seed: int) -> Vector:
    return model.unit(np.random.default_rng(seed).standard_normal(_DIM).tolist(), "vector")


def item(number: int, text: str | None = None) -> Item:
    attributes: filters.Attributes = {
        "even": number % 2 == 0,
        "number": float(number),
        "kind": f"k{number % 3}",
    }
    return Item(str(number), vector(number), text, attributes)


def ids(index: Index, query: Query) -> list[str]:
    return [each.id for each in index.search(query)]


_CHANGES = st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=80)
_FILTERS: list[Any] = [
    None,
    {"even": True},
    {"number": {"$gte": 5, "$lt": 20}},
    {"$or": [{"kind": {"$in": ["k0", "k1"]}}, {"$not": {"number": {"$lt": 9}}}]},
    {"kind": {"$ne": "k2"}, "missing": {"$exists": False}},
    {"even": 1},
]


@given(_CHANGES, st.integers(0, 1000), st.sampled_from(_FILTERS), st.floats(-1, 1))
def test_it_finds_what_a_comparison_with_all_finds(
    changes: list[tuple[bool, int]], seed: int, by: Any, least: float
) -> None:
    index, there = Index(_DIM), dict[str, Item]()
    for is_added, number in changes:
        if is_added:
            there[str(number)] = item(number)
            index.add([item(number)])
        else:
            there.pop(str(number), None)
            index.remove([str(number)])
    asked, admitted = vector(seed), filters.parse(by) if by else None
    expected = {
        each.id: float(each.vector @ asked)
        for each in there.values()
        if admitted is None or admitted.holds(each.attributes)
    }
    assert len(index) == len(there)
    if admitted is not None:
        assert sorted(index.admitted(admitted)) == sorted(expected)
    found = index.search(Query(asked, 5, admitted, least))
    far = [cosine for cosine in expected.values() if abs(cosine - least) > 1e-5]
    near = sorted((cosine for cosine in far if cosine >= least), reverse=True)
    if len(far) == len(expected):
        assert [each.cosine for each in found] == pytest.approx(near[:5], abs=1e-5)
    assert all(expected[each.id] == pytest.approx(each.cosine, abs=1e-5) for each in found)


def test_removed_rows_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_COMPACT_FROM", 4)
    index = Index(_DIM)
    for turn in range(20):
        index.add([item(number, f"word{number} turn{turn}") for number in range(6)])
    assert len(index) == 6
    assert index._matrix.length <= 16
    assert sorted(index.admitted(filters.parse({"even": True}))) == ["0", "2", "4"]
    for number in range(6):
        assert ids(index, Query(vector(number), 1)) == [str(number)]
        words = Query(vector(number), 2, words=f"word{number}")
        assert ids(index, words)[0] == str(number)
    assert index.search(Query(vector(1), 9, words="turn3"))[0].fused == pytest.approx(1 / 61)


def test_words_and_vectors_are_fused() -> None:
    index = Index(2)
    at = {"near": [1.0, 0.0], "both": [0.8, 0.6], "far": [0.6, 0.8], "words": [0.0, 1.0]}
    texts = {"near": "a boat", "both": "red shoes", "far": "a", "words": "Shoes, RED shoes"}
    index.add([Item(name, model.unit(at[name], "v"), texts[name], {}) for name in at])
    asked = model.unit([1.0, 0.0], "v")
    assert ids(index, Query(asked, 2)) == ["near", "both"]
    assert ids(index, Query(asked, 4, words="red SHOES"))[0] == "both"
    found = {each.id: each.fused for each in index.search(Query(asked, 4, words="red SHOES"))}
    assert found["near"] == pytest.approx(1 / 61)
    assert found["words"] == pytest.approx(1 / 64 + 1 / 61)
    assert ids(index, Query(asked, 4, least=0.7, words="red")) == ["both", "near"]
    assert ids(index, Query(asked, 4, filters.parse({"x": 1}), words="red")) == []


def test_a_search_goes_on_with_what_was_there_when_it_began() -> None:
    index = Index(_DIM)
    index.add([item(number) for number in range(50)])
    before = index._snapshot()
    index.remove([str(number) for number in range(50)])
    index.add([item(number) for number in range(100, 2000)])
    found = before.search(Query(vector(7), 1))
    assert [each.id for each in found] == ["7"]
    assert ids(index, Query(vector(107), 1)) == ["107"]


@pytest.mark.parametrize(
    "given",
    [
        [],
        [0.0, 0.0],
        [float("nan"), 1.0],
        [float("inf")],
        [1e39, 1.0],
        [1e30, 1e30],
        [0.1] * 4097,
        "",
        "no base64",
        "AAA=",
        "AACAfwAAgD8=",
    ],
    ids=str,
)
def test_what_is_no_vector(given: Any) -> None:
    with pytest.raises(InvalidInput, match=r"items\.3\.vector"):
        model.unit(given, "items.3.vector")


def test_vectors_as_base64() -> None:
    raw = base64.b64encode(np.asarray([3, 4], "<f4").tobytes()).decode()
    assert model.unit(raw, "v").tolist() == model.unit([3, 4], "v").tolist()
    with pytest.raises(InvalidInput, match="has 3 numbers, and the vectors of this collection 2"):
        model.require_width({"v": model.unit([1, 2, 3], "v")}, 2)


def test_what_is_stored_is_read() -> None:
    stored = Item("ü", vector(1), "a \ud800 text", {"a": True, "b": 1.5, "c": "x"})
    found = Item.read("ü", stored.written())
    assert found is not None
    assert (found.text, found.attributes) == (stored.text, stored.attributes)
    assert np.array_equal(found.vector, stored.vector)
    meta = Meta(4, None, "stamp")
    assert Meta.read(meta.written()) == meta


@pytest.mark.parametrize("text", ["", "null", "{}", "[1]", '["x", null, {}]', '["AAA", "", 5]'])
def test_what_is_malformed_is_missing(text: str) -> None:
    assert Item.read("a", text) is None
    assert Meta.read(text) is None


async def test_no_site_waits_for_the_queue_of_another() -> None:
    one, other = (Collections(uuid.uuid4(), Redis()) for _ in range(2))
    may_end, ended = threading.Semaphore(0), list[str]()

    def long() -> None:
        may_end.acquire()
        ended.append("long")

    queue = [asyncio.create_task(one._in_thread(long)) for _ in range(10 * THREADS)]
    await asyncio.sleep(0)  # all of them have begun
    short = asyncio.create_task(other._in_thread(ended.append, "short"))
    may_end.release(THREADS)
    await short
    assert ended.count("long") <= THREADS
    may_end.release(len(queue) - THREADS)
    await asyncio.gather(*queue)
    assert len(ended) == len(queue) + 1


class Slow:
    """An embedder that answers when it may, and counts the texts that wait for it."""

    id, dim = "slow", _DIM

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.waiting = 0

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.waiting += len(texts)
        await self.may_answer.wait()
        self.waiting -= len(texts)
        return np.ones((len(texts), _DIM), np.float32)


async def test_few_texts_of_a_site_wait_for_the_embedder_of_all() -> None:
    collections, embedder = Collections(uuid.uuid4(), Redis()), Slow()
    texts = [f"text {number}" for number in range(50)]
    asked = [
        asyncio.create_task(collections._embedded(texts, embedder, "items")) for _ in range(30)
    ]
    await asyncio.sleep(0)
    assert embedder.waiting == 20
    embedder.may_answer.set()
    assert {len(found) for found in await asyncio.gather(*asked)} == {50}
