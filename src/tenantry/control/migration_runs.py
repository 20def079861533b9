"""The files of operations that migrate databases, and the results in each of many databases."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.control.databases import DatabaseRow
from tenantry.control.store import Tx

TargetStatus = Literal["pending", "running", "succeeded", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One database of a run over many. ``version`` and ``dirty`` are those after the run."""

    position: int
    database_id: uuid.UUID
    database_name: str
    name: str | None
    environment: str
    status: TargetStatus
    version: int | None
    dirty: bool | None
    steps: int | None
    error: dict[str, object] | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


_COLUMNS = """
    position, database_id, database_name, name, environment, status, version, dirty, steps, error,
    started_at, finished_at
"""


async def insert(tx: Tx, operation_id: uuid.UUID, files: Mapping[str, str]) -> None:
    """Store the files of a run, by name. One at a time is read from ``files``."""
    await tx.execute("INSERT INTO migration_runs (operation_id) VALUES (%s)", (operation_id,))
    for name, text in files.items():
        await tx.execute(
            "INSERT INTO migration_files (operation_id, name, sql) VALUES (%s, %s, %s)",
            (operation_id, name, text),
        )


async def files(tx: Tx, operation_id: uuid.UUID) -> dict[str, str]:
    """Return the files of a run, by name."""
    cursor = await tx.execute(
        "SELECT name, sql FROM migration_files WHERE operation_id = %s", (operation_id,)
    )
    return dict(await cursor.fetchall())


async def waiting_bytes(tx: Tx) -> int:
    """Return the bytes of the stored files of the runs that the transaction can see."""
    cursor = await tx.execute("SELECT coalesce(sum(octet_length(sql)), 0) FROM migration_files")
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def forget_files(tx: Tx) -> None:
    """Delete the files of finished runs, which need them no more."""
    await tx.execute(
        """
        DELETE FROM migration_files
        WHERE operation_id IN (SELECT id FROM operations WHERE finished_at IS NOT NULL)
        """
    )


async def insert_targets(tx: Tx, operation_id: uuid.UUID, databases: Sequence[DatabaseRow]) -> None:
    """Set the databases of a run, in this order."""
    async with tx.cursor() as cursor:
        await cursor.executemany(
            """
            INSERT INTO migration_targets (operation_id, position, database_id, database_name,
                name, environment)
            VALUES (%s, %s, %s, %s, %s, %s)
            """,
            [
                (operation_id, position, each.id, each.database_name, each.name, each.environment)
                for position, each in enumerate(databases)
            ],
        )


async def targets(
    tx: Tx,
    operation_id: uuid.UUID,
    *,
    status: TargetStatus | None = None,
    after: int = -1,
    limit: int | None = None,
) -> list[TargetRow]:
    """Return the databases of a run, in its order, starting after a position."""
    async with tx.cursor(row_factory=class_row(TargetRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {_COLUMNS} FROM migration_targets
            WHERE operation_id = %s AND position > %s AND (%s::text IS NULL OR status = %s)
            ORDER BY position LIMIT %s
            """,
            (operation_id, after, status, status, limit),
        )
        return await cursor.fetchall()


async def counts(
    tx: Tx, operation_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, dict[TargetStatus, int]]:
    """Return how many databases of each of these runs have each status."""
    cursor = await tx.execute(
        """
        SELECT operation_id, status, count(*) FROM migration_targets
        WHERE operation_id = ANY (%s) GROUP BY operation_id, status
        """,
        (list(operation_ids),),
    )
    found: dict[uuid.UUID, dict[TargetStatus, int]] = {}
    for operation_id, status, number in await cursor.fetchall():
        found.setdefault(operation_id, {})[status] = number
    return found


async def in_database(
    tx: Tx, database_id: uuid.UUID, operation_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, TargetStatus]:
    """Return the status of one database in those of these operations that are runs over many."""
    cursor = await tx.execute(
        """
        SELECT operation_id, status FROM migration_targets
        WHERE database_id = %s AND operation_id = ANY (%s)
        """,
        (database_id, list(operation_ids)),
    )
    return dict(await cursor.fetchall())


async def begin(tx: Tx, operation_id: uuid.UUID, position: int) -> None:
    """Record that the migration of a database has started."""
    await tx.execute(
        """
        UPDATE migration_targets SET status = 'running',
            started_at = coalesce(started_at, clock_timestamp())
        WHERE operation_id = %s AND position = %s
        """,
        (operation_id, position),
    )


async def finish(
    tx: Tx,
    operation_id: uuid.UUID,
    position: int,
    status: TargetStatus,
    *,
    version: int | None = None,
    dirty: bool | None = None,
    steps: int | None = None,
    error: Mapping[str, object] | None = None,
) -> None:
    """Record the result in one database."""
    await tx.execute(
        """
        UPDATE migration_targets SET status = %s, version = %s, dirty = %s, steps = %s,
            error = %s,
            finished_at = CASE WHEN %s = 'pending' THEN NULL ELSE clock_timestamp() END
        WHERE operation_id = %s AND position = %s
        """,
        (
            status,
            version,
            dirty,
            steps,
            None if error is None else Jsonb(dict(error)),
            status,
            operation_id,
            position,
        ),
    )
