"""What statements did between two snapshots, by database; and comparisons of hours. Pure."""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tenantry.base.errors import InvalidInput
from tenantry.control.databases import DatabaseRow
from tenantry.control.query_history import (
    KEPT_DAYS,
    MOST_IN_PRESENT_HOUR,
    WHOLE,
    Hour,
    Past,
    Rows,
    Statement,
    hour_of,
)
from tenantry.pg import names
from tenantry.pg.api_roles import SHARED
from tenantry.pg.statement_counters import Counters, Entry, Key
from tenantry.pg.statement_statistics import Order, StatementStatistics
from tenantry.services.insights.model import Comparison, Period

BEFORE = {
    "hour_before": dt.timedelta(hours=1),
    "day_before": dt.timedelta(days=1),
    "week_before": dt.timedelta(days=7),
}


@dataclass(frozen=True, slots=True)
class Owned:
    """Whose a database is for the server: the tenant's database row, and whether its shadow."""

    row: DatabaseRow
    shadow: bool

    def has(self, role: str) -> bool:
        """Whether a role is the database's owner role, an additional one of it, or a shared one.

        Only the login of the database's own data API takes a shared role there.
        """
        owner = self.row.username
        additional = names.beginning_of_additional(owner)
        return role in {owner, *SHARED} or role.startswith(additional)


def owned(rows: Iterable[DatabaseRow]) -> dict[str, Owned]:
    """Return the active databases and their shadows, by their name in PostgreSQL."""
    active = [row for row in rows if row.status == "active"]
    return {row.database_name: Owned(row, shadow=False) for row in active} | {
        row.shadow_name: Owned(row, shadow=True) for row in active
    }


def done_since(
    before: Mapping[Key, Counters], entries: Iterable[Entry], databases: Mapping[str, Owned]
) -> dict[uuid.UUID, dict[Statement, Counters]]:
    """Return what each tenant's statements did since the counters were ``before``.

    ``WHOLE`` is all of a database's together, whichever are left out later.
    """
    found: dict[uuid.UUID, dict[Statement, Counters]] = {}
    for entry in entries:
        database = databases.get(entry.database_name)
        if database is None or not database.has(entry.role):
            continue
        did = entry.counters.since(before.get(entry.key))
        if did.calls:
            rows = found.setdefault(database.row.id, {})
            for statement in ((database.shadow, entry.key[2]), (False, WHOLE)):
                rows[statement] = did.plus(rows[statement]) if statement in rows else did
    return found


def first(rows: Rows) -> dict[uuid.UUID, dict[Statement, Counters]]:
    """Return the statements of each database that took most time, and what is of ``WHOLE``."""
    return {
        database_id: dict(
            sorted(statements.items(), key=lambda each: (each[0][1] != WHOLE, -each[1].total_ms))[
                : MOST_IN_PRESENT_HOUR + 1
            ]
        )
        for database_id, statements in rows.items()
    }


def places(
    missing: Collection[tuple[uuid.UUID, bool, int]],
    entries: Iterable[Entry],
    databases: Mapping[str, Owned],
) -> dict[tuple[int, int], tuple[uuid.UUID, int]]:
    """Return whose texts are missing, by the OID of the database and the query ID."""
    found = {}
    for entry in entries:
        database = databases.get(entry.database_name)
        if database is not None and database.has(entry.role):
            oid, _, query_id = entry.key
            if (database.row.id, database.shadow, query_id) in missing:
                found[oid, query_id] = database.row.id, query_id
    return found


@dataclass(frozen=True, slots=True)
class Hours:
    """The measured hours of a cluster, and what one database did in them."""

    now: dt.datetime
    measured: Mapping[dt.datetime, Hour]
    did: Mapping[tuple[dt.datetime, bool, int], Counters]

    def compare(self, *, shadow: bool, query_id: int) -> Comparison:
        """Compare a statement's present hour with earlier ones."""
        return Comparison(
            self._period(self.now, shadow, query_id),
            **{
                name: self._period(self.now - distance, shadow, query_id)
                for name, distance in BEFORE.items()
            },
        )

    def _period(self, hour: dt.datetime, shadow: bool, query_id: int) -> Period | None:
        measured, did = self.measured.get(hour), self.did.get((hour, shadow, query_id))
        if measured is None or did is None or not measured.seconds:
            return None
        return Period(
            hour=hour,
            calls=did.calls,
            calls_per_second=did.calls / measured.seconds,
            mean_ms=did.total_ms / max(did.calls, 1),
            incomplete=measured.evictions > 0,
        )


def compared(taken_at: dt.datetime) -> list[dt.datetime]:
    """Return the hours to compare: that of the last snapshot, and those before."""
    now = hour_of(taken_at)
    return [now, *(now - distance for distance in BEFORE.values())]


def past(found: Past, row: DatabaseRow) -> StatementStatistics:
    """Return a statement of the history as those that the server counts."""
    counted = found.counters
    return StatementStatistics(
        query_id=found.query_id,
        database_name=row.shadow_name if found.shadow else row.database_name,
        query=found.query,
        calls=counted.calls,
        total_ms=counted.total_ms,
        mean_ms=counted.total_ms / max(counted.calls, 1),
        min_ms=None,
        max_ms=None,
        rows=counted.rows,
        share=found.share,
        blocks_hit=counted.blocks_hit,
        blocks_read=counted.blocks_read,
        temp_bytes=counted.temp_bytes,
        wal_bytes=counted.wal_bytes,
        own=found.own,
    )


def within_history(since: dt.datetime, order: Order, now: dt.datetime) -> dt.datetime:
    """Return the moment within the history that is closest to ``since``. Raises InvalidInput."""
    if order == "max_ms":
        raise InvalidInput.of("sort", "must not be max_ms with since: it is not stored by hour")
    return max(min(since, now), now - dt.timedelta(days=KEPT_DAYS))


def completeness(
    measured: Sequence[Hour], since: dt.datetime
) -> tuple[dt.datetime, dt.datetime | None]:
    """Return the first measured hour, and the first in which entries were evicted."""
    begin = measured[0].hour if measured else hour_of(since)
    return begin, next((each.hour for each in measured if each.evictions), None)
