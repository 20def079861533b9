"""What a tenant has made on its instance, which the platform does not manage."""

from collections.abc import Collection

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg import names


async def databases(connection: AsyncConnection[TupleRow], role: str) -> list[str]:
    """Return the databases that a role owns: on an instance, those that its tenant has created."""
    cursor = await connection.execute(
        """
        SELECT d.datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
        WHERE r.rolname = %s ORDER BY 1
        """,
        (role,),
    )
    return [name for (name,) in await cursor.fetchall()]


async def roles(connection: AsyncConnection[TupleRow], *, shared: Collection[str]) -> list[str]:
    """Return the roles that an instance's tenant has made; ``shared`` are those of data APIs."""
    cursor = await connection.execute(
        sql.SQL(
            """
            SELECT rolname FROM pg_roles
            WHERE NOT starts_with(rolname, 'pg_') AND oid >= 16384 AND rolname <> ALL (%s)
              AND NOT ({is_tenants} OR {is_platforms} OR {is_arrival})
            ORDER BY 1
            """
        ).format(
            is_tenants=names.sql_tenants_role("rolname"),
            is_platforms=names.sql_platforms("rolname"),
            is_arrival=names.sql_arrival_role("rolname"),
        ),
        ([*shared],),
    )
    return [name for (name,) in await cursor.fetchall()]
