"""Vectors of a site: a collection for threads, and one for asyncio, with the same methods."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tenantry_cache.requests import Json, Request, given

Value = str | float | bool


@dataclass(frozen=True, slots=True)
class Item:
    """What is stored with a vector. Without one the site's embedder makes it of ``text``.

    The cache returns vectors with the length 1.
    """

    id: str
    vector: Sequence[float] | None = None
    text: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """An item that a search found. ``similarity`` is (1 + cosine) / 2.

    ``score`` is what a hybrid search orders by, and None for others.
    """

    item: Item
    similarity: float
    cosine: float
    score: float | None


class VectorCollection:
    """A collection of vectors, from ``SemanticCache.vectors``. All methods raise CacheError."""

    def __init__(self, name: str, send: Callable[[Request], Json]) -> None:
        self._name = name
        self._send = send

    def upsert(self, items: Sequence[Item]) -> int:
        """Store items, in place of those that have their ids: all or none.

        Returns how many the collection has. The first ones create it and decide its width.
        """
        return int(self._send(upsert(self._name, items))["count"])

    def search(
        self,
        vector: Sequence[float] | None = None,
        *,
        text: str | None = None,
        k: int = 10,
        filter: Json | None = None,  # noqa: A002 (as the cache calls it)
        min_similarity: float | None = None,
        hybrid: bool = False,
    ) -> list[Match]:
        """Return the ``k`` nearest items to a vector or a text, the nearest first.

        ``filter`` is on attributes: {"price": {"$lt": 50}}. With ``hybrid`` the words of ``text``
        are looked for, too, and both orders are fused.
        """
        request = search(
            self._name,
            vector,
            text=text,
            k=k,
            filter=filter,
            min_similarity=min_similarity,
            hybrid=hybrid,
        )
        return matches_in(self._send(request))

    def get(self, item_id: str) -> Item:
        return item_in(self._send(get(self._name, item_id)))

    def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        filter: Json | None = None,  # noqa: A002
    ) -> int:
        """Delete items by their ids, or those that a filter admits. Returns how many."""
        return int(self._send(delete(self._name, ids, filter))["deleted"])

    def drop(self) -> None:
        """Delete the collection with all its items."""
        self._send(drop(self._name))


class AsyncVectorCollection:
    """As ``VectorCollection``, for asyncio."""

    def __init__(self, name: str, send: Callable[[Request], Awaitable[Json]]) -> None:
        self._name = name
        self._send = send

    async def upsert(self, items: Sequence[Item]) -> int:
        return int((await self._send(upsert(self._name, items)))["count"])

    async def search(
        self,
        vector: Sequence[float] | None = None,
        *,
        text: str | None = None,
        k: int = 10,
        filter: Json | None = None,  # noqa: A002
        min_similarity: float | None = None,
        hybrid: bool = False,
    ) -> list[Match]:
        request = search(
            self._name,
            vector,
            text=text,
            k=k,
            filter=filter,
            min_similarity=min_similarity,
            hybrid=hybrid,
        )
        return matches_in(await self._send(request))

    async def get(self, item_id: str) -> Item:
        return item_in(await self._send(get(self._name, item_id)))

    async def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        filter: Json | None = None,  # noqa: A002
    ) -> int:
        return int((await self._send(delete(self._name, ids, filter)))["deleted"])

    async def drop(self) -> None:
        await self._send(drop(self._name))


# ── requests and answers ─────────────────────────────────────────────────────

LIST = Request("GET", "/vectors")


def upsert(name: str, items: Sequence[Item]) -> Request:
    rows = [
        given(
            {"id": each.id, "attributes": dict(each.attributes)},
            vector=None if each.vector is None else _numbers(each.vector),
            text=each.text,
        )
        for each in items
    ]
    return Request("POST", _path(name), {"items": rows})


def search(name: str, vector: Sequence[float] | None, **options: Any) -> Request:
    if type(vector).__module__.partition(".")[0] == "redisvl":
        raise TypeError(
            "RedisVL's queries are for FT.SEARCH, which is in no Redis of Debian: pass the vector"
            " itself, as search(vector, k=10, filter={…})"
        )
    body = {} if vector is None else {"vector": _numbers(vector)}
    return Request("POST", _path(name, "/search"), given(body, **options))


def get(name: str, item_id: str) -> Request:
    return Request("GET", _path(name, f"/items/{quote(item_id, safe='')}"))


def delete(name: str, ids: Sequence[str] | None, by: Json | None) -> Request:
    named = None if ids is None else list(ids)
    return Request("POST", _path(name, "/delete"), given({}, ids=named, filter=by))


def drop(name: str) -> Request:
    return Request("DELETE", _path(name))


def names_in(body: Json) -> list[str]:
    return [each["name"] for each in body["data"]]


def matches_in(body: Json) -> list[Match]:
    return [
        Match(item_in(each), each["similarity"], each["cosine"], each.get("score"))
        for each in body["data"]
    ]


def item_in(body: Json) -> Item:
    return Item(body["id"], body.get("vector"), body["text"], body["attributes"])


def _numbers(vector: Sequence[float]) -> list[float]:
    return [float(each) for each in vector]  # numpy's own numbers are not for JSON


def _path(name: str, end: str = "") -> str:
    return f"/vectors/{quote(name, safe='')}{end}"
