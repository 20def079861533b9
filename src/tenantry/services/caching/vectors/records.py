"""What a site's Redis stores of a collection of vectors.

    cache:{id}:vec:{collection}    a hash: the items by their ids; what holds of all, by ""

A collection is one key, which is evicted as a whole or not at all, and each change of it is one
command; what adds items writes another stamp, too. The site's own programs reach it neither to
read nor to write, like all keys of the cache: values of any size could be there.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from tenantry.services.caching.failures import answering
from tenantry.services.caching.vectors.model import Item, Meta

if TYPE_CHECKING:
    from redis.asyncio import Redis

_META = ""  # no item has this id
_AT_ONCE = 500


class Records:
    """The collections of one site. Every method raises Unavailable without Redis.

    ``redis`` decodes its answers.
    """

    def __init__(self, redis: "Redis", site_id: uuid.UUID) -> None:
        self._redis: Any = redis  # its annotations do not know that answers are decoded
        self._prefix = f"cache:{site_id}:vec:"

    async def names(self) -> list[str]:
        """Return the names of all collections, sorted. An index of them could be evicted."""
        with answering():
            keys = self._redis.scan_iter(match=f"{self._prefix}*", count=_AT_ONCE)
            return sorted({key.removeprefix(self._prefix) async for key in keys})

    async def summary(self, name: str) -> tuple[Meta, int] | None:
        """Return what holds of a collection, and how many items it has; None without it."""
        key = self._prefix + name
        with answering():
            # Not in a transaction: Redis refuses every one while its memory is full.
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hget(key, _META)
                pipe.hlen(key)
                written, count = await pipe.execute()
        meta = Meta.read(written)
        return None if meta is None else (meta, count - 1)

    async def meta(self, name: str) -> Meta | None:
        with answering():
            return Meta.read(await self._redis.hget(self._prefix + name, _META))

    async def put(self, name: str, meta: Meta, items: Sequence[Item]) -> None:
        """Store items and the collection's new stamp: all or nothing."""
        fields = {_META: meta.written()} | {each.id: each.written() for each in items}
        with answering():
            await self._redis.hset(self._prefix + name, mapping=fields)

    async def get(self, name: str, ids: Sequence[str]) -> tuple[Meta | None, list[Item | None]]:
        """Return what holds of a collection, and items by their ids, of one moment."""
        with answering():
            written = await self._redis.hmget(self._prefix + name, [_META, *ids])
        items = [
            Item.read(each, text) if text else None
            for each, text in zip(ids, written[1:], strict=True)
        ]
        return Meta.read(written[0]), items

    async def every(self, name: str) -> AsyncIterator[list[Item]]:
        """Yield all items, in parts. An item can come twice, or be missing if it is new."""
        cursor = 0
        while True:
            with answering():
                cursor, fields = await self._redis.hscan(
                    self._prefix + name, cursor, count=_AT_ONCE
                )
            read = [Item.read(each, text) for each, text in fields.items() if each != _META]
            yield [item for item in read if item is not None]
            if not cursor:
                return

    async def remove(self, name: str, ids: Sequence[str]) -> int:
        """Delete items. Returns how many there were. Redis does it also in a full memory."""
        with answering():
            return int(await self._redis.hdel(self._prefix + name, *ids))

    async def drop(self, name: str) -> bool:
        """Delete a collection. Returns whether there was one."""
        with answering():
            return bool(await self._redis.unlink(self._prefix + name))
