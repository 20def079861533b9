"""What is stored in a Redis alone, what callers give for it, and what is done for a request."""

import json
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from tenantry_cache.requests import CacheError, Json
from tenantry_cache.rules import questions

T = TypeVar("T")

INVALID, MISSING = 422, 404  # as the platform answers
_MOST_ATTRIBUTES, _LONGEST_NAME, _LONGEST_VALUE = 20, 200, 1000

Command = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands for Redis, whose answers are wanted in their order.

    ``atomic`` ones are executed together. A ``lenient`` one may fail, as in a full memory.
    """

    each: Sequence[Command]
    atomic: bool = False
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class Embed:
    """A text whose vector is wanted; an empty one if there is none."""

    text: str


Program = Generator[Commands | Embed, Any, T]


@dataclass(frozen=True, slots=True)
class Entry:
    """A question with its answer, as the platform stores it but for what providers count."""

    prompt: str
    scope: str
    attributes: Mapping[str, str]
    response: str = ""
    ttl_ms: int = questions.DEFAULT_TTL_MS
    sliding: bool = False

    @property
    def id(self) -> str:
        return questions.entry_id(self.prompt, self.scope, self.attributes)

    def is_beside(self, other: "Entry") -> bool:
        """Whether only the prompts and answers can differ."""
        return self.scope == other.scope and self.attributes == other.attributes

    def written(self) -> str:
        """Return the entry as it is stored."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def read(cls, text: str | None) -> "Entry | None":
        """Return a stored entry; None if it is none, such as one of another version."""
        try:
            kept = json.loads(text or "null")
            return cls(
                str(kept["prompt"]),
                str(kept["scope"]),
                dict(kept["attributes"]),
                str(kept["response"]),
                int(kept["ttl_ms"]),
                bool(kept["sliding"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None


# ── what callers give ────────────────────────────────────────────────────────


def asked_in(body: Json) -> Entry:
    """Return the question of a request. Raises CacheError."""
    prompt = body["prompt"]
    if not isinstance(prompt, str) or not prompt:
        raise CacheError("The prompt is no text, or empty.", INVALID)
    try:
        scope = questions.scope_digest(body.get("scope"))
    except RecursionError:
        raise CacheError("The scope is nested too deeply.", INVALID) from None
    return Entry(prompt, scope, attributes_in(body))


def stored_in(body: Json) -> Entry:
    """Return the entry that a request stores. Raises CacheError."""
    asked, response = asked_in(body), body["response"]
    if not isinstance(response, str):
        raise CacheError("The response is no text.", INVALID)
    ttl_ms = require_ttl(body.get("ttlMillis", questions.DEFAULT_TTL_MS))
    sliding = bool(body["sliding"])
    return Entry(asked.prompt, asked.scope, asked.attributes, response, ttl_ms, sliding)


def attributes_in(body: Json) -> Mapping[str, str]:
    """Return the attributes of a request. Raises CacheError."""
    given = dict(body.get("attributes") or {})
    is_usable = len(given) <= _MOST_ATTRIBUTES and all(
        isinstance(name, str)
        and isinstance(value, str)
        and 0 < len(name) <= _LONGEST_NAME
        and len(value) <= _LONGEST_VALUE
        for name, value in given.items()
    )
    if not is_usable:
        raise CacheError(
            f"Attributes are up to {_MOST_ATTRIBUTES} texts of up to {_LONGEST_VALUE} characters,"
            f" by names of up to {_LONGEST_NAME}.",
            INVALID,
        )
    return given


def require_ttl(ttl_ms: int) -> int:
    """Return how long something lives. Raises CacheError."""
    if not 0 < ttl_ms <= questions.LONGEST_TTL_MS:
        raise CacheError("What is stored lives at least a millisecond and at most a year.", INVALID)
    return ttl_ms


def now_ms() -> int:
    return int(time.time() * 1000)
