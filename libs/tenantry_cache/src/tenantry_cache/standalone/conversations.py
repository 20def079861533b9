"""Conversations in a Redis alone: lists of turns, which expire."""

import json
from urllib.parse import parse_qs

from tenantry_cache.requests import CacheError, Json
from tenantry_cache.rules import questions
from tenantry_cache.standalone.model import INVALID, MISSING, Commands, Program, require_ttl


class Conversations:
    """The conversations whose keys begin with a prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def answer(self, method: str, session: str, query: str, body: Json) -> Program[Json]:
        """Answer a request for a conversation."""
        key = f"{self._prefix}history:{session}"
        if method == "POST":
            return self._append(key, body)
        if method == "DELETE":
            return self._forget(key)
        [most] = parse_qs(query).get("max_tokens", [None])
        return self._window(key, None if most is None else int(most))

    def _append(self, key: str, body: Json) -> Program[Json]:
        seconds = body.get("ttlSeconds")
        ttl_ms = questions.CONVERSATION_TTL_MS if seconds is None else int(seconds) * 1000
        turns = [_written(each) for each in body["messages"]]
        if not turns:
            raise CacheError("There are no messages to add.", INVALID)
        *_, count = yield Commands(
            [
                ("RPUSH", key, *turns),
                ("LTRIM", key, -questions.MOST_MESSAGES, -1),
                ("PEXPIRE", key, require_ttl(ttl_ms)),
                ("LLEN", key),
            ],
            atomic=True,
        )
        return {"count": count}

    def _window(self, key: str, most: int | None) -> Program[Json]:
        [texts] = yield Commands([("LRANGE", key, 0, -1)])
        turns = [turn for text in texts if (turn := _read(text)) is not None]
        if most is None:
            return {"messages": turns}
        count = questions.last_within([each["tokens"] for each in turns], most)
        return {"messages": turns[len(turns) - count :]}

    def _forget(self, key: str) -> Program[Json]:
        [count] = yield Commands([("UNLINK", key)])
        if not count:
            raise CacheError("There is no such conversation.", MISSING)
        return {}


def _written(turn: Json) -> str:
    """Return a turn as it is stored, in the platform's form."""
    given, content = turn.get("tokens"), turn["content"]
    tokens = questions.estimated_tokens(content) if given is None else int(given)
    return json.dumps([turn["role"], content, tokens])


def _read(text: str) -> Json | None:
    """Return a stored turn; None if it is none."""
    try:
        role, content, tokens = json.loads(text)
        return {"role": str(role), "content": str(content), "tokens": int(tokens)}
    except (ValueError, TypeError):
        return None
