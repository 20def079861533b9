"""What a comparison of two databases can see: each change by one statement, and nothing else."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest

from tenantry.base.errors import Conflict
from tenantry.pg.connections import MOST_BYTES, fetch_bounded
from tenantry.pg.descriptions import Description, Thing, describe, differences, renamed
from tenantry.services.migrations import service as runner

Conn = psycopg.AsyncConnection[Any]

NOTES = Path(__file__).parents[1] / "blueprints" / "notes" / "migrations"

DRIFTS = [
    ("ALTER TABLE notes DISABLE ROW LEVEL SECURITY", "changed", "row security", "public.notes"),
    ("ALTER TABLE notes NO FORCE ROW LEVEL SECURITY", "changed", "row security", "public.notes"),
    ("ALTER TABLE notes DROP COLUMN pinned", "missing", "column", "public.notes.pinned"),
    ("ALTER TABLE notes ADD mine int", "extra", "column", "public.notes.mine"),
    (
        "ALTER TABLE notes ALTER pinned DROP DEFAULT, ALTER pinned TYPE text",
        "changed",
        "column",
        "public.notes.pinned",
    ),
    ("ALTER TABLE notes ALTER pinned DROP DEFAULT", "changed", "column", "public.notes.pinned"),
    ("ALTER TABLE notes ALTER text DROP NOT NULL", "changed", "column", "public.notes.text"),
    (
        "ALTER TABLE notes DROP CONSTRAINT notes_text_check",
        "missing",
        "constraint",
        "public.notes.notes_text_check",
    ),
    ("DROP INDEX notes_of_customer", "missing", "index", "public.notes_of_customer"),
    ("CREATE INDEX mine ON notes (text)", "extra", "index", "public.mine"),
    ("ALTER POLICY own ON notes USING (true)", "changed", "policy", "public.notes.own"),
    ("DROP POLICY own ON notes", "missing", "policy", "public.notes.own"),
    ("CREATE POLICY all_ ON notes USING (true)", "extra", "policy", "public.notes.all_"),
    ("DROP TRIGGER shorten ON notes", "missing", "trigger", "public.notes.shorten"),
    (
        "ALTER TABLE notes DISABLE TRIGGER shorten",
        "changed",
        "trigger",
        "public.notes.shorten",
    ),
    ("ALTER FUNCTION shorten() SECURITY DEFINER", "changed", "function", "public.shorten()"),
    ("ALTER VIEW newest RESET (security_invoker)", "changed", "view", "public.newest"),
    ("DROP VIEW newest", "missing", "view", "public.newest"),
    ("REVOKE INSERT ON notes FROM {app}", "changed", "grant", "public.notes to {app}"),
    ("REVOKE ALL ON notes FROM {app}", "missing", "grant", "public.notes to {app}"),
    ("GRANT SELECT ON notes TO PUBLIC", "extra", "grant", "public.notes to public"),
    ("GRANT SELECT (text) ON notes TO PUBLIC", "extra", "grant", "public.notes.text to public"),
    (
        "CREATE RULE nothing AS ON DELETE TO notes DO NOTHING",
        "extra",
        "rule",
        "public.notes.nothing",
    ),
]


@pytest.fixture
async def app(conn: Conn) -> AsyncIterator[str]:
    """A login of the blueprint's, with its rights."""
    name = f"app_{uuid4().hex[:8]}"
    await conn.execute(f"CREATE ROLE {name}".encode())
    await runner.up(conn, NOTES)
    await conn.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO {name}".encode())
    yield name
    await conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


async def described(conn: Conn, app: str) -> Description:
    await conn.execute("SET LOCAL search_path = pg_catalog")
    return await describe(conn, [app])


async def test_each_kind_of_drift_is_seen_and_nothing_else(conn: Conn, app: str) -> None:
    async with conn.transaction(force_rollback=True):
        made = await described(conn, app)
        assert differences(made, await described(conn, app)) == []
    for statement, status, kind, name in DRIFTS:
        async with conn.transaction(force_rollback=True):
            await conn.execute(statement.replace("{app}", app).encode())
            found = differences(made, await described(conn, app))
        reported = [(each.status, each.kind, each.name, each.drift) for each in found]
        assert reported == [(status, kind, name.replace("{app}", app), True)], statement


BESIDE = """
    CREATE TABLE mine (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n serial,
        d date DEFAULT now(), g int GENERATED ALWAYS AS (1) STORED, t text COLLATE "C");
    CREATE TABLE parts (i int, PRIMARY KEY (i)) PARTITION BY RANGE (i);
    CREATE TABLE part PARTITION OF parts FOR VALUES FROM (1) TO (2);
    CREATE MATERIALIZED VIEW m AS SELECT 1 AS one;
    CREATE SEQUENCE alone START 5;
    CREATE TYPE mood AS ENUM ('sad', 'it''s fine');
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
    CREATE TYPE span AS RANGE (subtype = float8);
    CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int);
    CREATE PROCEDURE p() LANGUAGE sql AS '';
    CREATE SCHEMA "Odd ""one";
    CREATE EXTENSION citext;
"""


async def test_what_is_beside_is_extra_and_reported_once(conn: Conn, app: str) -> None:
    async with conn.transaction(force_rollback=True):
        made = await described(conn, app)
        await conn.execute("SET LOCAL search_path = public")
        await conn.execute(BESIDE.encode())
        there = await described(conn, app)
    found = differences(made, there)
    assert {(each.kind, each.name) for each in found} == {
        ("table", "public.mine"),
        ("table", "public.parts"),
        ("table", "public.part"),
        ("materialized view", "public.m"),
        ("sequence", "public.alone"),
        ("type", "public.mood"),
        ("type", "public.pair"),
        ("type", "public.span"),
        ("domain", "public.email"),
        ("aggregate", "public.total(integer)"),
        ("procedure", "public.p()"),
        ("schema", '"Odd ""one"'),
        ("extension", "citext"),
    }
    assert not any(each.drift for each in found)
    assert {each.status for each in found} == {"extra"}
    assert there[Thing("type", "public.mood")].endswith("enum ('sad', 'it''s fine')")
    assert {each.status for each in differences(there, made)} == {"missing"}


def test_a_role_and_what_is_named_after_it_are_renamed() -> None:
    before = {Thing("grant", "t to user_a_app", "t"): "select", Thing("table", "t"): "owner user_a"}
    assert renamed(before, "user_a", "user_b") == {
        Thing("grant", "t to user_b_app", "t"): "select",
        Thing("table", "t"): "owner user_b",
    }


async def test_a_large_definition_is_not_read(conn: Conn) -> None:
    """The server measures it: libpq would keep a gigabyte before anybody could look."""
    text = "-" * (MOST_BYTES + 1)
    await conn.execute(
        f"CREATE FUNCTION large() RETURNS int LANGUAGE sql AS $$ SELECT 1 --{text}\n$$".encode()
    )
    with pytest.raises(Conflict, match="bytes"):
        await describe(conn, [])
    await conn.execute("DROP FUNCTION large()")
    assert Thing("schema", "public") in await describe(conn, [])


async def test_what_is_read_within_a_limit_keeps_its_order_and_may_be_nothing(conn: Conn) -> None:
    query: LiteralString = "SELECT i, NULL::text AS n FROM generate_series(3, 1, -1) i"
    assert await fetch_bounded(conn, query) == [(3, None), (2, None), (1, None)]
    assert await fetch_bounded(conn, "SELECT 1 AS one WHERE false") == []
