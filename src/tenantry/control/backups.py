"""Logical backups, one row each.

The row is created before the file and deleted before it: a file without a row is unused.
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Literal

from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.control.databases import DatabaseRow
from tenantry.control.pages import Key
from tenantry.control.store import Tx

Format = Literal["custom", "plain"]
Part = Literal["all", "schema", "data"]
Origin = Literal["manual", "scheduled"]
Status = Literal["making", "ready", "damaged"]


@dataclass(frozen=True, slots=True)
class BackupRow:
    """A backup. Size, hash, version and ``finished_at`` are None only while it is being made.

    ``damage`` says what is wrong with the file of a damaged one. One that is ``kept`` remains when
    its database is deleted.
    """

    id: uuid.UUID
    database_id: uuid.UUID
    database_name: str
    customer_id: uuid.UUID | None
    file_name: str
    format: Format
    part: Part
    origin: Origin
    description: str | None
    status: Status
    damage: str | None
    size_bytes: int | None
    sha256: str | None
    postgres_version: str | None
    kept: bool
    created_at: dt.datetime
    finished_at: dt.datetime | None
    verified_at: dt.datetime | None


async def insert(
    tx: Tx,
    database: DatabaseRow,
    *,
    file_name: str,
    format: Format,  # noqa: A002 (the word of pg_dump, and of the API)
    part: Part,
    origin: Origin,
    description: str | None,
) -> uuid.UUID | None:
    """Insert a backup to be made. Returns None if the database has one with this file name."""
    backup_id = new_id()
    cursor = await tx.execute(
        """
        INSERT INTO backups (id, database_id, database_name, customer_id, file_name, format, part,
            origin, description)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (database_name, file_name) DO NOTHING
        """,
        (
            backup_id,
            database.id,
            database.database_name,
            database.customer_id,
            file_name,
            format,
            part,
            origin,
            description,
        ),
    )
    return backup_id if cursor.rowcount else None


async def find(tx: Tx, backup_id: uuid.UUID, *, database_id: uuid.UUID | None) -> BackupRow | None:
    """Return a backup by its id; with ``database_id``, only if it is of that database."""
    async with tx.cursor(row_factory=class_row(BackupRow)) as cursor:
        await cursor.execute(
            "SELECT * FROM backups WHERE id = %s AND (%s::uuid IS NULL OR database_id = %s)",
            (backup_id, database_id, database_id),
        )
        return await cursor.fetchone()


async def page(tx: Tx, database_id: uuid.UUID, *, after: Key, limit: int) -> list[BackupRow]:
    """Return up to ``limit`` backups of a database, newest first, starting after ``after``."""
    async with tx.cursor(row_factory=class_row(BackupRow)) as cursor:
        await cursor.execute(
            """
            SELECT * FROM backups WHERE database_id = %s AND (created_at, id) < (%s, %s)
            ORDER BY created_at DESC, id DESC LIMIT %s
            """,
            (database_id, *after, limit),
        )
        return await cursor.fetchall()


async def every(tx: Tx) -> list[BackupRow]:
    """Return all backups, oldest first."""
    async with tx.cursor(row_factory=class_row(BackupRow)) as cursor:
        await cursor.execute("SELECT * FROM backups ORDER BY created_at")
        return await cursor.fetchall()


async def use_of(tx: Tx, database_id: uuid.UUID) -> tuple[int, int]:
    """Return how many backups a database has, and their bytes together."""
    row = await (
        await tx.execute(
            "SELECT count(*), coalesce(sum(size_bytes), 0) FROM backups WHERE database_id = %s",
            (database_id,),
        )
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


async def bytes_of_customer(tx: Tx, customer_id: uuid.UUID) -> int:
    """Return the bytes of a customer's logical backups, and of those of its sites.

    Those of deleted databases and sites are included.
    """
    row = await (
        await tx.execute(
            """
            SELECT coalesce(sum(size_bytes), 0) FROM (
                SELECT size_bytes FROM backups WHERE customer_id = %(id)s
                UNION ALL SELECT size_bytes FROM site_backups WHERE customer_id = %(id)s
            ) AS held
            """,
            {"id": customer_id},
        )
    ).fetchone()
    return int(row[0]) if row else 0


async def last_size(
    tx: Tx,
    database_id: uuid.UUID,
    format: Format,  # noqa: A002
    part: Part,
) -> int | None:
    """Return the size of the last backup of this kind, as an estimate for the next, or None."""
    row = await (
        await tx.execute(
            """
            SELECT size_bytes FROM backups
            WHERE database_id = %s AND format = %s AND part = %s AND status = 'ready'
            ORDER BY created_at DESC LIMIT 1
            """,
            (database_id, format, part),
        )
    ).fetchone()
    return None if row is None else int(row[0])


async def next_to_verify(tx: Tx, *, before: dt.datetime) -> BackupRow | None:
    """Return the intact backup whose last verification is oldest and before ``before``, or None."""
    async with tx.cursor(row_factory=class_row(BackupRow)) as cursor:
        await cursor.execute(
            """
            SELECT * FROM backups WHERE status = 'ready' AND verified_at < %s
            ORDER BY verified_at LIMIT 1
            """,
            (before,),
        )
        return await cursor.fetchone()


async def count_by_status(tx: Tx) -> dict[str, tuple[int, int]]:
    """Return the number of backups and their bytes, by status."""
    cursor = await tx.execute(
        "SELECT status, count(*), coalesce(sum(size_bytes), 0) FROM backups GROUP BY status"
    )
    return {status: (int(count), int(size)) for status, count, size in await cursor.fetchall()}


async def make_ready(
    tx: Tx, backup_id: uuid.UUID, *, size_bytes: int, sha256: str, postgres_version: str
) -> bool:
    """Mark a backup as complete. Returns whether it is still wanted."""
    cursor = await tx.execute(
        """
        UPDATE backups SET status = 'ready', size_bytes = %s, sha256 = %s, postgres_version = %s,
            finished_at = clock_timestamp(), verified_at = clock_timestamp()
        WHERE id = %s
        """,
        (size_bytes, sha256, postgres_version, backup_id),
    )
    return bool(cursor.rowcount)


async def set_damage(tx: Tx, backup_id: uuid.UUID, damage: str | None) -> None:
    """Record the damage of a verified file; None if it is intact."""
    await tx.execute(
        """
        UPDATE backups SET status = CASE WHEN %(damage)s::text IS NULL THEN 'ready'
            ELSE 'damaged' END, damage = %(damage)s, verified_at = clock_timestamp()
        WHERE id = %(id)s AND status <> 'making'
        """,
        {"damage": damage, "id": backup_id},
    )


async def remove(tx: Tx, backup_id: uuid.UUID) -> None:
    """Delete a backup's row; its file is then unused."""
    await tx.execute("DELETE FROM backups WHERE id = %s", (backup_id,))


async def keep_all(tx: Tx, database_id: uuid.UUID) -> None:
    """Retain a database's backups when it is deleted."""
    await tx.execute(
        "UPDATE backups SET kept = true WHERE database_id = %s AND status <> 'making'",
        (database_id,),
    )


async def remove_orphans(tx: Tx) -> list[BackupRow]:
    """Delete the rows of backups of deleted databases, except retained ones, and return them."""
    async with tx.cursor(row_factory=class_row(BackupRow)) as cursor:
        await cursor.execute(
            """
            DELETE FROM backups b WHERE NOT b.kept
                AND NOT EXISTS (SELECT FROM databases d WHERE d.id = b.database_id)
            RETURNING *
            """
        )
        return await cursor.fetchall()


async def remove_unmade(tx: Tx) -> None:
    """Delete unfinished backups whose operation no longer exists."""
    await tx.execute(
        """
        DELETE FROM backups b WHERE b.status = 'making' AND NOT EXISTS (
            SELECT FROM operations o WHERE o.resource_id = b.database_id
                AND o.params ->> 'backup_id' = b.id::text AND o.status IN ('queued', 'running'))
        """
    )


async def scheduled_is_made(tx: Tx) -> bool:
    """Whether a scheduled backup is running or queued."""
    row = await (
        await tx.execute(
            "SELECT EXISTS (SELECT FROM backups WHERE status = 'making' AND origin = 'scheduled')"
        )
    ).fetchone()
    return bool(row and row[0])
