"""Dumps of schemas that PostgreSQL accepts, loaded again: equal, or exactly as it is reported."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from tenants import Connection, Tenant, make, unmake

from conftest import Server
from tenantry.host.commands import CommandFailed
from tenantry.pg import dumps, reloading, visitors
from tenantry.pg.connections import Address
from tenantry.pg.reloading import Reloaded
from tenantry.pg.tenant_settings import settings_of
from unusual_schemas import FEATURES, Schema, generate, inventory, together, unaccounted


@pytest.fixture
async def copy(platform: Connection, address: Address) -> AsyncIterator[Tenant]:
    made = await make(platform, address)
    yield made
    await unmake(platform, made)
    for purpose in await visitors.purposes(address):  # who owned things there until now
        assert await visitors.drop(address, purpose)


async def reloaded(
    server: Server, tenant: Tenant, copy: Tenant, folder: Path, *, form: dumps.Format
) -> Reloaded:
    source, target = tenant.databases[0], copy.databases[0]
    roles = [tenant.role, copy.role]
    async with visitors.visitor(
        tenant.address, uuid4().hex, roles, database=target, folder=folder
    ) as visitor:
        await dumps.dump(server.bin_dir, visitor, source, folder / "dump", form=form)
        done = await reloading.load(
            server.bin_dir,
            visitor,
            target,
            folder / "dump",
            settings=await settings_of(tenant.address, tenant.role, source),
            jobs=2,
            options=["--no-owner"],
        )
        await visitors.leave(visitor, target, copy.role)
    return done


def create(tenant: Tenant, schema: Schema) -> None:
    with psycopg.connect(tenant.dsn(), autocommit=True) as session:
        schema.create(session)


def contents(server: Server, database: str) -> dict[str, str]:
    with psycopg.connect(server.dsn(database), autocommit=True) as session:
        return inventory(session)


async def assert_reloads(
    server: Server,
    tenant: Tenant,
    copy: Tenant,
    folder: Path,
    *,
    schema: Schema,
    form: dumps.Format,
) -> None:
    create(tenant, schema)
    await asyncio.sleep(0.15)  # what is checked against the time is true no more
    before = contents(server, tenant.databases[0])
    done = await reloaded(server, tenant, copy, folder, form=form)
    after = contents(server, copy.databases[0])
    reported = done.as_json()
    for found, wanted in ((done.changed, schema.changed), (done.lost, schema.lost)):
        unforetold = [each for each in found if not any(part in each.object for part in wanted)]
        missing = [part for part in wanted if not any(part in each.object for each in found)]
        assert (unforetold, missing) == ([], []), schema.name
    assert unaccounted(before, after, schema, [*reported["changed"], *reported["lost"]]) == []


async def test_whatever_ran_is_there_again(
    server: Server, tenant: Tenant, copy: Tenant, tmp_path: Path
) -> None:
    """Every feature at once."""
    every = together(list(FEATURES))
    await assert_reloads(server, tenant, copy, tmp_path, schema=every, form="directory")


@pytest.mark.parametrize("seed", range(3))
async def test_a_sample_of_schemas_is_there_again(
    server: Server, tenant: Tenant, copy: Tenant, tmp_path: Path, seed: int
) -> None:
    await assert_reloads(server, tenant, copy, tmp_path, schema=generate(seed), form="custom")


BY_SETTINGS = Schema(
    "by settings",
    [
        """ALTER ROLE CURRENT_USER SET datestyle = 'SQL, DMY';
        ALTER ROLE CURRENT_USER SET intervalstyle = sql_standard;
        ALTER ROLE CURRENT_USER SET default_text_search_config = 'pg_catalog.german';
        SET datestyle = 'SQL, DMY'; SET intervalstyle = sql_standard;
        SET default_text_search_config = 'pg_catalog.german'""",
        """CREATE FUNCTION day(t text) RETURNS date LANGUAGE sql IMMUTABLE
            AS $$ SELECT t::date $$;
        CREATE FUNCTION words(t text) RETURNS text LANGUAGE sql IMMUTABLE
            AS $$ SELECT to_tsvector(t)::text $$;
        CREATE FUNCTION reported(i interval) RETURNS text LANGUAGE sql IMMUTABLE
            AS $$ SELECT i::text $$;
        CREATE TABLE t (t text, i interval, day date GENERATED ALWAYS AS (day(t)) STORED,
            words text GENERATED ALWAYS AS (words(t || ' die Häuser')) STORED,
            reported text GENERATED ALWAYS AS (reported(i)) STORED);
        INSERT INTO t VALUES ('13/02/2020', '-1 day +2 hours')""",
    ],
)


async def test_functions_work_by_the_settings_of_the_role(
    server: Server, tenant: Tenant, copy: Tenant, tmp_path: Path
) -> None:
    await assert_reloads(server, tenant, copy, tmp_path, schema=BY_SETTINGS, form="custom")


async def test_a_server_that_does_not_go_on_is_no_loss(
    server: Server, tenant: Tenant, copy: Tenant, tmp_path: Path
) -> None:
    create(tenant, together(["orphans"]))
    with psycopg.connect(tenant.dsn(), autocommit=True) as session:
        session.execute(
            "CREATE FUNCTION public.slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$"
            f" BEGIN IF current_database() = '{copy.databases[0]}' THEN PERFORM pg_sleep(60);"
            " END IF; RETURN i; END $$"
        )
        session.execute("CREATE TABLE slow (i int); INSERT INTO slow VALUES (1)")
        session.execute("CREATE INDEX ON slow (public.slow(i))")

    async def end_it() -> None:
        ended = 0
        while not ended:
            await asyncio.sleep(0.05)
            with psycopg.connect(server.dsn(), autocommit=True) as session:
                ended = session.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = %s AND wait_event = 'PgSleep'",
                    (copy.databases[0],),
                ).rowcount

    with pytest.raises(CommandFailed, match="did not go on"):
        await asyncio.gather(reloaded(server, tenant, copy, tmp_path, form="custom"), end_it())
