"""What metrics of databases are labelled with, and the limits that they are compared with."""

import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class MonitoredRow:
    """An active database. ``used_bytes`` is with its shadow, None until it is first measured."""

    id: uuid.UUID
    database_name: str
    friendly_name: str | None
    environment: str
    kind: str
    plan: str
    cluster: str
    max_connections: int
    disk_quota_bytes: int
    used_bytes: int | None


async def databases(
    tx: Tx, database_id: uuid.UUID | None, *, customer_id: uuid.UUID | None
) -> list[MonitoredRow]:
    """Return a database, or all; with ``customer_id``, only that customer's."""
    async with tx.cursor(row_factory=class_row(MonitoredRow)) as cursor:
        await cursor.execute(
            """
            SELECT d.id, d.database_name, d.friendly_name, d.environment, l.kind, d.plan,
                   l.name AS cluster, coalesce(d.max_connections, p.max_connections)
                   AS max_connections, coalesce(d.disk_quota_bytes, p.disk_quota_bytes)
                   AS disk_quota_bytes, u.used_bytes
            FROM databases d
            JOIN plans p ON p.name = d.plan
            JOIN clusters l ON l.id = d.cluster_id
            LEFT JOIN disk_usage u ON u.database_id = d.id
            WHERE d.status = 'active' AND (%(id)s::uuid IS NULL OR d.id = %(id)s)
              AND (%(customer_id)s::uuid IS NULL OR d.customer_id = %(customer_id)s)
            """,
            {"id": database_id, "customer_id": customer_id},
        )
        return await cursor.fetchall()
