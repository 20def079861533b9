"""Visitors and dumps against a real server: whole, with one tenant's rights, leaving nothing."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tenants import Connection, Tenant, make, rows, unmake

from conftest import Server
from tenantry.base.errors import Conflict
from tenantry.host import commands
from tenantry.host.commands import CommandFailed
from tenantry.pg import archives, dumps, reloading, tenant_settings, visitors
from tenantry.pg.connections import Address

HIDDEN = """
    CREATE TABLE hidden AS SELECT i, md5(i::text) AS text FROM generate_series(1, 100) i;
    ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
    ALTER TABLE hidden FORCE ROW LEVEL SECURITY;
    CREATE POLICY nobody ON hidden USING (false);
"""
CHECKSUM = "SELECT md5(string_agg(i || text, ',' ORDER BY i)) FROM hidden"


@pytest.fixture
async def neighbour(platform: Connection, address: Address) -> AsyncIterator[Tenant]:
    made = await make(platform, address)
    yield made
    await unmake(platform, made)


@pytest.fixture
def purpose() -> str:
    return uuid4().hex


async def do(tenant: Tenant, statements: str) -> None:
    async with await tenant.session() as session:
        await session.execute(statements.encode())


def as_superuser(server: Server, tenant: Tenant, query: str) -> object:
    with (
        psycopg.connect(server.dsn(), autocommit=True) as outside,
        psycopg.connect(server.dsn(tenant.databases[0]), autocommit=True) as session,
    ):
        row = session.execute(query.encode()).fetchone()
        # Gone when this returns: nobody but a superuser may drop a database that it is in.
        outside.execute("SELECT pg_terminate_backend(%s, 5000)", (session.info.backend_pid,))
    return row[0] if row else None


async def dump(
    server: Server, tenant: Tenant, purpose: str, target: Path, form: dumps.Format = "custom"
) -> Path:
    async with visitors.visitor(
        tenant.address, purpose, [tenant.role], folder=target.parent
    ) as visitor:
        await dumps.dump(server.bin_dir, visitor, tenant.databases[0], target, form=form)
    return target


def visitors_left(server: Server) -> list[tuple[str, bool, bool]]:
    with psycopg.connect(server.dsn(), autocommit=True) as session:
        return session.execute(
            "SELECT rolname, rolcanlogin, rolbypassrls FROM pg_roles"
            " WHERE rolname LIKE 'tenantry\\_visitor\\_%' ORDER BY 1"
        ).fetchall()


async def test_a_dump_is_whole_and_goes_into_another_database(
    server: Server, tenant: Tenant, neighbour: Tenant, purpose: str, tmp_path: Path
) -> None:
    await do(tenant, HIDDEN)
    before = as_superuser(server, tenant, CHECKSUM)
    assert before is not None
    source = await dump(server, tenant, purpose, tmp_path / "a.dump")
    assert source.stat().st_mode & 0o777 == 0o600
    assert any("TABLE DATA public hidden" in line for line in
               await archives.contents(server.bin_dir, source))  # fmt: skip
    reported: list[tuple[int, int | None]] = []

    async def report(done: int, of: int | None) -> None:
        reported.append((done, of))

    async with visitors.visitor(
        neighbour.address, purpose, [neighbour.role], folder=tmp_path
    ) as visitor:
        await reloading.load(
            server.bin_dir,
            visitor,
            neighbour.databases[0],
            source,
            settings=tenant_settings.USUAL,
            options=["--no-owner", "--no-acl", f"--role={neighbour.role}"],
            report=report,
        )
    assert as_superuser(server, neighbour, CHECKSUM) == before
    assert visitors_left(server) == []


async def test_a_plain_dump_is_sql_that_anybody_may_load(
    server: Server, tenant: Tenant, purpose: str, tmp_path: Path, fresh_database: str
) -> None:
    await do(tenant, HIDDEN)
    source = await dump(server, tenant, purpose, tmp_path / "a.sql.gz", "plain")
    text = gzip.decompress(source.read_bytes())
    assert tenant.role.encode() not in text
    script = tmp_path / "a.sql"
    script.write_bytes(text)
    await commands.run([server.bin_dir / "psql", "-vON_ERROR_STOP=1", "-f", script, fresh_database])
    with psycopg.connect(fresh_database) as session:
        assert session.execute(CHECKSUM.encode()).fetchone() == (
            as_superuser(server, tenant, CHECKSUM),
        )


async def test_a_visitor_has_one_tenants_rights_for_a_while(
    server: Server, tenant: Tenant, neighbour: Tenant, purpose: str, tmp_path: Path
) -> None:
    async with visitors.visitor(tenant.address, purpose, [tenant.role], folder=tmp_path) as visitor:
        async with visitors.connect_as(visitor, tenant.databases[0]) as inside:
            for refused in (
                "SELECT rolpassword FROM pg_authid",
                "CREATE ROLE more",
                "SET ROLE tenantry_platform",
                f"ALTER ROLE {visitor.name} SUPERUSER",
                f"GRANT {neighbour.role} TO {visitor.name}",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await inside.execute(refused.encode())
        for closed in (neighbour.databases[0], "postgres", "tenantry_auth"):
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                async with visitors.connect_as(visitor, closed):
                    pass
        assert visitor.passfile.stat().st_mode & 0o777 == 0o600
    assert not visitor.passfile.exists()
    assert visitors_left(server) == []


TROJAN = """
    CREATE TABLE seen (who text, what text);
    CREATE FUNCTION trojan(i int) RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE attempt text;
    BEGIN
        FOREACH attempt IN ARRAY ARRAY['ALTER ROLE CURRENT_USER SUPERUSER', 'RESET ROLE',
            'SET ROLE tenantry_admin', 'SET ROLE tenantry_platform', 'CREATE ROLE mine SUPERUSER',
            'SELECT rolpassword FROM pg_catalog.pg_authid']
        LOOP
            BEGIN
                EXECUTE attempt;
                INSERT INTO public.seen VALUES (session_user, attempt);
            EXCEPTION WHEN insufficient_privilege THEN
            END;
        END LOOP;
        RETURN true;
    END $$;
"""


async def test_a_hostile_function_is_not_run_by_a_dump(
    server: Server, tenant: Tenant, purpose: str, tmp_path: Path
) -> None:
    await do(tenant, TROJAN + HIDDEN.replace("USING (false)", "USING (trojan(i))"))
    await dump(server, tenant, purpose, tmp_path / "a.dump")
    assert as_superuser(server, tenant, "SELECT count(*) FROM seen") == 0


async def test_a_hostile_function_gains_nothing_when_a_dump_is_loaded(
    server: Server, tenant: Tenant, purpose: str, tmp_path: Path
) -> None:
    await do(tenant, TROJAN)
    await do(tenant, "CREATE TABLE t (i int CHECK (trojan(i))); INSERT INTO t VALUES (1)")
    source = await dump(server, tenant, purpose, tmp_path / "a.dump")
    await do(tenant, "DROP TABLE t, seen; DROP FUNCTION trojan")
    async with visitors.visitor(tenant.address, purpose, [tenant.role], folder=tmp_path) as visitor:
        await reloading.load(
            server.bin_dir, visitor, tenant.databases[0], source,
            settings=tenant_settings.USUAL, options=[f"--role={tenant.role}"],
        )  # fmt: skip
    # It ran, with nobody's rights but its tenant's and the visitor's.
    found = as_superuser(
        server,
        tenant,
        "SELECT array_agg(DISTINCT what) FROM seen WHERE starts_with(who, 'tenantry_visitor_')",
    )
    assert found == ["RESET ROLE"]
    assert visitors_left(server) == []


async def test_no_password_is_in_a_command_line(
    server: Server, tenant: Tenant, purpose: str, tmp_path: Path
) -> None:
    await do(tenant, HIDDEN)
    async with (
        await tenant.session() as session,
        visitors.visitor(tenant.address, purpose, [tenant.role], folder=tmp_path) as visitor,
    ):
        password = visitor.passfile.read_text().strip().rpartition(":")[2]
        assert len(password) >= 32
        assert visitor.passfile.is_relative_to(tmp_path)
        async with session.transaction():
            await session.execute("LOCK TABLE hidden")
            dumping = asyncio.create_task(
                dumps.dump(server.bin_dir, visitor, tenant.databases[0], tmp_path / "a.dump")
            )
            await _until(lambda: any(b"pg_dump" in line for line in _proc("cmdline")))
            for secret in (password.encode(), visitor.passfile.read_bytes()):
                assert not any(
                    secret in reported for reported in _proc("cmdline") + _proc("environ")
                )
        await dumping


def _proc(name: str) -> list[bytes]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / name).read_bytes())
        except OSError:
            continue
    return found


def _ended(server: Server, purpose: str) -> bool:
    """End a dump that waits for a table, if there is one."""
    with psycopg.connect(server.dsn(), autocommit=True) as session:
        return bool(
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = %s AND wait_event_type = 'Lock'",
                (f"tenantry_visitor_{purpose}",),
            ).fetchall()
        )


async def _until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (another process has no events of ours)
            await asyncio.sleep(0.01)


async def test_what_is_in_the_way_of_a_dump_is_reported(
    server: Server,
    tenant: Tenant,
    purpose: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await do(tenant, HIDDEN)
    monkeypatch.setattr(dumps, "_LOCK_WAIT_MS", 50)
    async with await tenant.session() as session:
        async with session.transaction():
            await session.execute("LOCK TABLE hidden")
            with pytest.raises(Conflict, match="Open transactions"):
                await dump(server, tenant, purpose, tmp_path / "a.dump")
        async with session.transaction():
            await session.execute("LOCK TABLE hidden")
            monkeypatch.setattr(dumps, "_LOCK_WAIT_MS", 60_000)
            dumping = asyncio.create_task(dump(server, tenant, purpose, tmp_path / "a.dump"))
            await _until(lambda: _ended(server, purpose))
            with pytest.raises(Conflict, match="was ended"):
                await dumping
        limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 1")
        server.execute(limit.format(sql.Identifier(tenant.databases[0])))
        with pytest.raises(Conflict, match="All connections of"):
            await dump(server, tenant, purpose, tmp_path / "a.dump")
    with pytest.raises(CommandFailed, match="pg_restore"):
        await archives.contents(server.bin_dir, tmp_path / "a.dump")


async def test_a_visitor_that_a_crash_left_is_used_again(
    server: Server, tenant: Tenant, purpose: str, tmp_path: Path
) -> None:
    left = visitors.visitor(tenant.address, purpose, [tenant.role], folder=tmp_path)
    before = await left.__aenter__()
    async with (
        await psycopg.AsyncConnection.connect(
            tenant.address.conninfo(user=before.name, dbname=tenant.databases[0]), autocommit=True
        ) as orphan,
        visitors.visitor(tenant.address, purpose, [tenant.role], folder=tmp_path) as again,
    ):
        assert again.name == before.name
        with pytest.raises(psycopg.OperationalError):
            await orphan.execute("SELECT 1")
        async with visitors.connect_as(again, tenant.databases[0]) as inside:
            assert await rows(inside, "SELECT 1") == [(1,)]
    assert visitors_left(server) == []


async def test_a_visitor_that_cannot_be_dropped_is_shut_out(
    server: Server, tenant: Tenant, tmp_path: Path
) -> None:
    left, granted = (uuid4().hex for _ in range(2))
    for purpose in (left, granted):
        role = sql.Identifier(f"tenantry_visitor_{purpose}")
        server.execute(sql.SQL("CREATE ROLE {} LOGIN BYPASSRLS").format(role))
        server.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(tenant.role), role))
    await do(tenant, HIDDEN)
    # Whatever a tenant grants it keeps PostgreSQL from dropping it, until the table goes.
    await do(tenant, f"GRANT SELECT ON hidden TO tenantry_visitor_{granted}")
    assert await visitors.purposes(tenant.address) == {left, granted}
    assert await visitors.drop(tenant.address, left)
    assert not await visitors.drop(tenant.address, granted)
    assert visitors_left(server) == [(f"tenantry_visitor_{granted}", False, False)]
    # What is made for the same purpose again has all rights again, for as long as it lasts.
    async with (
        visitors.visitor(tenant.address, granted, [tenant.role], folder=tmp_path) as visitor,
        visitors.connect_as(visitor, tenant.databases[0]) as inside,
    ):
        assert await rows(inside, "SELECT count(*) FROM public.hidden") == [(100,)]
    assert visitors_left(server) == [(f"tenantry_visitor_{granted}", False, False)]
    await do(tenant, "DROP TABLE hidden")
    assert await visitors.drop(tenant.address, granted)
    assert visitors_left(server) == []
