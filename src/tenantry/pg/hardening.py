"""What a shared cluster needs before its first tenant: the platform's roles, a closed PUBLIC,
the template that tenants' databases are copied from, and the pooler's lookup.

Everything here is idempotent and runs as the bootstrap superuser, in databases that no
tenant can enter.
"""

from typing import LiteralString

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg.connections import (
    ADMIN,
    CUSTOMER,
    OPEN,
    OWNER,
    PLATFORM,
    POOLER,
    Address,
    connect,
    fetch_value,
)

TEMPLATE = "tenantry_template"
AUTH_DATABASE = "tenantry_auth"
PLATFORM_DATABASES = ("postgres", "template0", "template1", TEMPLATE, AUTH_DATABASE)

# What a tenant could read of its neighbours, and neither psql nor pg_dump needs. (pg_dump
# reads pg_shdescription and pg_db_role_setting: they stay open, as pg_roles does.)
_CLOSED_IN_TEMPLATE: LiteralString = """
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    REVOKE SELECT ON pg_stat_activity, pg_stat_database, pg_locks FROM PUBLIC;
    REVOKE EXECUTE ON FUNCTION pg_stat_get_activity(integer), pg_lock_status() FROM PUBLIC;
"""

# A dump repeats what was revoked of the system's own objects, and no tenant could restore it.
# So that pg_dump takes it for how the database began, it is noted as initdb notes such things.
# (After pg_upgrade, which dumps as well, what is above has to be done again in each database.)
_CLOSED_FROM_THE_BEGINNING: LiteralString = """
    WITH closed (objoid, classoid, acl) AS (
        SELECT oid, 'pg_class'::regclass, relacl FROM pg_class
        WHERE oid IN ('pg_stat_activity'::regclass, 'pg_stat_database'::regclass,
            'pg_locks'::regclass)
        UNION ALL
        SELECT oid, 'pg_proc'::regclass, proacl FROM pg_proc
        WHERE oid IN ('pg_stat_get_activity(integer)'::regprocedure,
            'pg_lock_status()'::regprocedure)
    ), noted AS (
        UPDATE pg_init_privs i SET initprivs = acl FROM closed c
        WHERE (i.objoid, i.classoid, i.objsubid) = (c.objoid, c.classoid, 0)
        RETURNING i.objoid
    )
    INSERT INTO pg_init_privs (objoid, classoid, objsubid, privtype, initprivs)
    SELECT objoid, classoid, 0, 'i', acl FROM closed WHERE objoid NOT IN (SELECT objoid FROM noted)
"""

# SECURITY DEFINER, because verifiers are for superusers only; it tells them of
# tenants' roles alone, and only to the pooler.
_LOOKUP: LiteralString = """
    CREATE SCHEMA IF NOT EXISTS pooler;
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    CREATE OR REPLACE FUNCTION pooler.credentials(wanted text)
        RETURNS TABLE (usename name, passwd text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
        AS $$
            SELECT rolname, rolpassword FROM pg_authid
            WHERE rolname = wanted AND rolcanlogin AND NOT rolsuper AND NOT rolreplication
              AND rolname NOT LIKE 'tenantry\\_%' AND rolname NOT LIKE 'pg\\_%'
              AND (rolvaliduntil IS NULL OR rolvaliduntil > now())
        $$;
    REVOKE ALL ON FUNCTION pooler.credentials(text) FROM PUBLIC;
"""

CREDENTIALS_QUERY = "SELECT usename, passwd FROM pooler.credentials($1)"


async def _ensure_platform_role(
    connection: AsyncConnection[TupleRow], name: str, attributes: LiteralString
) -> None:
    if await fetch_value(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)) is None:
        await connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    await connection.execute(
        sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(name), sql.SQL(attributes))
    )


async def _ensure_own_database(connection: AsyncConnection[TupleRow], name: str) -> None:
    if (
        await fetch_value(connection, "SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        is None
    ):
        await connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
        )


async def _close_to_public(connection: AsyncConnection[TupleRow], name: str) -> None:
    await connection.execute(
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
    )


async def ensure_control_roles(address: Address) -> None:
    """On the control cluster: the roles that the control plane works as."""
    async with connect(address, user=ADMIN) as admin:
        # It becomes a customer's role on purpose, and has nothing of it otherwise.
        await _ensure_platform_role(admin, PLATFORM, "LOGIN NOSUPERUSER NOINHERIT")
        await _ensure_platform_role(admin, CUSTOMER, "NOLOGIN NOSUPERUSER")
        await admin.execute(
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(CUSTOMER), sql.Identifier(PLATFORM))
        )
        for name in ("postgres", "template1"):
            await _close_to_public(admin, name)


async def ensure_hardened(address: Address, *, version: int) -> None:
    """On a shared cluster: roles, closed databases, template, pooler's lookup."""
    async with connect(address, user=ADMIN) as admin:
        await _ensure_platform_role(admin, OWNER, "NOLOGIN")
        await _ensure_platform_role(admin, OPEN, "NOLOGIN")
        await _ensure_platform_role(
            admin, PLATFORM, "LOGIN NOSUPERUSER CREATEDB CREATEROLE CONNECTION LIMIT -1"
        )
        await _ensure_platform_role(admin, POOLER, "LOGIN NOSUPERUSER")
        await admin.execute(
            sql.SQL("GRANT {}, pg_signal_backend, pg_monitor TO {}").format(
                sql.Identifier(OWNER), sql.Identifier(PLATFORM)
            )
        )
        await admin.execute(
            sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(
                sql.Identifier(OPEN), sql.Identifier(PLATFORM)
            )
        )
        if version >= 16:  # noqa: PLR2004 (the role came with 16)
            await admin.execute(
                sql.SQL("GRANT pg_use_reserved_connections TO {}").format(sql.Identifier(PLATFORM))
            )
        for name in (TEMPLATE, AUTH_DATABASE):
            await _ensure_own_database(admin, name)
        for name in ("postgres", "template1", TEMPLATE, AUTH_DATABASE):
            await _close_to_public(admin, name)
        await admin.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {}, postgres TO {}").format(
                sql.Identifier(AUTH_DATABASE), sql.Identifier(PLATFORM)
            )
        )
        await admin.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                sql.Identifier(AUTH_DATABASE), sql.Identifier(POOLER)
            )
        )
        await admin.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                sql.Identifier(TEMPLATE), sql.Identifier(OWNER)
            )
        )
    async with connect(address, user=ADMIN, dbname=TEMPLATE) as admin:
        await admin.execute(_CLOSED_IN_TEMPLATE)
        await admin.execute(_CLOSED_FROM_THE_BEGINNING)
    async with connect(address, user=ADMIN, dbname=AUTH_DATABASE) as admin:
        await admin.execute(_LOOKUP)
        await admin.execute(
            sql.SQL(
                "GRANT USAGE ON SCHEMA pooler TO {0}, {1};"
                " GRANT EXECUTE ON FUNCTION pooler.credentials(text) TO {0}, {1}"
            ).format(sql.Identifier(POOLER), sql.Identifier(PLATFORM))
        )
