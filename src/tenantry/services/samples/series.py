"""Series of what a database had and did, ready to be drawn: pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenantry.control.samples import GAUGES
from tenantry.services.samples.model import FIELDS
from tenantry.services.samples.resolutions import Span

Value = float | None
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Series:
    """One figure over time: a value for each step, None where it is not known."""

    name: str
    unit: str
    values: Sequence[Value]


# Of all rows at once: a page of charts has eight thousand values.
_Figure = Callable[[Sequence[Row]], list[Value]]


def _gauge(name: str) -> _Figure:
    return lambda rows: [row[name] for row in rows]


def _ratio(part: str, whole: str, factor: float = 1.0) -> _Figure:
    """Return how one column is divided by another; nothing by nothing is not known."""

    def divide(rows: Sequence[Row]) -> list[Value]:
        return [
            None if row[part] is None or not row[whole] else factor * row[part] / row[whole]
            for row in rows
        ]

    return divide


def _cache_hits(rows: Sequence[Row]) -> list[Value]:
    both = [(row["blocks_hit"], row["blocks_read"]) for row in rows]
    return [None if hit is None or not hit + read else hit / (hit + read) for hit, read in both]


_RATES = {
    "commits": "transactions/s",
    "rollbacks": "transactions/s",
    "rows_read": "rows/s",
    "rows_fetched": "rows/s",
    "rows_inserted": "rows/s",
    "rows_updated": "rows/s",
    "rows_deleted": "rows/s",
    "blocks_read": "blocks/s",
    "temporary_bytes": "bytes/s",
    "wal_bytes": "bytes/s",
}
_SERIES: dict[str, tuple[str, _Figure]] = {
    **{each.name: (each.unit, _gauge(each.name)) for each in FIELDS if each.name in GAUGES},
    **{name: (unit, _ratio(name, "seconds")) for name, unit in _RATES.items()},
    "cache_hit_ratio": ("ratio", _cache_hits),
    "deadlocks": ("deadlocks", _gauge("deadlocks")),
    "cpu_percent": ("percent", _ratio("cpu_seconds", "seconds", 100)),
    "pooled_queries": ("queries/s", _ratio("pooled_queries", "pooler_seconds")),
    "pooled_query_ms": ("ms", _ratio("pooled_query_seconds", "pooled_queries", 1000)),
    "pooled_wait_ms": ("ms", _ratio("pooled_wait_seconds", "pooled_queries", 1000)),
}
NAMES = tuple(_SERIES)


def _transactions(rows: Sequence[Row]) -> list[Value]:
    return [
        None
        if row["commits"] is None or not row["seconds"]
        else (row["commits"] + row["rollbacks"]) / row["seconds"]
        for row in rows
    ]


def _connections(rows: Sequence[Row]) -> list[Value]:
    names = [name for name in GAUGES if name.startswith(("direct_", "pooled_"))]
    known = [[row[name] for name in names] for row in rows]
    return [None if None in each else sum(each) for each in known]


_SPARKLINES: dict[str, tuple[str, _Figure]] = {
    "transactions": ("transactions/s", _transactions),
    "connections": ("connections", _connections),
    "size_bytes": ("bytes", _gauge("size_bytes")),
}


def _spread(rows: Sequence[Row], span: Span) -> list[int | None]:
    """Return the place in ``rows`` of the row of each step; None where there is none.

    The row of a database in which nothing happened stands for all steps since the one before.
    """
    of_step = {row["bucket"]: place for place, row in enumerate(rows)}
    found = [of_step.get(at) for at in span.buckets]
    length = span.step.total_seconds()
    for number, place in enumerate(list(found)):
        if place is None or rows[place]["seconds"] is None:
            continue
        first = number - round(rows[place]["seconds"] / length)
        for before in range(number - 1, max(-1, first), -1):
            if found[before] is not None:
                break
            found[before] = place
    return found


def series(rows: Sequence[Row], span: Span) -> list[Series]:
    """Return every series of one database of which something is known."""
    return _drawn(_SERIES, rows, span)


def sparklines(rows: Sequence[Row], span: Span) -> list[Series]:
    """Return the few series of one database that a list shows."""
    return _drawn(_SPARKLINES, rows, span)


def _drawn(
    wanted: Mapping[str, tuple[str, _Figure]], rows: Sequence[Row], span: Span
) -> list[Series]:
    places = _spread(rows, span)
    drawn = []
    for name, (unit, figure) in wanted.items():
        of_row = figure(rows)
        values = [None if place is None else of_row[place] for place in places]
        if values.count(None) < len(values):
            drawn.append(Series(name, unit, values))
    return drawn
