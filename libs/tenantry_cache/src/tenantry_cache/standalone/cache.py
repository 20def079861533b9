"""The requests of the clients, answered with a Redis alone. Pure: what to do is yielded.

Keys, all of which begin with the prefix:

    entry:{id}                  a question with its answer
    questions:{model}:{scope}   a stream: the questions of one scope, with their vectors
    names                       the names of both, by the time at which they expire
    history:{session}           the turns of a conversation
    stats                       counts

An entry is given only while ``names`` has it. So deleting those with some attributes, or all,
misses none, although Redis may evict any key, and SCAN is not used, which sites of the platform
refuse. Both are stored together, and the name is deleted last: what is left when a client is killed
is found by the next deletion.
What a stream has is only where to look, as an entry has its question.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tenantry_cache.requests import CacheError, Json, Request
from tenantry_cache.rules import guards, questions
from tenantry_cache.standalone.conversations import Conversations
from tenantry_cache.standalone.model import (
    INVALID,
    MISSING,
    Command,
    Commands,
    Embed,
    Entry,
    Program,
    asked_in,
    attributes_in,
    now_ms,
    stored_in,
)

if TYPE_CHECKING:
    from tenantry_cache.standalone.similar import Similar

_AT_ONCE = 500  # keys in one command
_READ_AT_ONCE = 1000  # questions
_HOUR_MS = 3_600_000  # by which the clocks of clients may differ
_ENTRY, _NAMES, _STATS = "entry:", "names", "stats"
_ENTRY_ID = re.compile(r"[0-9a-f]{32}")


class Standalone:
    """A cache in a Redis. Without ``similar`` questions are found by their exact text only."""

    def __init__(self, prefix: str, similar: "Similar | None" = None) -> None:
        self._prefix = prefix
        self._similar = similar
        self._conversations = Conversations(prefix)

    def answer(self, request: Request) -> Program[Json]:
        """Answer a request as the platform does. Raises CacheError for a refusal."""
        url, body = urlsplit(request.path), request.body or {}
        match [request.method, *map(unquote, url.path.split("/")[1:])]:
            case [method, "entries", *rest]:
                return self._of_entries(method, rest, body)
            case [method, "history", session]:
                return self._conversations.answer(method, session, url.query, body)
            case ["POST", "flush"]:
                return self._flush()
            case ["GET", "stats"]:
                return self._stats()
        raise CacheError(
            "A cache in a Redis alone has no vectors. Use a site of the platform for them.",
            MISSING,
        )

    def _of_entries(self, method: str, path: Sequence[str], body: Json) -> Program[Json]:
        match [method, *path]:
            case ["POST", "search"]:
                return self._search(asked_in(body))
            case ["POST", entry_id, "feedback"]:
                return self._judge(entry_id, correct=bool(body["correct"]))
            case ["DELETE", entry_id]:
                return self._delete(entry_id)
            case ["DELETE"]:
                return self._delete_with(attributes_in(body))
        return self._store(stored_in(body))

    # ── entries ──────────────────────────────────────────────────────────────

    def _search(self, asked: Entry) -> Program[Json]:
        found, nearness = (yield from self._entry(asked.id)), 1.0
        if found is not None and not found.is_beside(asked):
            found = None  # two questions with the same digest: never seen
        counted = "misses" if found is None else "exact_hits"
        if found is None and self._similar is not None:
            similar = yield from self._nearest(asked, self._similar)
            if similar is not None:
                (found, nearness), counted = similar, "semantic_hits"
        commands = [self._count(counted)]
        if found is not None and found.sliding:
            commands += self._extended(found)
        yield Commands(commands, lenient=True)
        if found is None:
            return {"data": []}
        row = {
            "id": found.id,
            "prompt": found.prompt,
            "response": found.response,
            "attributes": found.attributes,
            "similarity": round(nearness, 4),
            "searchStrategy": "semantic" if counted == "semantic_hits" else "exact",
        }
        return {"data": [row]}

    def _entry(self, entry_id: str) -> Program[Entry | None]:
        name = f"{_ENTRY}{entry_id}"
        text, listed = yield Commands(
            [("GET", self._key(name)), ("ZSCORE", self._key(_NAMES), name)]
        )
        return None if listed is None else Entry.read(text)

    def _store(self, entry: Entry) -> Program[Json]:
        text, name, now = entry.written(), f"{_ENTRY}{entry.id}", now_ms()
        if len(text) > questions.MOST_ENTRY_BYTES:
            raise CacheError("The answer is longer than 1 MiB with its prompt.", INVALID)
        yield Commands(
            [
                ("SET", self._key(name), text, "PX", entry.ttl_ms),
                ("ZADD", self._key(_NAMES), now + entry.ttl_ms, name),
                ("ZREMRANGEBYSCORE", self._key(_NAMES), "-inf", now - _HOUR_MS),
                self._count("stored"),
            ],
            atomic=True,
        )
        if self._similar is not None:
            yield from self._add_question(entry, self._similar)
        return {"entryId": entry.id}

    def _delete(self, entry_id: str) -> Program[Json]:
        is_one = _ENTRY_ID.fullmatch(entry_id) is not None
        if not is_one or not (yield from self._remove([f"{_ENTRY}{entry_id}"])):
            raise CacheError("There is no such entry.", MISSING)
        return {}

    def _delete_with(self, attributes: Mapping[str, str]) -> Program[Json]:
        if not attributes:
            raise CacheError("No attributes: flush deletes all entries.", INVALID)
        count, names = 0, (yield from self._names())
        for part in _parts([each for each in names if each.startswith(_ENTRY)]):
            [texts] = yield Commands([("MGET", *map(self._key, part))])
            found = [
                each
                for each, text in zip(part, texts, strict=True)
                if (entry := Entry.read(text)) is not None
                and attributes.items() <= entry.attributes.items()
            ]
            count += yield from self._remove(found)
        return {"deletedEntriesCount": count}

    def _judge(self, entry_id: str, *, correct: bool) -> Program[Json]:
        if not correct:
            yield from self._delete(entry_id)
        elif (yield from self._entry(entry_id)) is None:
            raise CacheError("There is no such entry.", MISSING)
        count = self._count("judged_right" if correct else "judged_wrong")
        yield Commands([count], lenient=True)
        return {}

    def _flush(self) -> Program[Json]:
        for part in _parts((yield from self._names())):
            yield from self._remove(part)
        yield Commands([("UNLINK", self._key(_STATS))])
        if self._similar is not None:
            self._similar.clear()
        return {}

    def _remove(self, names: Sequence[str]) -> Program[int]:
        """Delete what is listed, and then its name. Returns how much of it there was."""
        if not names:
            return 0
        # No transaction: in a full memory Redis refuses all commands of one, even these.
        count, _ = yield Commands(
            [("UNLINK", *map(self._key, names)), ("ZREM", self._key(_NAMES), *names)]
        )
        return int(count)

    def _stats(self) -> Program[Json]:
        [texts] = yield Commands([("HGETALL", self._key(_STATS))])
        counts = {name: int(text) for name, text in sorted(texts.items()) if text.isdecimal()}
        hits = counts.get("exact_hits", 0) + counts.get("semantic_hits", 0)
        asked = hits + counts.get("misses", 0)
        unknown = dict.fromkeys(("used_bytes", "most_bytes", "evicted"))
        return {"counts": counts, "hit_rate": hits / asked if asked else None, **unknown}

    # ── similar questions ────────────────────────────────────────────────────

    def _nearest(self, asked: Entry, similar: "Similar") -> Program[tuple[Entry, float] | None]:
        """Return the entry whose answer may be given, with its similarity."""
        vector = yield from self._vector(asked, similar)
        if vector is None:
            return None
        stream = yield from self._read_stream(asked, similar)
        for entry_id, nearness in similar.nearest(stream, vector):
            found = yield from self._entry(entry_id)
            if found is None or not found.is_beside(asked):
                similar.forget(stream, entry_id)
                continue
            return None if guards.vetoes(found.prompt, asked.prompt) else (found, nearness)
        return None

    def _add_question(self, entry: Entry, similar: "Similar") -> Program[None]:
        # Here, as it needs numpy, which those without an embedder may not have.
        from tenantry_cache.standalone.similar import addition  # noqa: PLC0415

        vector = yield from self._vector(entry, similar)
        if vector is None:
            return
        stream = yield from self._read_stream(entry, similar)
        key = self._key(stream)
        # Listed first: a stream that no name leads to would outlive a flush.
        commands: list[Command] = [
            ("ZADD", self._key(_NAMES), "GT", now_ms() + entry.ttl_ms, stream)
        ]
        if not similar.has(stream, entry.id):
            commands.append(addition(key, entry.id, vector))
        commands += [("PEXPIRE", key, entry.ttl_ms, each) for each in ("NX", "GT")]
        yield Commands(commands, lenient=True)

    def _vector(self, asked: Entry, similar: "Similar") -> Program[Any]:
        text = questions.normalised(asked.prompt)
        if (known := similar.known(text)) is not None:
            return known
        if not similar.may_embed(text):
            return None
        return similar.keep(text, (yield Embed(text)))

    def _read_stream(self, asked: Entry, similar: "Similar") -> Program[str]:
        """Read what was added to the questions of a scope. Returns the name of their stream."""
        stream = similar.stream(asked.scope, asked.attributes)
        key = self._key(stream)
        while True:
            after = similar.last(stream)
            start = "-" if after is None else f"({after}"
            found, length = yield Commands(
                [("XRANGE", key, start, "+", "COUNT", _READ_AT_ONCE), ("XLEN", key)]
            )
            if similar.is_longer(stream, length):
                similar.forget(stream)
                continue
            similar.read(stream, after, found)
            if len(found) < _READ_AT_ONCE:
                return stream

    # ── keys ─────────────────────────────────────────────────────────────────

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _names(self) -> Program[list[str]]:
        [names] = yield Commands([("ZRANGE", self._key(_NAMES), 0, -1)])
        return list(names)

    def _count(self, name: str) -> Command:
        return ("HINCRBY", self._key(_STATS), name, 1)

    def _extended(self, entry: Entry) -> list[Command]:
        """Return what lets an entry that was used live as long again, with its question."""
        names = [f"{_ENTRY}{entry.id}"]
        if self._similar is not None:
            names.append(self._similar.stream(entry.scope, entry.attributes))
        until = now_ms() + entry.ttl_ms
        # Only what is listed: another client may have deleted it just now.
        return [
            *(("ZADD", self._key(_NAMES), "XX", "GT", until, each) for each in names),
            *(("PEXPIRE", self._key(each), entry.ttl_ms, "GT") for each in names),
        ]


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE))
