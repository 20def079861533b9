"""Vectors of a site, by HTTP and on a real Redis."""

import asyncio
import base64
import json
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

import numpy as np
import pytest
from cache_service import KEY, PASSWORD, Service, cache_service

from answers import problem
from tenantry.base.errors import Conflict, NotFound
from tenantry.base.secrets import Secret
from tenantry.cache.sites import Sites
from tenantry.services.cache_usage.counting import Counts
from tenantry.services.caching.semantic.embedders import Hashes
from tenantry.services.caching.service import connected
from tenantry.services.caching.vectors import service as vectors_service
from tenantry.services.caching.vectors.model import NewItem, Query, unit
from tenantry.services.caching.vectors.service import Collections
from tenantry.services.sites.model import ServedSite

Row = dict[str, Any]


class Embedding:
    """The look-ups of sites, as far as vectors need them: their embedder."""

    def __init__(self) -> None:
        self.embedder = Hashes()

    def of(self, *_: object) -> "Embedding":
        return self

    def forget(self, _: object) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with cache_service(cast(Any, Embedding())) as found:
        yield found


@pytest.fixture
def name(service: Service) -> Iterator[str]:
    """Return the name of a collection that does not exist, nor does it afterwards."""
    made = f"c{uuid.uuid4().hex}"
    yield made
    service.set(mode="exact")
    service.http.delete(path(made))


def path(name: str, end: str = "") -> str:
    return f"/v1/caches/own/vectors/{name}{end}"


def upsert(service: Service, name: str, *items: Row) -> Row:
    answer = service.http.post(path(name), json={"items": items})
    assert answer.status_code == 200, answer.text
    found: Row = answer.json()
    return found


def search(service: Service, name: str, **query: Any) -> list[Row]:
    answer = service.http.post(path(name, "/search"), json=query)
    assert answer.status_code == 200, answer.text
    found: list[Row] = answer.json()["data"]
    return found


def ids(rows: list[Row]) -> list[str]:
    return [each["id"] for each in rows]


SHOES: list[Row] = [
    {"id": "1", "vector": [1, 0], "text": "red shoe", "attributes": {"price": 40, "new": True}},
    {"id": "2", "vector": [0.6, 0.8], "text": "blue shoe", "attributes": {"price": 60}},
    {"id": "a/b ü?", "vector": [0, 1], "text": "red boot", "attributes": {"price": 80}},
]


def test_items_are_stored_searched_and_deleted(service: Service, name: str) -> None:
    assert upsert(service, name, *SHOES) == {"upserted": 3, "count": 3}
    nearest = search(service, name, vector=[2, 0], k=2)
    assert [(row["id"], row["cosine"], row["similarity"]) for row in nearest] == [
        ("1", 1.0, 1.0),
        ("2", 0.6, 0.8),
    ]
    assert nearest[0]["attributes"] == {"price": 40, "new": True}
    assert "vector" not in nearest[0]
    (whole,) = search(service, name, vector=[2, 0], k=1, includeVectors=True)
    assert whole == nearest[0] | {"vector": [1.0, 0.0]}
    assert ids(search(service, name, vector=[1, 0], filter={"price": {"$gt": 50}})) == [
        "2",
        "a/b ü?",
    ]
    assert ids(search(service, name, vector=[1, 0], minSimilarity=0.8)) == ["1", "2"]
    hybrid = search(service, name, vector=[0, 1], text="shoe", hybrid=True)
    assert ids(hybrid) == ["2", "1", "a/b ü?"]
    assert hybrid[0]["score"] > hybrid[1]["score"]
    found = service.http.get(path(name, f"/items/{quote('a/b ü?', safe='')}")).json()
    assert (found["text"], found["vector"]) == ("red boot", [0, 1])
    numbers = base64.b64encode(np.asarray([0, 5], "<f4").tobytes()).decode()
    assert upsert(service, name, {"id": "1", "vector": numbers}) == {"upserted": 1, "count": 3}
    assert ids(search(service, name, vector=[0, 1], k=1)) == ["1"]
    deleted = service.http.post(path(name, "/delete"), json={"ids": ["1", "none"]})
    assert deleted.json() == {"deleted": 1}
    assert ids(search(service, name, vector=[0, 1])) == ["a/b ü?", "2"]
    body = {"filter": {"price": {"$gte": 80}}}
    assert service.http.post(path(name, "/delete"), json=body).json() == {"deleted": 1}
    shown = {"name": name, "dimension": 2, "count": 1, "embedder": None}
    assert service.http.get(path(name)).json() == shown
    assert shown in service.http.get("/v1/caches/own/vectors").json()["data"]
    assert service.http.delete(path(name)).status_code == 204
    for answer in (
        service.http.get(path(name)),
        service.http.delete(path(name)),
        service.http.post(path(name, "/search"), json={"vector": [1, 0]}),
        service.http.post(path(name, "/delete"), json=body),
    ):
        problem(answer, 404)


def test_texts_are_embedded_for_the_site(service: Service, name: str) -> None:
    texts = {"id": "1", "text": "how do I pay"}, {"id": "2", "text": "where is my parcel"}
    refused = service.http.post(path(name), json={"items": texts})
    assert "--semantic shadow" in problem(refused, 409)["hint"]
    service.set(mode="shadow")
    assert upsert(service, name, *texts)["count"] == 2
    assert ids(search(service, name, text="how can I pay", k=1)) == ["1"]
    assert search(service, name, text="parcel", hybrid=True, k=1)[0]["id"] == "2"
    given = {"id": "3", "vector": [1.0] * Hashes.dim}
    assert problem(service.http.post(path(name), json={"items": [given]}), 409)
    shown = service.http.get(path(name)).json()
    assert (shown["embedder"], shown["dimension"]) == (Hashes.id, Hashes.dim)


def test_a_text_does_not_search_vectors_of_a_program(service: Service, name: str) -> None:
    service.set(mode="on")
    upsert(service, name, *SHOES)
    answer = service.http.post(path(name, "/search"), json={"text": "shoe"})
    assert "given by its programs" in problem(answer, 409)["detail"]


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([], "items"),
        ([{"id": "", "vector": [1, 0]}], "items.0.id"),
        ([{"id": "x", "vector": [1, 2, 3]}], "items.0.vector"),
        ([{"id": "x", "vector": [1, 0]}, {"id": "y", "vector": [0, 0]}], "items.1.vector"),
        ([{"id": "x", "vector": [1, 0]}, {"id": "x", "vector": [0, 1]}], "items"),
        ([{"id": "x", "vector": [1, 0]}, {"id": "y", "text": "t"}], "items"),
        ([{"id": "x"}], "items"),
        ([{"id": "x\x00", "vector": [1, 0]}], "items.0.id"),
        ([{"id": "x", "vector": [1, 0], "attributes": {"a": None}}], None),
        ([{"id": "x", "vector": [1, 0], "attributes": {"a": ["b"]}}], None),
    ],
)
def test_what_is_refused_stores_nothing(
    service: Service, name: str, items: list[Row], field: str | None
) -> None:
    upsert(service, name, {"id": "there", "vector": [1, 0]})
    found = problem(service.http.post(path(name), json={"items": items}), 422)
    if field is not None:
        assert found["errors"][0]["field"] == field
    assert ids(search(service, name, vector=[1, 0])) == ["there"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(service: Service, name: str, number: str) -> None:
    text = f'{{"items": [{{"id": "x", "vector": [1, {number}]}}]}}'
    headers = {"content-type": "application/json"}
    problem(service.http.post(path(name), content=text, headers=headers), 422)
    problem(service.http.get(path(name)), 404)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"vector": [1, 0, 0]},
        {"vector": [1, 0], "text": "x"},
        {"vector": [1, 0], "hybrid": True},
        {"vector": [1, 0], "k": 0},
        {"vector": [1, 0], "k": 1001},
        {"vector": [1, 0], "k": 101, "includeVectors": True},
        {"vector": [1, 0], "minSimilarity": 1.5},
        {"vector": [1, 0], "filter": {"$where": "1"}},
    ],
    ids=str,
)
def test_queries_that_are_refused(service: Service, name: str, query: Row) -> None:
    upsert(service, name, {"id": "there", "vector": [1, 0]})
    problem(service.http.post(path(name, "/search"), json=query), 422)


def test_deletion_names_what_goes(service: Service, name: str) -> None:
    upsert(service, name, {"id": "there", "vector": [1, 0]})
    both: Row = {"ids": ["there"], "filter": {"a": 1}}
    bodies: list[Row] = [{}, {"ids": []}, {"filter": {}}, both]
    for body in bodies:
        problem(service.http.post(path(name, "/delete"), json=body), 422)
    assert service.http.get(path(name)).json()["count"] == 1


@pytest.mark.parametrize(
    "hostile",
    [
        "a:b",
        "*",
        "%2e%2e",
        "%2e%2e%2fentries",
        "a%00b",
        "x" * 65,
        "%0a",
        "-x",
        "cache:00000000-0000-0000-0000-000000000000:entry:x",
        "a%20b",
    ],
)
def test_names_do_not_imitate_keys(service: Service, hostile: str) -> None:
    before = sorted(service.redis.client().scan_iter(match="*"))
    body = {"items": [{"id": "x", "vector": [1, 0]}]}
    answer = service.http.post(f"/v1/caches/own/vectors/{hostile}", json=body)
    assert answer.status_code in {404, 405, 422}
    assert sorted(service.redis.client().scan_iter(match="*")) == before


def test_items_imitate_nothing(service: Service, name: str) -> None:
    imitations = ["cache:x:entry:y", "*", "\r\nFLUSHALL\r\n", '["a"]', "../..", " "]
    upsert(service, name, *({"id": each, "vector": [1, 0]} for each in imitations))
    assert sorted(ids(search(service, name, vector=[1, 0]))) == sorted(imitations)
    key = f"cache:{service.site_id}:vec:{name}"
    assert service.redis.client().hlen(key) == 1 + len(imitations)


def test_a_site_has_its_own_collections(service: Service, name: str) -> None:
    upsert(service, name, *SHOES)
    other = ServedSite(
        uuid.uuid4(), "b", None, service.redis.socket, "platform", PASSWORD, "exact", {}, None
    )
    service.directory.sites["tnx_other"] = other
    theirs = {"authorization": "Bearer tnx_other"}
    body = {"vector": [1, 0]}
    for site in ("own", str(service.site_id)):
        end = f"/v1/caches/{site}/vectors"
        assert service.http.get(f"{end}/{name}", headers=theirs).status_code == 404
        answer = service.http.post(f"{end}/{name}/search", json=body, headers=theirs)
        assert answer.status_code == 404
        assert service.http.delete(f"{end}/{name}", headers=theirs).status_code == 404
    assert service.http.get("/v1/caches/own/vectors", headers=theirs).json() == {"data": []}
    assert service.http.get(path(name)).json()["count"] == 3
    del service.directory.sites["tnx_other"]


def test_an_eviction_gives_no_wrong_answers(service: Service, name: str) -> None:
    """Whatever happens to the keys in Redis, what is found is what is there."""
    upsert(service, name, *SHOES)
    assert len(search(service, name, vector=[1, 0])) == 3
    key = f"cache:{service.site_id}:vec:{name}"
    stored = service.redis.client().hgetall(key)
    service.redis.client().hdel(key, "1")
    assert ids(search(service, name, vector=[1, 0])) == ["2", "a/b ü?"]
    service.redis.client().delete(key)  # evicted, flushed, or restarted without aof
    problem(service.http.post(path(name, "/search"), json={"vector": [1, 0]}), 404)
    problem(service.http.post(path(name, "/delete"), json={"filter": {"price": 40}}), 404)
    upsert(service, name, {"id": "9", "vector": [0, 0, 1]})
    assert ids(search(service, name, vector=[0, 0, 1])) == ["9"]
    service.redis.client().delete(key)
    service.redis.client().hset(key, mapping=cast(Any, stored))  # an earlier state comes back
    assert ids(search(service, name, vector=[1, 0])) == ["1", "2", "a/b ü?"]


def test_a_malformed_item_is_missing(service: Service, name: str) -> None:
    upsert(service, name, *SHOES)
    key = f"cache:{service.site_id}:vec:{name}"
    service.redis.client().hset(key, "1", "[]")
    service.redis.client().hset(key, "4", json.dumps(["AAAA", None, {}]))
    problem(service.http.get(path(name, "/items/1")), 404)


def test_a_full_memory_refuses_items_and_deletes_them(service: Service, name: str) -> None:
    upsert(service, name, *SHOES)
    search(service, name, vector=[1, 0])
    client = service.redis.client()
    client.config_set("maxmemory", 1)
    try:
        refused = service.http.post(path(name), json={"items": [{"id": "9", "vector": [1, 0]}]})
        assert "memory is full" in problem(refused, 503)["detail"]
        assert len(search(service, name, vector=[1, 0])) == 3
        deleted = service.http.post(path(name, "/delete"), json={"ids": ["2"]})
        assert deleted.json() == {"deleted": 1}
        assert ids(search(service, name, vector=[1, 0])) == ["1", "a/b ü?"]
        body = {"filter": {"price": 80}}
        assert service.http.post(path(name, "/delete"), json=body).json() == {"deleted": 1}
    finally:
        client.config_set("maxmemory", 64 * 1024**2)
    assert ids(search(service, name, vector=[1, 0])) == ["1"]


@dataclass
class _Clients:
    """Clients that search while others change the collection."""

    service: Service
    name: str
    wrong: list[object] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        while not self.stopping.is_set():
            for row in search(self.service, self.name, vector=[1, 0, 0], k=5):
                # The attribute is the first number of the vector, whenever it was stored.
                if abs(row["cosine"] - row["attributes"]["cosine"]) > 1e-4:
                    self.wrong.append(row)


def test_who_searches_while_it_changes_finds_what_is_there(service: Service, name: str) -> None:
    def item(number: int, turn: int) -> Row:
        cosine = ((number * 31 + turn * 17) % 100) / 100
        vector = [cosine, (1 - cosine**2) ** 0.5, 0]
        return {"id": str(number), "vector": vector, "attributes": {"cosine": cosine}}

    upsert(service, name, *(item(number, 0) for number in range(200)))
    clients = _Clients(service, name)
    threads = [threading.Thread(target=clients.look) for _ in range(3)]
    for each in threads:
        each.start()
    try:
        for turn in range(1, 30):
            upsert(service, name, *(item(number, turn) for number in range(0, 200, 2)))
            body = {"ids": [str(turn * 2 + 1)]}
            assert service.http.post(path(name, "/delete"), json=body).json() == {"deleted": 1}
    finally:
        clients.stopping.set()
        for each in threads:
            each.join()
    assert clients.wrong == []
    assert service.http.get(path(name)).json()["count"] == 200 - 29


async def test_what_nobody_uses_is_let_go(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connected(str(service.redis.socket), "platform", PASSWORD)
    collections = Collections(uuid.uuid4(), client)

    async def embedder() -> Any:
        raise Conflict("no text is embedded here")

    items = [NewItem("1", [1.0, 0.0], None, {})]
    assert await collections.upsert("c", items, embedder) == 1
    query = Query(unit([1.0, 0.0], "vector"), 1)
    assert [each.item.id for each in await collections.search("c", query)] == ["1"]
    with pytest.raises(NotFound):
        await collections.search("missing", query)
    collections.tidy()
    with pytest.raises(NotFound):
        raise collections._gone("missing")  # by a search that began before it was let go
    assert list(collections._open) == ["c"]
    monkeypatch.setattr(vectors_service, "_IDLE_SECONDS", -1)
    collections.tidy()
    assert collections._open == {}
    both = await asyncio.gather(*(collections.search("c", query) for _ in range(9)))
    assert [each[0].item.id for each in both] == ["1"] * 9
    await collections.drop("c")
    await client.aclose()


async def test_without_their_packages_vectors_say_what_to_install(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = Sites(service.directory, Counts())
    served = await sites.of_key(Secret(KEY.reveal()), None)
    monkeypatch.setitem(sys.modules, "tenantry.services.caching.vectors.service", None)
    with pytest.raises(Conflict, match="packages that compare vectors are not installed"):
        sites.vectors(served.site)
    await sites.close()
