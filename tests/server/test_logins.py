# ruff: noqa: S608 (names are the test's own)
"""Additional roles of a tenant's database: what they may, what they may not, and how they go."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection
from tenants import PASSWORD, Connection, Tenant, make, rows, unmake

from tenantry.base.errors import Conflict, Unavailable
from tenantry.base.secrets import scram_verifier
from tenantry.pg import catalog, connections, logins, names, objects, replacing, visitors
from tenantry.pg.catalog import DatabaseState
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.pg.logins import Access

DENIED = psycopg.errors.InsufficientPrivilege


async def login(platform: Connection, tenant: Tenant, name: str, access: Access) -> str:
    """An additional role of the tenant's main database."""
    role = f"{tenant.role}_{name}"
    await objects.ensure_role(platform, role)
    await logins.grant(
        tenant.address, tenant.databases[0], tenant=tenant.role, role=role, access=access
    )
    await logins.admit(platform, tenant.databases[0], role, access)
    await objects.open_role(platform, role, verifier=scram_verifier(PASSWORD), max_connections=5)
    return role


async def remove(platform: Connection, tenant: Tenant, role: str) -> None:
    await logins.lock_out(platform, tenant.databases[0], role)
    await logins.drop(platform, tenant.address, role)


async def session(tenant: Tenant, role: str, database: str | None = None) -> Connection:
    dsn = tenant.address.conninfo(
        user=role, dbname=database or tenant.databases[0], search_path="public"
    )
    return await AsyncConnection.connect(dsn, autocommit=True)


BEFORE: LiteralString = """
    CREATE TABLE early (id serial PRIMARY KEY, word text);
    INSERT INTO early (word) VALUES ('one');
    CREATE SCHEMA first CREATE TABLE early (i int);
    CREATE VIEW seen AS SELECT * FROM early;
    CREATE MATERIALIZED VIEW kept AS SELECT * FROM early;
"""
AFTER: LiteralString = """
    CREATE TABLE later (id serial PRIMARY KEY, word text);
    CREATE SCHEMA second CREATE TABLE later (i int);
    CREATE TABLE first.later (i int);
    CREATE VIEW seen_later AS SELECT * FROM later;
"""
READABLE = (
    "early", "first.early", "seen", "kept", "later", "second.later", "first.later", "seen_later",
    "early_id_seq",
)  # fmt: skip


@pytest.fixture
async def reader(platform: Connection, tenant: Tenant) -> AsyncIterator[str]:
    async with await tenant.session() as owner:
        await owner.execute(BEFORE)
        role = await login(platform, tenant, "reader", "read_only")
        await owner.execute(AFTER)
    yield role
    await remove(platform, tenant, role)


@pytest.fixture
async def writer(platform: Connection, tenant: Tenant) -> AsyncIterator[str]:
    async with await tenant.session() as owner:
        await owner.execute(BEFORE)
        role = await login(platform, tenant, "writer", "read_write")
        await owner.execute(AFTER)
    yield role
    await remove(platform, tenant, role)


# What they may


async def test_a_reader_reads_what_is_there_and_what_comes_later(
    tenant: Tenant,
    reader: str,
) -> None:
    async with await session(tenant, reader) as connection:
        for relation in READABLE:
            await connection.execute(f"SELECT count(*) FROM {relation}".encode())
    # A schema that is dropped and made again, as Prisma's reset does.
    async with await tenant.session() as owner:
        await owner.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await owner.execute("CREATE TABLE public.again (i int)")
    async with await session(tenant, reader) as connection:
        assert await rows(connection, "SELECT count(*) FROM public.again") == [(0,)]


async def test_a_writer_writes_what_is_there_and_what_comes_later(
    tenant: Tenant,
    writer: str,
) -> None:
    async with await session(tenant, writer) as connection:
        for table in ("early", "later"):
            await connection.execute(f"INSERT INTO {table} (word) VALUES ('two')".encode())
            await connection.execute(f"UPDATE {table} SET word = 'three'".encode())
            await connection.execute(f"DELETE FROM {table}".encode())
        for table in ("first.early", "first.later", "second.later"):
            await connection.execute(f"INSERT INTO {table} VALUES (1)".encode())
        await connection.execute("CREATE TEMPORARY TABLE scratch (i int)")


# What they may not

WRITES: tuple[LiteralString, ...] = (
    "INSERT INTO early (word) VALUES ('x')",
    "UPDATE early SET word = 'x'",
    "DELETE FROM early",
    "TRUNCATE early",
    "INSERT INTO second.later VALUES (1)",
    "SELECT nextval('early_id_seq')",
    "SELECT setval('early_id_seq', 7)",
    "SELECT * FROM early FOR UPDATE",
    "LOCK TABLE early IN SHARE MODE",
    "COPY early (word) FROM PROGRAM 'true'",
    "CREATE TEMPORARY TABLE t (i int)",
    "SELECT 1 AS i INTO TEMPORARY t",
    "REFRESH MATERIALIZED VIEW kept",
)
CHANGES: tuple[LiteralString, ...] = (
    "CREATE TABLE t (i int)",
    "CREATE TABLE first.t (i int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "CREATE EXTENSION pgcrypto",
    "DROP TABLE early",
    "ALTER TABLE early ADD COLUMN more int",
    "CREATE INDEX ON early (word)",
    "CREATE TRIGGER t AFTER INSERT ON early EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {tenant} GRANT ALL ON TABLES TO PUBLIC",
    "SET ROLE {tenant}",
    "SET SESSION AUTHORIZATION {tenant}",
    "GRANT {tenant} TO {role}",
    "ALTER ROLE {tenant} PASSWORD 'known'",
    "ALTER ROLE {role} CONNECTION LIMIT -1",
    "ALTER DATABASE {database} CONNECTION LIMIT -1",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_stat_get_activity(NULL)",
    "SELECT * FROM pg_user_mapping",
    "SELECT * FROM pg_statistic",
    "SELECT pg_read_file('postgresql.conf')",
)


async def refused(connection: Connection, statement: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute(statement.encode())
    except DENIED:
        return
    pytest.fail(f"was not refused: {statement}")


async def test_a_reader_changes_nothing(tenant: Tenant, reader: str) -> None:
    """Without its belt, which it can unset."""
    async with await session(tenant, reader) as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await connection.execute("CREATE TEMPORARY TABLE t (i int)")
        await connection.execute("SET default_transaction_read_only = off")
        for statement in (*WRITES, *CHANGES):
            said = statement.format(tenant=tenant.role, role=reader, database=tenant.databases[0])
            await refused(connection, said)


async def test_a_writer_changes_no_more_than_rows(tenant: Tenant, writer: str) -> None:
    async with await session(tenant, writer) as connection:
        for statement in (*CHANGES, "TRUNCATE early", "REFRESH MATERIALIZED VIEW kept"):
            said = statement.format(tenant=tenant.role, role=writer, database=tenant.databases[0])
            await refused(connection, said)


async def test_they_get_into_no_other_database(
    platform: Connection,
    address: Address,
    tenant: Tenant,
    reader: str,
) -> None:
    other = await make(platform, address)
    for name in (tenant.databases[1], *other.databases, "postgres", "tenantry_auth"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            await session(tenant, reader, name)
    await unmake(platform, other)


async def test_all_roles_together_keep_to_the_databases_limit(
    platform: Connection,
    tenant: Tenant,
    reader: str,
) -> None:
    await objects.configure_databases(platform, tenant.databases[:1], DatabaseState({}, 2))
    async with await session(tenant, reader), await tenant.session():
        for role in (reader, tenant.role):
            with pytest.raises(psycopg.OperationalError, match="too many connections for database"):
                await session(tenant, role)
        with pytest.raises(Conflict, match="All connections"):
            await login(platform, tenant, "third", "read_only")
    await platform.execute(f'DROP ROLE "{tenant.role}_third"'.encode())
    await objects.configure_databases(platform, tenant.databases[:1], DatabaseState({}, -1))


# Sessions of the platform's


async def test_a_database_that_is_dropped_at_that_moment_admits_nobody(
    platform: Connection, tenant: Tenant
) -> None:
    main = tenant.databases[0]
    for database, role in ((main, "tenant_dropped"), ("database_dropped", tenant.role)):
        with pytest.raises(Conflict, match="is being deleted"):
            async with logins.inside(tenant.address, database, [role]):
                pass
    assert (
        await rows(
            platform,
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)",
            names.visitor(""),
        )
        == []
    )


async def test_a_database_that_is_renamed_before_its_session_begins_is_no_failure_of_ours(
    platform: Connection, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, aside = tenant.databases[0], "aside"
    made = visitors._make_short

    async def made_too_late(*arguments: Any) -> None:
        await made(*arguments)
        await renamed(tenant.address, main, aside)

    monkeypatch.setattr(visitors, "_make_short", made_too_late)
    try:
        with pytest.raises(Conflict, match="is being deleted"):
            async with logins.inside(tenant.address, main, [tenant.role]):
                pass
    finally:
        await renamed(tenant.address, aside, main)
    assert await rows(platform, "SELECT 1 FROM pg_database WHERE datname = %s", main) == [(1,)]


async def renamed(address: Address, before: str, after: str) -> None:
    async with connect(address, user=ADMIN) as admin:
        await admin.execute(f'ALTER DATABASE "{before}" RENAME TO "{after}"'.encode())


async def test_grants_on_a_database_at_the_same_time_wait_for_each_other(
    platform: Connection, tenant: Tenant
) -> None:
    """What a tenant may not enter at the moment, a visit's login is granted by itself."""
    main = tenant.databases[0]
    await replacing.close_database(platform, main)

    async def visit() -> object:
        async with logins.inside(tenant.address, main, [tenant.role]) as session_:
            return (await rows(session_, "SELECT 1"))[0][0]

    assert await asyncio.gather(*(visit() for _ in range(4))) == [1] * 4


async def test_a_session_that_the_server_ends_is_no_failure_of_ours(
    platform: Connection, tenant: Tenant
) -> None:
    for reads_the_reason in (True, False):
        with pytest.raises(Unavailable, match="was ended"):  # noqa: PT012 (the session is ours)
            async with logins.inside(tenant.address, tenant.databases[0], [tenant.role]) as it:
                await rows(platform, "SELECT pg_terminate_backend(%s, 5000)", it.info.backend_pid)
                if not reads_the_reason:
                    connections.cut(it)
                await it.execute("SELECT 1")


async def test_a_session_has_one_tenants_rights_and_leaves_nothing(
    platform: Connection, tenant: Tenant, reader: str
) -> None:
    async with logins.inside(tenant.address, tenant.databases[0], [tenant.role]) as session_:
        ((who, limit, path),) = await rows(
            session_,
            "SELECT session_user, current_setting('lock_timeout'), current_setting('search_path')",
        )
        assert (limit, path) == ("10s", "pg_catalog")
        assert who.startswith(names.visitor(""))
        assert await rows(
            platform,
            "SELECT roleid::regrole::text, rolbypassrls FROM pg_auth_members m"
            " JOIN pg_roles r ON r.oid = m.member WHERE rolname = %s",
            who,
        ) == [(tenant.role, False)]
        # Another tenant's work needs not wait for it: no lock and no role are shared.
        async with logins.inside(tenant.address, tenant.databases[0], [reader]) as other:
            assert await rows(other, "SELECT session_user") != [(who,)]
    assert (
        await rows(
            platform,
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)",
            names.visitor(""),
        )
        == []
    )


async def test_a_tenants_trojans_are_not_run(
    platform: Connection,
    tenant: Tenant,
) -> None:
    """Functions and operators that shadow the system's, and a column default that would tell."""
    async with await tenant.session() as owner:
        await owner.execute(
            """
            CREATE TABLE reported (who text);
            CREATE FUNCTION public.tell(oid, oid) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
                AS $$ BEGIN INSERT INTO public.reported VALUES (session_user); RETURN true; END $$;
            CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.tell);
            CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql
                SECURITY DEFINER
                AS $$ BEGIN INSERT INTO public.reported VALUES (session_user); RETURN ''; END $$;
            CREATE VIEW public.pg_class AS SELECT * FROM pg_catalog.pg_class;
            """
        )
        await owner.execute(
            f"ALTER ROLE {tenant.role} IN DATABASE {tenant.databases[0]}"
            " SET search_path = public, pg_catalog".encode()
        )
        role = await login(platform, tenant, "reader", "read_only")
        await remove(platform, tenant, role)
        assert await rows(owner, "SELECT * FROM reported") == []


async def test_a_tenant_in_the_way_is_reported_of(
    platform: Connection,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logins, "_WAIT_SECONDS", 0.3)
    async with await tenant.session() as owner:
        await owner.execute("CREATE TABLE held (i int)")
        async with owner.transaction():
            await owner.execute("ALTER TABLE held ADD COLUMN j int")
            with pytest.raises(Conflict, match="kept this waiting"):
                await login(platform, tenant, "reader", "read_only")
        # With nobody in the way it works.
        role = await login(platform, tenant, "reader", "read_only")
        async with await session(tenant, role) as connection:
            assert await rows(connection, "SELECT count(*) FROM held") == [(0,)]
    await remove(platform, tenant, role)


async def test_two_are_let_in_one_after_the_other(
    platform: Connection,
    tenant: Tenant,
) -> None:
    async def one(number: int) -> str:
        async with connect(tenant.address, user="tenantry_platform") as own:
            return await login(own, tenant, f"n{number}", "read_only")

    made = await asyncio.gather(*map(one, range(6)))
    async with await tenant.session() as owner:
        await owner.execute("CREATE TABLE t (i int)")
    for role in made:
        async with await session(tenant, role) as connection:
            assert await rows(connection, "SELECT count(*) FROM t") == [(0,)]
        await remove(platform, tenant, role)


# How they go


async def test_what_a_role_owns_is_kept_and_what_it_was_granted_goes(
    platform: Connection,
    address: Address,
    tenant: Tenant,
) -> None:
    other = await make(platform, address)
    role = await login(platform, tenant, "app", "read_write")
    async with await tenant.session() as owner:
        await owner.execute(f"GRANT CREATE ON SCHEMA public TO {role}".encode())
        await owner.execute("CREATE TABLE t (i int)")
        await owner.execute(f"GRANT ALL ON t TO {role} WITH GRANT OPTION".encode())
    async with await session(tenant, role) as connection:
        await connection.execute("CREATE TABLE made AS SELECT 7 AS i")
        await connection.execute("SELECT lo_create(4711)")
        await connection.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
        await connection.execute("ALTER ROLE CURRENT_USER SET statement_timeout = '1min'")
    # In the shadow, and by a neighbour who wants it to stay.
    async with await tenant.session(tenant.databases[1]) as shadow:
        await shadow.execute(f"CREATE TABLE s (i int); GRANT SELECT ON s TO {role}".encode())
    async with await other.session() as neighbour:
        await neighbour.execute(f"CREATE TABLE n (i int); GRANT SELECT ON n TO {role}".encode())
    assert set(await catalog.dependencies_of(platform, role)) == {
        *tenant.databases,
        other.databases[0],
    }
    await remove(platform, tenant, role)
    # Nobody acts in the neighbour's database: what is left of the role opens nothing.
    assert await rows(
        platform, "SELECT rolcanlogin, rolconnlimit FROM pg_roles WHERE rolname = %s", role
    ) == [(False, 0)]
    assert await catalog.dependencies_of(platform, role) == [other.databases[0]]
    async with await other.session() as neighbour:
        await neighbour.execute("DROP TABLE n")
    await remove(platform, tenant, role)
    assert not await objects.role_exists(platform, role)
    async with await tenant.session() as owner:
        assert await rows(owner, "SELECT i FROM made") == [(7,)]
        await owner.execute("DROP TABLE made")
        assert await rows(
            owner, "SELECT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata"
        ) == [(tenant.role,)]
        # No trace of it in what is made later.
        await owner.execute("CREATE TABLE after (i int)")
        assert await rows(owner, "SELECT relacl FROM pg_class WHERE relname IN ('after')") == [
            (None,)
        ]
    await unmake(platform, other)


async def test_the_predefined_role_would_show_everybodys_verifiers(
    address: Address,
    tenant: Tenant,
) -> None:
    """Why a reader is no member of pg_read_all_data: it reads shared catalogs, too."""
    name = f"user_{uuid4().hex[:12]}"
    async with connect(address, user=ADMIN) as admin:
        await admin.execute(f"CREATE ROLE {name} LOGIN IN ROLE pg_read_all_data".encode())
        await admin.execute(f"GRANT CONNECT ON DATABASE {tenant.databases[0]} TO {name}".encode())
        async with await session(tenant, name) as connection:
            found = await rows(
                connection, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", tenant.role
            )
        assert found[0][0].startswith("SCRAM-SHA-256$")
        await admin.execute(f"REVOKE ALL ON DATABASE {tenant.databases[0]} FROM {name}".encode())
        await admin.execute(f"DROP ROLE {name}".encode())
