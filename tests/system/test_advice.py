"""Advice: a database that has each problem, and others that have none of them."""

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import TupleRow

from answers import data, problem
from clients import do, eventually, login, run
from harness import Installation

Row = dict[str, Any]

# Autovacuum leaves it all alone (see ``fill``), and so does this module's clock: the counters are
# made old.
PROBLEMS = """
    CREATE TABLE customers (id int PRIMARY KEY);
    INSERT INTO customers SELECT generate_series(1, 1000);
    CREATE TABLE "Orders" (
        id int PRIMARY KEY, customer_id int CONSTRAINT "its fk" REFERENCES customers,
        code int, note text);
    INSERT INTO "Orders"
        SELECT i, i % 1000 + 1, i % 5000, md5(i::text) || md5(i::text)
        FROM generate_series(1, 30000) i;
    CREATE INDEX twin ON "Orders" (note);
    CREATE INDEX "second twin" ON "Orders" (note);
    CREATE INDEX unused ON "Orders" (id, note);
    CREATE TABLE keyless (row_id int, n int);
    INSERT INTO keyless VALUES (1, 1), (1, 1);
    CREATE TABLE counted (id serial PRIMARY KEY);
    SELECT setval('counted_id_seq', 2100000000);
    CREATE TABLE bare (id int PRIMARY KEY) WITH (autovacuum_enabled = off);
    INSERT INTO bare SELECT generate_series(1, 20000);
    CREATE TABLE bloated (id int PRIMARY KEY, filler text);
    INSERT INTO bloated SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i;
    DELETE FROM bloated WHERE id % 10 <> 0;
    CREATE TABLE secured (id int PRIMARY KEY, who text);
    ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
    CREATE POLICY "own rows" ON secured USING (who = current_setting('app.who', true));
    CREATE TABLE aged (id int PRIMARY KEY);
    ALTER ROLE CURRENT_USER SET enable_mergejoin = off;
"""
OLD = """
    UPDATE pg_class SET relfrozenxid =
        ((txid_current() + 4294967296 - 300000000) % 4294967296)::text::xid
    WHERE oid = 'public.aged'::regclass
"""
# As if the server had not crashed for a month.
OLD_COUNTERS = """
    SET allow_system_table_mods = on;
    DO $$ DECLARE found text := pg_get_viewdef('pg_catalog.pg_stat_wal'::regclass); BEGIN
        IF strpos(found, 'interval') = 0 THEN
            EXECUTE 'CREATE OR REPLACE VIEW pg_catalog.pg_stat_wal AS ' || regexp_replace(
                found, 'stats_reset\\s+FROM',
                'stats_reset - interval ''30 days'' AS stats_reset FROM');
        END IF;
    END $$
"""
FOUND = {
    ("bloat", "public.bloated"),
    ("duplicate_index", "public.second twin"),
    ("invalid_index", "public.broken"),
    ("missing_index", "public.Orders (code)"),
    ("no_primary_key", "public.keyless"),
    ("policy_per_row", "public.secured.own rows"),
    ("sequence_exhaustion", "public.counted_id_seq"),
    ("settings", "{role}.enable_mergejoin"),
    ("settings", "public.bare.autovacuum_enabled"),
    ("stale_statistics", "public.bare"),
    ("transaction_id_age", "public.aged"),
    ("unindexed_foreign_key", "public.Orders.its fk"),
    ("unused_index", "public.twin"),
    ("unused_index", "public.unused"),
}
SESSIONS = {"long_transaction", "idle_in_transaction"}
# Its currencies are few, and are not deleted: true, and of little use.
BLUEPRINTS = {
    "hosting": set[tuple[str, str]](),
    "billing": {
        (
            "unindexed_foreign_key",
            "public.payment_transactions.payment_transactions_currency_fkey",
        )
    },
    "todos": set(),
    "auth": set(),
}


class Advised:
    """A database whose counters are a month old."""

    holder: psycopg.Connection[TupleRow]

    def __init__(self, platform: Installation, api: httpx.Client, **asked: object) -> None:
        self.made = platform.create(**asked)
        self.url = self.made["connection_string"]
        self.path = f"/api/databases/{self.made['id']}/advice"
        self.api = api
        name = self.made["database_name"]
        with platform.superuser() as server:
            server.execute("SET default_transaction_read_only = off")
            server.execute(OLD_COUNTERS)
            query = "SELECT oid FROM pg_database WHERE datname = %s"
            ((oid,),) = server.execute(query, (name,)).fetchall()
        base = platform.home / "clusters" / "shared-1" / "data" / "base"
        month_ago = time.time() - 30 * 86_400
        os.utime(base / str(oid) / "PG_VERSION", (month_ago, month_ago))

    def advice(self, **query: Any) -> list[Row]:
        found: list[Row] = data(self.api.get(self.path, params=query))
        return found

    def found(self) -> set[tuple[str, str]]:
        return {(each["code"], each["object"]) for each in self.advice()}

    def standing(self) -> set[tuple[str, str]]:
        """What is found but for sessions."""
        return {each for each in self.found() if each[0] not in SESSIONS}


@pytest.fixture(scope="module")
def bad(platform: Installation) -> Iterator[tuple[Advised, psycopg.Connection[TupleRow]]]:
    """The database, and a session of it that is idle in a transaction."""
    with platform.client() as api:
        advised = Advised(platform, api, name="advised")
        with login(advised.url) as idle, login(advised.url) as advised.holder:
            idle.execute("BEGIN; SELECT 1")
            fill(platform, advised)
            yield advised, idle
            idle.close()  # it was ended, and has nothing to commit


def fill(platform: Installation, advised: Advised) -> None:
    do(advised.url, PROBLEMS)
    # Autovacuum would freeze it within a minute, and waits for this.
    advised.holder.execute("BEGIN; LOCK TABLE aged IN SHARE UPDATE EXCLUSIVE MODE")
    with login(advised.url) as session:
        with pytest.raises(psycopg.errors.UniqueViolation):
            session.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON keyless (row_id)")
        session.execute("VACUUM (ANALYZE, INDEX_CLEANUP on) bloated")
        session.execute('ANALYZE "Orders"')
        for number in range(10):
            session.execute('SELECT note FROM "Orders" WHERE code = %s', (number,))
    with platform.superuser(dbname=advised.made["database_name"]) as server:
        server.execute(OLD)


def test_each_problem_is_found_and_solved_by_its_statement(
    bad: tuple[Advised, psycopg.Connection[TupleRow]],
) -> None:
    advised, _ = bad
    role = advised.made["username"]
    wanted = {(code, where.format(role=role)) for code, where in FOUND}
    # Counters are there when the session that they are of has ended.
    eventually(lambda: advised.standing() == wanted)
    rows = advised.advice()
    assert [each["severity"] for each in rows] == sorted(
        (each["severity"] for each in rows), key=["error", "warning", "info"].index
    )
    (missing,) = [each for each in rows if each["code"] == "missing_index"]
    assert "10 calls" in missing["detail"]

    advised.holder.close()
    do(advised.url, "DELETE FROM keyless")
    with login(advised.url) as session:
        for each in rows:
            if each["code"] not in SESSIONS:
                for statement in each["statement"].split("; "):
                    session.execute(statement.encode())
    eventually(lambda: advised.standing() == set())


def test_findings_are_muted(
    platform: Installation, bad: tuple[Advised, psycopg.Connection[TupleRow]]
) -> None:
    advised, _ = bad
    do(advised.url, "CREATE TABLE muted (n int)")
    finding = {"code": "no_primary_key", "object": "public.muted"}
    assert tuple(finding.values()) in advised.found()
    for _ in range(2):
        data(advised.api.post(f"{advised.path}/mutes", json=finding))
    assert tuple(finding.values()) not in advised.found()
    (row,) = [each for each in advised.advice(muted=True) if each["object"] == "public.muted"]
    assert row["muted_at"] is not None
    name = advised.made["id"]
    shown = json.loads(platform.tenantry("db", "advice", name, "--all", "--json").stdout)
    assert "public.muted" in {each["object"] for each in shown}
    platform.tenantry("db", "advice", name, "--unmute", "no_primary_key:public.muted")
    said = platform.tenantry("db", "advice", name).stdout
    assert "no_primary_key:public.muted" in said
    assert 'ALTER TABLE "public"."muted" ADD COLUMN "id"' in said
    platform.tenantry("db", "advice", name, "--mute", "no_primary_key:public.muted")
    data(advised.api.delete(f"{advised.path}/mutes", params=finding))
    problem(advised.api.delete(f"{advised.path}/mutes", params=finding), 404)
    problem(advised.api.post(f"{advised.path}/mutes", json=finding | {"code": "any"}), 422)
    actions = data(advised.api.get("/api/audit-logs", params={"resource_id": advised.made["id"]}))
    assert {"database.mute_advice", "database.unmute_advice"} <= {
        each["action"] for each in actions
    }


def test_a_customer_mutes_only_its_own(
    platform: Installation, bad: tuple[Advised, psycopg.Connection[TupleRow]]
) -> None:
    advised, _ = bad
    email = f"o{uuid.uuid4().hex[:8]}@example.com"
    own = platform.create(ownerEmail=email)
    asked = {"name": "own", "customerEmail": email, "scopes": ["databases:read", "databases:write"]}
    key = data(advised.api.post("/api/api-keys", json=asked), 201)["key"]
    finding = {"code": "bloat", "object": "public.x"}
    with platform.client(key) as client:
        path = f"/api/databases/{own['id']}/advice"
        data(client.post(f"{path}/mutes", json=finding))
        assert data(client.get(path)) == []
        data(client.delete(f"{path}/mutes", params=finding))
        problem(client.get(advised.path), 404)
        problem(client.post(f"{advised.path}/mutes", json=finding), 404)
        problem(client.delete(f"{advised.path}/mutes", params=finding), 404)


def test_clients_that_wait_for_a_pool_are_found(platform: Installation, api: httpx.Client) -> None:
    advised = Advised(platform, api, name="pooled", poolSize=1)
    url = advised.made["connection_string_pooled"]
    with login(url) as first, login(url) as second:
        first.execute("BEGIN; SELECT 1")
        waiting = threading.Thread(target=second.execute, args=["SELECT 1"])
        waiting.start()
        eventually(lambda: ("pool_too_small", advised.made["database_name"]) in advised.found())
        (row,) = [each for each in advised.advice() if each["code"] == "pool_too_small"]
        assert row["statement"].startswith(f"tenantry db update {advised.made['database_name']}")
        first.execute("ROLLBACK")
        waiting.join(60)
    assert advised.found() == set()


def test_what_is_found_in_pgbenchs_schema(platform: Installation, api: httpx.Client) -> None:
    """One, which is true: its history has no key. None is false."""
    advised = Advised(platform, api, name="pgbench")
    run("pgbench", "-i", "-s", "1", "-q", advised.url)
    run("pgbench", "-c", "2", "-t", "200", "-n", advised.url)
    assert advised.found() == {("no_primary_key", "public.pgbench_history")}


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_nothing_is_found_in_a_blueprint(
    platform: Installation, api: httpx.Client, name: str
) -> None:
    advised = Advised(platform, api, name=name, blueprint=name, seeds="development")
    assert advised.found() == BLUEPRINTS[name]


def test_a_forgotten_transaction_is_found(
    bad: tuple[Advised, psycopg.Connection[TupleRow]],
) -> None:
    """The last test: it is open since the first one."""
    advised, idle = bad
    who = f"session {idle.info.backend_pid}"
    both = {("long_transaction", who), ("idle_in_transaction", who)}
    eventually(lambda: both <= advised.found())
    rows = [each for each in advised.advice() if each["object"] == who]
    do(advised.url, rows[0]["statement"])
    assert who not in {each["object"] for each in advised.advice()}


SHOWN = """
    CREATE TABLE shown (id int PRIMARY KEY);
    CREATE TABLE closed (id int PRIMARY KEY);
    CREATE TABLE secured (id int PRIMARY KEY);
    ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
    GRANT SELECT, INSERT ON shown, secured TO anon;
"""


def test_a_table_that_the_data_api_shows_to_everybody(
    platform: Installation, api: httpx.Client
) -> None:
    made = platform.create()
    path = f"/api/databases/{made['id']}"
    do(made["connection_string"], SHOWN)

    def advice() -> list[Row]:
        found: list[Row] = data(api.get(f"{path}/advice"))
        return [each for each in found if each["code"] == "row_security_disabled"]

    assert advice() == []
    data(api.put(f"{path}/data-api", json={}))
    (finding,) = advice()
    assert (finding["object"], finding["severity"]) == ("public.shown", "warning")
    do(made["connection_string"], finding["statement"])
    assert advice() == []
    data(api.delete(f"{path}/data-api"))
