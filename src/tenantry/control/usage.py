"""The last measured disk usage of databases, and the resulting quota states."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.control.databases import QuotaState
from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A database's disk usage, including its shadow's, and its state ``since`` when.

    ``read_only_from_bytes`` is its size when it became read-only, None if it is not. One that is
    ``held`` is restricted for want of space on the disk only, not by its quota. ``allowed_bytes``
    of its usage do not count while an operation writes a copy of a table.
    """

    database_id: uuid.UUID
    used_bytes: int
    state: QuotaState
    held: bool
    since: dt.datetime
    read_only_from_bytes: int | None
    allowed_bytes: int


_COLUMNS = """
    database_id, used_bytes, state, held, since, read_only_from_bytes,
    CASE WHEN EXISTS (SELECT FROM operations o
            WHERE o.id = allowed_for AND o.status IN ('queued', 'running'))
        THEN allowed_bytes ELSE 0 END AS allowed_bytes
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """The bytes on disk of a database and its shadow together, and of the shadow alone."""

    used_bytes: int
    shadow_bytes: int


async def keep(tx: Tx, measured: Mapping[uuid.UUID, Measured]) -> None:
    """Record measurements, of databases that still exist."""
    await tx.execute(
        """
        INSERT INTO disk_usage (database_id, used_bytes, shadow_bytes)
        SELECT m.id, m.used, m.shadow
        FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[]) m (id, used, shadow)
        WHERE EXISTS (SELECT FROM databases d WHERE d.id = m.id)
        ON CONFLICT (database_id) DO UPDATE SET used_bytes = excluded.used_bytes,
            shadow_bytes = excluded.shadow_bytes, measured_at = excluded.measured_at
        """,
        (
            list(measured),
            [each.used_bytes for each in measured.values()],
            [each.shadow_bytes for each in measured.values()],
        ),
    )


async def find(tx: Tx, database_id: uuid.UUID) -> UsageRow | None:
    """Return the last measurement of a database, or None."""
    async with tx.cursor(row_factory=class_row(UsageRow)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM disk_usage WHERE database_id = %s", (database_id,)
        )
        return await cursor.fetchone()


async def on_cluster(tx: Tx, cluster_id: uuid.UUID) -> dict[uuid.UUID, UsageRow]:
    """Return the last measurements of the databases of one cluster."""
    async with tx.cursor(row_factory=class_row(UsageRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {_COLUMNS} FROM disk_usage
            WHERE database_id IN (SELECT id FROM databases WHERE cluster_id = %s)
            """,
            (cluster_id,),
        )
        return {row.database_id: row for row in await cursor.fetchall()}


async def set_state(
    tx: Tx, database_id: uuid.UUID, state: QuotaState, *, held: bool, read_only_from: int | None
) -> None:
    """Set a database's quota state from now on."""
    await tx.execute(
        """
        UPDATE disk_usage SET state = %s, held = %s, since = clock_timestamp(),
            read_only_from_bytes = %s
        WHERE database_id = %s
        """,
        (state, held, read_only_from, database_id),
    )


async def set_held(tx: Tx, database_id: uuid.UUID, held: bool) -> None:
    """Set whether a database's state is for want of space on the disk only."""
    await tx.execute(
        "UPDATE disk_usage SET held = %s WHERE database_id = %s AND held <> %s",
        (held, database_id, held),
    )


async def allow(
    tx: Tx, database_id: uuid.UUID, operation_id: uuid.UUID, allowed_bytes: int
) -> None:
    """Exempt so many bytes until the operation ends, or sets another number."""
    await tx.execute(
        "UPDATE disk_usage SET allowed_bytes = %s, allowed_for = %s WHERE database_id = %s",
        (allowed_bytes, operation_id, database_id),
    )


async def count_by_state(tx: Tx) -> dict[str, int]:
    """Return the number of measured databases in each state."""
    cursor = await tx.execute("SELECT state, count(*) FROM disk_usage GROUP BY state")
    return dict(await cursor.fetchall())
