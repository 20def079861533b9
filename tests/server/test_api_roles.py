"""The roles that tenants share for their data APIs, and the logins that may take them."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection
from tenants import PASSWORD, Connection, Tenant, make, rows, unmake

from conftest import Server
from tenantry.base.events import Event, ReconciliationFailed
from tenantry.base.secrets import scram_verifier
from tenantry.host.commands import CommandFailed
from tenantry.pg import (
    api_roles,
    application_users,
    archives,
    blockers,
    dumps,
    leftovers,
    logins,
    names,
    objects,
    visitors,
)
from tenantry.pg.api_roles import SERVICE, SHARED, Authenticator
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.pg.hardening import ensure_standing_roles
from tenantry.pg.ownership import foreign_objects
from tenantry.services.restores import transfer
from tenantry.services.side_clusters.model import SideCluster

DENIED = psycopg.errors.InsufficientPrivilege
TODOS: LiteralString = """
    CREATE TABLE todos (id int PRIMARY KEY, owner text, task text);
    INSERT INTO todos VALUES (1, 'ann', 'hers'), (2, 'bob', 'his');
    ALTER TABLE todos ENABLE ROW LEVEL SECURITY;
    GRANT SELECT ON todos TO anon, authenticated;
    CREATE POLICY own ON todos TO authenticated USING (auth.jwt() ->> 'sub' = owner);
"""


def wanted(*roles: str) -> Authenticator:
    return Authenticator(scram_verifier(PASSWORD), 5, frozenset({*SHARED, *roles}))


async def enable(platform: Connection, tenant: Tenant) -> str:
    main, name = tenant.databases[0], names.authenticator(tenant.role)
    async with logins.inside(tenant.address, main, [tenant.role]) as inside:
        await api_roles.prepare(inside, tenant.role, ["public"])
    await api_roles.create_authenticator(platform, name)
    async with connect(tenant.address, user=ADMIN) as admin:
        await api_roles.set_authenticator(admin, name, main, wanted())
    return name


async def disable(platform: Connection, tenant: Tenant) -> bool:
    name = names.authenticator(tenant.role)
    await logins.lock_out(platform, tenant.databases[0], name)
    return await logins.drop(platform, tenant.address, name)


def request(tenant: Tenant, database: str | None = None) -> Awaitable[Connection]:
    """A session of the service's."""
    dsn = tenant.address.conninfo(
        user=names.authenticator(tenant.role),
        dbname=database or tenant.databases[0],
        search_path="public",
    )
    return AsyncConnection.connect(dsn, autocommit=True, password=PASSWORD.reveal())


@pytest.fixture
async def served(platform: Connection, tenant: Tenant) -> AsyncIterator[Tenant]:
    await enable(platform, tenant)
    async with await tenant.session() as owner:
        await owner.execute(TODOS)
    yield tenant
    await disable(platform, tenant)


@asynccontextmanager
async def as_role(tenant: Tenant, role: str, claims: str = "{}") -> AsyncIterator[Connection]:
    async with await request(tenant) as session, session.transaction():
        await session.execute("SELECT set_config('role', %s, true)", (role,))
        await session.execute("SELECT set_config('request.jwt.claims', %s, true)", (claims,))
        yield session


async def test_policies_written_for_these_roles_decide(served: Tenant) -> None:
    seen = "SELECT id FROM todos ORDER BY id"
    async with as_role(served, "anon") as session:
        assert await rows(session, seen) == []
    async with as_role(served, "authenticated", '{"sub": "ann", "role": "authenticated"}') as ann:
        assert await rows(ann, seen) == [(1,)]
        assert await rows(ann, "SELECT auth.role()") == [("authenticated",)]
    async with as_role(served, SERVICE) as session:
        with pytest.raises(DENIED):
            await rows(session, seen)
    await logins.grant(
        served.address, served.databases[0], tenant=served.role, role=SERVICE, access="read_write"
    )
    async with as_role(served, SERVICE) as session:
        assert await rows(session, seen) == [(1,), (2,)]
        await session.execute("UPDATE todos SET task = 'ours'")


async def test_transactions_of_requests_end_at_their_limits(
    platform: Connection, served: Tenant
) -> None:
    name = names.authenticator(served.role)
    async with (
        await request(served) as long,
        await request(served) as idle,
        await served.session() as owner,
    ):
        for session in (long, owner):
            await session.execute("BEGIN")
        await long.execute("SELECT set_config('role', 'anon', true)")
        end = partial(api_roles.end_long_transactions, platform)
        assert await end({name: 3600.0}, otherwise=0.0) == []
        assert await end({}, otherwise=3600.0) == []
        assert await end({name: 0.0}, otherwise=3600.0) == [name]
        with pytest.raises(psycopg.OperationalError):
            await long.execute("SELECT 1")
        await idle.execute("SELECT 1")
        await owner.execute("COMMIT")


async def test_claims_that_are_absent_are_null(served: Tenant) -> None:
    uid = "6a5b1f2e-0e69-4f6e-8b6e-7c6d0a3c2b11"
    async with as_role(served, "authenticated", f'{{"sub": "{uid}"}}') as session:
        assert await rows(session, "SELECT auth.uid()::text, auth.role()") == [(uid, None)]
    async with as_role(served, "anon", "") as session:
        assert await rows(session, "SELECT auth.uid(), auth.role(), auth.jwt()") == [
            (None, None, None)
        ]


async def test_what_is_there_already_is_left_as_it_is(platform: Connection, tenant: Tenant) -> None:
    async with await tenant.session() as owner:
        await owner.execute("CREATE SCHEMA auth")
        await owner.execute("CREATE FUNCTION auth.uid() RETURNS int RETURN 7")
        await enable(platform, tenant)
        await enable(platform, tenant)
        assert await rows(owner, "SELECT auth.uid(), auth.role()") == [(7, None)]
        owners = "SELECT DISTINCT proowner::regrole::text FROM pg_proc WHERE proname = ANY (%s)"
        assert await rows(owner, owners, ["uid", "role", "jwt"]) == [(tenant.role,)]
    await disable(platform, tenant)


async def test_a_login_enters_its_own_database_only(
    platform: Connection, served: Tenant, address: Address
) -> None:
    neighbour = await make(platform, address)
    try:
        await enable(platform, neighbour)
        async with await neighbour.session() as owner:
            await owner.execute("CREATE TABLE private (i int); GRANT ALL ON private TO anon")
        for database in (*neighbour.databases, served.databases[1], "postgres"):
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                await request(served, database)
        async with await request(served) as session:
            for role in (served.role, neighbour.role, names.authenticator(neighbour.role)):
                with pytest.raises(DENIED):
                    await session.execute("SELECT set_config('role', %s, false)", (role,))
            with pytest.raises(DENIED):
                await session.execute("SELECT * FROM public.todos")  # NOINHERIT
        await disable(platform, neighbour)
    finally:
        await unmake(platform, neighbour)


FORBIDDEN = (
    "GRANT anon TO {role}",
    "GRANT {role} TO anon",
    "ALTER ROLE anon LOGIN",
    "ALTER ROLE authenticated SET statement_timeout = 1",
    "COMMENT ON ROLE anon IS 'mine'",
    "DROP ROLE anon",
    "REASSIGN OWNED BY service_role TO {role}",
    "DROP OWNED BY service_role",
)


async def test_nobody_changes_or_joins_a_shared_role(served: Tenant) -> None:
    async with await served.session() as owner, await request(served) as session:
        await session.execute("SET ROLE anon")
        for each in (owner, session):
            for statement in FORBIDDEN:
                with pytest.raises(DENIED):
                    await each.execute(statement.format(role=served.role).encode())
        for statement in ("SET ROLE service_role", "ALTER ROLE anon SET statement_timeout = 1"):
            with pytest.raises(DENIED):
                await owner.execute(statement.encode())


async def test_what_code_of_a_tenants_does_to_a_shared_role_is_undone(
    served: Tenant, address: Address
) -> None:
    main = served.databases[0]
    async with await request(served) as session:
        await session.execute("SET ROLE anon")
        for statement in (
            "ALTER ROLE anon SET statement_timeout = 1",
            f"ALTER ROLE anon IN DATABASE {main} SET search_path = 'theirs'",
            "ALTER ROLE anon PASSWORD 'theirs'",
        ):
            await session.execute(statement.encode())
    async with connect(address, user=ADMIN) as admin:
        await admin.execute(f"GRANT anon TO {served.role} WITH ADMIN OPTION".encode())
        await admin.execute("GRANT pg_monitor TO anon")
        assert set(await ensure_standing_roles(address, shared=True)) == {
            "attributes of anon",
            "settings of anon",
            f"membership of {served.role} in anon",
            "membership of anon in pg_monitor",
        }
        attributes = await rows(
            admin,
            "SELECT rolcanlogin, rolpassword, rolbypassrls FROM pg_authid WHERE rolname = ANY (%s)"
            " ORDER BY rolname",
            list(SHARED),
        )
        assert attributes == [(False, None, False), (False, None, False), (False, None, True)]
    assert await ensure_standing_roles(address, shared=True) == []
    async with as_role(served, "anon") as session:  # the login's memberships have stayed
        assert await rows(session, "SELECT count(*) FROM todos") == [(0,)]


OWN_CHANGES: tuple[LiteralString, ...] = (
    "ALTER ROLE anon SET application_name = 'theirs'",
    "ALTER ROLE anon PASSWORD 'theirs'",
)


@pytest.mark.parametrize("statement", OWN_CHANGES)
async def test_a_session_that_holds_a_shared_role_is_ended(
    served: Tenant, address: Address, statement: LiteralString
) -> None:
    async with await request(served) as holder:
        await holder.execute("SET ROLE anon")
        await holder.execute(statement)
        await holder.execute("BEGIN")
        await holder.execute(statement)
        assert len(await ensure_standing_roles(address, shared=True)) == 1
        with pytest.raises(psycopg.errors.AdminShutdown):
            await holder.execute("COMMIT")
    assert await ensure_standing_roles(address, shared=True) == []


@pytest.mark.parametrize("statement", OWN_CHANGES)
async def test_a_shared_role_that_stays_blocked_holds_up_nothing_else(
    served: Tenant,
    address: Address,
    monkeypatch: pytest.MonkeyPatch,
    statement: LiteralString,
) -> None:
    reported: list[Event] = []
    monkeypatch.setattr(blockers, "_TRIES", 1)
    monkeypatch.setattr(blockers, "emit", reported.append)
    async with await request(served) as holder, await request(served) as session:
        await session.execute("SET ROLE service_role")
        await session.execute("ALTER ROLE service_role SET work_mem = '1MB'")
        await holder.execute("SET ROLE anon")
        await holder.execute(statement)
        async with holder.transaction():
            await holder.execute(statement)
            undone = await ensure_standing_roles(address, shared=True)
    assert undone == ["settings of service_role"]
    assert [each.subject for each in reported if isinstance(each, ReconciliationFailed)] == ["anon"]
    assert len(await ensure_standing_roles(address, shared=True)) == 1


async def make_as_anon(tenant: Tenant) -> None:
    async with await tenant.session() as owner:
        await owner.execute("GRANT CREATE ON SCHEMA public TO anon")
    async with as_role(tenant, "anon") as session:
        await session.execute("CREATE TABLE made (i int); SELECT lo_create(0)")


async def test_what_a_shared_role_owns_becomes_its_tenants(
    platform: Connection, server: Server, served: Tenant, tmp_path: Path
) -> None:
    main = served.databases[0]

    async def dump() -> None:
        async with visitors.visitor(
            served.address, uuid4().hex, [served.role], folder=tmp_path
        ) as visitor:
            await dumps.dump(server.bin_dir, visitor, main, tmp_path / "dump")

    await make_as_anon(served)
    assert await api_roles.databases_with_objects(platform) == [main]
    with pytest.raises(CommandFailed, match="permission denied"):
        await dump()
    await logins.give_away_shared(served.address, main)
    assert await api_roles.databases_with_objects(platform) == []
    await dump()
    async with await served.session() as owner:
        owners = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'made'"
        assert await rows(owner, owners) == [(served.role,)]
    async with as_role(served, "anon") as session:  # what was granted to it has stayed
        await rows(session, "SELECT id FROM todos")


async def test_what_a_shared_role_owns_is_no_trace_of_an_attack(served: Tenant) -> None:
    await make_as_anon(served)
    async with as_role(served, "anon") as session:  # which cannot be given away
        await session.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO authenticated")
    async with logins.inside(served.address, served.databases[0], [served.role]) as inside:
        assert await foreign_objects(inside, [served.role]) == []


async def test_what_a_shared_role_owned_at_a_past_time_is_dumped(
    server: Server, served: Tenant, tmp_path: Path
) -> None:
    await make_as_anon(served)
    side = SideCluster(served.address, server.bin_dir, tmp_path, ())

    async def report(*_: object) -> None: ...

    dumped = await transfer.dump_out(
        side,
        uuid4().hex,
        served.databases[0],
        first=served.role,
        new_owner=served.role,
        report=report,
    )
    items = await archives.contents(server.bin_dir, dumped)
    assert [each for each in items if each.endswith(" anon")] == []
    for wanted in (f"TABLE public made {served.role}", "ACL public TABLE todos"):
        assert any(wanted in each for each in items), wanted


async def test_the_login_is_compared_and_restored(
    platform: Connection, served: Tenant, address: Address
) -> None:
    name = names.authenticator(served.role)
    reads = names.additional(served.role, "reads")
    await objects.ensure_role(platform, reads)
    await api_roles.add_selectable(platform, served.role, reads)
    async with connect(address, user=ADMIN) as admin:
        there = (await api_roles.authenticators(admin))[name]
        assert there.roles == {*SHARED, reads}
        assert replace(there, verifier=None) == replace(wanted(reads), verifier=None)
        change = partial(_changed, admin, name)
        assert not (await change("ALTER ROLE {} SET work_mem = '1MB'")).sound
        assert not (await change("ALTER ROLE {} INHERIT")).sound
        assert (await change("ALTER ROLE {} CONNECTION LIMIT 9")).max_connections == 9
        assert SERVICE not in (await change("REVOKE service_role FROM {}")).roles
        await api_roles.set_authenticator(admin, name, served.databases[0], wanted())
        again = (await api_roles.authenticators(admin))[name]
        assert replace(again, verifier=None) == replace(wanted(), verifier=None)
    await logins.drop(platform, address, reads)


async def _changed(admin: Connection, name: str, statement: str) -> Authenticator:
    await admin.execute(statement.format(name).encode())
    return (await api_roles.authenticators(admin))[name]


async def test_what_enabling_creates_leaves_a_database_empty(
    platform: Connection, tenant: Tenant
) -> None:
    await enable(platform, tenant)
    async with logins.inside(tenant.address, tenant.databases[0], [tenant.role]) as inside:
        await application_users.prepare(inside, tenant.role)
        assert await leftovers.find(inside) == []
        await inside.execute("INSERT INTO auth.users (id) VALUES (gen_random_uuid())")
        [found] = await leftovers.find(inside)
        assert str(found) == "schema auth"
        await inside.execute("DELETE FROM auth.users")
        await inside.execute("CREATE TABLE auth.audit_log_entries (id int)")
        assert [str(each) for each in await leftovers.find(inside)] == ["schema auth"]
