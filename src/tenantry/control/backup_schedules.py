"""When databases are backed up automatically: by their own or their environment's schedule."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Literal

from psycopg.rows import dict_row

from tenantry.control.backups import Format
from tenantry.control.store import Tx

Every = Literal["off", "day", "week"]
AttemptStatus = Literal["queued", "running", "succeeded", "failed", "cancelled", "refused"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a database is backed up, at an hour in UTC (weekly: on Sundays), and the retention.

    Scheduled backups are retained while they are among the newest ``keep_count`` or younger than
    ``keep_days``; manual ones permanently, or for ``keep_manual_days``.
    """

    every: Every = "off"
    hour: int = 2
    format: Format = "custom"
    keep_count: int = 7
    keep_days: int = 7
    keep_manual_days: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last backup that a schedule started, the ``tries``-th since it was due.

    ``error`` says why it failed or was refused. ``ended_at`` is None until it has ended.
    """

    begun_at: dt.datetime
    tries: int
    status: AttemptStatus
    error: str | None
    ended_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """The schedule of a database, ``own`` or its environment's, and its last attempt.

    ``since`` is the moment from which on the next backup is awaited.
    """

    database_id: uuid.UUID
    schedule: Schedule
    own: bool
    since: dt.datetime
    attempt: Attempt | None


_FIELDS = ("every", "hour", "format", "keep_count", "keep_days", "keep_manual_days")
_SCHEDULE = ", ".join(_FIELDS)
_IN_FORCE = ", ".join(
    f"CASE WHEN s.database_id IS NULL THEN e.{name} ELSE s.{name} END AS {name}" for name in _FIELDS
)
_EVERY = "CASE WHEN s.database_id IS NULL THEN e.every ELSE s.every END"
# A default applies from a database's creation on, a schedule of its own from its last change.
_FROM = f"""
    SELECT d.id AS database_id, s.database_id IS NOT NULL AS own, {_IN_FORCE},
        CASE WHEN s.database_id IS NULL THEN greatest(e.changed_at, d.created_at, a.begun_at)
            ELSE greatest(s.changed_at, a.begun_at) END AS since,
        a.begun_at, a.tries,
        CASE WHEN a.refused IS NOT NULL THEN 'refused'
            ELSE coalesce(o.status, 'succeeded') END AS status,
        coalesce(a.refused, o.error ->> 'detail') AS error,
        CASE WHEN a.refused IS NOT NULL THEN a.begun_at ELSE o.finished_at END AS ended_at
    FROM databases d
        JOIN backup_defaults e ON e.environment = d.environment
        LEFT JOIN backup_schedules s ON s.database_id = d.id
        LEFT JOIN backup_attempts a ON a.database_id = d.id
        LEFT JOIN operations o ON o.id = a.operation_id
"""


def _row(found: dict[str, Any]) -> ScheduleRow:
    attempt = None
    if found["begun_at"] is not None:
        attempt = Attempt(
            found["begun_at"], found["tries"], found["status"], found["error"], found["ended_at"]
        )
    schedule = Schedule(**{name: found[name] for name in _FIELDS})
    return ScheduleRow(found["database_id"], schedule, found["own"], found["since"], attempt)


async def every(tx: Tx, *, on_only: bool = False) -> list[ScheduleRow]:
    """Return the schedules of all active databases, those that have waited longest first.

    With ``on_only`` without those that are off.
    """
    condition = f"AND {_EVERY} <> 'off'" if on_only else ""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(f"{_FROM} WHERE d.status = 'active' {condition} ORDER BY since")
        return [_row(found) for found in await cursor.fetchall()]


async def find(tx: Tx, database_id: uuid.UUID) -> ScheduleRow | None:
    """Return the schedule of a database, or None."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(f"{_FROM} WHERE d.id = %s", (database_id,))
        found = await cursor.fetchone()
    return None if found is None else _row(found)


async def count_failing(tx: Tx) -> int:
    """Return how many active databases have a schedule whose last backup failed or was refused."""
    cursor = await tx.execute(
        f"""
        SELECT count(*) FROM ({_FROM} WHERE d.status = 'active' AND {_EVERY} <> 'off') found
        WHERE begun_at IS NOT NULL AND status IN ('failed', 'refused')
        """
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def set_own(tx: Tx, database_id: uuid.UUID, schedule: Schedule) -> None:
    """Set a database's own schedule."""
    await tx.execute(
        f"""
        INSERT INTO backup_schedules (database_id, {_SCHEDULE})
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (database_id) DO UPDATE SET every = excluded.every, hour = excluded.hour,
            format = excluded.format, keep_count = excluded.keep_count,
            keep_days = excluded.keep_days, keep_manual_days = excluded.keep_manual_days,
            changed_at = clock_timestamp()
        """,
        (database_id, *_values(schedule)),
    )


async def remove_own(tx: Tx, database_id: uuid.UUID) -> None:
    """Remove a database's own schedule; its environment's applies again."""
    await tx.execute("DELETE FROM backup_schedules WHERE database_id = %s", (database_id,))


async def defaults(tx: Tx) -> dict[str, Schedule]:
    """Return the default schedules by environment."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT environment, {_SCHEDULE} FROM backup_defaults ORDER BY environment DESC"
        )
        return {row.pop("environment"): Schedule(**row) for row in await cursor.fetchall()}


async def set_default(tx: Tx, environment: str, schedule: Schedule) -> None:
    """Change the schedule of an environment."""
    await tx.execute(
        """
        UPDATE backup_defaults SET every = %s, hour = %s, format = %s, keep_count = %s,
            keep_days = %s, keep_manual_days = %s, changed_at = clock_timestamp()
        WHERE environment = %s
        """,
        (*_values(schedule), environment),
    )


def _values(schedule: Schedule) -> tuple[object, ...]:
    return tuple(getattr(schedule, name) for name in _FIELDS)


async def note_attempt(
    tx: Tx,
    database_id: uuid.UUID,
    *,
    tries: int,
    operation_id: uuid.UUID | None = None,
    refused: str | None = None,
) -> None:
    """Record that an operation has started a scheduled backup, or that it was refused."""
    await tx.execute(
        """
        INSERT INTO backup_attempts (database_id, begun_at, tries, operation_id, refused)
        VALUES (%(id)s, clock_timestamp(), %(tries)s, %(operation)s, %(refused)s)
        ON CONFLICT (database_id) DO UPDATE SET begun_at = excluded.begun_at,
            tries = excluded.tries, operation_id = excluded.operation_id,
            refused = excluded.refused
        """,
        {"id": database_id, "tries": tries, "operation": operation_id, "refused": refused},
    )
