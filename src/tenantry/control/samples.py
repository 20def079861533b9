"""The newest sample of each database: what it has at the moment, and its counters."""

import datetime as dt
import uuid
from dataclasses import dataclass, fields

from psycopg.rows import class_row

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class Sample:
    """What a database and its shadow had at a moment, and what they have done so far.

    None is what is not known. ``size_bytes`` is without the shadow. Connections are those of the
    tenant's roles by state; an aborted transaction is one, too. Counters go back to 0 when the
    server loses its statistics (a crash), when the database is restored, and those from
    ``cpu_seconds`` on when what counts them is restarted: the worker, or the pooler.
    ``cpu_seconds`` and ``wal_bytes`` are estimates. ``services.samples.model`` has all units.
    """

    database_id: uuid.UUID
    at: dt.datetime
    size_bytes: int | None
    shadow_bytes: int | None
    memory_bytes: int | None
    direct_active: int
    direct_idle: int
    direct_in_transaction: int
    pooled_active: int
    pooled_idle: int
    pooled_in_transaction: int
    longest_transaction_seconds: float
    clients_active: int | None
    clients_waiting: int | None
    longest_wait_seconds: float | None
    commits: int
    rollbacks: int
    rows_read: int
    rows_fetched: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    blocks_hit: int
    blocks_read: int
    temporary_bytes: int
    deadlocks: int
    cpu_seconds: float | None
    wal_bytes: int | None
    pooled_queries: int | None
    pooled_query_seconds: float | None
    pooled_wait_seconds: float | None


_NAMES = [each.name for each in fields(Sample)]


async def newest(
    tx: Tx, database_id: uuid.UUID | None, *, customer_id: uuid.UUID | None
) -> list[Sample]:
    """Return the newest sample of a database, or of all; with ``customer_id``, of that customer's.

    A database that was never sampled has none.
    """
    async with tx.cursor(row_factory=class_row(Sample)) as cursor:
        await cursor.execute(
            f"""
            SELECT {", ".join(f"s.{name}" for name in _NAMES)}
            FROM newest_samples s JOIN databases d ON d.id = s.database_id
            WHERE d.status = 'active' AND (%(id)s::uuid IS NULL OR d.id = %(id)s)
              AND (%(customer_id)s::uuid IS NULL OR d.customer_id = %(customer_id)s)
            """,
            {"id": database_id, "customer_id": customer_id},
        )
        return await cursor.fetchall()


async def largest_since(tx: Tx, database_id: uuid.UUID, since: dt.datetime) -> int:
    """Return the largest sampled size of a database since then, without its shadow; or 0."""
    cursor = await tx.execute(
        """
        SELECT max(size_bytes) FROM (
            SELECT size_bytes FROM samples_hour
            WHERE database_id = %(id)s AND at >= date_trunc('hour', %(since)s)
            UNION ALL
            SELECT size_bytes FROM samples_raw WHERE database_id = %(id)s AND at >= %(since)s
        ) every
        """,
        {"id": database_id, "since": since},
    )
    row = await cursor.fetchone()
    return int(row[0] or 0) if row else 0
