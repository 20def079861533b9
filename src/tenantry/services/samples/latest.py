"""What databases do at present, by the newest sample of each: pure."""

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any, Literal

from tenantry.services.samples.resolutions import SAMPLE_SECONDS

Order = Literal[
    "transactions", "connections", "waiting", "hits", "cpu", "temporary", "wal", "longest", "size"
]
Row = Mapping[str, Any]
_QUIET = dt.timedelta(seconds=3 * SAMPLE_SECONDS)


@dataclass(frozen=True, slots=True)
class Activity:
    """What a database and its shadow had in their newest sample, and did in the time before it.

    Connections are direct ones and those of the pooler. ``size_bytes`` is without the shadow;
    ``cpu_percent`` 100 is one core. None is what is not known.
    """

    database_id: uuid.UUID
    database_name: str
    name: str | None
    friendly_name: str | None
    environment: str
    sampled_at: dt.datetime
    transactions_per_second: float | None
    connections_active: int
    connections_idle: int
    connections_in_transaction: int
    clients_waiting: int | None
    longest_transaction_seconds: float | None
    cache_hit_ratio: float | None
    cpu_percent: float | None
    temporary_bytes_per_second: float | None
    wal_bytes_per_second: float | None
    size_bytes: int | None


def _rate(row: Row, now: dt.datetime, *names: str) -> float | None:
    """Return what counters have counted per second.

    A database in which nothing happens is sampled every five minutes only: if a newer sample would
    be there had anything happened, its rates are 0.
    """
    if not row["seconds"] or row[names[0]] is None:
        return None
    if now - row["at"] > _QUIET:
        return 0.0
    added: float = sum(row[name] for name in names) / row["seconds"]
    return added


def _connections(row: Row, *states: str) -> int:
    return sum(row[f"{port}_{state}"] or 0 for port in ("direct", "pooled") for state in states)


def _hits(row: Row) -> float | None:
    read, hit = row["blocks_read"], row["blocks_hit"]
    return hit / (hit + read) if hit is not None and hit + read else None


def activity(row: Row, now: dt.datetime) -> Activity:
    """Return what a row of ``control.samples.latest`` says of its database."""
    cpu = _rate(row, now, "cpu_seconds")
    return Activity(
        database_id=row["database_id"],
        database_name=row["database_name"],
        name=row["name"],
        friendly_name=row["friendly_name"],
        environment=row["environment"],
        sampled_at=row["at"],
        transactions_per_second=_rate(row, now, "commits", "rollbacks"),
        connections_active=_connections(row, "active"),
        connections_idle=_connections(row, "idle"),
        connections_in_transaction=_connections(row, "in_transaction"),
        clients_waiting=row["clients_waiting"],
        longest_transaction_seconds=row["longest_transaction_seconds"],
        cache_hit_ratio=_hits(row),
        cpu_percent=None if cpu is None else 100 * cpu,
        temporary_bytes_per_second=_rate(row, now, "temporary_bytes"),
        wal_bytes_per_second=_rate(row, now, "wal_bytes"),
        size_bytes=row["size_bytes"],
    )


_KEYS: dict[Order, Callable[[Row, dt.datetime], float | None]] = {
    "transactions": lambda row, now: _rate(row, now, "commits", "rollbacks"),
    "connections": lambda row, _: _connections(row, "active", "idle", "in_transaction"),
    "waiting": lambda row, _: row["clients_waiting"],
    "hits": lambda row, _: None if (hits := _hits(row)) is None else -hits,
    "cpu": lambda row, now: _rate(row, now, "cpu_seconds"),
    "temporary": lambda row, now: _rate(row, now, "temporary_bytes"),
    "wal": lambda row, now: _rate(row, now, "wal_bytes"),
    "longest": lambda row, _: row["longest_transaction_seconds"],
    "size": lambda row, _: row["size_bytes"],
}


def first(rows: Iterable[Row], order: Order, limit: int, now: dt.datetime) -> list[Activity]:
    """Return the first databases in this order: the greatest first, of cache hits the least.

    Those of which it is not known are last; what is equal is in the order of names.
    """
    value_of = _KEYS[order]

    def key(row: Row) -> tuple[bool, float, str]:
        value = value_of(row, now)
        return value is None, -(value or 0), row["name"] or row["database_name"]

    return [activity(row, now) for row in nsmallest(limit, rows, key=key)]
