"""Whose things are in a database that comes from another time: settled before it is dumped.

In the side instance, where nobody else is and nothing is kept.
"""

from collections.abc import Collection

from psycopg import sql

from tenantry.pg import names, visitors
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.pg.objects import role_exists
from tenantry.pg.replacing import close_database
from tenantry.pg.visitors import Visitor


async def open_up(address: Address, database: str, *, first: str, heir: str) -> list[str]:
    """Let visitors in, whatever limits there were, and give the first role its name of now.

    Returns the tenants' other roles that the database knows: owners, and who has rights there.
    """
    name = sql.Identifier(database)
    async with connect(address, user=ADMIN) as admin:
        await close_database(admin, database)
        await admin.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))
        await admin.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(name))
        await admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
        if first != heir and await role_exists(admin, first):
            await admin.execute(
                sql.SQL("ALTER ROLE {} RENAME TO {}").format(
                    sql.Identifier(first), sql.Identifier(heir)
                )
            )
        cursor = await admin.execute(
            sql.SQL("""
            SELECT DISTINCT r.rolname FROM pg_shdepend s
                JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.refobjid
            WHERE d.datname = %s AND s.refclassid = 'pg_authid'::regclass AND r.rolname <> %s
              AND ({is_tenants} OR {is_visitor})
            ORDER BY 1
            """).format(
                is_tenants=names.sql_tenants_role("r.rolname"),
                is_visitor=names.sql_visitor("r.rolname"),
            ),
            (database, heir),
        )
        return [role for (role,) in await cursor.fetchall()]


async def settle(
    guest: Visitor, database: str, *, heir: str, others: Collection[str], kept: Collection[str]
) -> None:
    """Make everything in a database the heir's, as a visitor who is a member of all of them.

    Other roles keep what they were granted if they are among ``kept``; the rest, which the
    live server may not know any more, or as somebody else, are not mentioned afterwards.
    """
    async with visitors.connect_as(guest, database) as inside, inside.transaction():
        for role in others:
            await inside.execute(
                sql.SQL("REASSIGN OWNED BY {} TO {}").format(
                    sql.Identifier(role), sql.Identifier(heir)
                )
            )
            if role not in kept:
                # One after the other: PostgreSQL 15 fails where one's defaults name another.
                await inside.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
