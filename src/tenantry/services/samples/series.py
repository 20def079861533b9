"""Series of what a database had and did, ready to be drawn: pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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


def _gauge(name: str) -> Callable[[Row], Value]:
    return lambda row: row[name]


def _ratio(part: str, whole: str, factor: float = 1.0) -> Callable[[Row], Value]:
    """Return how one column is divided by another; nothing by nothing is not known."""

    def divide(row: Row) -> Value:
        top, bottom = row[part], row[whole]
        return None if top is None or not bottom else factor * top / bottom

    return divide


def _cache_hits(row: Row) -> Value:
    hit, read = row["blocks_hit"], row["blocks_read"]
    return None if hit is None or not hit + read else hit / (hit + read)


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
_SERIES: dict[str, tuple[str, Callable[[Row], Value]]] = {
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


def _transactions(row: Row) -> Value:
    if row["commits"] is None or not row["seconds"]:
        return None
    value: float = (row["commits"] + row["rollbacks"]) / row["seconds"]
    return value


def _connections(row: Row) -> Value:
    known = [row[name] for name in GAUGES if name.startswith(("direct_", "pooled_"))]
    return None if None in known else sum(known)


_SPARKLINES: dict[str, tuple[str, Callable[[Row], Value]]] = {
    "transactions": ("transactions/s", _transactions),
    "connections": ("connections", _connections),
    "size_bytes": ("bytes", _gauge("size_bytes")),
}


def spread(rows: Iterable[Row], span: Span) -> list[Row | None]:
    """Return the row of each step; None where there is none.

    The row of a database in which nothing happened stands for all steps since the one before.
    """
    of_step = {row["bucket"]: row for row in rows}
    found: list[Row | None] = [of_step.get(at) for at in span.buckets]
    length = span.step.total_seconds()
    for number, row in enumerate(list(found)):
        if row is None or row["seconds"] is None:
            continue
        for before in range(number - 1, max(-1, number - round(row["seconds"] / length)), -1):
            if found[before] is not None:
                break
            found[before] = row
    return found


def series(rows: Iterable[Row], span: Span) -> list[Series]:
    """Return every series of one database of which something is known."""
    return _drawn(_SERIES, rows, span)


def sparklines(rows: Iterable[Row], span: Span) -> list[Series]:
    """Return the few series of one database that a list shows."""
    return _drawn(_SPARKLINES, rows, span)


def _drawn(
    wanted: Mapping[str, tuple[str, Callable[[Row], Value]]], rows: Iterable[Row], span: Span
) -> list[Series]:
    steps = spread(rows, span)
    found = [
        Series(name, unit, [None if row is None else value(row) for row in steps])
        for name, (unit, value) in wanted.items()
    ]
    return [each for each in found if any(value is not None for value in each.values)]
