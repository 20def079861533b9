"""Embedders, what a search finds, and what is known of its errors. Values only.

Cosines are those of unit vectors. What users see is ``similarity``, (1 + cosine) / 2.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tenantry_cache.rules import guards, nearness
from tenantry_cache.rules.nearness import STRICT, Vectors, similarity

Mode = Literal["shadow", "on"]

LOOSEST = 0.80  # the cosine from which hits are recorded and can be certified
CONFIDENCE = 0.95


class EmbedderFailed(Exception):
    """An embedder did not return usable vectors: what needs them is not found now."""


class TextRefused(EmbedderFailed):
    """An embedder does not take this text, as it is too long; others it would."""


class Embedder(Protocol):
    """What turns texts into vectors.

    ``id`` names the model, its quantisation, its pooling and its longest text: vectors of
    different ids are never compared. ``dim`` is the width of the vectors.
    """

    @property
    def id(self) -> str: ...
    @property
    def dim(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return a unit vector for each text. Raises EmbedderFailed."""
        ...


def checked(raw: object, *, count: int, dim: int) -> Vectors:
    """Return what an embedder gave, as unit vectors in rows.

    Raises EmbedderFailed unless these are ``count`` finite vectors of this width, none all zero.
    """
    try:
        return nearness.unit_rows(raw, count=count, dim=dim)
    except ValueError as error:
        raise EmbedderFailed(str(error)) from error


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored question that means the same as the one that was asked, as far as is known.

    ``hit_id`` is what its judgement names.
    """

    entry_id: str
    text: str
    cosine: float
    hit_id: str

    @property
    def similarity(self) -> float:
        return similarity(self.cosine)


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found. ``candidate`` is the stored question whose answer may be given, if any.

    ``cosine`` is that of the nearest stored question, None without any; ``vetoes`` are the guards
    that refused it.
    """

    candidate: Candidate | None = None
    cosine: float | None = None
    vetoes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A recorded candidate that nobody has judged yet: both questions, and whether it was given."""

    id: str
    asked: str
    stored: str
    entry_id: str
    cosine: float
    served: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """From which cosine stored answers are given, and the false-hit budget that it keeps."""

    threshold: float = STRICT
    budget: float | None = None

    def written(self) -> str:
        """Return the policy as it is stored; it holds for these guards only."""
        return json.dumps([guards.VERSION, self.threshold, self.budget])

    @classmethod
    def read(cls, text: str | None) -> "Policy":
        """Return a stored policy; the strict one if there is none that can be used."""
        try:
            kept: Any = json.loads(text or "null")
            version, threshold, budget = kept
            threshold, budget = float(threshold), float(budget)
        except (ValueError, TypeError):
            return cls()
        if version != guards.VERSION or not LOOSEST <= threshold <= STRICT or not 0 < budget < 1:
            return cls()
        return cls(threshold, budget)


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of counted cases, with the interval that has it with a confidence of 95 %.

    ``share`` is None if there were no cases; the interval is 0 to 1 then.
    """

    cases: int
    found: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        return self.found / self.cases if self.cases else None


@dataclass(frozen=True, slots=True)
class Step:
    """The judged hits at or above a cosine, and the bound below which their error rate is."""

    threshold: float
    judged: int
    wrong: int
    upper: float


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the judged hits of a site allow.

    ``threshold`` is the lowest certified cosine; None: not certified. ``steps`` has the figures
    of each threshold that was looked at, the highest first; the last may be one that failed.
    """

    budget: float
    threshold: float | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a site's questions and judgements show, at the threshold in force.

    ``hits`` is of all searches, ``false_hits`` of the judged hits. ``vetoes`` counts by guard.
    """

    policy: Policy
    hits: Rate
    false_hits: Rate
    vetoes: Mapping[str, int]
    unjudged: int
