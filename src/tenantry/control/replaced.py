"""Retained databases: those that were replaced, or are left by a move, until they expire."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class ReplacedRow:
    """A database that was in service until ``replaced_at``; it is dropped at ``expires_at``.

    ``cluster_id`` is its cluster; if that is not its database's, the database was moved since.
    """

    id: uuid.UUID
    database_id: uuid.UUID
    database_name: str
    operation_id: uuid.UUID
    cluster_id: uuid.UUID
    replaced_at: dt.datetime
    expires_at: dt.datetime


async def keep(
    tx: Tx,
    database_id: uuid.UUID,
    name: str,
    *,
    cluster_id: uuid.UUID,
    operation_id: uuid.UUID,
    days: int,
) -> bool:
    """Record a replaced database. Returns False if the operation has recorded it already."""
    cursor = await tx.execute(
        """
        INSERT INTO replaced_databases
            (id, database_id, database_name, cluster_id, operation_id, expires_at)
        VALUES (%s, %s, %s, %s, %s, clock_timestamp() + make_interval(days => %s))
        ON CONFLICT (operation_id) DO NOTHING
        """,
        (new_id(), database_id, name, cluster_id, operation_id, days),
    )
    return cursor.rowcount == 1


async def of_database(tx: Tx, database_id: uuid.UUID) -> list[ReplacedRow]:
    """Return the retained databases of a database, newest first."""
    async with tx.cursor(row_factory=class_row(ReplacedRow)) as cursor:
        await cursor.execute(
            "SELECT * FROM replaced_databases WHERE database_id = %s ORDER BY replaced_at DESC",
            (database_id,),
        )
        return await cursor.fetchall()


async def names(tx: Tx, cluster_id: uuid.UUID) -> set[str]:
    """Return the names of a cluster's retained databases, and of those that operations have there.

    The latter are staging databases, and those that are set aside to be moved.
    """
    cursor = await tx.execute(
        """
        SELECT database_name FROM replaced_databases WHERE cluster_id = %s
        UNION ALL
        SELECT name FROM operations,
            unnest(ARRAY[state ->> 'staging_name', state ->> 'aside']) AS name
        WHERE status IN ('queued', 'running') AND name IS NOT NULL
        """,
        (cluster_id,),
    )
    return {name for (name,) in await cursor.fetchall()}


async def expired(tx: Tx) -> list[ReplacedRow]:
    """Return expired ones, except while an exclusive operation has their database."""
    async with tx.cursor(row_factory=class_row(ReplacedRow)) as cursor:
        await cursor.execute(
            """
            SELECT * FROM replaced_databases r WHERE expires_at <= clock_timestamp()
              AND NOT EXISTS (SELECT FROM operations o WHERE o.resource_id = r.database_id
                              AND o.exclusive AND o.status IN ('queued', 'running'))
            """
        )
        return await cursor.fetchall()


async def remove(tx: Tx, database_name: str, database_id: uuid.UUID) -> None:
    """Delete the row of one that is dropped, or in service again."""
    await tx.execute(
        "DELETE FROM replaced_databases WHERE database_name = %s AND database_id = %s",
        (database_name, database_id),
    )
