"""What counts say: series, rates with their intervals, durations and money. Pure."""

import bisect
import datetime as dt
import math
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from tenantry.control.cache_usage import KEPT, UsageRow
from tenantry.services.cache_usage.model import (
    BOUNDS,
    EXACT,
    LOOKUP,
    MISSES,
    PLAIN,
    PROVIDER,
    REQUESTS,
    SAVED_IN,
    SAVED_OUT,
    SEMANTIC,
    SIMILARITY,
    TOKENS_IN,
    TOKENS_OUT,
    VETO,
    ModelUse,
    Money,
    Price,
    PriceTable,
    Share,
    Usage,
)
from tenantry.services.samples.resolutions import Kept, Span, span
from tenantry.services.samples.series import Series

Counts = Mapping[str, int]

_Z = 1.959964  # of the normal distribution: 95 % are within it, on both sides
_MILLION = 1_000_000
_RESOLUTIONS = (
    Kept("minute", dt.timedelta(minutes=1), KEPT["minute"], None),
    Kept("hour", dt.timedelta(hours=1), KEPT["hour"], None),
)
_P50, _P95 = 0.5, 0.95


def span_of(
    now: dt.datetime, *, start: dt.datetime | None, end: dt.datetime | None, step: int | None
) -> Span:
    """Return what is read for a request. Raises InvalidInput, as for samples of databases."""
    return span(now, start=start, end=end, step=step, every=_RESOLUTIONS)


# ── figures ──────────────────────────────────────────────────────────────────


def share(found: int, cases: int) -> Share:
    """Return a share with Wilson's interval (J. Am. Stat. Assoc. 22, 1927).

    It is not exact for few cases, and takes no time for many. Requests that depend on each other,
    such as a question that is repeated, say less than the interval does.
    """
    if cases == 0:
        return Share(0, 0, 0.0, 1.0)
    p, square = found / cases, _Z * _Z
    middle = p + square / (2 * cases)
    half = _Z * math.sqrt(p * (1 - p) / cases + square / (4 * cases * cases))
    bottom = 1 + square / cases
    return Share(
        cases, found, max(0.0, (middle - half) / bottom), min(1.0, (middle + half) / bottom)
    )


def duration(counts: Counts, kind: str, part: float) -> float | None:
    """Return the milliseconds that so great a part of all took at most; None without any.

    It is estimated: within a bin, durations count as equally spread.
    """
    bins = [counts.get(f"{kind}{bound}", 0) for bound in BOUNDS]
    wanted, below = part * sum(bins), 0
    if wanted == 0:
        return None
    for number, count in enumerate(bins):
        if count and below + count >= wanted:
            low = BOUNDS[number - 1] if number else 0
            return low + (BOUNDS[number] - low) * (wanted - below) / count
        below += count
    return float(BOUNDS[-1])


def hit_rate(counts: Counts) -> Share:
    """Return which share of the look-ups was answered."""
    hits = counts.get(EXACT, 0) + counts.get(SEMANTIC, 0)
    return share(hits, hits + counts.get(MISSES, 0))


# ── money ────────────────────────────────────────────────────────────────────


class Prices:
    """The prices of models by day."""

    def __init__(self, table: PriceTable) -> None:
        self._of_model: dict[str, list[Price]] = defaultdict(list)
        for each in sorted(table.prices, key=lambda price: price.valid_from):
            self._of_model[each.model].append(each)

    def at(self, model: str, day: dt.date) -> Price | None:
        """Return the price of a model on a day; None if there is none yet."""
        found = self._of_model.get(model, [])
        number = bisect.bisect_right(found, day, key=lambda price: price.valid_from)
        return found[number - 1] if number else None

    def money(self, rows: Iterable[UsageRow]) -> Money:
        """Return what tokens cost and saved, each at the price of its day."""
        saved = paid = Decimal(0)
        newest: dt.date | None = None
        for row in rows:
            price = self.at(row.model, row.day) if row.name in _VALUED else None
            if price is None:
                continue
            newest = max(newest or price.valid_from, price.valid_from)
            each = price.input if row.name in {TOKENS_IN, SAVED_IN} else price.output
            value = row.number * each / _MILLION
            if row.name in {SAVED_IN, SAVED_OUT}:
                saved += value
            else:
                paid += value
        return Money(None, None, None) if newest is None else Money(saved, paid, newest)

    def lacks(self, row: UsageRow) -> bool:
        """Whether a row has tokens without a price."""
        return row.name in _VALUED and row.number > 0 and self.at(row.model, row.day) is None


_VALUED = {TOKENS_IN, TOKENS_OUT, SAVED_IN, SAVED_OUT}


# ── series ───────────────────────────────────────────────────────────────────

_UNITS = dict.fromkeys(_VALUED, "tokens")
_FIGURES: dict[str, tuple[str, Callable[[Counts], float | None]]] = {
    "hit_rate": ("ratio", lambda counts: hit_rate(counts).share),
    "lookup_p50_ms": ("ms", lambda counts: duration(counts, LOOKUP, _P50)),
    "lookup_p95_ms": ("ms", lambda counts: duration(counts, LOOKUP, _P95)),
    "provider_p50_ms": ("ms", lambda counts: duration(counts, PROVIDER, _P50)),
    "provider_p95_ms": ("ms", lambda counts: duration(counts, PROVIDER, _P95)),
}


def series(rows: Sequence[UsageRow], within: Span, table: PriceTable) -> list[Series]:
    """Return the series of a site: sums of each step, rates, and percentiles of durations.

    Money has a series if there are prices, and a guard if it refused anything.
    """
    prices = Prices(table)
    of_step: dict[dt.datetime, list[UsageRow]] = defaultdict(list)
    for row in rows:
        of_step[row.step].append(row)
    steps = [of_step.get(at, []) for at in within.buckets]
    counts = [_summed(each) for each in steps]
    vetoes = sorted({row.name for row in rows if row.name.startswith(VETO)})
    found = [
        Series(
            name.replace(":", "_"),
            _UNITS.get(name, "requests"),
            [each.get(name, 0) for each in counts],
        )
        for name in (*PLAIN, *vetoes)
    ]
    found += [
        Series(name, unit, [value(each) for each in counts])
        for name, (unit, value) in _FIGURES.items()
    ]
    if table.currency is not None:
        saved = [prices.money(each).saved for each in steps]
        values = [None if each is None else float(each) for each in saved]
        found.append(Series("saved", table.currency, values))
    return found


# ── the report ───────────────────────────────────────────────────────────────


def usage(
    site_id: uuid.UUID,
    rows: Sequence[UsageRow],
    *,
    start: dt.datetime,
    end: dt.datetime,
    table: PriceTable,
) -> Usage:
    """Return what a site's cache did in that time; the model with most requests is first."""
    prices = Prices(table)
    of_model: dict[str, list[UsageRow]] = defaultdict(list)
    for row in rows:
        of_model[row.model].append(row)
    total = _use("", rows, prices)
    models = [_use(model, some, prices) for model, some in of_model.items()]
    counts, cases = total.counts, total.hit_rate.cases
    return Usage(
        site_id=site_id,
        start=start,
        end=end,
        total=total,
        by_model=sorted(models, key=lambda use: (-_requests(use.counts), use.model)),
        exact_rate=share(counts.get(EXACT, 0), cases),
        semantic_rate=share(counts.get(SEMANTIC, 0), cases),
        lookup_p50=duration(counts, LOOKUP, _P50),
        lookup_p95=duration(counts, LOOKUP, _P95),
        provider_p50=duration(counts, PROVIDER, _P50),
        provider_p95=duration(counts, PROVIDER, _P95),
        similarities={
            int(name) / 100: count for name, count in sorted(_kind(counts, SIMILARITY).items())
        },
        vetoes=dict(sorted(_kind(counts, VETO).items())),
        currency=table.currency,
        unpriced=sorted({row.model for row in rows if prices.lacks(row)}),
    )


def _use(model: str, rows: Sequence[UsageRow], prices: Prices) -> ModelUse:
    counts = _summed(rows)
    return ModelUse(model, counts, hit_rate(counts), prices.money(rows))


def _summed(rows: Iterable[UsageRow]) -> Counts:
    found: Counter[str] = Counter()
    for row in rows:
        found[row.name] += row.number
    return found


def _requests(counts: Counts) -> int:
    return sum(counts.get(name, 0) for name in REQUESTS)


def _kind(counts: Counts, kind: str) -> dict[str, int]:
    return {
        name.removeprefix(kind): count for name, count in counts.items() if name.startswith(kind)
    }
