"""Samples of the databases' sizes and counters."""

import datetime as dt
import uuid

from tenantry.control.store import Tx
from tenantry.pg.catalog import DatabaseUse


async def record_stats(tx: Tx, database_id: uuid.UUID, use: DatabaseUse) -> None:
    """Record a sample of a database's size and counters, if it still exists."""
    await tx.execute(
        """
        INSERT INTO database_stats (database_id, size_bytes, connections, transactions_committed,
            transactions_rolled_back, cache_hit_ratio)
        SELECT id, %s, %s, %s, %s, %s FROM databases WHERE id = %s
        """,
        (
            use.size_bytes,
            use.connections,
            use.committed,
            use.rolled_back,
            use.cache_hit_ratio,
            database_id,
        ),
    )


async def largest_since(tx: Tx, database_id: uuid.UUID, since: dt.datetime) -> int:
    """Return the largest sampled size of a database since then, or 0."""
    row = await (
        await tx.execute(
            "SELECT max(size_bytes) FROM database_stats WHERE database_id = %s AND at >= %s",
            (database_id, since),
        )
    ).fetchone()
    return int(row[0] or 0) if row else 0


async def forget_old_stats(tx: Tx) -> None:
    """Delete samples older than 30 days."""
    await tx.execute("DELETE FROM database_stats WHERE at < now() - interval '30 days'")
