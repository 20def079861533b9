"""Moves of databases to other clusters: the switch itself, and what is known of earlier moves."""

import datetime as dt
import uuid

from tenantry.control.store import Tx

_LAST = 20  # moves, by which the next one's duration is estimated


async def switch(
    tx: Tx,
    database_id: uuid.UUID,
    *,
    target: uuid.UUID,
    operation_id: uuid.UUID,
    size: int,
    seconds: float,
) -> None:
    """Place a database on another cluster.

    ``size`` is how many bytes were moved, ``seconds`` how long its clients have waited. On a shared
    cluster it is never suspended.
    """
    await tx.execute(
        """
        INSERT INTO database_moves (operation_id, database_id, source, target, bytes, seconds)
        SELECT %s, d.id, source.name, target.name, %s, %s
        FROM databases d JOIN clusters source ON source.id = d.cluster_id, clusters target
        WHERE d.id = %s AND target.id = %s
        """,
        (operation_id, size, seconds, database_id, target),
    )
    await tx.execute(
        """
        UPDATE databases SET cluster_id = target.id, updated_at = clock_timestamp(),
            auto_suspend_seconds = CASE WHEN target.kind = 'dedicated' THEN auto_suspend_seconds END
        FROM clusters target WHERE databases.id = %s AND target.id = %s
        """,
        (database_id, target),
    )


async def pace(tx: Tx, *, least: int) -> tuple[int, float]:
    """Return the bytes and the seconds of the last moves of at least so many bytes, in total."""
    cursor = await tx.execute(
        """
        SELECT coalesce(sum(bytes), 0)::bigint, coalesce(sum(seconds), 0)
        FROM (SELECT bytes, seconds FROM database_moves WHERE bytes >= %s
              ORDER BY moved_at DESC LIMIT %s) AS last
        """,
        (least, _LAST),
    )
    row = await cursor.fetchone()
    return (0, 0.0) if row is None else (int(row[0]), float(row[1]))


async def cluster_at(tx: Tx, database_id: uuid.UUID, moment: dt.datetime) -> str | None:
    """Return the name of the cluster that a database was on; None if it was on its present one."""
    cursor = await tx.execute(
        """
        SELECT source FROM database_moves WHERE database_id = %s AND moved_at > %s
        ORDER BY moved_at LIMIT 1
        """,
        (database_id, moment),
    )
    row = await cursor.fetchone()
    return None if row is None else str(row[0])
