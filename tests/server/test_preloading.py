"""Extensions that only a superuser creates, in a database in which a tenant has set traps."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from tenants import Connection, Tenant, make, rows, unmake

from conftest import Server
from tenantry.base.errors import Conflict
from tenantry.pg import dumps, extensions, logins, ownership, preloading, reloading, visitors
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.pg.hardening import TEMPLATE
from tenantry.pg.tenant_settings import settings_of

# Whatever an extension's script or the platform's statements could meet, if it was looked up.
TRAPS = """
    CREATE TABLE public.trapped (who text);
    GRANT ALL ON public.trapped TO PUBLIC;
    CREATE FUNCTION public.trap() RETURNS pg_catalog.text LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.trapped VALUES (current_user || ' for ' || session_user);
        RETURN NULL; END $$;
    CREATE DOMAIN public.int8 AS text; CREATE DOMAIN public.regclass AS text;
    CREATE DOMAIN public.text AS pg_catalog.text; CREATE DOMAIN public.oid AS pg_catalog.text;
    CREATE FUNCTION public.pg_get_userbyid(oid) RETURNS name LANGUAGE plpgsql AS
        $$ BEGIN PERFORM public.trap(); RETURN 'x'; END $$;
    CREATE FUNCTION public.aclexplode(aclitem[]) RETURNS SETOF text LANGUAGE plpgsql AS
        $$ BEGIN PERFORM public.trap(); RETURN; END $$;
    CREATE FUNCTION public.same(name, name) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN PERFORM public.trap(); RETURN true; END $$;
    CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.same);
    CREATE FUNCTION public.pg_stat_statements(boolean) RETURNS SETOF text LANGUAGE plpgsql AS
        $$ BEGIN PERFORM public.trap(); RETURN; END $$;
    CREATE VIEW public.pg_extension AS SELECT public.trap() AS extname;
    CREATE VIEW public.pg_namespace AS SELECT public.trap() AS nspname;
    ALTER ROLE CURRENT_USER SET search_path = public, pg_catalog;
"""
NAMES = [*preloading.ALLOWED]


async def possessed(tenant: Tenant, database: str | None = None) -> dict[str, str]:
    async with logins.inside(
        tenant.address, database or tenant.databases[0], [tenant.role]
    ) as session:
        found = await extensions.every(session)
        assert await ownership.foreign_objects(session, [tenant.role]) == []
    return {each.name: str(each.schema) for each in found if each.name in NAMES and each.schema}


async def test_they_are_created_and_dropped_past_all_traps(tenant: Tenant) -> None:
    async with await tenant.session() as session:
        await session.execute(TRAPS.encode())
    database = tenant.databases[0]
    for _ in range(2):
        await preloading.ensure(tenant.address, database, NAMES)
        assert await possessed(tenant) == dict.fromkeys(NAMES, preloading.SCHEMA)
    async with await tenant.session() as session:
        prewarm = "SELECT platform_extensions.pg_prewarm('public.trapped'::pg_catalog.regclass)"
        assert await rows(session, prewarm) == [(0,)]
        for refused in (
            "SELECT platform_extensions.autoprewarm_start_worker()",
            "SELECT platform_extensions.autoprewarm_dump_now()",
            "CREATE TABLE platform_extensions.t (i int)",
            "DROP EXTENSION pg_prewarm",
            "ALTER EXTENSION pg_prewarm SET SCHEMA public",
            "ALTER EXTENSION pg_prewarm ADD FUNCTION public.trap()",
            "DROP SCHEMA platform_extensions CASCADE",
            "SELECT platform_extensions.pg_stat_statements_reset()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await session.execute(refused.encode())
        assert await rows(session, "SELECT who FROM public.trapped") == []
        await session.execute(
            "CREATE VIEW public.mine AS SELECT count(*) FROM platform_extensions.pg_stat_statements"
        )
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            await preloading.drop(tenant.address, database, "pg_stat_statements")
        await session.execute("DROP VIEW public.mine")
    for name in NAMES:
        await preloading.drop(tenant.address, database, name)
        await preloading.drop(tenant.address, database, name)
    assert await possessed(tenant) == {}
    async with await tenant.session() as session:
        assert await rows(session, "SELECT who FROM public.trapped") == []


async def test_nothing_is_created_in_a_schema_of_the_tenants(tenant: Tenant) -> None:
    database = tenant.databases[0]
    async with await tenant.session() as session:
        await session.execute("CREATE SCHEMA platform_extensions")
        with pytest.raises(Conflict, match="not the platform's"):
            await preloading.ensure(tenant.address, database, NAMES)
        await session.execute("DROP SCHEMA platform_extensions")
    await preloading.ensure(tenant.address, database, NAMES[:1])
    # Somebody was let in by hand: whoever may create there could set a trap.
    async with connect(tenant.address, user=ADMIN, dbname=database) as admin:
        await admin.execute("GRANT CREATE ON SCHEMA platform_extensions TO PUBLIC")
    with pytest.raises(Conflict, match="not the platform's"):
        await preloading.ensure(tenant.address, database, NAMES)


async def test_one_that_is_elsewhere_is_left_alone(tenant: Tenant) -> None:
    """In the tenant's own schema an update's script would meet what the tenant has made."""
    database = tenant.databases[0]
    async with connect(tenant.address, user=ADMIN, dbname=database) as admin:
        await admin.execute("CREATE EXTENSION pg_prewarm SCHEMA public VERSION '1.1'")
        await preloading.ensure(tenant.address, database, ["pg_prewarm"])
        found = "SELECT extversion FROM pg_extension WHERE extname = 'pg_prewarm'"
        assert await rows(admin, found) == [("1.1",)]


async def test_a_full_database_gets_them_too(platform: Connection, tenant: Tenant) -> None:
    database = tenant.databases[0]
    await platform.execute(
        f"ALTER DATABASE {database} SET default_transaction_read_only = on".encode()
    )
    await preloading.ensure(tenant.address, database, ["pg_prewarm"])
    assert await possessed(tenant) == {"pg_prewarm": preloading.SCHEMA}
    await preloading.drop(tenant.address, database, "pg_prewarm")


@pytest.fixture
async def template(address: Address) -> AsyncIterator[str]:
    """The template, as an instance has it."""
    await preloading.ensure(address, TEMPLATE, ["pg_prewarm"])
    yield TEMPLATE
    async with connect(address, user=ADMIN, dbname=TEMPLATE) as admin:
        await admin.execute("DROP SCHEMA platform_extensions CASCADE")


@pytest.mark.usefixtures("template")
async def test_a_dump_is_loaded_where_the_template_has_it(
    platform: Connection, server: Server, address: Address, tmp_path: Path
) -> None:
    source, target = await make(platform, address), await make(platform, address)
    assert await possessed(target) == {"pg_prewarm": preloading.SCHEMA}
    async with await source.session() as session:
        await session.execute(
            "CREATE TABLE t AS SELECT 1 AS i;"
            " CREATE FUNCTION warm() RETURNS int8 LANGUAGE sql"
            " BEGIN ATOMIC SELECT platform_extensions.pg_prewarm('t'); END"
        )
    done = await moved(server, source, target, tmp_path)
    assert done.as_json() == {"changed": [], "lost": []}
    async with await target.session() as session:
        assert await rows(session, "SELECT i, warm() > 0 FROM t") == [(1, True)]

    # Where it is not there, that is reported, with what needs it.
    async with connect(address, user=ADMIN, dbname=target.databases[1]) as admin:
        await admin.execute("DROP SCHEMA platform_extensions CASCADE")
    done = await moved(server, source, target, tmp_path, into=target.databases[1])
    lost = {each["object"] for each in done.as_json()["lost"]}
    assert {"EXTENSION pg_prewarm", "FUNCTION public.warm()"} <= lost
    for each in (source, target):
        await unmake(platform, each)
    for purpose in await visitors.purposes(address):
        await visitors.drop(address, purpose)


async def moved(
    server: Server, source: Tenant, target: Tenant, folder: Path, *, into: str | None = None
) -> reloading.Reloaded:
    """A database that is dumped and loaded into another one."""
    database, dump = into or target.databases[0], folder / uuid4().hex
    async with visitors.visitor(
        source.address, uuid4().hex, [source.role, target.role], database=database, folder=folder
    ) as visitor:
        await dumps.dump(server.bin_dir, visitor, source.databases[0], dump)
        done = await reloading.load(
            server.bin_dir,
            visitor,
            database,
            dump,
            settings=await settings_of(source.address, source.role, source.databases[0]),
            options=["--no-owner"],
        )
        await visitors.leave(visitor, database, target.role)
    return done
