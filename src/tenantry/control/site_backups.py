"""Backups of sites of the AI cache, one row each.

The row is created before the files in the repositories, and deleted after them: no file is without
a row.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.control.pages import Key
from tenantry.control.sites import SiteRow
from tenantry.control.store import Tx

Origin = Literal["manual", "scheduled"]
Status = Literal["making", "ready", "deleting"]


@dataclass(frozen=True, slots=True)
class SiteBackupRow:
    """A backup. What is None is known once it is ready.

    ``memory_bytes`` is what the site's Redis had in memory, ``server`` what that was, and
    ``places`` are the repositories that have the file. ``site_deleted_at`` is when its site was
    deleted.
    """

    id: uuid.UUID
    site_id: uuid.UUID
    site_name: str
    customer_id: uuid.UUID | None
    origin: Origin
    status: Status
    size_bytes: int | None
    sha256: str | None
    memory_bytes: int | None
    keys: int | None
    server: str | None
    places: list[str]
    created_at: dt.datetime
    finished_at: dt.datetime | None
    site_deleted_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Made:
    """What is known of a backup once it is ready."""

    size_bytes: int
    sha256: str
    memory_bytes: int
    keys: int
    server: str
    places: Sequence[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """A site that keeps its data, and how its backups stand.

    ``since`` is when its newest backup was begun that is in one of today's repositories, or else
    when the site was created; ``places`` are the repositories that have that backup. ``failed_at``
    is when an attempt after that one failed. ``busy`` is whether an operation has the site.
    """

    site_id: uuid.UUID
    name: str
    customer_id: uuid.UUID | None
    since: dt.datetime
    last_at: dt.datetime | None
    places: list[str]
    failed_at: dt.datetime | None
    busy: bool


_COLUMNS = ", ".join(SiteBackupRow.__annotations__)


async def insert(tx: Tx, site: SiteRow, origin: Origin) -> uuid.UUID:
    """Insert a backup to be made, and return its id."""
    backup_id = new_id()
    await tx.execute(
        "INSERT INTO site_backups (id, site_id, site_name, customer_id, origin)"
        " VALUES (%s, %s, %s, %s, %s)",
        (backup_id, site.id, site.name, site.customer_id, origin),
    )
    return backup_id


async def find(tx: Tx, backup_id: uuid.UUID) -> SiteBackupRow | None:
    """Return a backup; None if there is none."""
    async with tx.cursor(row_factory=class_row(SiteBackupRow)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} FROM site_backups WHERE id = %s", (backup_id,))
        return await cursor.fetchone()


async def page(tx: Tx, site_id: uuid.UUID, *, after: Key, limit: int) -> list[SiteBackupRow]:
    """Return up to ``limit`` backups of a site, newest first, starting after ``after``.

    Those that are being deleted are left out.
    """
    async with tx.cursor(row_factory=class_row(SiteBackupRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {_COLUMNS} FROM site_backups
            WHERE site_id = %s AND status <> 'deleting' AND (created_at, id) < (%s, %s)
            ORDER BY created_at DESC, id DESC LIMIT %s
            """,
            (site_id, *after, limit),
        )
        return await cursor.fetchall()


async def every(tx: Tx) -> list[SiteBackupRow]:
    """Return all backups, oldest first."""
    async with tx.cursor(row_factory=class_row(SiteBackupRow)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} FROM site_backups ORDER BY created_at, id")
        return await cursor.fetchall()


async def count_of(tx: Tx, site_id: uuid.UUID) -> int:
    """Return how many backups on demand a site has."""
    cursor = await tx.execute(
        "SELECT count(*) FROM site_backups"
        " WHERE site_id = %s AND origin = 'manual' AND status <> 'deleting'",
        (site_id,),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def make_ready(tx: Tx, backup_id: uuid.UUID, made: Made) -> bool:
    """Mark a backup as complete. Return whether it is still wanted."""
    cursor = await tx.execute(
        """
        UPDATE site_backups SET status = 'ready', size_bytes = %s, sha256 = %s, memory_bytes = %s,
            keys = %s, server = %s, places = %s, finished_at = clock_timestamp()
        WHERE id = %s AND status <> 'deleting'
        """,
        (
            made.size_bytes,
            made.sha256,
            made.memory_bytes,
            made.keys,
            made.server,
            [*made.places],
            backup_id,
        ),
    )
    return bool(cursor.rowcount)


async def begin_deletion(tx: Tx, ids: Sequence[uuid.UUID]) -> None:
    """Mark backups as being deleted: they can no longer be used."""
    await tx.execute("UPDATE site_backups SET status = 'deleting' WHERE id = ANY (%s)", ([*ids],))


async def abandon_unmade(tx: Tx) -> None:
    """Mark unfinished backups as being deleted whose operation has ended."""
    await tx.execute(
        """
        UPDATE site_backups b SET status = 'deleting' WHERE b.status = 'making' AND NOT EXISTS (
            SELECT FROM operations o WHERE o.resource_id = b.site_id
                AND o.params ->> 'backup_id' = b.id::text AND o.status IN ('queued', 'running'))
        """
    )


async def being_deleted(tx: Tx) -> list[SiteBackupRow]:
    """Return the backups that are being deleted."""
    async with tx.cursor(row_factory=class_row(SiteBackupRow)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} FROM site_backups WHERE status = 'deleting'")
        return await cursor.fetchall()


async def remove(tx: Tx, backup_id: uuid.UUID) -> None:
    """Delete the row of a backup whose files are gone from all repositories."""
    await tx.execute("DELETE FROM site_backups WHERE id = %s AND status = 'deleting'", (backup_id,))


async def note_site_deleted(tx: Tx, site_id: uuid.UUID) -> None:
    """Record that the site of backups is deleted: from now on they all expire."""
    await tx.execute(
        "UPDATE site_backups SET site_deleted_at = clock_timestamp()"
        " WHERE site_id = %s AND site_deleted_at IS NULL",
        (site_id,),
    )


async def standings(tx: Tx, places: Sequence[str]) -> list[Standing]:
    """Return the sites that keep their data, that which was backed up longest ago first.

    ``places`` are today's repositories.
    """
    async with tx.cursor(row_factory=class_row(Standing)) as cursor:
        await cursor.execute(
            """
            SELECT s.id AS site_id, s.name, s.customer_id, coalesce(b.at, s.created_at) AS since,
                b.at AS last_at, coalesce(b.places, '{}') AS places,
                (SELECT max(o.finished_at) FROM operations o
                    WHERE o.resource_id = s.id AND o.kind = 'site.backup' AND o.status = 'failed'
                        AND o.finished_at > coalesce(b.at, s.created_at)) AS failed_at,
                EXISTS (SELECT FROM operations o WHERE o.resource_id = s.id
                    AND o.status IN ('queued', 'running')) AS busy
            FROM sites s LEFT JOIN LATERAL (
                SELECT created_at AS at, places FROM site_backups
                WHERE site_id = s.id AND status = 'ready' AND places && %s
                ORDER BY created_at DESC LIMIT 1) b ON true
            WHERE s.status = 'active' AND s.persistence = 'aof'
            ORDER BY since, s.id
            """,
            ([*places],),
        )
        return await cursor.fetchall()


async def scheduled_is_made(tx: Tx) -> bool:
    """Whether a scheduled backup is running or queued."""
    cursor = await tx.execute(
        "SELECT EXISTS (SELECT FROM site_backups WHERE status = 'making' AND origin = 'scheduled')"
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def count_by_status(tx: Tx) -> dict[str, tuple[int, int]]:
    """Return the number of backups and their bytes, by status."""
    cursor = await tx.execute(
        "SELECT status, count(*), coalesce(sum(size_bytes), 0) FROM site_backups GROUP BY status"
    )
    return {status: (int(count), int(size)) for status, count, size in await cursor.fetchall()}
