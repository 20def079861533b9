"""Leases of operations: a worker takes those that are due, and holds them by renewing the lease."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence

from psycopg.rows import class_row

from tenantry.control.operations import COLUMNS, OperationRow
from tenantry.control.store import Tx

_TAKE = f"""
    WITH busy AS (
        SELECT coalesce(customer_id, resource_id) AS owner,
            count(*) FILTER (WHERE NOT cancel_requested) AS working,
            count(*) FILTER (WHERE cancel_requested) AS cancelled
        FROM operations WHERE id = ANY (%(running)s) GROUP BY 1
    ), due AS (
        SELECT id, created_at, cancel_requested,
            CASE WHEN cancel_requested THEN coalesce(cancelled, 0)
                 ELSE coalesce(greatest(working, working + cancelled - %(most_each)s), 0)
            END + row_number() OVER (
                PARTITION BY owner, cancel_requested ORDER BY created_at, id) AS turn
        FROM (
            SELECT id, created_at, cancel_requested,
                coalesce(customer_id, resource_id) AS owner
            FROM operations
            WHERE kind = ANY (%(kinds)s) AND status IN ('queued', 'running')
              AND due_at <= clock_timestamp()
              AND (lease_until IS NULL OR lease_until < clock_timestamp()
                   OR holder = %(holder)s)
              AND id <> ALL (%(running)s)
        ) free LEFT JOIN busy USING (owner)
    ), ranked AS (
        SELECT id, cancel_requested, row_number() OVER (
            PARTITION BY cancel_requested ORDER BY turn, created_at, id) AS place
        FROM due WHERE turn <= %(most_each)s
    ), used AS (
        SELECT coalesce(sum(working), 0) AS working,
            coalesce(sum(cancelled), 0) AS cancelled
        FROM busy
    ), chosen AS (
        SELECT id FROM ranked, used
        WHERE place <= %(most)s - CASE WHEN cancel_requested THEN cancelled
            ELSE greatest(working, working + cancelled - %(most)s) END
    )
    UPDATE operations SET status = 'running', holder = %(holder)s,
        lease_until = clock_timestamp() + %(lease)s,
        started_at = coalesce(started_at, clock_timestamp())
    WHERE id IN (
        SELECT id FROM operations WHERE id IN (SELECT id FROM chosen)
        FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING {COLUMNS}
"""


async def take(
    tx: Tx,
    kinds: Sequence[str],
    *,
    holder: uuid.UUID,
    lease: dt.timedelta,
    most: int,
    most_each: int,
    running: Collection[uuid.UUID] = (),
) -> list[OperationRow]:
    """Lease due operations that no worker holds, until ``most`` run, for as long as ``lease``.

    At most ``most_each`` of one owner (the customer; without one, the resource) run. The owner with
    the fewest running comes first, then the oldest operation. Operations to be cancelled have as
    many places of their own, so that they need not wait for running ones; once those places are
    full, what one owner starts and cancels repeatedly counts with the rest.

    ``holder`` must ``renew`` the lease, or another worker takes them. What it holds and is not
    ``running`` was interrupted, and is taken again. ``running`` are the holder's of these kinds.
    """
    async with tx.cursor(row_factory=class_row(OperationRow)) as cursor:
        await cursor.execute(
            _TAKE,
            {
                "holder": holder,
                "lease": lease,
                "kinds": list(kinds),
                "most": most,
                "most_each": most_each,
                "running": list(running),
            },
        )
        return await cursor.fetchall()


async def release_all(tx: Tx, kinds: Sequence[str]) -> None:
    """Release all leases of operations of these kinds. Call only as their only worker."""
    await tx.execute(
        "UPDATE operations SET lease_until = NULL, holder = NULL"
        " WHERE lease_until IS NOT NULL AND kind = ANY (%s)",
        (list(kinds),),
    )


async def renew(
    tx: Tx, operation_id: uuid.UUID, *, holder: uuid.UUID, lease: dt.timedelta
) -> bool | None:
    """Renew a lease. Returns whether cancellation is requested; None if the lease is lost."""
    row = await (
        await tx.execute(
            """
            UPDATE operations SET lease_until = clock_timestamp() + %s
            WHERE id = %s AND holder = %s AND status = 'running' RETURNING cancel_requested
            """,
            (lease, operation_id, holder),
        )
    ).fetchone()
    return None if row is None else bool(row[0])


async def hold(tx: Tx, operation_id: uuid.UUID, *, holder: uuid.UUID) -> bool:
    """Prevent take and abandon of a held operation until ``tx`` ends. Returns False if not held."""
    cursor = await tx.execute(
        "SELECT FROM operations WHERE id = %s AND holder = %s AND status = 'running'"
        " FOR NO KEY UPDATE",
        (operation_id, holder),
    )
    return cursor.rowcount == 1
