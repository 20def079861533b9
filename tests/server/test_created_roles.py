"""Roles that the tenant of an instance creates, which it may from PostgreSQL 16 on."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from tenants import Connection, Tenant, make, rows, unmake

from conftest import Server, started
from postgres_server import hardened, programs_of
from tenantry.base.errors import Conflict
from tenantry.pg import (
    api_roles,
    catalog,
    instance_roles,
    logins,
    names,
    objects,
    unmanaged,
    visitors,
)
from tenantry.pg.api_roles import SHARED
from tenantry.pg.connections import ADMIN, PLATFORM, Address, connect
from tenantry.pg.hardening import ensure_standing_roles
from tenantry.pg.ownership import foreign_objects

DENIED = psycopg.errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def later() -> Iterator[Server]:
    home = Path(tempfile.mkdtemp(prefix="tenantry-test-"))
    try:
        with started(home, programs_of(17)) as running:
            yield running
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def instance(later: Server) -> Address:
    """A server of PostgreSQL 17, hardened as an instance's is."""
    return asyncio.run(hardened(later))


@pytest.fixture
async def on_17(instance: Address) -> AsyncIterator[Connection]:
    async with connect(instance, user=PLATFORM) as connection:
        yield connection


@pytest.fixture
async def owner(on_17: Connection, instance: Address) -> AsyncIterator[Tenant]:
    made = await make(on_17, instance)
    await instance_roles.grant_rights(instance, made.role)
    yield made
    async with connect(instance, user=ADMIN) as admin:
        for name in await unmanaged.databases(admin):
            await admin.execute(f'DROP DATABASE "{name}"'.encode())
        for name in await unmanaged.roles(admin, shared=SHARED):
            await admin.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"'.encode())
    await unmake(on_17, made)


async def attempt(session: Connection, statement: str) -> type[BaseException] | None:
    """What becomes of a statement."""
    try:
        await session.execute(statement.encode())
    except psycopg.Error as error:
        return type(error)
    return None


ATTEMPTS = (
    "CREATE ROLE mine SUPERUSER",
    "CREATE ROLE mine REPLICATION",
    "CREATE ROLE mine BYPASSRLS",
    "CREATE ROLE mine IN ROLE tenantry_owner",
    "CREATE ROLE mine IN ROLE pg_read_server_files",
    "CREATE ROLE mine IN ROLE {branchs}",
    "ALTER ROLE {owner} SUPERUSER",
    "ALTER ROLE {owner} BYPASSRLS",
    "ALTER ROLE {owner} REPLICATION",
    "ALTER ROLE {owner} CONNECTION LIMIT 1000",
    "ALTER ROLE {branchs} RENAME TO mine",
    "ALTER ROLE {branchs} PASSWORD 'known'",
    "ALTER ROLE {branchs} SET work_mem = '64kB'",
    "ALTER ROLE ALL SET log_min_messages = debug5",
    "ALTER ROLE tenantry_platform PASSWORD 'known'",
    "ALTER ROLE tenantry_pooler SET local_preload_libraries = 'mine'",
    "ALTER ROLE anon LOGIN",
    "ALTER ROLE service_role SET work_mem = '64kB'",
    "COMMENT ON ROLE {branchs} IS 'mine'",
    "DROP ROLE {branchs}",
    "DROP ROLE anon",
    "DROP ROLE tenantry_pooler",
    "GRANT {owner} TO PUBLIC",
    "GRANT {owner} TO theirs",
    "GRANT {branchs} TO {owner}",
    "GRANT anon TO theirs",
    "GRANT tenantry_owner TO {owner}",
    "GRANT tenantry_platform TO {owner}",
    "GRANT tenantry_admin TO {owner}",
    "GRANT pg_read_all_stats TO theirs",
    "GRANT pg_read_all_data TO {owner}",
    "GRANT pg_maintain TO {owner}",
    "GRANT pg_execute_server_program TO {owner}",
    "GRANT pg_write_server_files TO {owner}",
    "GRANT pg_use_reserved_connections TO {owner}",
    "GRANT pg_create_subscription TO {owner}",
    "GRANT CONNECT ON DATABASE {database} TO theirs",
    "GRANT SET ON PARAMETER log_min_messages TO theirs",
    "REASSIGN OWNED BY tenantry_owner TO {owner}",
    "DROP OWNED BY {branchs}",
    "SET ROLE {branchs}",
    "SET ROLE anon",
    "SET ROLE tenantry_owner",
    "SET SESSION AUTHORIZATION theirs",
    "ALTER DATABASE {database} OWNER TO {owner}",
    "ALTER DATABASE {database} CONNECTION LIMIT 1000",
)


async def test_it_reaches_only_roles_that_it_has_created(
    on_17: Connection, instance: Address, owner: Tenant
) -> None:
    branchs = await make(on_17, instance)
    words = {"owner": owner.role, "branchs": branchs.role, "database": owner.databases[0]}
    async with await owner.session() as session:
        await session.execute("CREATE ROLE theirs LOGIN CREATEDB CREATEROLE PASSWORD 'theirs'")
        for statement in ATTEMPTS:
            found = await attempt(session, statement.format(**words))
            refused = {DENIED, psycopg.errors.InvalidGrantOperation, psycopg.errors.SyntaxError}
            refused |= {psycopg.errors.UndefinedObject} if "PUBLIC" in statement else set()
            granted_nothing = statement.startswith(
                "GRANT CONNECT"
            )  # a warning, as the SQL standard
            assert found in refused or granted_nothing, (statement, found)
        for database in (*owner.databases, *branchs.databases, "postgres", "tenantry_auth"):
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                await psycopg.AsyncConnection.connect(
                    instance.conninfo(user="theirs", dbname=database)
                )
        await session.execute("CREATE DATABASE reports")
    theirs = await psycopg.AsyncConnection.connect(
        instance.conninfo(user="theirs", dbname="reports"), autocommit=True
    )
    async with theirs:
        for statement in ATTEMPTS:
            assert await attempt(theirs, statement.format(**words).replace("theirs", "x")) or (
                statement.startswith("GRANT CONNECT")
            ), statement
        await theirs.execute("CREATE DATABASE more")
    assert await unmanaged.databases(on_17) == ["more", "reports"]
    assert await unmanaged.roles(on_17, shared=SHARED) == ["theirs"]
    assert await ensure_standing_roles(instance, shared=True) == []
    await unmake(on_17, branchs)


async def test_a_name_that_the_platform_would_choose_makes_a_role_none_of_its_own(
    on_17: Connection, instance: Address, owner: Tenant
) -> None:
    additional = names.additional(owner.role, "reporting")
    authenticator = names.authenticator(owner.role)
    orphan, hidden = "user_zzzzzzzzzzzz", names.additional(owner.role, "hidden")
    async with await owner.session() as session:
        for name in (additional, authenticator, orphan):
            await session.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'known'".encode())
        # Nobody has ADMIN OPTION on what a role that was dropped had created.
        await session.execute("CREATE ROLE middle CREATEROLE")
        await session.execute("GRANT middle TO CURRENT_USER WITH SET TRUE")
        await session.execute("SET ROLE middle")
        await session.execute(f"CREATE ROLE {hidden} LOGIN PASSWORD 'known'".encode())
        await session.execute("RESET ROLE; DROP ROLE middle")
        # It may make the platform a member, and give it ADMIN OPTION: it stays its own.
        await session.execute(f"GRANT {orphan} TO tenantry_platform WITH ADMIN OPTION".encode())
        await session.execute(f"GRANT {orphan} TO tenantry_owner, tenantry_admin".encode())
    assert await catalog.roles_of(on_17, owner.role) == [owner.role]
    assert [*await catalog.tenant_roles(on_17)] == [owner.role]
    made = {additional, authenticator, orphan, hidden}
    assert {*await unmanaged.roles(on_17, shared=SHARED)} == made
    for name in (additional, hidden):
        with pytest.raises(Conflict, match="which the platform has not created"):
            await objects.ensure_role(on_17, name)
    with pytest.raises(Conflict, match=authenticator):
        await api_roles.create_authenticator(on_17, authenticator)
    assert set(await ensure_standing_roles(instance, shared=True)) == {
        f"membership of {member} in {orphan}"
        for member in ("tenantry_platform", "tenantry_owner", "tenantry_admin")
    }
    assert await ensure_standing_roles(instance, shared=True) == []


async def test_a_login_of_an_operation_that_it_has_created_is_not_its_own(
    instance: Address, owner: Tenant, tmp_path: Path
) -> None:
    purpose = uuid4().hex
    name = names.visitor(purpose)
    async with await owner.session() as session:
        await session.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'known'".encode())
        await session.execute(f"CREATE ROLE theirs; GRANT {name} TO theirs".encode())
        async with visitors.visitor(instance, purpose, [owner.role], folder=tmp_path):
            for statement in (
                f"GRANT {name} TO CURRENT_USER",
                f"SET ROLE {name}",
                f"ALTER ROLE {name} PASSWORD 'known'",
                f"ALTER ROLE {name} SET work_mem = '64kB'",
            ):
                assert await attempt(session, statement) is DENIED, statement
        assert await rows(session, "SELECT FROM pg_roles WHERE rolname = %s", name) == []
    async with connect(instance, user=ADMIN) as admin:
        assert await unmanaged.roles(admin, shared=SHARED) == ["theirs"]


async def test_what_its_roles_own_is_no_trace_of_an_attack(
    on_17: Connection, owner: Tenant
) -> None:
    main = owner.databases[0]
    async with await owner.session() as session:
        await session.execute("CREATE ROLE app; GRANT app TO CURRENT_USER WITH SET TRUE")
        await session.execute("GRANT CREATE ON SCHEMA public TO app; SET ROLE app")
        await session.execute("CREATE TABLE public.t (); RESET ROLE")
    theirs = await unmanaged.roles(on_17, shared=SHARED)
    async with logins.inside(owner.address, main, [owner.role]) as inside:
        assert [each.owner for each in await foreign_objects(inside, [owner.role])] == ["app"]
        assert await foreign_objects(inside, [owner.role, *theirs]) == []
    async with await owner.session() as session:
        await session.execute("DROP TABLE t; REVOKE CREATE ON SCHEMA public FROM app")


async def test_the_platform_keeps_its_hold_on_a_role_that_it_was_made_a_member_of(
    on_17: Connection, instance: Address, owner: Tenant
) -> None:
    async with connect(instance, user=ADMIN) as admin:
        await admin.execute(
            f"GRANT {owner.role} TO tenantry_platform WITH INHERIT TRUE, SET TRUE".encode()
        )
    undone = await ensure_standing_roles(instance, shared=True)
    assert undone == [f"membership of tenantry_platform in {owner.role}"]
    assert await ensure_standing_roles(instance, shared=True) == []
    assert await catalog.roles_of(on_17, owner.role) == [owner.role]
    await objects.set_connection_limit(on_17, owner.role, 7)
    query = "SELECT rolconnlimit, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = %s"
    assert await rows(on_17, query, owner.role) == [(7, True, True)]


async def test_on_15_it_creates_no_roles(
    platform: Connection, address: Address, tenant: Tenant
) -> None:
    if platform.info.server_version >= instance_roles.CREATEROLE_FROM:
        pytest.skip("all tests run on a later release")
    await instance_roles.grant_rights(address, tenant.role)
    async with await tenant.session() as session:
        assert await attempt(session, "CREATE ROLE theirs") is DENIED
        assert await attempt(session, "CREATE DATABASE reports") is None
        await session.execute("DROP DATABASE reports")
    assert tenant.role in await catalog.tenant_roles(platform)
