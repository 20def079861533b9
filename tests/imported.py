"""A database to import, and imports seen from outside: their end, and what they leave."""

import time
from typing import Any

import httpx

from answers import data
from clients import VISITORS, ask
from harness import Installation

SHOP = """
    CREATE EXTENSION pg_trgm;
    CREATE SCHEMA sales;
    CREATE TYPE sales.state AS ENUM ('open', 'paid');
    CREATE TABLE customers (id bigserial PRIMARY KEY, name text NOT NULL);
    CREATE TABLE sales.orders (
        id bigserial,
        customer bigint NOT NULL REFERENCES customers,
        state sales.state NOT NULL DEFAULT 'open',
        at timestamptz NOT NULL,
        PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE sales.orders_2026 PARTITION OF sales.orders
        FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE TABLE "odd ""name"" of Ünal" (
        x int GENERATED ALWAYS AS IDENTITY);
    CREATE INDEX ON customers USING gin (name gin_trgm_ops);
    CREATE VIEW sales.open AS SELECT * FROM sales.orders WHERE state = 'open';
    CREATE MATERIALIZED VIEW sales.totals AS SELECT count(*) FROM customers;
    CREATE FUNCTION sales.greet(text) RETURNS text LANGUAGE sql SECURITY DEFINER
        AS $$ SELECT 'hello ' || $1 $$;
    CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN NEW.name := trim(NEW.name); RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION public.touch();
    ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
    INSERT INTO customers (name) SELECT 'customer ' || i FROM generate_series(1, 500) i;
    INSERT INTO sales.orders (customer, at)
        SELECT i, '2026-05-01Z'::timestamptz + i * interval '1 min' FROM generate_series(1, 300) i;
    SELECT lo_from_bytea(0, 'a large object');
    COMMENT ON SCHEMA sales IS 'What was sold';
    COMMENT ON EXTENSION pg_trgm IS 'another comment';
"""
ROWS = {"public.customers": 500, "sales.orders_2026": 300, 'public.odd "name" of Ünal': 0}


def checksum(url: str) -> object:
    return ask(
        url,
        "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM"
        " (SELECT c.*, o.id AS o, o.state, o.at FROM customers c"
        " LEFT JOIN sales.orders o ON o.customer = c.id) t",
    )


def ended(api: httpx.Client, operation: dict[str, Any], *, seconds: float = 240) -> dict[str, Any]:
    """The operation, once it has ended."""
    deadline = time.monotonic() + seconds
    while operation["finished_at"] is None:
        assert time.monotonic() < deadline, operation
        time.sleep(0.05)
        operation = data(api.get(f"/api/operations/{operation['id']}"))
    return operation


def is_clean(platform: Installation) -> None:
    """Nothing of an import is left outside the database that it was for."""
    with platform.superuser() as server:
        roles = server.execute(VISITORS).fetchall()
        roles += server.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'evil%'"
        ).fetchall()
    assert roles == [], roles
    assert [path for path in (platform.home / "scratch").rglob("*") if path.is_file()] == []


def is_empty(database: dict[str, Any]) -> bool:
    found = ask(
        database["connection_string"],
        "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace)"
        " + (SELECT count(*) FROM pg_namespace WHERE nspowner = current_user::regrole) - 1"
        " + (SELECT count(*) FROM pg_largeobject_metadata)"
        " + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace)",
    )
    return found == 0


def owners(url: str) -> object:
    """Whose all is that there is in a database, but for the platform's."""
    return ask(
        url,
        "SELECT array_agg(DISTINCT owner::regrole::text) FROM ("
        " SELECT relowner FROM pg_class UNION SELECT proowner FROM pg_proc"
        " UNION SELECT nspowner FROM pg_namespace UNION SELECT typowner FROM pg_type"
        " UNION SELECT lomowner FROM pg_largeobject_metadata"
        " UNION SELECT extowner FROM pg_extension) o (owner)"
        " WHERE owner::regrole::text NOT IN ('tenantry_admin', 'pg_database_owner')",
    )
