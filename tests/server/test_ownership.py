"""What does not belong to the tenant whose database it is in is found, whatever it is."""

import hashlib
from pathlib import Path
from typing import LiteralString

import pytest
from tenants import Connection, Tenant, rows

from tenantry.pg import logins, ownership, visibility
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.pg.hardening import TEMPLATE

# Whatever has an owner, and is not shared between databases.
THINGS: tuple[tuple[str, LiteralString], ...] = (
    ("function public.f()", "CREATE FUNCTION public.f() RETURNS int RETURN 1"),
    ("table public.t", "CREATE TABLE public.t (i int PRIMARY KEY)"),
    ("view public.v", "CREATE VIEW public.v AS SELECT 1"),
    ("materialized view public.m", "CREATE MATERIALIZED VIEW public.m AS SELECT 1"),
    ("sequence public.s", "CREATE SEQUENCE public.s"),
    ("schema theirs", "CREATE SCHEMA theirs"),
    ("type public.e", "CREATE TYPE public.e AS ENUM ('a')"),
    ("type public.c", "CREATE TYPE public.c AS (i int)"),
    ("type public.d", "CREATE DOMAIN public.d AS int"),
    (
        "operator public.=#=(integer,integer)",
        "CREATE OPERATOR public.=#= (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
    ),
    ("operator family public.o USING btree", "CREATE OPERATOR FAMILY public.o USING btree"),
    ("collation public.l", "CREATE COLLATION public.l FROM \"C\""),
    ("text search dictionary public.w", "CREATE TEXT SEARCH DICTIONARY public.w (TEMPLATE=simple)"),
    ("text search configuration public.g",
        "CREATE TEXT SEARCH CONFIGURATION public.g (COPY=simple)"),
    ("publication p", "CREATE PUBLICATION p"),
    ("event trigger b", "CREATE FUNCTION public.b() RETURNS event_trigger LANGUAGE plpgsql AS"
        " 'BEGIN END'; CREATE EVENT TRIGGER b ON ddl_command_end EXECUTE FUNCTION public.b()"),
    ("foreign-data wrapper x", "CREATE FOREIGN DATA WRAPPER x"),
    ("large object 47110", "SELECT lo_create(47110)"),
)  # fmt: skip


async def found(tenant: Tenant) -> list[str]:
    async with logins.inside(tenant.address, tenant.databases[0], [tenant.role]) as session:
        return [str(each) for each in await ownership.foreign_objects(session, [tenant.role])]


@pytest.mark.parametrize(("name", "statement"), THINGS, ids=[name for name, _ in THINGS])
async def test_it_is_found(tenant: Tenant, name: str, statement: LiteralString) -> None:
    assert await found(tenant) == []
    async with connect(tenant.address, user=ADMIN, dbname=tenant.databases[0]) as admin:
        await admin.execute(statement)
    assert f"{name} of tenantry_admin" in await found(tenant)


async def test_what_is_the_tenants_is_not_reported(tenant: Tenant) -> None:
    async with await tenant.session() as session:
        await session.execute(
            "CREATE SCHEMA app; CREATE EXTENSION hstore; CREATE EXTENSION citext SCHEMA app;"
            " CREATE TABLE app.t (id serial PRIMARY KEY, h hstore);"
            " CREATE FUNCTION f() RETURNS int RETURN 1; CREATE TYPE p AS RANGE (subtype = int)"
        )
    assert await found(tenant) == []


async def test_it_cannot_hide_in_an_extension_of_the_tenants(
    platform: Connection, tenant: Tenant
) -> None:
    async with await tenant.session() as session:
        await session.execute("CREATE EXTENSION hstore")
    await platform.execute("CREATE ROLE tenantry_visitor_left NOLOGIN")
    async with connect(tenant.address, user=ADMIN, dbname=tenant.databases[0]) as admin:
        await admin.execute(
            "CREATE FUNCTION public.as_visitor() RETURNS int SECURITY DEFINER RETURN 1;"
            " ALTER FUNCTION public.as_visitor() OWNER TO tenantry_visitor_left;"
            " ALTER EXTENSION hstore ADD FUNCTION public.as_visitor()"
        )
        assert await found(tenant) == ["function public.as_visitor() of tenantry_visitor_left"]
        await admin.execute("DROP EXTENSION hstore")
    await platform.execute("DROP ROLE tenantry_visitor_left")


async def test_the_template_has_the_objects_that_the_documentation_lists(address: Address) -> None:
    async with connect(address, user=ADMIN, dbname=TEMPLATE) as admin:
        assert await ownership.foreign_objects(admin, []) == []
        found = await ownership.foreign_objects(admin, [], of_the_template=())
    assert {each.owner for each in found} == {ADMIN}
    names = sorted(f"{each.kind} {each.name}" for each in found)
    assert names == sorted(f"function {name}" for name in visibility.FUNCTIONS)
    page = (Path(__file__).parents[2] / "docs" / "reference" / "security.md").read_text()
    assert hashlib.sha256("\n".join(names).encode()).hexdigest() in page
    for each in found:
        assert each.name.removeprefix("pg_catalog.").partition("(")[0] in page


async def test_every_catalog_that_has_owners_is_read(tenant: Tenant) -> None:
    async with await tenant.session() as session:
        catalogs = await rows(
            session,
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r'"
            " AND NOT c.relisshared AND a.atttypid = 'oid'::regtype"
            " AND (a.attname ~ 'owner$' OR a.attname = 'defaclrole')",
        )
    assert {name for (name,) in catalogs} == {
        name for (name,) in catalogs if f"FROM {name}" in " ".join(ownership._FOREIGN.split())
    }
