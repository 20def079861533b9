"""What a tenant has made on its instance, which the platform does not manage."""

from collections.abc import Collection

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg import instance_roles, names
from tenantry.pg.connections import PLATFORM_ROLES


async def databases(connection: AsyncConnection[TupleRow]) -> list[str]:
    """Return the databases of an instance that its tenant, or a role of its, has created.

    Those that the platform has created belong to roles of its own, which nobody can take on.
    """
    cursor = await connection.execute(
        """
        SELECT d.datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
        WHERE NOT r.rolsuper AND r.rolname <> ALL (%s) ORDER BY 1
        """,
        ([*PLATFORM_ROLES],),
    )
    return [name for (name,) in await cursor.fetchall()]


async def roles(connection: AsyncConnection[TupleRow], *, shared: Collection[str]) -> list[str]:
    """Return the roles that an instance's tenant has made; ``shared`` are those of data APIs."""
    cursor = await connection.execute(
        sql.SQL(
            """
            SELECT rolname FROM pg_roles
            WHERE NOT starts_with(rolname, 'pg_') AND oid >= 16384 AND rolname <> ALL (%s)
              AND NOT ({is_visitor} OR (({is_tenants} OR {is_arrival}) AND {is_ours}))
            ORDER BY 1
            """
        ).format(
            is_tenants=names.sql_tenants_role("rolname"),
            is_visitor=names.sql_visitor("rolname"),
            is_arrival=names.sql_arrival_role("rolname"),
            is_ours=instance_roles.sql_created_by_the_platform("pg_roles.oid"),
        ),
        ([*shared, *PLATFORM_ROLES],),
    )
    return [name for (name,) in await cursor.fetchall()]
