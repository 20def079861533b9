"""The platform's standing roles: what they may not, and how it is restored."""

import asyncio
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from tenants import Connection, Tenant, make, rows, unmake

from tenantry.pg import catalog, logins, names, visitors
from tenantry.pg.connections import ADMIN, PLATFORM_ROLES, Address, connect
from tenantry.pg.hardening import ensure_standing_roles
from tenantry.pg.instance_roles import CREATEROLE_FROM

# By the catalogs: who has CONNECT, by grant, ownership or membership. A superuser has it always.
CONNECT = r"""
    SELECT r.rolname, d.datname FROM pg_roles r, pg_database d
    WHERE d.datname = ANY (%s) AND has_database_privilege(r.oid, d.oid, 'CONNECT')
      AND NOT r.rolsuper AND r.rolname NOT LIKE 'user\_%%'
"""
MEMBERS = r"""
    SELECT m.rolname, r.rolname FROM pg_auth_members a
        JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
    WHERE r.rolname = %s AND coalesce((to_jsonb(a) ->> 'inherit_option')::boolean, true)
"""


async def test_no_standing_role_may_connect_to_a_tenants_database(
    platform: Connection, tenant: Tenant
) -> None:
    assert await rows(platform, CONNECT, tenant.databases) == []
    assert await rows(platform, MEMBERS, tenant.role) == []
    for role in set(PLATFORM_ROLES) - {ADMIN, "tenantry_owner"}:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            async with await psycopg.AsyncConnection.connect(
                tenant.address.conninfo(user=role, dbname=tenant.databases[0])
            ):
                pass


async def test_what_was_given_to_standing_roles_is_taken_back(
    platform: Connection, tenant: Tenant, address: Address
) -> None:
    assert await ensure_standing_roles(address, shared=True) == []
    main = tenant.databases[0]
    # From 16 on the platform's role is a member of those that it has created, without their rights.
    rights = " WITH INHERIT TRUE" if platform.info.server_version >= CREATEROLE_FROM else ""
    async with connect(address, user=ADMIN) as admin:
        for statement in (
            "ALTER ROLE tenantry_platform SET local_preload_libraries = 'nothing'",
            f"ALTER ROLE tenantry_pooler IN DATABASE {main} SET work_mem = '1MB'",
            "ALTER ROLE tenantry_admin RESET log_min_messages",
            "ALTER DATABASE postgres SET default_transaction_read_only = on",
            f"GRANT {tenant.role} TO tenantry_platform{rights}",
            f"GRANT CONNECT ON DATABASE {main} TO tenantry_owner",
            f"GRANT CONNECT ON DATABASE {main} TO PUBLIC",
        ):
            await admin.execute(statement.encode())
        undone = await ensure_standing_roles(address, shared=True)
        assert set(undone) == {
            "local_preload_libraries of tenantry_platform in all databases",
            f"work_mem of tenantry_pooler in {main}",
            "default_transaction_read_only of all roles in postgres",
            f"membership of tenantry_platform in {tenant.role}",
            f"rights of tenantry_owner in {main}",
            f"rights of PUBLIC in {main}",
        }
        assert await rows(
            admin,
            "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'tenantry_admin'::regrole",
        ) == [(["log_min_messages=warning"],)]
    assert await ensure_standing_roles(address, shared=True) == []
    assert await rows(platform, CONNECT, tenant.databases) == []


async def test_a_visitor_starts_again_whatever_code_of_the_tenants_set_for_it(
    tenant: Tenant, tmp_path: Path
) -> None:
    purpose, main = uuid4().hex, tenant.databases[0]
    async with visitors.visitor(tenant.address, purpose, [tenant.role], folder=tmp_path) as visitor:
        async with visitors.connect_as(visitor, main) as inside:
            for statement in (
                "ALTER ROLE current_user SET local_preload_libraries = 'nothing'",
                f"ALTER ROLE current_user IN DATABASE {main} SET search_path = public",
                "ALTER ROLE current_user PASSWORD 'another'",
            ):
                await inside.execute(statement.encode())
        async with visitors.connect_as(visitor, main) as inside:
            assert await rows(inside, "SELECT current_setting('search_path')") == [("pg_catalog",)]
            # And one that a crash leaves with its settings.
            await inside.execute("ALTER ROLE current_user SET local_preload_libraries = 'nothing'")
            await inside.execute("CREATE FUNCTION public.left_behind() RETURNS int RETURN 1")
    # What it owned is the tenant's, as soon as somebody looks.
    assert await visitors.drop(tenant.address, purpose)
    async with await tenant.session() as session:
        assert await rows(
            session, "SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'left_behind'"
        ) == [(tenant.role,)]


async def test_what_a_crash_left_of_a_session_is_dropped(
    platform: Connection, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def left() -> int:
        query = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)"
        return len(await rows(platform, query, names.visitor("")))

    async def nothing(*_: object) -> bool:
        return False

    with monkeypatch.context() as crash:
        crash.setattr(visitors, "_remove", nothing)
        async with logins.inside(tenant.address, tenant.databases[0], [tenant.role]):
            pass
    async with logins.inside(tenant.address, tenant.databases[0], [tenant.role]):
        await visitors.drop_abandoned(tenant.address)
        assert await left() == 2  # one may be about to come
        monkeypatch.setattr(visitors, "_ARRIVAL_SECONDS", 0)
        await visitors.drop_abandoned(tenant.address)
        assert await left() == 1  # that with a session
    assert await left() == 0
    assert await visitors.purposes(tenant.address) == set()


async def test_two_passes_drop_a_visitor_one_after_the_other(
    platform: Connection, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    purpose = uuid4().hex

    async def nothing(*_: object) -> bool:
        return False

    with monkeypatch.context() as crash:
        crash.setattr(visitors, "_drop", nothing)
        async with visitors.visitor(tenant.address, purpose, [tenant.role], folder=tmp_path):
            pass
    assert purpose in await visitors.purposes(tenant.address)
    passes = (visitors.drop(tenant.address, purpose) for _ in range(4))
    assert await asyncio.gather(*passes) == [True] * 4
    query = "SELECT count(*) FROM pg_roles WHERE rolname = %s"
    assert await rows(platform, query, names.visitor(purpose)) == [(0,)]


def test_a_pass_drops_no_more_than_it_has_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    purposes = {f"{number:032x}" for number in range(100)}
    assert set(visitors.in_time(purposes)) == purposes
    assert [*visitors.in_time(purposes)] != [*visitors.in_time(purposes)], "the first of all waits"
    monkeypatch.setattr(visitors, "_PASS_SECONDS", -1.0)
    assert [*visitors.in_time(purposes)] == []


async def test_a_tenant_that_locks_a_visitors_role_holds_up_nobody(
    platform: Connection, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GRANT … TO it, in a transaction that stays open, keeps it from being dropped."""
    monkeypatch.setattr(visitors, "_LOCK_TIMEOUT", "100ms")
    purpose = uuid4().hex
    async with await tenant.session() as owner:
        await owner.execute("CREATE TABLE t (i int)")
        async with owner.transaction():
            async with visitors.visitor(
                tenant.address, purpose, [tenant.role], folder=tmp_path
            ) as visitor:
                await owner.execute(f"GRANT SELECT ON t TO {visitor.name}".encode())
            assert await rows(
                platform,
                "SELECT rolcanlogin, rolbypassrls,"
                " (SELECT count(*) FROM pg_auth_members WHERE member = r.oid)"
                " FROM pg_roles r WHERE rolname = %s",
                visitor.name,
            ) == [(False, False, 0)]
            await owner.execute("DROP TABLE t")
    assert await visitors.drop(tenant.address, purpose)


async def test_work_in_one_database_waits_for_no_other_tenant(
    platform: Connection, tenant: Tenant, address: Address
) -> None:
    other = await make(platform, address)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def stay() -> None:
        async with logins.inside(address, tenant.databases[0], [tenant.role]):
            entered.set()
            await leave.wait()

    staying = asyncio.create_task(stay())
    await entered.wait()
    async with logins.inside(address, other.databases[0], [other.role]) as session:
        assert await rows(session, "SELECT current_database()") == [(other.databases[0],)]
        # It is a member of its own tenant's role only.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await session.execute(f"SET LOCAL ROLE {tenant.role}".encode())
    leave.set()
    await staying
    await unmake(platform, other)
    assert await catalog.databases_with_objects_of(platform, tenant.role) == tenant.databases
