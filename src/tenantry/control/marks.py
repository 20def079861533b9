"""Marks: named moments of a database. And what the audit has of its other turning points."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.control.store import Tx

MOST = 1000  # of one database; the oldest make room

# Actions of the audit after which a database has other contents, or another schema.
TURNING_POINTS = (
    "backup.create",
    "branch.promote",
    "branch.reset",
    "database.blueprint",
    "database.bring_back",
    "database.import",
    "database.migrate",
    "database.put_back",
    "database.restore_tables",
    "database.restored",
)


@dataclass(frozen=True, slots=True)
class MarkRow:
    """A moment with a label, which was created at ``created_at``."""

    id: uuid.UUID
    database_id: uuid.UUID
    label: str
    at: dt.datetime
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a database: a ``mark`` with its label, or an action of the audit.

    The label of an action names the tables that it was about, where it was about some.
    """

    at: dt.datetime
    kind: str
    label: str | None


async def create(tx: Tx, database_id: uuid.UUID, label: str, at: dt.datetime | None) -> MarkRow:
    """Add a mark, by default now; where there are too many, the oldest are deleted."""
    async with tx.cursor(row_factory=class_row(MarkRow)) as cursor:
        await cursor.execute(
            """
            INSERT INTO marks (id, database_id, label, at)
            VALUES (%s, %s, %s, coalesce(%s, clock_timestamp())) RETURNING *
            """,
            (new_id(), database_id, label, at),
        )
        [made] = await cursor.fetchall()
    await tx.execute(
        """
        DELETE FROM marks WHERE id IN (
            SELECT id FROM marks WHERE database_id = %s AND id <> %s
            ORDER BY at DESC, id DESC OFFSET %s)
        """,
        (database_id, made.id, MOST - 1),
    )
    return made


async def of_database(tx: Tx, database_id: uuid.UUID) -> list[MarkRow]:
    """Return the marks of a database, newest first."""
    async with tx.cursor(row_factory=class_row(MarkRow)) as cursor:
        await cursor.execute(
            "SELECT * FROM marks WHERE database_id = %s ORDER BY at DESC, id DESC", (database_id,)
        )
        return await cursor.fetchall()


async def remove(tx: Tx, database_id: uuid.UUID, mark_id: uuid.UUID) -> MarkRow | None:
    """Delete a mark. Return it, or None if the database has no such one."""
    async with tx.cursor(row_factory=class_row(MarkRow)) as cursor:
        await cursor.execute(
            "DELETE FROM marks WHERE database_id = %s AND id = %s RETURNING *",
            (database_id, mark_id),
        )
        return await cursor.fetchone()


async def timeline(
    tx: Tx, database_id: uuid.UUID, since: dt.datetime | None, limit: int
) -> list[Event]:
    """Return the marks and turning points of a database since a moment, newest first."""
    async with tx.cursor(row_factory=class_row(Event)) as cursor:
        await cursor.execute(
            """
            SELECT at, 'mark' AS kind, label FROM marks
            WHERE database_id = %(id)s AND at >= coalesce(%(since)s::timestamptz, '-infinity')
            UNION ALL
            SELECT at, action, coalesce(details ->> 'table', (
                SELECT string_agg(concat_ws('.', each ->> 0, each ->> 1), ', ' ORDER BY nth)
                FROM operations o,
                    jsonb_array_elements(o.params -> 'tables') WITH ORDINALITY t (each, nth)
                WHERE action = 'database.restore_tables'
                  AND o.id::text = details ->> 'operation_id'))
            FROM audit_logs
            WHERE resource_id = %(id)s::text AND result = 'ok' AND action = ANY (%(actions)s)
              AND at >= coalesce(%(since)s::timestamptz, '-infinity')
            ORDER BY at DESC LIMIT %(limit)s
            """,
            {
                "id": database_id,
                "since": since,
                "actions": list(TURNING_POINTS),
                "limit": limit,
            },
        )
        return await cursor.fetchall()
