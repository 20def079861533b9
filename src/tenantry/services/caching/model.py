"""What is asked, and what is stored of it. Values only."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenantry.base.errors import InvalidInput
from tenantry_cache.rules import questions
from tenantry_cache.rules.questions import DEFAULT_TTL_MS, NO_SCOPE

MOST_TOKENS = 1_000_000_000  # of one count of a provider: what says more is no count


def digest(*parts: object) -> str:
    """Return the SHA-256 of values of JSON, of which those that are equal have the same one.

    Raises InvalidInput for those that are nested too deeply.
    """
    try:
        return questions.digest(*parts)
    except RecursionError:
        raise InvalidInput("The body is nested too deeply.") from None


def scope_digest(scope: Mapping[str, object] | None) -> str:
    """Return what stands for a caller's scope. Raises InvalidInput if it is nested too deeply."""
    try:
        return questions.scope_digest(scope)
    except RecursionError:
        raise InvalidInput("The scope is nested too deeply.") from None


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, and all else that its answer depends on.

    ``scope`` is a digest of who asks, the model, its parameters and earlier turns. ``attributes``
    are the owner's; a question finds what was stored with the same ones.
    """

    prompt: str
    scope: str = NO_SCOPE
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def entry_id(self) -> str:
        """The identifier of its entry: there is one for each question."""
        return questions.entry_id(self.prompt, self.scope, self.attributes)

    def is_beside(self, other: "Question") -> bool:
        """Whether only the prompts can differ."""
        return self.scope == other.scope and self.attributes == other.attributes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is given for a question. ``tokens`` is what it took, as far as that is known.

    ``output_tokens`` of these are the answer's own; the others are the question's. A ``sliding``
    answer lives ``ttl_ms`` from its last use, any other from when it was stored.
    """

    response: str
    ttl_ms: int = DEFAULT_TTL_MS
    sliding: bool = False
    tokens: int = 0
    media_type: str = "text/plain"
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer with its question."""

    question: Question
    answer: Answer

    @property
    def id(self) -> str:
        return self.question.entry_id

    def has(self, attributes: Mapping[str, str]) -> bool:
        """Whether it was stored with all of these attributes."""
        return attributes.items() <= self.question.attributes.items()

    def written(self) -> str:
        """Return the entry as it is stored."""
        asked, given = self.question, self.answer
        return json.dumps(
            {
                "prompt": asked.prompt,
                "scope": asked.scope,
                "attributes": dict(asked.attributes),
                "response": given.response,
                "ttl_ms": given.ttl_ms,
                "sliding": given.sliding,
                "tokens": given.tokens,
                "output_tokens": given.output_tokens,
                "media_type": given.media_type,
            },
            separators=(",", ":"),
        )

    @classmethod
    def read(cls, text: str) -> "Entry | None":
        """Return a stored entry; None if it is none, such as one of another version."""
        try:
            kept: dict[str, Any] = json.loads(text)
            asked = Question(str(kept["prompt"]), str(kept["scope"]), dict(kept["attributes"]))
            given = Answer(
                str(kept["response"]),
                int(kept["ttl_ms"]),
                bool(kept["sliding"]),
                min(int(kept["tokens"]), MOST_TOKENS),  # earlier versions wrote any number
                str(kept["media_type"]),
                min(int(kept.get("output_tokens", 0)), MOST_TOKENS),  # and not this one
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        return cls(asked, given)


@dataclass(frozen=True, slots=True)
class Message:
    """A turn of a conversation. ``tokens`` is an estimate unless the caller counted them."""

    role: str
    content: str
    tokens: int

    def written(self) -> str:
        """Return the turn as it is stored."""
        return json.dumps([self.role, self.content, self.tokens])

    @classmethod
    def read(cls, text: str) -> "Message | None":
        """Return a stored turn; None if it is none, as of entries."""
        try:
            role, content, tokens = json.loads(text)
            return cls(str(role), str(content), int(tokens))
        except (ValueError, TypeError):
            return None


def window(messages: Sequence[Message], most_tokens: int) -> list[Message]:
    """Return the last messages that have at most so many tokens together, in their order."""
    count = questions.last_within([each.tokens for each in messages], most_tokens)
    return list(messages[len(messages) - count :])


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since the site was created or flushed, and its memory in bytes."""

    counts: Mapping[str, int]
    used_bytes: int
    most_bytes: int
    evicted: int

    @property
    def hit_rate(self) -> float | None:
        """Which part of the questions was answered from the cache; None if there was none."""
        hits = self.counts.get("exact_hits", 0) + self.counts.get("semantic_hits", 0)
        asked = hits + self.counts.get("misses", 0)
        return hits / asked if asked else None
