"""What a tenant sees of sessions, locks and counters: as PostgreSQL shows it, of its own only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tenants import Connection, Tenant, make, rows, unmake

from postgres_server import bin_dir
from tenantry.pg import session_ending, visibility
from tenantry.pg.connections import ADMIN, Address, connect

# Of which database or session a row shows.
REVEALING = {"datid", "datname", "pid", "database"}


@pytest.fixture
async def neighbour(platform: Connection, address: Address) -> AsyncIterator[Tenant]:
    made = await make(platform, address)
    yield made
    await unmake(platform, made)


@pytest.fixture
async def reader(platform: Connection, tenant: Tenant) -> AsyncIterator[str]:
    """Another login of the tenant's, that is no member of the first one."""
    name = f"{tenant.role}_reads"
    await platform.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    await platform.execute(
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
            sql.Identifier(tenant.databases[0]), sql.Identifier(name)
        )
    )
    yield name
    await session_ending.end_sessions(platform, name)
    for each in ("DROP OWNED BY {}", "DROP ROLE {}"):
        async with connect(tenant.address, user=ADMIN) as admin:
            await admin.execute(sql.SQL(each).format(sql.Identifier(name)))


@asynccontextmanager
async def ordinary(address: Address) -> AsyncIterator[str]:
    """A database with PostgreSQL's own views."""
    name = f"ordinary_{uuid4().hex[:8]}"
    async with connect(address, user=ADMIN) as admin:
        await admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
        )
    try:
        yield name
    finally:
        async with connect(address, user=ADMIN) as admin:
            await admin.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


async def seen(address: Address, user: str, database: str, query: str, *values: object) -> Any:
    async with connect(address, user=user, dbname=database) as session:
        return await rows(session, query, *values)


async def test_every_view_shows_rows_of_ones_own_databases_only(
    tenant: Tenant, neighbour: Tenant
) -> None:
    async with await neighbour.session() as other, await tenant.session() as session:
        await other.execute("BEGIN; CREATE TABLE t (i int); SELECT pg_advisory_xact_lock(1)")
        async with await tenant.session(tenant.databases[1]) as shadow:
            await shadow.execute("BEGIN; CREATE TABLE t (i int)")
            own: dict[str, set[Any]] = {"pid": set(), "datid": set(), "datname": set()}
            for datid, datname, pid in await rows(
                session, "SELECT datid, datname, pid FROM pg_stat_activity"
            ):
                for name, value in (("datid", datid), ("datname", datname), ("pid", pid)):
                    own[name].add(value)
            assert own["datname"] == set(tenant.databases)
            assert {session.info.backend_pid, shadow.info.backend_pid} <= own["pid"]
            assert other.info.backend_pid not in own["pid"]
            own["database"] = {*own["datid"], None, 0}

            checked = set()
            for view, column in await rows(
                session,
                "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a"
                " ON a.attrelid = c.oid WHERE c.relkind = 'v' AND a.attname = ANY (%s)"
                " AND c.relnamespace = 'pg_catalog'::regnamespace",
                list(REVEALING),
            ):
                try:
                    values = await rows(
                        session,
                        f"SELECT DISTINCT {column} FROM {view}",  # noqa: S608
                    )
                except psycopg.errors.InsufficientPrivilege:
                    continue
                checked.add(view)
                assert {value for (value,) in values} <= own[column], view
            assert set(visibility.VIEWS) <= checked
            modes = "SELECT count(*) FROM pg_locks WHERE pid = %s AND locktype = 'transactionid'"
            assert await rows(session, modes, shadow.info.backend_pid) == [(1,)]


@pytest.mark.parametrize("view", ["pg_stat_activity", "pg_stat_progress_copy", "pg_stat_ssl"])
async def test_other_roles_sessions_are_masked_as_by_postgresql(
    tenant: Tenant, reader: str, address: Address, view: str
) -> None:
    query = f"SELECT to_jsonb(v) FROM pg_catalog.{view} v WHERE pid = %s"  # noqa: S608
    async with ordinary(address) as database, await tenant.session() as session:
        await session.execute("CREATE TABLE t (i int)")
        async with session.cursor().copy("COPY t FROM STDIN"):
            for who in (tenant.role, reader):
                shown, stock = [
                    await seen(address, who, name, query, session.info.backend_pid)
                    for name in (tenant.databases[0], database)
                ]
                assert shown == stock
                masked = "<insufficient privilege>" in str(shown)
                assert masked is (who == reader and view == "pg_stat_activity")


async def test_an_indexs_function_sees_no_more_in_a_superusers_session(
    tenant: Tenant, neighbour: Tenant, address: Address
) -> None:
    """VACUUM and ANALYZE run it as the table's owner, whoever's session it is."""
    async with await neighbour.session(), await tenant.session() as session:
        await session.execute(
            """
            CREATE TABLE seen (datname name, query text);
            CREATE FUNCTION look(int) RETURNS int LANGUAGE sql IMMUTABLE AS
                'INSERT INTO public.seen SELECT datname, query FROM pg_catalog.pg_stat_activity;
                SELECT $1';
            CREATE FUNCTION trap(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
                'BEGIN RETURN public.look($1); END';
            ALTER FUNCTION look VOLATILE;
            CREATE TABLE bait (i int);
            INSERT INTO bait VALUES (1), (2);
            CREATE INDEX ON bait (trap(i));
            TRUNCATE seen
            """
        )
        async with connect(address, user=ADMIN, dbname=tenant.databases[0]) as admin:
            await admin.execute("ANALYZE public.bait")
        found = await rows(session, "SELECT DISTINCT datname, query FROM seen")
        assert found == [(tenant.databases[0], "<insufficient privilege>")]


async def test_who_blocks_a_session_is_reported_of_ones_own(
    tenant: Tenant, neighbour: Tenant
) -> None:
    asked = "SELECT pg_blocking_pids(%s)"
    async with (
        await tenant.session() as first,
        await tenant.session() as second,
        await neighbour.session() as other,
    ):
        await first.execute("SELECT pg_advisory_lock(1)")
        pid = second.info.backend_pid
        waits = asyncio.create_task(second.execute("SELECT pg_advisory_lock(1)"))
        found = await rows(first, asked, pid)
        for _ in range(5000):
            if found != [([],)]:
                break
            found = await rows(first, asked, pid)
        assert found == [([first.info.backend_pid],)]
        assert await rows(first, "SELECT pg_blocking_pids(0), pg_blocking_pids(NULL)") == [
            ([], None)
        ]
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="to examine process"):
            await rows(other, asked, pid)
        await first.execute("SELECT pg_advisory_unlock(1)")
        await waits


async def test_a_database_of_an_older_version_is_brought_along(
    tenant: Tenant, address: Address
) -> None:
    """It had the views closed; and one that pg_upgrade made has everything open."""
    async with connect(address, user=ADMIN) as maintenance:
        wanted = await visibility.wanted(maintenance)
    assert not await visibility.ensure(address, tenant.databases[0], wanted)
    async with ordinary(address) as name:
        async with connect(address, user=ADMIN, dbname=name) as admin:
            await admin.execute("REVOKE SELECT ON pg_stat_activity, pg_locks FROM PUBLIC")
            await admin.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                    sql.Identifier(name), sql.Identifier(tenant.role)
                )
            )
            await admin.execute(
                sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
                    sql.Identifier(name)
                )
            )
        assert await visibility.ensure(address, name, wanted)
        assert not await visibility.ensure(address, name, wanted)
        query = "SELECT DISTINCT usename FROM pg_stat_activity"
        assert await seen(address, tenant.role, name, query) == [(tenant.role,)]
        for each in ("pg_stat_get_activity(NULL)", "tenantry_sessions()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await seen(address, tenant.role, name, f"SELECT {each}")
        done = await asyncio.create_subprocess_exec(
            bin_dir() / "pg_dump",
            address.conninfo(user=tenant.role, dbname=name),
            stdout=asyncio.subprocess.PIPE,
        )
        dump = (await done.communicate())[0].decode()
        assert done.returncode == 0
        assert not {line for line in dump.splitlines() if "pg_stat" in line or "tenantry_" in line}
        assert "FUNCTION" not in dump
        assert "VIEW" not in dump
