"""What is counted of the AI cache, and what is reported of it. Values only.

Counts have names. Most are their own meaning; a histogram has one for each of its bins, such as
``lookup:5`` for look-ups that took over 3 ms and up to 5.
"""

import bisect
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tenantry.services.samples.resolutions import Span
from tenantry.services.samples.series import Series

EXACT, SEMANTIC, MISSES = "exact_hits", "semantic_hits", "misses"
BYPASSES, SHARED, FAILURES = "bypasses", "shared", "failures"
TOKENS_IN, TOKENS_OUT = "tokens_in", "tokens_out"  # that providers counted, of questions, answers
SAVED_IN, SAVED_OUT = "saved_in", "saved_out"  # those of answers that were given again
EMBEDDINGS_FOUND, EMBEDDINGS_ASKED = "embeddings_found", "embeddings_asked"
REQUESTS = (EXACT, SEMANTIC, MISSES, BYPASSES, SHARED)
PLAIN = (
    *(*REQUESTS, FAILURES),
    *(TOKENS_IN, TOKENS_OUT, SAVED_IN, SAVED_OUT, EMBEDDINGS_FOUND, EMBEDDINGS_ASKED),
)

LOOKUP_TIME, PROVIDER_TIME = "lookup_us", "provider_us"  # microseconds together
LOOKUP, PROVIDER, SIMILARITY, VETO = "lookup:", "provider:", "similarity:", "veto:"
# Upper bounds in milliseconds; what takes longer is in the last one.
BOUNDS = (
    *(1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 800),
    *(1200, 2000, 3000, 5000, 8000, 12_000, 20_000, 30_000, 60_000, 900_000),
)
_FINE_FROM = 80  # hundredths of a cosine: below it, bins are tenths

OTHER = "other"  # the model of what is beyond the limits of names
LONGEST_MODEL = 100


def duration_bin(kind: str, seconds: float) -> str:
    """Return the name of the bin of a duration; ``kind`` is LOOKUP or PROVIDER."""
    at = bisect.bisect_left(BOUNDS, seconds * 1000)
    return f"{kind}{BOUNDS[min(at, len(BOUNDS) - 1)]}"


def similarity_bin(cosine: float) -> str:
    """Return the name of the bin of a cosine: its lower bound in hundredths, at least 0."""
    hundredths = max(0, min(100, int(cosine * 100 + 1e-6)))
    at = hundredths if hundredths >= _FINE_FROM else hundredths // 10 * 10
    return f"{SIMILARITY}{at}"


def named(model: object) -> str:
    """Return the model of a request as it is counted: '' if there is none."""
    if model is None or model == "":
        return ""
    usable = isinstance(model, str) and len(model) <= LONGEST_MODEL and model.isprintable()
    return str(model) if usable else OTHER


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens of a model cost, those of questions and those of answers.

    It holds from the begin of a day in UTC, until a later price of the same model.
    """

    model: str
    valid_from: dt.date
    input: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True)
class PriceTable:
    """All prices, in one currency; None if there are no prices."""

    currency: str | None
    prices: Sequence[Price]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The series of a site; each has a value for each step of the span."""

    site_id: uuid.UUID
    span: Span
    series: list[Series]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of cases, and the interval that has the true one with a confidence of 95 %."""

    cases: int
    found: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        return self.found / self.cases if self.cases else None


@dataclass(frozen=True, slots=True)
class Money:
    """What was saved and paid, in the currency of the price table; None without a price."""

    saved: Decimal | None
    paid: Decimal | None
    priced_from: dt.date | None


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What one model did: counts by their names, how often it was answered, and the money."""

    model: str
    counts: Mapping[str, int]
    hit_rate: Share
    money: Money


@dataclass(frozen=True, slots=True)
class Usage:
    """What a site's cache did in some time. Times are milliseconds, None without any.

    ``similarities`` and ``vetoes`` are counts by lower bound of the cosine and by guard.
    ``unpriced`` are the models with tokens and without a price.
    """

    site_id: uuid.UUID
    start: dt.datetime
    end: dt.datetime
    total: ModelUse
    by_model: Sequence[ModelUse]
    exact_rate: Share
    semantic_rate: Share
    lookup_p50: float | None
    lookup_p95: float | None
    provider_p50: float | None
    provider_p95: float | None
    similarities: Mapping[float, int]
    vetoes: Mapping[str, int]
    currency: str | None
    unpriced: Sequence[str]
