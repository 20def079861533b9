"""What a visitor makes in a database: given away whole, or dropped whole, however much it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from tenants import Connection, Tenant, rows

from tenantry.pg import owned_objects, visitors
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.pg.visitors import Visitor, visitor

MANY = 600
THINGS = """
    CREATE SCHEMA theirs;
    CREATE TYPE theirs.mood AS ENUM ('good', 'bad');
    CREATE FUNCTION theirs.f(theirs.mood) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE theirs.last(int) (SFUNC = int4larger, STYPE = int);
    CREATE TABLE theirs.parent (id serial PRIMARY KEY, m theirs.mood DEFAULT 'good');
    CREATE MATERIALIZED VIEW theirs.m AS SELECT 1;
    CREATE SEQUENCE theirs.alone;
    CREATE VIEW theirs.v AS SELECT * FROM theirs.parent;
    CREATE EXTENSION citext SCHEMA theirs;
    ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
    DO $$ BEGIN FOR i IN 1..600 LOOP
        EXECUTE format('CREATE TABLE theirs.t%s (id serial PRIMARY KEY, x text)', i);
        EXECUTE format('CREATE FUNCTION theirs.g%s() RETURNS int RETURN 1', i);
    END LOOP; END $$;
    SELECT pg_catalog.lo_create(0) FROM generate_series(1, 600);
"""


@asynccontextmanager
async def come(
    platform: Connection, tenant: Tenant, purpose: str, folder: Path, *, member: bool
) -> AsyncIterator[Visitor]:
    database = tenant.databases[0]
    async with visitor(
        tenant.address, purpose, [tenant.role] if member else [], folder=folder
    ) as made:
        await platform.execute(
            sql.SQL("GRANT CONNECT, CREATE ON DATABASE {} TO {}").format(
                sql.Identifier(database), sql.Identifier(made.name)
            )
        )
        try:
            yield made
        finally:
            await platform.execute(
                sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(
                    sql.Identifier(database), sql.Identifier(made.name)
                )
            )


async def fill(made: Visitor, database: str) -> None:
    async with visitors.connect_as(made, database) as inside:
        await inside.execute(THINGS.encode())


async def owners(address: Address, database: str) -> set[str]:
    """But for what each database has from the template."""
    async with connect(address, user=ADMIN, dbname=database) as admin:
        found = await rows(
            admin,
            "SELECT DISTINCT refobjid::regrole::text FROM pg_shdepend"
            " WHERE deptype = 'o' AND dbid = (SELECT oid FROM pg_database WHERE datname = %s)",
            database,
        )
    return {name for (name,) in found} - {ADMIN}


async def test_all_is_given_away_and_the_visitor_gone(
    platform: Connection, tenant: Tenant, tmp_path: Path
) -> None:
    purpose, database = uuid4().hex, tenant.databases[0]
    async with come(platform, tenant, purpose, tmp_path, member=False) as made:
        await fill(made, database)
    assert f"tenantry_visitor_{purpose}" in await owners(tenant.address, database)
    async with come(platform, tenant, purpose, tmp_path, member=True) as made:
        await visitors.leave(made, database, tenant.role)
    assert await owners(tenant.address, database) == {tenant.role}
    assert purpose not in await visitors.purposes(tenant.address)
    async with await tenant.session() as session:
        assert await rows(session, "SELECT theirs.f('good'), count(*) FROM theirs.v") == [(1, 0)]
        assert await rows(session, "SELECT count(*) FROM pg_default_acl") == [(0,)]


async def test_all_is_dropped_and_the_visitor_gone(
    platform: Connection, tenant: Tenant, tmp_path: Path
) -> None:
    purpose, database = uuid4().hex, tenant.databases[0]
    async with await tenant.session() as session:
        await session.execute("CREATE TABLE mine (x int)")
    async with come(platform, tenant, purpose, tmp_path, member=False) as made:
        await fill(made, database)
        assert await owned_objects.count(platform, made.name) > 3 * MANY
        await visitors.wipe(made, database)
        assert await owned_objects.count(platform, made.name) == 0
    assert purpose not in await visitors.purposes(tenant.address)
    assert await owners(tenant.address, database) == {tenant.role}
    async with await tenant.session() as session:
        assert await rows(session, "SELECT count(*) FROM mine") == [(0,)]


async def test_the_next_of_a_purpose_ends_the_session_of_one_that_a_crash_left(
    platform: Connection, tenant: Tenant
) -> None:
    purpose, database = uuid4().hex, tenant.databases[0]
    come = partial(visitors.short_login, tenant.address, database, [tenant.role], purpose=purpose)
    async with come() as (name, password):
        left = await AsyncConnection.connect(
            tenant.address.conninfo(user=name, dbname=database), password=password.reveal()
        )
        await left.execute("SELECT 1")  # in a transaction
        async with come():
            with pytest.raises(psycopg.OperationalError):
                await left.execute("SELECT 1")
    names = await rows(platform, "SELECT FROM pg_roles WHERE rolname = %s", name)
    assert names == []
