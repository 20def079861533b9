"""What the clients send, and what they read of the answers. Pure."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Json = Mapping[str, Any]

_OK = 300
_NOT_FOUND = 404
_TEMPORARY = 500
_TOO_MANY = 429


class CacheError(Exception):
    """The cache refused a request; ``status`` is that of HTTP, None if it did not answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status is None or self.status == _TOO_MANY or self.status >= _TEMPORARY


@dataclass(frozen=True, slots=True)
class Found:
    """A stored answer. ``similarity`` is (1 + cosine) / 2; that of an exact hit is 1."""

    id: str
    prompt: str
    response: str
    similarity: float
    strategy: str


@dataclass(frozen=True, slots=True)
class Message:
    """A turn of a conversation; the cache estimates ``tokens`` if they are None."""

    role: str
    content: str
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a path below that of the site."""

    method: str
    path: str
    body: Json | None = None


def search(prompt: str, attributes: Mapping[str, str] | None, scope: Json | None) -> Request:
    body = {"prompt": prompt, "searchStrategies": ["exact", "semantic"]}
    return Request("POST", "/entries/search", given(body, attributes=attributes, scope=scope))


def store(
    prompt: str,
    response: str,
    *,
    ttl: float | None,
    sliding: bool,
    attributes: Mapping[str, str] | None,
    scope: Json | None,
) -> Request:
    """Return the request that stores an answer; ``ttl`` is in seconds."""
    body = {"prompt": prompt, "response": response, "sliding": sliding}
    millis = None if ttl is None else max(1, round(ttl * 1000))
    more = given(body, attributes=attributes, scope=scope, ttlMillis=millis)
    return Request("POST", "/entries", more)


def delete(entry_id: str) -> Request:
    return Request("DELETE", f"/entries/{quote(entry_id, safe='')}")


def delete_with(attributes: Mapping[str, str]) -> Request:
    return Request("DELETE", "/entries", {"attributes": dict(attributes)})


def judge(entry_id: str, *, correct: bool) -> Request:
    path = f"/entries/{quote(entry_id, safe='')}/feedback"
    return Request("POST", path, {"correct": correct})


FLUSH = Request("POST", "/flush")
STATS = Request("GET", "/stats")


def append(session: str, messages: Sequence[Message], ttl: float | None) -> Request:
    turns = [
        given({"role": each.role, "content": each.content}, tokens=each.tokens) for each in messages
    ]
    seconds = None if ttl is None else max(1, round(ttl))
    return Request("POST", _history(session), given({"messages": turns}, ttlSeconds=seconds))


def window(session: str, max_tokens: int | None) -> Request:
    query = "" if max_tokens is None else f"?max_tokens={max_tokens}"
    return Request("GET", _history(session) + query)


def forget(session: str) -> Request:
    return Request("DELETE", _history(session))


def _history(session: str) -> str:
    return f"/history/{quote(session, safe='')}"


def given(body: Json, **more: object) -> Json:
    """Return a body with those of further members that are not None."""
    return {**body, **{name: value for name, value in more.items() if value is not None}}


# ── answers ──────────────────────────────────────────────────────────────────


def read(status: int, content: bytes) -> Json:
    """Return the body of an answer. Raises CacheError for a refusal."""
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        body = {}
    if status < _OK:
        return body if isinstance(body, dict) else {}
    said = body if isinstance(body, dict) else {}
    parts = [said.get("detail") or f"The cache answered {status}.", said.get("hint")]
    raise CacheError(" ".join(filter(None, parts)), status)


def found_in(body: Json) -> Found | None:
    for each in body.get("data", ()):
        return Found(
            each["id"],
            each["prompt"],
            each["response"],
            each["similarity"],
            each["searchStrategy"],
        )
    return None


def messages_in(body: Json) -> list[Message]:
    return [Message(m["role"], m["content"], m["tokens"]) for m in body["messages"]]


def was_there(error: CacheError) -> bool:
    """Return False for what is missing. Raises any other error."""
    if error.status == _NOT_FOUND:
        return False
    raise error


# ── the decorator ────────────────────────────────────────────────────────────


def prompt_and_scope(
    function: Callable[..., object], args: Sequence[object], kwargs: Json
) -> tuple[str, Json]:
    """Return a call's first argument, the prompt, and all else that its result depends on.

    Raises TypeError if the first is no text, or others have no form in JSON.
    """
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    (_, prompt), *others = bound.arguments.items()
    if not isinstance(prompt, str):
        raise TypeError("the first argument of a cached function is its prompt, a str")
    name = f"{function.__module__}.{function.__qualname__}"
    scope: Json = {"function": name, "arguments": dict(others)}
    json.dumps(scope)  # TypeError here, and not while the request is sent
    return prompt, scope
