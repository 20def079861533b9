"""What the tenant of an instance may do there beyond its database, and the roles that it creates.

From PostgreSQL 16 on ``CREATEROLE`` reaches only roles that its holder has created, so that the
owner role of an instance can have it. On 15 it reaches every role but superusers.

A name says nothing about such a role: a tenant can choose one that the platform would choose. But a
role that is created by a role without superuser rights is granted to that one ``WITH ADMIN OPTION``
by the bootstrap superuser, which nobody else can grant or revoke (manual, CREATE ROLE).
"""

from typing import LiteralString

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.errors import Conflict
from tenantry.pg.connections import ADMIN, PLATFORM, Address, connect, fetch_value
from tenantry.pg.names import sql_tenants_role

CREATEROLE_FROM = 160_000  # of PostgreSQL
_BOOTSTRAP = 10  # BOOTSTRAP_SUPERUSERID (pg_authid.dat)


def sql_created_by_the_platform(of: LiteralString) -> sql.Composed:
    """Return the condition that the platform has created a role, given by its oid.

    It is for the roles that the platform creates as its own role, not as the superuser.
    """
    return sql.SQL(
        """(current_setting('server_version_num')::int < {since} OR EXISTS (
            SELECT FROM pg_auth_members made JOIN pg_roles maker ON maker.oid = made.member
            WHERE made.roleid = {of} AND made.grantor = {bootstrap} AND made.admin_option
              AND maker.rolname = {platform}))"""
    ).format(
        since=sql.Literal(CREATEROLE_FROM),
        of=sql.SQL(of),
        bootstrap=sql.Literal(_BOOTSTRAP),
        platform=sql.Literal(PLATFORM),
    )


async def require_free(connection: AsyncConnection[TupleRow], name: str) -> None:
    """Raise Conflict if a role of this name exists that the platform has not created."""
    query = sql.SQL("SELECT 1 FROM pg_roles WHERE rolname = %s AND NOT {ours}").format(
        ours=sql_created_by_the_platform("pg_roles.oid")
    )
    cursor = await connection.execute(query, (name,))
    if await cursor.fetchone() is not None:
        raise Conflict(
            f"The instance has a role {name} already, which the platform has not created.",
            hint="Drop it there, and try again.",
        )


async def end_hold(admin: AsyncConnection[TupleRow], name: str) -> None:
    """Let no role have a membership in a visitor's.

    The tenant of an instance may have created it, by the id of an operation that it has begun.
    """
    cursor = await admin.execute(
        "SELECT pg_get_userbyid(member), pg_get_userbyid(grantor) FROM pg_auth_members"
        " WHERE roleid = (SELECT oid FROM pg_roles WHERE rolname = %s)",
        (name,),
    )
    for member, grantor in await cursor.fetchall():
        await admin.execute(
            sql.SQL("REVOKE {} FROM {} GRANTED BY {} CASCADE").format(
                *map(sql.Identifier, (name, member, grantor))
            )
        )


async def grant_rights(address: Address, name: str) -> None:
    """Let the owner role of an instance create databases there, and see all statistics.

    From PostgreSQL 16 on it can create roles, too. It has their rights, unless it changes this
    parameter: else backups of its database could not read what they own. Idempotent.
    """
    async with connect(address, user=ADMIN) as admin:
        creates_roles = admin.info.server_version >= CREATEROLE_FROM
        there = await fetch_value(
            admin,
            "SELECT 1 FROM pg_roles WHERE rolname = %s AND rolcreatedb AND rolcreaterole = %s"
            " AND pg_has_role(oid, 'pg_read_all_stats'::name, 'MEMBER')",
            (name, creates_roles),
        )
        if there is not None:
            return
        role = sql.Identifier(name)
        async with admin.transaction():
            await admin.execute(
                sql.SQL("ALTER ROLE {0} CREATEDB; GRANT pg_read_all_stats TO {0}").format(role)
            )
            if creates_roles:
                await admin.execute(
                    sql.SQL(
                        "ALTER ROLE {0} CREATEROLE;"
                        " ALTER ROLE {0} SET createrole_self_grant = 'set, inherit'"
                    ).format(role)
                )


async def return_databases(address: Address) -> None:
    """Make an instance's tenant the owner of what it has created there, again.

    REASSIGN OWNED, by which a copy becomes another role's, takes a role's databases along.
    """
    async with connect(address, user=ADMIN) as admin:
        cursor = await admin.execute(
            sql.SQL(
                """
                SELECT d.datname, o.rolname
                FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba, pg_roles o
                WHERE {is_tenants} AND {is_owner} AND o.rolcreatedb AND r.oid <> o.oid
                  AND {is_ours} AND {owner_is_ours}
                """
            ).format(
                is_tenants=sql_tenants_role("r.rolname"),
                is_owner=sql_tenants_role("o.rolname"),
                is_ours=sql_created_by_the_platform("r.oid"),
                owner_is_ours=sql_created_by_the_platform("o.oid"),
            )
        )
        for database, owner in await cursor.fetchall():
            await admin.execute(
                sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                    sql.Identifier(database), sql.Identifier(owner)
                )
            )
