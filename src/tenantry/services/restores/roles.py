"""Settles who owns what in a database of another time, before it is dumped.

This happens in the side cluster, which has no other users and is removed afterwards.
"""

from collections.abc import Collection, Mapping

from psycopg import sql

from tenantry.pg import names, visitors
from tenantry.pg.api_roles import SHARED
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.pg.objects import role_exists
from tenantry.pg.replacing import close_database
from tenantry.pg.visitors import Visitor


async def open_up(
    address: Address,
    database: str,
    *,
    first: str,
    new_owner: str,
    limits: Mapping[str, str] | None = None,
) -> list[str]:
    """Let visitors in, whatever its settings were, and give the owner role its present name.

    ``limits`` are settings that its sessions have from the beginning.

    Return the other tenants' and the shared roles that the database refers to, as owners or by
    rights.
    """
    name = sql.Identifier(database)
    async with connect(address, user=ADMIN) as admin:
        await close_database(admin, database)
        await admin.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))
        for setting, value in (limits or {}).items():
            await admin.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    name, sql.Identifier(setting), sql.Literal(value)
                )
            )
        await admin.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(name))
        await admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
        if first != new_owner and await role_exists(admin, first):
            await admin.execute(
                sql.SQL("ALTER ROLE {} RENAME TO {}").format(
                    sql.Identifier(first), sql.Identifier(new_owner)
                )
            )
        cursor = await admin.execute(
            sql.SQL("""
            SELECT DISTINCT r.rolname FROM pg_shdepend s
                JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.refobjid
            WHERE d.datname = %s AND s.refclassid = 'pg_authid'::regclass AND r.rolname <> %s
              AND ({is_tenants} OR {is_visitor} OR r.rolname = ANY (%s))
            ORDER BY 1
            """).format(
                is_tenants=names.sql_tenants_role("r.rolname"),
                is_visitor=names.sql_visitor("r.rolname"),
            ),
            (database, new_owner, [*SHARED]),
        )
        return [role for (role,) in await cursor.fetchall()]


async def settle(
    visitor: Visitor,
    database: str,
    *,
    new_owner: str,
    others: Collection[str],
    retained: Collection[str],
) -> None:
    """Make ``new_owner`` the owner of everything in a database, as a visitor that is in all roles.

    Shared roles retain their grants, and other roles if they are among ``retained``. All others are
    removed from the database: on the live cluster they may not exist, or belong to another tenant.
    """
    async with visitors.connect_as(visitor, database) as inside, inside.transaction():
        for role in others:
            await inside.execute(
                sql.SQL("REASSIGN OWNED BY {} TO {}").format(
                    sql.Identifier(role), sql.Identifier(new_owner)
                )
            )
            if role not in {*retained, *SHARED}:
                # One after the other: PostgreSQL 15 fails where one's defaults name another.
                await inside.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
