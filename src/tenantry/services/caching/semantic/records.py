"""What a site's Redis stores of its questions: vectors, recorded hits, judgements and counts.

    cache:{id}:vector:{embedder}:{entry}   a question with its vector; expires with its entry
    cache:{id}:semantic:{embedder}:hits    a stream of hits that nobody has judged, the newest ones
    …:judged                              a list of "cosine right", the newest first
    …:counts                              searches, hits by hundredth of their cosine, vetoes
    …:policy                              the certified threshold

``{embedder}`` is a digest of the embedder's id. What is read and malformed, as another version may
have written it, counts as missing.
"""

import base64
import hashlib
import random
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from redis.exceptions import RedisError

from tenantry.base.errors import Unavailable
from tenantry.services.caching.semantic.model import EmbedderFailed, Hit, Policy, checked
from tenantry_cache.rules.nearness import Vectors

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

_AT_ONCE = 1000
_MOST_HITS = 1000
_MOST_JUDGED = 10_000
_HIT_SECONDS = 30 * 24 * 3600  # questions are personal data
_HIT_ID = re.compile(r"\d{1,20}-\d{1,20}")
_GONE = -2  # PTTL of a missing key


@dataclass(frozen=True, slots=True)
class Stored:
    """A question as it is stored with its vector."""

    entry_id: str
    partition: str
    text: str
    vector: Vectors


class Records:
    """The records of one site and one embedder. Every method raises Unavailable without Redis.

    ``redis`` decodes its answers; ``entry_key`` returns the key of an entry.
    """

    def __init__(
        self,
        redis: "Redis",
        site_id: uuid.UUID,
        entry_key: Callable[[str], str],
        *,
        embedder_id: str,
        dim: int,
    ) -> None:
        self._redis: Any = redis  # its annotations do not know that answers are decoded
        self._entry_key = entry_key
        self._dim = dim
        embedder = hashlib.sha256(embedder_id.encode()).hexdigest()[:12]
        self._vectors = f"cache:{site_id}:vector:{embedder}:"
        self._of_site = f"cache:{site_id}:semantic:{embedder}"
        self._hits, self._judged = f"{self._of_site}:hits", f"{self._of_site}:judged"
        self._counts, self._policy = f"{self._of_site}:counts", f"{self._of_site}:policy"

    # ── vectors ──────────────────────────────────────────────────────────────

    async def put(self, stored: Stored) -> bool:
        """Store a vector for as long as its entry exists. Returns whether the entry does."""
        key = self._vectors + stored.entry_id
        fields = {
            "partition": stored.partition,
            "text": stored.text,
            "vector": base64.b64encode(stored.vector.astype("<f2").tobytes()).decode(),
        }
        with _answering():
            left = await self._redis.pttl(self._entry_key(stored.entry_id))
            if left == _GONE:
                return False
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping=fields)
                _expire(pipe, key, left)
                await pipe.execute()
        return True

    async def get(self, entry_id: str) -> tuple[Stored | None, Policy]:
        """Return a stored vector and the policy in force; None, and no vector, without its entry.

        The vector expires with its entry from now on, should that live longer than before.
        """
        key = self._vectors + entry_id
        with _answering():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(key)
                pipe.pttl(self._entry_key(entry_id))
                pipe.get(self._policy)
                fields, left, policy = await pipe.execute()
            stored = self._read(entry_id, fields)
            async with self._redis.pipeline(transaction=False) as pipe:
                if stored is None or left == _GONE:
                    stored = None
                    pipe.unlink(key)
                else:
                    _expire(pipe, key, left)
                await pipe.execute()
        return stored, Policy.read(policy)

    async def remove(self, entry_ids: Sequence[str]) -> None:
        """Delete vectors, those that exist."""
        if entry_ids:
            with _answering():
                await self._redis.unlink(*(self._vectors + each for each in entry_ids))

    async def every(self) -> AsyncIterator[list[Stored]]:
        """Yield all vectors, in parts. What was written meanwhile can be missing or come twice."""
        with _answering():
            keys: list[str] = []
            async for key in self._redis.scan_iter(match=f"{self._vectors}*", count=_AT_ONCE):
                keys.append(key)
                if len(keys) == _AT_ONCE:
                    yield await self._part(keys)
                    keys = []
            yield await self._part(keys)

    async def missing(self, entry_ids: Sequence[str]) -> list[str]:
        """Return those of the vectors that do not exist."""
        found: list[str] = []
        with _answering():
            for start in range(0, len(entry_ids), _AT_ONCE):
                part = entry_ids[start : start + _AT_ONCE]
                async with self._redis.pipeline(transaction=False) as pipe:
                    for each in part:
                        pipe.exists(self._vectors + each)
                    there = await pipe.execute()
                found += [each for each, is_there in zip(part, there, strict=True) if not is_there]
        return found

    async def _part(self, keys: Sequence[str]) -> list[Stored]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key)
            answers = await pipe.execute(raise_on_error=False)
        read = [
            self._read(key.removeprefix(self._vectors), fields)
            for key, fields in zip(keys, answers, strict=True)
        ]
        return [each for each in read if each is not None]

    def _read(self, entry_id: str, fields: Any) -> Stored | None:
        try:
            raw = np.frombuffer(base64.b64decode(fields["vector"], validate=True), dtype="<f2")
            [vector] = checked([raw], count=1, dim=self._dim)
            return Stored(entry_id, fields["partition"], fields["text"], vector)
        except (EmbedderFailed, KeyError, TypeError, ValueError):
            return None

    # ── hits and judgements ──────────────────────────────────────────────────

    async def count(self, *names: str) -> None:
        """Add one to each of these counts."""
        with _answering():
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hincrby(self._counts, name, 1)
                await pipe.execute()

    async def record(self, hit: Hit) -> str:
        """Record a hit, in place of the oldest if there are many. Returns its identifier."""
        fields = {
            "asked": hit.asked,
            "stored": hit.stored,
            "entry": hit.entry_id,
            "cosine": f"{hit.cosine:.4f}",
            "served": int(hit.served),
        }
        with _answering():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xadd(self._hits, fields, maxlen=_MOST_HITS, approximate=False)
                pipe.expire(self._hits, _HIT_SECONDS)
                identifier, _ = await pipe.execute()
        return str(identifier)

    async def unjudged(self, most: int) -> list[Hit]:
        """Return some of the recorded hits, drawn by lot: a judgement of them is one of all."""
        with _answering():
            rows = await self._redis.xrange(self._hits)
        found = [hit for identifier, fields in rows if (hit := _hit(identifier, fields))]
        return random.sample(found, min(most, len(found)))

    async def judge(self, hit_id: str, *, right: bool) -> bool:
        """Turn a recorded hit into a judgement, without its texts. Returns whether there was one.

        A hit that is judged twice at once counts once.
        """
        if not _HIT_ID.fullmatch(hit_id):
            return False
        with _answering():
            rows = await self._redis.xrange(self._hits, hit_id, hit_id)
            hit = _hit(*rows[0]) if rows else None
            if not await self._redis.xdel(self._hits, hit_id) or hit is None:
                return False
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.lpush(self._judged, f"{hit.cosine:.4f} {int(right)}")
                pipe.ltrim(self._judged, 0, _MOST_JUDGED - 1)
                await pipe.execute()
        return True

    async def judged(self) -> list[tuple[float, bool]]:
        """Return the cosine of each judged hit, and whether it was right."""
        with _answering():
            texts: list[str] = await self._redis.lrange(self._judged, 0, -1)
        matches = (re.fullmatch(r"(-?[01]\.\d{4}) ([01])", text) for text in texts)
        return [(float(match[1]), match[2] == "1") for match in matches if match]

    async def counts(self) -> tuple[Mapping[str, int], int]:
        """Return the counts by name, and how many hits are not judged."""
        with _answering():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(self._counts)
                pipe.xlen(self._hits)
                counts, unjudged = await pipe.execute()
        return {name: int(text) for name, text in counts.items() if text.isdecimal()}, unjudged

    # ── the policy ───────────────────────────────────────────────────────────

    async def policy(self) -> Policy:
        with _answering():
            return Policy.read(await self._redis.get(self._policy))

    async def set_policy(self, policy: Policy) -> None:
        with _answering():
            await self._redis.set(self._policy, policy.written())

    async def forget(self) -> None:
        """Delete the hits, judgements, counts and the policy."""
        with _answering():
            await self._redis.unlink(self._hits, self._judged, self._counts, self._policy)


@contextmanager
def _answering() -> Iterator[None]:
    """Raise Unavailable for what goes wrong with Redis."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable(f"The site's Redis does not answer: {error}.") from error


def _expire(pipe: "Pipeline", key: str, left: int) -> None:
    """Let a key expire in so many milliseconds; -1: never."""
    if left < 0:
        pipe.persist(key)
    else:
        pipe.pexpire(key, max(1, left))


def _hit(identifier: str, fields: Mapping[str, str]) -> Hit | None:
    try:
        return Hit(
            id=identifier,
            asked=fields["asked"],
            stored=fields["stored"],
            entry_id=fields["entry"],
            cosine=float(fields["cosine"]),
            served=fields["served"] == "1",
        )
    except (KeyError, ValueError):
        return None
