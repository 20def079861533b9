"""Prepare a cluster for tenants: the platform's roles, no rights for PUBLIC, template, and lookup.

The template is what tenants' databases are copied from; the lookup is the pooler's. Everything here
is idempotent and runs as the bootstrap superuser, in databases that no tenant can enter.
"""

from collections.abc import Mapping
from functools import partial
from typing import LiteralString

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.events import StandingRoleRestored, emit
from tenantry.pg import api_roles, names, statement_statistics, visibility
from tenantry.pg.blockers import unless_blocked
from tenantry.pg.connections import (
    ADMIN,
    CUSTOMER,
    LOCAL_ROLES,
    OWNER,
    PLATFORM,
    PLATFORM_ROLES,
    POOLER,
    Address,
    connect,
    fetch_value,
)

_BOOTSTRAP = 10  # BOOTSTRAP_SUPERUSERID (pg_authid.dat)
_FIRST_OID = 16384  # FirstNormalObjectId: initdb's roles are all below it (manual, section 74.2)
_LOCK_SECONDS = 1  # a tenant's open transaction may hold the lock
TEMPLATE = "tenantry_template"
AUTH_DATABASE = "tenantry_auth"
# The parameters that decide what a database's sessions write to the server's log.
LOGGING = (
    "log_error_verbosity",
    "log_min_duration_statement",
    "log_min_error_statement",
    "log_min_messages",
    "log_parameter_max_length",
    "log_statement",
)
_DEFAULTS_OF_SUPERUSERS = ("temp_file_limit", *LOGGING)
PLATFORM_DATABASES = ("postgres", "template0", "template1", TEMPLATE, AUTH_DATABASE)

# SECURITY DEFINER, because only superusers can read verifiers; it returns those of tenants' roles
# alone, and only to the pooler.
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


# The only settings that the platform's roles may have on a shared cluster.
_SETTINGS = {role: ["log_min_messages=warning"] for role in LOCAL_ROLES}


async def _keep_tenants_out_of_the_log(connection: AsyncConnection[TupleRow]) -> None:
    """Restrict what sessions other than the platform's own can write into the server's log.

    An error quotes what was typed, a password too (``syntax error at or near``), and RAISE LOG and
    debug_print_plan write as much as a tenant likes. A tenant cannot undo it: only a superuser can
    set the parameter. Autovacuum runs as the bootstrap superuser, and so is still logged.
    """
    await connection.execute("ALTER ROLE ALL SET log_min_messages = fatal")
    await _reset_settings(connection, _SETTINGS)


async def ensure_standing_roles(address: Address, *, shared: bool) -> list[str]:
    """Restore the invariants of the platform's standing roles. Returns what was undone.

    They have no settings but the platform's, for no database; none of them is a member of a
    tenant's or a visitor's role; and neither they nor PUBLIC may connect to a tenant's database.
    The same for the roles that requests of data APIs take. What sessions of tenants block is left
    to the next call.
    """
    async with connect(address, user=ADMIN, lock_seconds=_LOCK_SECONDS) as admin:
        # In spite of any setting of this database or role.
        await admin.execute("SET default_transaction_read_only = off")
        undone = await _reset_settings(admin, _SETTINGS if shared else {})
        if shared:
            undone += await _end_memberships(admin)
            undone += await _revoke_standing_access(admin)
            undone += await api_roles.restore(admin)
    for each in undone:
        emit(StandingRoleRestored(each))
    return undone


async def _reset_settings(
    admin: AsyncConnection[TupleRow], wanted: Mapping[str, list[str]]
) -> list[str]:
    """Give the platform's roles and databases exactly these settings, by role.

    Returns what was undone.
    """
    cursor = await admin.execute(
        sql.SQL("""
        SELECT s.setrole, s.setdatabase, r.rolname, d.datname, s.setconfig
        FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
            LEFT JOIN pg_database d ON d.oid = s.setdatabase
        WHERE {is_standing}
           OR (s.setrole = 0 AND d.datname = ANY (%s))
        """).format(is_standing=names.sql_standing_role("r.rolname")),
        (list(PLATFORM_DATABASES),),
    )
    undone, there = [], set()
    for role_oid, database_oid, role, database, settings in await cursor.fetchall():
        if database is None and wanted.get(role) == settings:
            there.add(role)
            continue
        await admin.execute(
            "DELETE FROM pg_db_role_setting WHERE setrole = %s AND setdatabase = %s",
            (role_oid, database_oid),
        )
        parameters = ", ".join(
            each.partition("=")[0] for each in settings if each not in wanted.get(role, ())
        )
        undone.append(f"{parameters} of {role or 'all roles'} in {database or 'all databases'}")
    for role in wanted.keys() - there:
        for name, _, value in (each.partition("=") for each in wanted[role]):
            await admin.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(
                    sql.Identifier(role), sql.Identifier(name), sql.Literal(value)
                )
            )
    return undone


async def _end_memberships(admin: AsyncConnection[TupleRow]) -> list[str]:
    """End memberships of standing roles in roles of tenants and visitors, whoever granted them.

    From PostgreSQL 16 on, a role that creates another one has ADMIN OPTION on it, without the use
    of its rights (manual, CREATE ROLE): this stays.
    """
    cursor = await admin.execute(
        sql.SQL("""
        SELECT r.rolname, m.rolname, g.rolname,
               a.admin_option AND a.grantor = {bootstrap} AND to_jsonb(a) ? 'inherit_option'
        FROM pg_auth_members a
            JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
            LEFT JOIN pg_roles g ON g.oid = a.grantor
        WHERE r.oid >= {first} AND r.rolname <> ALL (%s)
          AND {is_standing}
          AND (coalesce((to_jsonb(a) ->> 'inherit_option')::boolean, true)
               OR coalesce((to_jsonb(a) ->> 'set_option')::boolean, true))
        """).format(
            first=sql.Literal(_FIRST_OID),
            bootstrap=sql.Literal(_BOOTSTRAP),
            is_standing=names.sql_standing_role("m.rolname"),
        ),
        ([*PLATFORM_ROLES, CUSTOMER],),
    )
    undone = []
    for role, member, grantor, is_maker in await cursor.fetchall():
        what = f"membership of {member} in {role}"
        # Without its ADMIN OPTION the maker could neither change nor drop the role.
        parts = ("INHERIT OPTION FOR ", "SET OPTION FOR ") if is_maker else ("",)
        revoke = sql.SQL("; ").join(
            sql.SQL("REVOKE {}{} FROM {} GRANTED BY {} CASCADE").format(
                sql.SQL(part),
                sql.Identifier(role),
                sql.Identifier(member),
                sql.Identifier(grantor or ADMIN),
            )
            for part in parts
        )
        if await unless_blocked(admin, what, partial(admin.execute, revoke), roles=[role, member]):
            undone.append(what)
    return undone


async def _revoke_standing_access(admin: AsyncConnection[TupleRow]) -> list[str]:
    """Revoke the rights of PUBLIC and standing roles in tenants' databases that are in use.

    Not in those that a tenant, or a role that it created, has created on its instance: the platform
    never enters them.
    """
    cursor = await admin.execute(
        sql.SQL("""
        SELECT DISTINCT d.datname, r.rolname
        FROM pg_database d CROSS JOIN LATERAL
                aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
            LEFT JOIN pg_roles r ON r.oid = a.grantee
        WHERE d.datname <> ALL (%s) AND d.datallowconn
          AND (a.grantee = 0 OR {is_standing})
          AND EXISTS (SELECT FROM pg_roles o WHERE o.oid = d.datdba
                      AND (o.rolsuper OR o.rolname = ANY (%s)))
        """).format(is_standing=names.sql_standing_role("r.rolname")),
        (list(PLATFORM_DATABASES), [*PLATFORM_ROLES]),
    )
    undone = []
    for database, role in await cursor.fetchall():
        revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(
            sql.Identifier(database), sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
        )
        what = f"rights of {role or 'PUBLIC'} in {database}"
        work = partial(admin.execute, revoke)
        if await unless_blocked(admin, what, work, databases=[database]):
            undone.append(what)
    return undone


async def ensure_control_roles(address: Address) -> None:
    """Create the control plane's roles on the control cluster."""
    async with connect(address, user=ADMIN) as admin:
        # It switches to a customer's role explicitly, and inherits nothing from it.
        await _ensure_platform_role(admin, PLATFORM, "LOGIN NOSUPERUSER NOINHERIT")
        await _ensure_platform_role(admin, CUSTOMER, "NOLOGIN NOSUPERUSER")
        await admin.execute(
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(CUSTOMER), sql.Identifier(PLATFORM))
        )
        for name in ("postgres", "template0", "template1"):
            await _close_to_public(admin, name)


async def ensure_hardened(address: Address, *, version: int) -> None:
    """Prepare a shared cluster: roles, closed databases, template, pooler's lookup."""
    async with connect(address, user=ADMIN) as admin:
        await _ensure_platform_role(admin, OWNER, "NOLOGIN")
        await _ensure_platform_role(
            admin, PLATFORM, "LOGIN NOSUPERUSER CREATEDB CREATEROLE CONNECTION LIMIT -1"
        )
        await _ensure_platform_role(admin, POOLER, "LOGIN NOSUPERUSER")
        await admin.execute(
            sql.SQL("GRANT {}, pg_signal_backend, pg_read_all_stats TO {}").format(
                sql.Identifier(OWNER), sql.Identifier(PLATFORM)
            )
        )
        # So that they can be a database's defaults, which a tenant cannot change.
        await admin.execute(
            sql.SQL("GRANT SET ON PARAMETER {} TO {}").format(
                sql.SQL(", ").join(map(sql.Identifier, _DEFAULTS_OF_SUPERUSERS)),
                sql.Identifier(PLATFORM),
            )
        )
        if version >= 16:  # noqa: PLR2004 (the role came with 16)
            await admin.execute(
                sql.SQL("GRANT pg_use_reserved_connections TO {}").format(sql.Identifier(PLATFORM))
            )
        await api_roles.ensure_shared(admin)
        for name in (TEMPLATE, AUTH_DATABASE):
            await _ensure_own_database(admin, name)
        for name in PLATFORM_DATABASES:
            await _close_to_public(admin, name)
        await _keep_tenants_out_of_the_log(admin)
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
        wanted = await visibility.wanted(admin)
    await statement_statistics.ensure(address)
    async with connect(address, user=ADMIN, dbname=TEMPLATE) as admin:
        await admin.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    await visibility.ensure(address, TEMPLATE, wanted)
    async with connect(address, user=ADMIN, dbname=AUTH_DATABASE) as admin:
        await admin.execute(_LOOKUP)
        await admin.execute(
            sql.SQL(
                "GRANT USAGE ON SCHEMA pooler TO {0}, {1};"
                " GRANT EXECUTE ON FUNCTION pooler.credentials(text) TO {0}, {1}"
            ).format(sql.Identifier(POOLER), sql.Identifier(PLATFORM))
        )
