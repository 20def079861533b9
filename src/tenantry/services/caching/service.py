"""The cache of one site, in its own Redis.

All keys begin with ``cache:{id}:``, where the site's own programs may neither read nor write: they
could forge answers, limits that are spent, and values of any type or size. Keys with an expiry can
be evicted; the counts have none, and stay.
"""

import datetime as dt
import json
import re
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from redis.asyncio import BlockingConnectionPool, Redis, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tenantry.base.errors import TooManyRequests, Unavailable
from tenantry.base.secrets import Secret
from tenantry.services.caching.failures import answering
from tenantry.services.caching.metering import Meter
from tenantry.services.caching.model import (
    Answer,
    Entry,
    Message,
    Question,
    Stats,
)
from tenantry_cache.rules.questions import MOST_ENTRY_BYTES, MOST_MESSAGES

log = structlog.get_logger()

_CONNECT_SECONDS, _ANSWER_SECONDS = 0.5, 2.0
_CONNECTIONS = 16  # of those that the site may have
_AT_ONCE = 500  # keys in one command
_MINUTE, _DAY = 60, 24 * 3600
_ENTRY_ID = re.compile(r"[0-9a-f]{32}")


def connected(socket: str, username: str, password: Secret) -> "Redis":
    """Return a client of a Redis, by its Unix socket. It connects when it is first used."""
    pool = BlockingConnectionPool(
        connection_class=UnixDomainSocketConnection,
        path=socket,
        username=username,
        password=password.reveal(),
        decode_responses=True,
        encoding_errors="backslashreplace",  # of lone surrogates
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 1),  # a connection that has ended since its last use
        max_connections=_CONNECTIONS,
        timeout=_ANSWER_SECONDS,  # for one of them
    )
    return Redis.from_pool(pool)


class SiteCache:
    """What a site has stored. All but ``find`` raise Unavailable if its Redis does not answer."""

    def __init__(self, site_id: uuid.UUID, redis: "Redis", meter: Meter | None = None) -> None:
        """Without a ``meter`` that is the same for all requests, Redis alone counts them."""
        self._meter = meter or Meter()
        self._site = f"cache:{site_id}"
        self._redis: Any = redis  # by its annotations it returns bytes or str, whatever it decodes

    # ── entries ──────────────────────────────────────────────────────────────

    async def find(self, question: Question) -> Entry | None:
        """Return the entry of a question, and count it as a hit or as a miss.

        Returns None also while Redis does not answer: a miss is never wrong.
        """
        try:
            return await self._find(question)
        except Unavailable as error:
            log.warning("cache.unavailable", site=self._site, error=error.detail)
            return None

    async def _find(self, question: Question) -> Entry | None:
        key = self.entry_key(question.entry_id)
        with answering():
            found = Entry.read(text) if (text := await self._redis.get(key)) else None
            if found is not None and found.question.scope != question.scope:
                found = None  # two questions with the same digest: never seen
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hincrby(self._stats, "misses" if found is None else "exact_hits", 1)
                if found is not None:
                    pipe.hincrby(self._stats, "tokens_saved", found.answer.tokens)
                    if found.answer.sliding:
                        pipe.pexpire(key, found.answer.ttl_ms)
                await pipe.execute()
        return found

    async def find_similar(self, question: Question, entry_id: str) -> Entry | None:
        """Return the entry of a question that means the same; counted in place of a miss.

        None if it is gone, or is not of the same scope and attributes, or Redis does not answer.
        """
        key = self.entry_key(entry_id)
        with suppress(Unavailable), answering():
            found = Entry.read(text) if (text := await self._redis.get(key)) else None
            if found is None or not found.question.is_beside(question):
                return None
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hincrby(self._stats, "misses", -1)
                pipe.hincrby(self._stats, "semantic_hits", 1)
                pipe.hincrby(self._stats, "tokens_saved", found.answer.tokens)
                if found.answer.sliding:
                    pipe.pexpire(key, found.answer.ttl_ms)
                await pipe.execute()
            return found
        return None

    async def store(self, question: Question, answer: Answer) -> Entry | None:
        """Store an answer, in place of an earlier one. Returns None if it is too large for that."""
        entry = Entry(question, answer)
        text = entry.written()
        if len(text) > MOST_ENTRY_BYTES:
            return None
        with answering():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(self.entry_key(entry.id), text, px=answer.ttl_ms)
                pipe.hincrby(self._stats, "stored", 1)
                await pipe.execute()
        return entry

    async def delete(self, entry_id: str) -> bool:
        """Delete an entry. Returns whether there was one."""
        with answering():
            is_one = _ENTRY_ID.fullmatch(entry_id) is not None
            return is_one and bool(await self._redis.unlink(self.entry_key(entry_id)))

    async def delete_with(self, attributes: Mapping[str, str]) -> int:
        """Delete the entries that have all of these attributes. Returns how many there were.

        It reads all entries, so that none is missed: an index of them could be evicted.
        """
        count = 0
        with answering():
            async for keys in self._keys("entry"):
                texts = await self._redis.mget(keys)
                found = [
                    key
                    for key, text in zip(keys, texts, strict=True)
                    if text and (entry := Entry.read(text)) and entry.has(attributes)
                ]
                count += await self._redis.unlink(*found) if found else 0
        return count

    async def flush(self) -> None:
        """Delete all entries, embeddings and counts; not conversations, nor a program's keys."""
        with answering():
            for kind in ("entry", "embedding"):
                async for keys in self._keys(kind):
                    await self._redis.unlink(*keys)
            await self._redis.unlink(self._stats)

    async def judge(self, entry_id: str, *, correct: bool) -> bool:
        """Count whether an answer was right; a wrong one is deleted. Returns whether it exists."""
        with answering():
            if _ENTRY_ID.fullmatch(entry_id) is None:
                return False
            key = self.entry_key(entry_id)
            there = await (self._redis.exists(key) if correct else self._redis.unlink(key))
            if there:
                name = "judged_right" if correct else "judged_wrong"
                await self._count(name, 1)
            return bool(there)

    async def note_bypass(self) -> None:
        """Count a request that the cache was not asked for."""
        with answering():
            await self._count("bypassed", 1)

    async def stats(self) -> Stats:
        with answering():
            counts = await self._redis.hgetall(self._stats)
            memory = await self._redis.info("memory")
            server = await self._redis.info("stats")
        return Stats(
            {name: int(text) for name, text in sorted(counts.items()) if text.isdecimal()},
            memory["used_memory"],
            memory["maxmemory"],
            server["evicted_keys"],
        )

    # ── embeddings ───────────────────────────────────────────────────────────

    async def embeddings(self, digests: Sequence[str]) -> list[object | None]:
        """Return stored embeddings, lists of numbers or their base64; None for a missing one."""
        if not digests:
            return []
        with answering():
            texts = await self._redis.mget([self._key("embedding", each) for each in digests])
        return [_embedding(text) for text in texts]

    async def store_embeddings(self, found: Mapping[str, object], ttl_ms: int) -> None:
        with answering():
            async with self._redis.pipeline(transaction=False) as pipe:
                for each, embedding in found.items():
                    pipe.set(self._key("embedding", each), json.dumps(embedding), px=ttl_ms)
                await pipe.execute()

    # ── conversations ────────────────────────────────────────────────────────

    async def append(self, session: str, messages: Sequence[Message], ttl_ms: int) -> int:
        """Add messages to a conversation, which lives so long from now. Returns how many it has."""
        key = self._key("history", session)
        with answering():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.rpush(key, *(each.written() for each in messages))
                pipe.ltrim(key, -MOST_MESSAGES, -1)
                pipe.pexpire(key, ttl_ms)
                pipe.llen(key)
                *_, count = await pipe.execute()
        return int(count)

    async def conversation(self, session: str) -> list[Message]:
        """Return the messages of a conversation, the oldest first; none if there is no such one."""
        with answering():
            texts = await self._redis.lrange(self._key("history", session), 0, -1)
        return [found for text in texts if (found := Message.read(text)) is not None]

    async def forget(self, session: str) -> bool:
        """Delete a conversation. Returns whether there was one."""
        with answering():
            return bool(await self._redis.unlink(self._key("history", session)))

    # ── limits ───────────────────────────────────────────────────────────────

    async def take(self, *, requests_per_minute: int | None, tokens_per_day: int | None) -> None:
        """Count a request to the provider. Raises TooManyRequests if a limit is reached.

        While Redis is full or away, what this process has counted decides.
        """
        now = dt.datetime.now(dt.UTC)
        second, today = int(now.timestamp()), now.date().isoformat()
        if requests_per_minute is not None:
            minute = str(second // _MINUTE)
            count = self._meter.requests.add(minute, 1)
            with suppress(Unavailable), answering():
                key = self._key("minute", minute)
                async with self._redis.pipeline(transaction=True) as pipe:
                    pipe.incr(key)
                    pipe.expire(key, 2 * _MINUTE)
                    stored, _ = await pipe.execute()
                count = self._meter.requests.raise_to(minute, stored)
            if count > requests_per_minute:
                raise TooManyRequests(
                    f"The site may send {requests_per_minute} requests a minute.",
                    seconds=_MINUTE - second % _MINUTE,
                )
        if tokens_per_day is not None:
            with suppress(Unavailable), answering():
                spent = await self._redis.hget(self._spent, today)
                self._meter.tokens.raise_to(today, int(spent or 0))
            if self._meter.tokens.add(today, 0) >= tokens_per_day:
                raise TooManyRequests(
                    f"The site has used its {tokens_per_day} tokens of today (UTC).",
                    seconds=_DAY - second % _DAY,
                )

    async def spend(self, tokens: int) -> None:
        """Add tokens that the provider has counted to those of today."""
        if tokens == 0:
            return
        today = dt.datetime.now(dt.UTC).date().isoformat()
        self._meter.tokens.add(today, tokens)
        with answering():
            spent = await self._redis.hincrby(self._spent, today, tokens)
            if spent == tokens:  # the first of a day: the counts of earlier ones are not needed
                days = await self._redis.hkeys(self._spent)
                if old := [day for day in days if day < today]:
                    await self._redis.hdel(self._spent, *old)

    # ── keys ─────────────────────────────────────────────────────────────────

    def _key(self, kind: str, name: str) -> str:
        return f"{self._site}:{kind}:{name}"

    def entry_key(self, entry_id: str) -> str:
        """Return the key of an entry."""
        return self._key("entry", entry_id)

    @property
    def _stats(self) -> str:
        return f"{self._site}:stats"

    @property
    def _spent(self) -> str:
        return f"{self._site}:spent"

    async def _count(self, name: str, by: int) -> None:
        await self._redis.hincrby(self._stats, name, by)

    async def _keys(self, kind: str) -> AsyncIterator[list[str]]:
        """Yield the keys of a kind, in parts."""
        part: list[str] = []
        async for key in self._redis.scan_iter(match=self._key(kind, "*"), count=_AT_ONCE):
            part.append(key)
            if len(part) == _AT_ONCE:
                yield part
                part = []
        if part:
            yield part


def _embedding(text: str | None) -> object | None:
    """Return a stored embedding; None if there is none that can be read."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
