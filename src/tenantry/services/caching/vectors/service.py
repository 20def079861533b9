"""The collections of one site: store, search and delete vectors.

Redis has what is stored; an index in memory finds it. What a search finds is read from Redis, and
given only if the index had the stamp that is there, and nothing that is not: after an eviction, a
restart or a flush the index is read again, and its first answers are not given.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from tenantry.base.errors import Conflict, InvalidInput, NotFound, Unavailable
from tenantry.base.ids import new_id
from tenantry.services.caching.semantic.model import Embedder, EmbedderFailed, TextRefused
from tenantry.services.caching.vectors import model
from tenantry.services.caching.vectors.filters import Filter
from tenantry.services.caching.vectors.index import Index
from tenantry.services.caching.vectors.model import (
    Found,
    Item,
    Meta,
    NewItem,
    Query,
    Summary,
    Vector,
)
from tenantry.services.caching.vectors.records import Records

if TYPE_CHECKING:
    from redis.asyncio import Redis

_P = ParamSpec("_P")
_T = TypeVar("_T")

MOST_EMBEDDED = 100  # texts of a request
_EMBEDDED_AT_ONCE = 20
_IDLE_SECONDS = 600  # an index that nobody used for so long is let go
_TRIES = 3  # beside those that change the collection
_AT_ONCE = 1000
THREADS = min(6, os.cpu_count() or 1)
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="vectors")


@dataclass(slots=True)
class _Collection:
    """What is in memory of a collection. ``lock`` is held by what changes it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    index: Index | None = None
    stamp: str = ""
    used: float = field(default_factory=time.monotonic)


class Collections:
    """The collections of one site. Only one process may have them.

    ``redis`` decodes its answers. Every method raises Unavailable if it does not answer.
    """

    def __init__(self, site_id: uuid.UUID, redis: "Redis") -> None:
        self._records = Records(redis, site_id)
        self._open: dict[str, _Collection] = {}
        self._turns = asyncio.Semaphore(THREADS)  # no other site waits for a queue of this one
        self._embedding = asyncio.Lock()  # nor has its questions refused, as too many wait

    async def every(self) -> list[Summary]:
        """Return the collections, sorted by name."""
        found = [(name, await self._records.summary(name)) for name in await self._records.names()]
        return [Summary(name, *summary) for name, summary in found if summary is not None]

    async def show(self, name: str) -> Summary:
        """Return a collection. Raises NotFound."""
        if (found := await self._records.summary(name)) is None:
            raise _missing(name)
        return Summary(name, *found)

    async def upsert(
        self, name: str, items: Sequence[NewItem], embedder: "Callable[[], Awaitable[Embedder]]"
    ) -> int:
        """Store items, in place of those that have their ids: all or none.

        The first ones create the collection, and decide whether its vectors are given or made of
        texts, and their width. Returns how many items there are. Raises InvalidInput, Conflict,
        and what ``embedder`` does, which is called only to embed texts.
        """
        ids = [each.id for each in items]
        if len(set(ids)) < len(ids):
            raise InvalidInput.of("items", "has the same id twice")
        vectors, made_by = await self._vectors(items, embedder)
        found = [
            Item(each.id, vector, each.text, each.attributes)
            for each, vector in zip(items, vectors, strict=True)
        ]
        there = self._collection(name)
        async with there.lock:
            before = await self._records.meta(name)
            if before is not None:
                _require_source(before, made_by)
            dim = len(vectors[0]) if before is None else before.dim
            fields = {f"items.{at}.vector": each for at, each in enumerate(vectors)}
            model.require_width(fields, dim)
            meta = Meta(dim, made_by, str(new_id()))
            await self._records.put(name, meta, found)
            if there.index is not None and before is not None and before.stamp == there.stamp:
                await self._in_thread(there.index.add, found)
                there.stamp = meta.stamp
            summary = await self._records.summary(name)
        return len(found) if summary is None else summary[1]

    async def query_vector(
        self, name: str, text: str, embedder: "Callable[[], Awaitable[Embedder]]"
    ) -> Vector:
        """Return the vector of a text, by the embedder of a collection.

        Raises NotFound, Conflict if its vectors are of another one, InvalidInput.
        """
        meta = (await self.show(name)).meta
        made_by = await embedder()
        _require_source(meta, made_by.id)
        [vector] = await self._embedded([text], made_by, "text")
        return vector

    async def search(self, name: str, query: Query) -> list[Found]:
        """Return the nearest items, the nearest first. Raises NotFound, InvalidInput."""
        there = self._collection(name)
        for _ in range(_TRIES):
            if (found := await self._search(name, there, query)) is not None:
                return found
            async with there.lock:
                await self._ensure_read(name, there)
        async with there.lock:  # it changes all the time
            await self._ensure_read(name, there)
            if (found := await self._search(name, there, query)) is not None:
                return found
        raise Unavailable("The collection is being evicted.", hint="Let the site have more memory.")

    async def get(self, name: str, identifier: str) -> Item:
        """Return an item. Raises NotFound."""
        meta, [item] = await self._records.get(name, [identifier])
        if meta is None:
            raise _missing(name)
        if item is None:
            raise NotFound("There is no such item in this collection.")
        return item

    async def delete(self, name: str, ids: Sequence[str]) -> int:
        """Delete items by their ids. Returns how many there were. Raises NotFound."""
        there = self._collection(name)
        async with there.lock:
            if await self._records.meta(name) is None:
                raise self._gone(name)
            return await self._delete(name, there, ids)

    async def delete_with(self, name: str, by: Filter) -> int:
        """Delete the items that a filter admits. Returns how many there were. Raises NotFound."""
        there = self._collection(name)
        count = 0
        async with there.lock:
            index = await self._ensure_read(name, there)
            ids = await self._in_thread(index.admitted, by)
            for start in range(0, len(ids), _AT_ONCE):
                part = ids[start : start + _AT_ONCE]
                _, items = await self._records.get(name, part)
                # By what is stored: the index compares digests.
                admitted = [item.id for item in items if item and by.holds(item.attributes)]
                count += await self._delete(name, there, admitted)
        return count

    async def drop(self, name: str) -> None:
        """Delete a collection. Raises NotFound."""
        there = self._collection(name)
        async with there.lock:
            there.index = None
            if not await self._records.drop(name):
                raise self._gone(name)

    def tidy(self) -> None:
        """Let go of what nobody has used for some time."""
        oldest = time.monotonic() - _IDLE_SECONDS
        for name, each in list(self._open.items()):
            if each.used < oldest and not each.lock.locked():
                del self._open[name]

    # ── inside ───────────────────────────────────────────────────────────────

    def _collection(self, name: str) -> _Collection:
        there = self._open.setdefault(name, _Collection())
        there.used = time.monotonic()
        return there

    def _gone(self, name: str) -> NotFound:
        """Return the error of a collection that does not exist, and hold nothing of it."""
        if (there := self._open.get(name)) is not None:  # as another search has not found it, too
            there.used = float("-inf")  # ``tidy`` waits for whoever has its lock
        return _missing(name)

    async def _search(self, name: str, there: _Collection, query: Query) -> list[Found] | None:
        """Return what is found; None if the index is not that of what is stored."""
        index, stamp = there.index, there.stamp
        if index is None:
            return None
        if len(query.vector) != index.dim:
            await self._require_dim(name, query)
            return None
        nearest = await self._in_thread(index.search, query)
        meta, items = await self._records.get(name, [each.id for each in nearest])
        if meta is None:
            raise self._gone(name)
        there_now = [item for item in items if item is not None]
        if meta.stamp != stamp or len(there_now) < len(nearest):
            return None
        return [
            Found(item, near)
            for item, near in zip(there_now, nearest, strict=True)
            if query.filter is None or query.filter.holds(item.attributes)
        ]

    async def _require_dim(self, name: str, query: Query) -> None:
        meta = await self._records.meta(name)
        if meta is None:
            raise self._gone(name)
        model.require_width({"vector": query.vector}, meta.dim)

    async def _ensure_read(self, name: str, there: _Collection) -> Index:
        """Return the index, read again unless it is that of what is stored. Raises NotFound."""
        meta = await self._records.meta(name)
        if meta is None:
            there.index = None
            raise self._gone(name)
        if there.index is not None and there.stamp == meta.stamp:
            summary = await self._records.summary(name)
            if summary is not None and summary[1] == len(there.index):
                return there.index
        index = Index(meta.dim)
        async for part in self._records.every(name):
            await self._in_thread(
                index.add, [each for each in part if len(each.vector) == meta.dim]
            )
        there.index, there.stamp = index, meta.stamp
        return index

    async def _delete(self, name: str, there: _Collection, ids: Sequence[str]) -> int:
        if not ids:
            return 0
        count = await self._records.remove(name, ids)
        if there.index is not None:
            await self._in_thread(there.index.remove, ids)
        return count

    async def _vectors(
        self, items: Sequence[NewItem], embedder: "Callable[[], Awaitable[Embedder]]"
    ) -> tuple[list[Vector], str | None]:
        """Return a vector for each item, and the id of the embedder if it made them."""
        given = [each.vector for each in items if each.vector is not None]
        if given and len(given) < len(items):
            raise InvalidInput.of("items", "are all with a vector, or all without one")
        if given:
            return [model.unit(each, f"items.{at}.vector") for at, each in enumerate(given)], None
        texts = [each.text for each in items if each.text]
        if len(texts) < len(items):
            raise InvalidInput.of("items", "each have a vector, or a text that is embedded")
        if len(texts) > MOST_EMBEDDED:
            detail = f"are at most {MOST_EMBEDDED} if their texts are embedded"
            raise InvalidInput.of("items", detail)
        made_by = await embedder()
        return await self._embedded(texts, made_by, "items"), made_by.id

    async def _embedded(self, texts: Sequence[str], embedder: Embedder, field: str) -> list[Vector]:
        found: list[Vector] = []
        try:
            for start in range(0, len(texts), _EMBEDDED_AT_ONCE):
                async with self._embedding:
                    found += list(await embedder.embed(texts[start : start + _EMBEDDED_AT_ONCE]))
        except TextRefused as error:
            detail = f"has a text that the embedder refuses: {error}"
            raise InvalidInput.of(field, detail) from None
        except EmbedderFailed as error:
            raise Unavailable(f"The texts cannot be embedded now: {error}") from None
        return found

    async def _in_thread(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        async with self._turns:
            return await loop.run_in_executor(_threads, lambda: work(*args, **kwargs))


def _missing(name: str) -> NotFound:
    return NotFound(
        f"There is no collection {name}.",
        hint="The first vectors that are stored in it create it. A site whose memory was full, or "
        "that was restarted without aof, may have lost it.",
    )


def _require_source(meta: Meta, made_by: str | None) -> None:
    if meta.embedder == made_by:
        return
    if meta.embedder is None:
        detail = "The vectors of this collection are given by its programs, not made of texts."
    elif made_by is None:
        detail = "The vectors of this collection are made of texts by the embedder."
    else:
        detail = "The vectors of this collection are of another embedder."
    raise Conflict(
        detail,
        hint="Vectors of several models cannot be compared: do as at first, or choose another "
        "collection.",
    )
