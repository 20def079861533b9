"""What is known of databases whose conditions are looked for, every few seconds."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.control.databases import QuotaState
from tenantry.control.pauses import PauseReason
from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class WatchedRow:
    """An active database. ``used_bytes`` is with its shadow, None until it is first measured.

    ``held`` is whether ``quota_state`` is for want of space on the disk only.
    """

    id: uuid.UUID
    database_name: str
    friendly_name: str | None
    customer_id: uuid.UUID | None
    max_connections: int
    disk_quota_bytes: int
    used_bytes: int | None
    quota_state: QuotaState
    held: bool
    paused_for: PauseReason | None


async def on_cluster(tx: Tx, cluster_id: uuid.UUID) -> list[WatchedRow]:
    """Return the active databases of a cluster."""
    async with tx.cursor(row_factory=class_row(WatchedRow), binary=True) as cursor:
        await cursor.execute(
            """
            SELECT d.id, d.database_name, d.friendly_name, d.customer_id,
                coalesce(d.max_connections, p.max_connections) AS max_connections,
                coalesce(d.disk_quota_bytes, p.disk_quota_bytes) AS disk_quota_bytes,
                u.used_bytes, coalesce(u.state, 'ok') AS quota_state,
                coalesce(u.held, false) AS held, d.paused_for
            FROM databases d JOIN plans p ON p.name = d.plan
                LEFT JOIN disk_usage u ON u.database_id = d.id
            WHERE d.cluster_id = %s AND d.status = 'active'
            """,
            (cluster_id,),
        )
        return await cursor.fetchall()


async def ids_on(tx: Tx, clusters: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return the active databases of these clusters."""
    cursor = await tx.execute(
        "SELECT id FROM databases WHERE cluster_id = ANY (%s) AND status = 'active'",
        ([*clusters],),
    )
    return {database_id for (database_id,) in await cursor.fetchall()}
