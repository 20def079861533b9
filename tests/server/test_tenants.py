"""A hardened server and its tenants: how roles and databases come and go, and what is not let.

Everybody is believed here whom they say they are, so that a tenant comes without a password.
"""

import asyncio
from collections.abc import Iterator
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from tenants import Connection, Tenant, make, rows, unmake

from tenantry.base.errors import InvalidInput
from tenantry.pg import catalog, objects, session_ending
from tenantry.pg.catalog import DatabaseState, RoleState
from tenantry.pg.connections import ADMIN, OWNER, PLATFORM, POOLER, Address, connect
from tenantry.pg.hardening import AUTH_DATABASE, CREDENTIALS_QUERY, TEMPLATE
from tenantry.services.network.endpoints import divide
from tenantry.services.network.plan import Rulebook

LOOKUP = CREDENTIALS_QUERY.replace("$1", "%s")


# Hardening


async def test_roles_that_go_meanwhile_keep_nobody_from_being_admitted(
    platform: Connection, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = catalog.tenant_roles
    known = [{"user_gone00000000"}, set[str]()]

    async def seen_before(server: Connection) -> list[str]:
        return [*await now(server), *(known.pop(0) if known else ())]

    monkeypatch.setattr(catalog, "tenant_roles", seen_before)
    await objects.admit_by_list(platform, [tenant.role])
    await divide(platform, Rulebook({}, {}))
    assert tenant.role in await catalog.admitted_anywhere(platform)
    known = [{"user_gone00000000"}] * 3
    with pytest.raises(psycopg.errors.UndefinedObject):
        await divide(platform, Rulebook({}, {}))


async def test_the_platforms_roles_have_no_more_than_they_need(address: Address) -> None:
    async with connect(address, user=ADMIN) as admin:
        found = await rows(
            admin,
            "SELECT rolname, ARRAY[rolsuper, rolcreaterole, rolcreatedb, rolcanlogin,"
            " rolreplication OR rolbypassrls] FROM pg_roles WHERE rolname LIKE 'tenantry\\_%%'",
        )
    words = ("super", "role", "db", "login", "other")
    has = {
        name: {word for word, there in zip(words, flags, strict=True) if there}
        for name, flags in found
    }
    assert {name for name in has if "login" in has[name]} == {ADMIN, PLATFORM, POOLER}
    assert {name: more for name, all_ in has.items() if (more := all_ - {"login"})} == {
        ADMIN: {"super"},
        PLATFORM: {"role", "db"},
    }
    assert OWNER in has


@pytest.mark.parametrize("name", ["postgres", "template1", TEMPLATE, AUTH_DATABASE])
async def test_the_public_gets_into_no_database(tenant: Tenant, name: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        await tenant.session(name)


async def test_only_the_pooler_and_the_platform_look_verifiers_up(
    address: Address, tenant: Tenant
) -> None:
    for user in (POOLER, PLATFORM):
        async with connect(address, user=user, dbname=AUTH_DATABASE) as connection:
            ((name, verifier),) = await rows(connection, LOOKUP, tenant.role)
            assert name == tenant.role
            assert verifier.startswith("SCRAM-SHA-256$4096:")
    async with connect(address, user=ADMIN, dbname=AUTH_DATABASE) as admin:
        await rows_of_nobody(admin)


async def rows_of_nobody(admin: Connection) -> None:
    """A role without rights of its own may not look up anything."""
    await admin.execute("CREATE ROLE nobody_in_particular")
    try:
        await admin.execute("SET ROLE nobody_in_particular")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await rows(admin, LOOKUP, "x")
    finally:
        await admin.execute("RESET ROLE")
        await admin.execute("DROP ROLE nobody_in_particular")


@pytest.mark.parametrize(
    "change",
    [
        "NOLOGIN",
        "SUPERUSER",
        "REPLICATION",
        "VALID UNTIL '2020-01-01'",
    ],
)
async def test_a_role_that_must_not_be_pooled_is_not_found(
    address: Address, tenant: Tenant, change: str
) -> None:
    async with connect(address, user=ADMIN) as admin:
        await admin.execute(f'ALTER ROLE "{tenant.role}" {change}'.encode())
        async with connect(address, user=POOLER, dbname=AUTH_DATABASE) as pooler:
            assert await rows(pooler, LOOKUP, tenant.role) == []
        await admin.execute(f'ALTER ROLE "{tenant.role}" NOSUPERUSER'.encode())


async def test_no_role_of_the_platform_is_found(address: Address) -> None:
    async with connect(address, user=ADMIN) as admin:
        await admin.execute("ALTER ROLE tenantry_platform PASSWORD 'x'")
    async with connect(address, user=POOLER, dbname=AUTH_DATABASE) as pooler:
        for name in (ADMIN, PLATFORM, POOLER, OWNER, "postgres", "' OR true --"):
            assert await rows(pooler, LOOKUP, name) == []
    async with connect(address, user=ADMIN) as admin:
        await admin.execute("ALTER ROLE tenantry_platform PASSWORD NULL")


# What is made


async def test_everything_is_made_and_removed_once(platform: Connection, address: Address) -> None:
    suffix = uuid4().hex[:12]
    role, name = f"user_{suffix}", f"tenant_{suffix}"
    assert await objects.ensure_role(platform, role)
    assert not await objects.ensure_role(platform, role)
    for _ in range(2):
        await objects.ensure_database(platform, address, name, tenant=role)
    assert await objects.role_exists(platform, role)
    assert await objects.database_exists(platform, name)
    assert await objects.drop_database(platform, name)
    assert not await objects.drop_database(platform, name)
    assert await objects.drop_role(platform, role)
    assert not await objects.drop_role(platform, role)
    assert not await objects.role_exists(platform, role)
    assert not await objects.database_exists(platform, name)


async def test_a_database_belongs_to_the_platform_and_its_schema_to_the_tenant(
    platform: Connection, tenant: Tenant
) -> None:
    owners = await rows(
        platform,
        "SELECT pg_get_userbyid(datdba), datacl::text FROM pg_database WHERE datname = ANY (%s)",
        tenant.databases,
    )
    # Not even its owner, of whom the control plane's role is a member, may connect.
    acl = f"{{{tenant.role}=CTc/{OWNER}}}"
    assert owners == [(OWNER, acl)] * 2
    async with await tenant.session() as session:
        assert await rows(
            session,
            "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'",
        ) == [(tenant.role,)]
        members = await rows(
            session, "SELECT count(*) FROM pg_auth_members WHERE roleid = %s::regrole", tenant.role
        )
    assert members == [(0,)] or await _only_creator(platform, tenant)


async def _only_creator(platform: Connection, tenant: Tenant) -> bool:
    """Since 16 who makes a role may administer it, and that is all."""
    found = await rows(
        platform,
        "SELECT member::regrole::text, admin_option, inherit_option, set_option"
        " FROM pg_auth_members WHERE roleid = %s::regrole",
        tenant.role,
    )
    return found == [(PLATFORM, True, False, False)]


async def test_a_role_is_opened_limited_and_closed(platform: Connection, tenant: Tenant) -> None:
    async def state() -> RoleState:
        return (await catalog.tenant_roles(platform))[tenant.role]

    assert await state() == RoleState(tenant.role, can_login=True, max_connections=5)
    await objects.set_connection_limit(platform, tenant.role, 1)
    async with await tenant.session():
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            await tenant.session()
    await objects.close_role(platform, tenant.role)
    assert await state() == RoleState(tenant.role, can_login=False, max_connections=0)
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        await tenant.session()


async def test_sessions_are_ended_of_one_role_only(
    platform: Connection, address: Address, tenant: Tenant
) -> None:
    other = await make(platform, address)
    async with await other.session() as untouched:
        sessions = [await tenant.session(name) for name in tenant.databases]
        await session_ending.end_sessions(platform, tenant.role)
        for session in sessions:
            with pytest.raises(psycopg.OperationalError):
                await session.execute("SELECT 1")
            await session.close()
        assert await rows(untouched, "SELECT 1") == [(1,)]
    await unmake(platform, other)


async def test_a_database_in_use_is_dropped(platform: Connection, tenant: Tenant) -> None:
    session = await tenant.session()
    await session.execute("CREATE TABLE t AS SELECT 1 AS i")
    assert await objects.drop_database(platform, tenant.databases[0])
    with pytest.raises(psycopg.OperationalError):
        await session.execute("SELECT 1")
    await session.close()


async def test_a_neighbours_grant_holds_up_no_deletion(
    platform: Connection, address: Address, tenant: Tenant
) -> None:
    gone = await make(platform, address)
    async with await tenant.session() as session:
        await session.execute(f'CREATE TABLE t (); GRANT SELECT ON t TO "{gone.role}"'.encode())
    await unmake(platform, gone)
    kept = (await catalog.tenant_roles(platform))[gone.role]
    assert kept == RoleState(gone.role, can_login=False, max_connections=0)
    async with await tenant.session() as session:
        await session.execute("DROP TABLE t")
    assert await objects.drop_role(platform, gone.role)


async def test_use_is_reported_from_outside(platform: Connection, tenant: Tenant) -> None:
    async with await tenant.session() as session:
        await session.execute("SELECT 1")
        use = await catalog.database_use(platform, [*tenant.databases, "nowhere"])
    assert use.keys() == set(tenant.databases)
    assert [use[name].connections for name in tenant.databases] == [1, 0]
    assert all(each.size_bytes > 5_000_000 for each in use.values())
    there = await catalog.tenant_databases(platform)
    assert set(tenant.databases) <= there.keys()
    assert not {"postgres", TEMPLATE, AUTH_DATABASE} & there.keys()


async def test_a_databases_defaults_are_set_and_taken_back_and_no_others_touched(
    platform: Connection, tenant: Tenant
) -> None:
    name, other = tenant.databases
    await platform.execute(f"ALTER DATABASE {name} SET intervalstyle = 'iso_8601'".encode())
    wanted = DatabaseState({"temp_file_limit": "2048", "default_transaction_read_only": "on"}, 0)
    for _ in range(2):
        await objects.configure_databases(platform, [name], wanted)
        there = await catalog.tenant_databases(platform)
        assert (there[name], there[other]) == (wanted, DatabaseState({}, -1))
    with pytest.raises(psycopg.OperationalError, match="too many connections for database"):
        await tenant.session()
    await objects.configure_databases(platform, [name], DatabaseState({"lock_timeout": "5"}, -1))
    async with await tenant.session() as session:
        for parameter, value in (
            ("lock_timeout", "5ms"),
            ("temp_file_limit", "-1"),
            ("default_transaction_read_only", "off"),
            ("intervalstyle", "iso_8601"),
        ):
            assert await rows(session, f"SHOW {parameter}") == [(value,)]


async def test_a_default_that_the_server_refuses_changes_nothing(
    platform: Connection, tenant: Tenant
) -> None:
    before = await catalog.tenant_databases(platform)
    wanted = DatabaseState({"TimeZone": "Mars/Olympus", "lock_timeout": "5"}, 3)
    with pytest.raises(InvalidInput, match='"TimeZone": "Mars/Olympus"'):
        await objects.configure_databases(platform, tenant.databases, wanted)
    assert await catalog.tenant_databases(platform) == before


async def test_sessions_are_ended_in_one_database_only(
    platform: Connection, tenant: Tenant
) -> None:
    name, other = tenant.databases
    async with (
        await tenant.session(name) as ended,
        await tenant.session(other) as stays,
    ):
        before = (await rows(platform, "SELECT clock_timestamp()"))[0][0]
        async with await tenant.session(name) as later:
            assert await session_ending.end_sessions_in(platform, [name], before=before) == 1
            with pytest.raises(psycopg.OperationalError):
                await ended.execute("SELECT 1")
            await later.execute("SELECT 1")
            assert await session_ending.end_sessions_in(platform, [name], before=None) == 1
            with pytest.raises(psycopg.OperationalError):
                await later.execute("SELECT 1")
        await stays.execute("SELECT 1")


# What is not let


async def test_a_tenant_has_all_of_its_own_database(tenant: Tenant) -> None:
    async with await tenant.session() as session:
        for statement in (
            "CREATE TABLE t (i int PRIMARY KEY)",
            "CREATE TEMPORARY TABLE u (i int)",
            "CREATE SCHEMA own CREATE TABLE v (i int)",
            "CREATE EXTENSION pg_trgm",
            "CREATE EXTENSION pgcrypto SCHEMA own",
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
            "ALTER ROLE CURRENT_USER SET statement_timeout = '1min'",
            "ALTER ROLE CURRENT_USER PASSWORD 'mine'",
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
            "VACUUM",
        ):
            await session.execute(statement.encode())


ESCAPES: tuple[LiteralString, ...] = (
    "ALTER ROLE {role} CONNECTION LIMIT -1",
    "ALTER ROLE {role} SUPERUSER",
    "ALTER ROLE {role} CREATEDB",
    "ALTER ROLE {role} BYPASSRLS",
    "ALTER DATABASE {database} RENAME TO mine",
    "ALTER DATABASE {database} CONNECTION LIMIT -1",
    "ALTER DATABASE {database} SET work_mem = '10GB'",
    "ALTER DATABASE {database} OWNER TO {role}",
    "DROP DATABASE {other}",
    "DROP ROLE {neighbour}",
    "ALTER ROLE {neighbour} PASSWORD 'known'",
    "SET ROLE tenantry_owner",
    "SET ROLE tenantry_platform",
    "SET SESSION AUTHORIZATION tenantry_admin",
    "SET ROLE {neighbour}",
    "GRANT tenantry_owner TO {role}",
    "GRANT pg_read_all_data TO {role}",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "CREATE TABLESPACE mine LOCATION '/tmp'",
    "CREATE EXTENSION file_fdw",
    "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
    "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION pg_notify()",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/x'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_reload_conf()",
    "SELECT rolpassword FROM pg_authid",
    "ALTER SYSTEM SET port = 1",
    "SET temp_file_limit = -1",
    "SET session_preload_libraries = 'x'",
    "TABLE pg_stat_replication",
    "SELECT pg_lock_status()",
    "SELECT pg_stat_get_activity(NULL)",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(NULL)",
    "SELECT pg_database_size('{foreign}')",
    "CREATE PUBLICATION p FOR ALL TABLES",
    "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
    "SELECT pg_create_physical_replication_slot('s')",
)


@pytest.fixture(scope="module")
def pair(address: Address) -> Iterator[tuple[Tenant, Tenant]]:
    """Two tenants; the first tries to get out of its database."""

    async def make_both() -> tuple[Tenant, Tenant]:
        async with connect(address, user=PLATFORM) as platform:
            return await make(platform, address), await make(platform, address)

    async def remove(tenant: Tenant) -> None:
        async with connect(address, user=PLATFORM) as platform:
            await unmake(platform, tenant)

    both = asyncio.run(make_both())
    yield both
    for each in both:
        asyncio.run(remove(each))


@pytest.mark.parametrize("escape", ESCAPES)
async def test_a_tenant_does_not_get_out_of_it(pair: tuple[Tenant, Tenant], escape: str) -> None:
    tenant, neighbour = pair
    statement = escape.format(
        role=tenant.role,
        neighbour=neighbour.role,
        database=tenant.databases[0],
        other=tenant.databases[1],
        foreign=neighbour.databases[0],
    )
    async with await tenant.session() as session:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await session.execute(statement.encode())


async def test_a_tenant_does_not_get_into_its_neighbours(pair: tuple[Tenant, Tenant]) -> None:
    tenant, neighbour = pair
    for name in neighbour.databases:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            await tenant.session(name)
