"""How many databases there are."""

import uuid

from tenantry.control.store import Tx


async def count_of_customer(tx: Tx, customer_id: uuid.UUID) -> int:
    """Return how many databases a customer has, including branches and retained databases.

    Until ``tx`` ends, other transactions that count those of this customer wait.
    """
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 20))", (str(customer_id),))
    cursor = await tx.execute(
        """
        SELECT count(*) + coalesce(sum((
            SELECT count(*) FROM replaced_databases r WHERE r.database_id = d.id)), 0)
        FROM databases d WHERE customer_id = %s
        """,
        (customer_id,),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def count_instances(tx: Tx, customer_id: uuid.UUID) -> int:
    """Return how many instances a customer has.

    Those that its databases are being moved to, and those retained after a move, count, too.
    """
    cursor = await tx.execute(
        """
        SELECT count(*) FROM clusters WHERE kind = 'dedicated' AND id::text IN (
            SELECT cluster_id::text FROM databases WHERE customer_id = %(customer_id)s
            UNION ALL
            SELECT r.cluster_id::text
            FROM replaced_databases r JOIN databases d ON d.id = r.database_id
            WHERE d.customer_id = %(customer_id)s
            UNION ALL
            SELECT params ->> 'target_id' FROM operations
            WHERE customer_id = %(customer_id)s AND kind = 'database.move'
                AND status IN ('queued', 'running')
        )
        """,
        {"customer_id": customer_id},
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def count_warm(tx: Tx, cluster: str | None = None) -> int:
    """Return how many databases, of this cluster if any, are warm or being created."""
    row = await (
        await tx.execute(
            """
            SELECT count(*) FROM databases d JOIN clusters c ON c.id = d.cluster_id
            WHERE d.status IN ('creating', 'warm') AND (%s::text IS NULL OR c.name = %s)
            """,
            (cluster, cluster),
        )
    ).fetchone()
    return int(row[0]) if row else 0


async def count_by_status(tx: Tx) -> dict[str, int]:
    """Return the number of databases by status; missing owned ones count as ``missing``."""
    cursor = await tx.execute(
        """
        SELECT CASE WHEN status = 'active' AND missing_since IS NOT NULL
            THEN 'missing' ELSE status END, count(*)
        FROM databases GROUP BY 1
        """
    )
    return dict(await cursor.fetchall())
