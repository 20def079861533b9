"""Limits of the roles' pools of server connections."""

from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.control.attributes import PoolMode
from tenantry.control.store import Tx
from tenantry.pg import names


@dataclass(frozen=True, slots=True, order=True)
class PoolLimits:
    """Limits of a role's pool.

    They are the role's connections in total, those in the pool, how many of these may exceed its
    share, and the pool's mode.
    """

    username: str
    max_connections: int
    pool_size: int
    reserve_pool_size: int
    pool_mode: PoolMode


async def pool_limits(tx: Tx) -> list[PoolLimits]:
    """Return the pool limits of all roles of active databases."""
    async with tx.cursor(row_factory=class_row(PoolLimits)) as cursor:
        await cursor.execute(
            """
            SELECT d.username, coalesce(d.max_connections, p.max_connections) AS max_connections,
                   coalesce(d.pool_size, p.pool_size) AS pool_size,
                   coalesce(d.reserve_pool_size, p.reserve_pool_size) AS reserve_pool_size,
                   d.pool_mode
            FROM databases d JOIN plans p ON p.name = d.plan WHERE d.status = 'active'
            UNION ALL
            SELECT r.username, r.max_connections, coalesce(d.pool_size, p.pool_size),
                   coalesce(d.reserve_pool_size, p.reserve_pool_size), d.pool_mode
            FROM database_roles r JOIN databases d ON d.id = r.database_id
                JOIN plans p ON p.name = d.plan
            WHERE d.status = 'active' AND r.status = 'active'
            UNION ALL
            SELECT a.authenticator, coalesce(d.max_connections, p.max_connections),
                   coalesce(d.pool_size, p.pool_size),
                   coalesce(d.reserve_pool_size, p.reserve_pool_size), 'transaction'
            FROM data_apis a JOIN databases d ON d.id = a.database_id
                JOIN plans p ON p.name = d.plan
            WHERE d.status = 'active' AND a.status = 'active'
            """
        )
        return await cursor.fetchall()


async def placed(tx: Tx, *, but: str) -> dict[str, str]:
    """Return the cluster of each database, shadows included, that is not on one cluster.

    Those that are being created are among them, and those that have been moved back to it: the
    pooler ends the clients of a database whose line is removed.
    """
    rows = await tx.execute(
        """
        SELECT d.database_name, c.name FROM databases d JOIN clusters c ON c.id = d.cluster_id
        WHERE c.name <> %s OR EXISTS (SELECT FROM database_moves m WHERE m.database_id = d.id)
        """,
        (but,),
    )
    return {
        name: cluster
        for database, cluster in await rows.fetchall()
        for name in (database, names.shadow(database))
    }
