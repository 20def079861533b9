"""VACUUM, ANALYZE, REINDEX and CREATE INDEX as operations of a database's owner."""

import os
import signal
from typing import Any

import httpx

from answers import data, problem
from clients import VISITORS, ask, do, eventually, login
from harness import Installation
from imported import ended

Row = dict[str, Any]

SHOP = """
    CREATE TABLE orders (id int PRIMARY KEY, note text) WITH (autovacuum_enabled = off);
    CREATE INDEX notes ON orders (note);
    INSERT INTO orders SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
    DELETE FROM orders WHERE id % 10 <> 0;
    CREATE SCHEMA "S s";
    CREATE TABLE "S s"."it""s" (id int);
"""
# An index that takes seconds to be built again.
SLOW = """
    CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT i';
    CREATE TABLE events AS SELECT i FROM generate_series(1, 20000) i;
    CREATE INDEX slowly ON events (slow(i)) WHERE i > 19400;
    CREATE OR REPLACE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN i; END $$;
"""
INVALID = "SELECT array_agg(indexrelid::regclass::text) FROM pg_index WHERE NOT indisvalid"


def begin(api: httpx.Client, database: Row, verb: str, **asked: object) -> Row:
    started: Row = data(api.post(f"/api/databases/{database['id']}/{verb}", json=asked), 202)
    return started


def done(api: httpx.Client, database: Row, verb: str, **asked: object) -> Row:
    operation = ended(api, begin(api, database, verb, **asked), seconds=120)
    assert operation["status"] == "succeeded", operation["error"]
    result: Row = operation["result"]
    return result


def building(platform: Installation, name: str) -> bool:
    query = "SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = %s"
    with platform.superuser() as server:
        return server.execute(query + " AND phase LIKE 'building%%'", (name,)).fetchone() != (0,)


def creating(platform: Installation, name: str) -> bool:
    query = "SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = %s"
    with platform.superuser() as server:
        found = server.execute(f"{query} AND command LIKE 'CREATE%%'", (name,)).fetchone()
    return found != (0,)


def no_visitor_is_left(platform: Installation) -> bool:
    with platform.superuser() as server:
        return server.execute(VISITORS).fetchall() == []


def test_tables_are_vacuumed_analyzed_and_indexes_rebuilt(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create(name="maintained")
    url = database["connection_string"]
    do(url, SHOP)
    dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'orders'"
    eventually(lambda: ask(url, dead) == 18000)

    result = done(api, database, "vacuum", analyze=True)
    assert [each["table"] for each in result["tables"]] == ['S s.it"s', "public.orders"]
    assert result["skipped"] == []
    eventually(lambda: ask(url, dead) == 0)
    seen = "SELECT {} FROM pg_stat_user_tables WHERE relname = 'orders'"
    assert ask(url, seen.format("(vacuum_count, analyze_count)::text")) == "(1,1)"

    said = platform.tenantry("db", "analyze", database["id"], "--table", "public.orders")
    assert "1 table analyzed" in said.stderr
    eventually(lambda: ask(url, seen.format("analyze_count")) == 2)

    before = ask(url, "SELECT pg_relation_size('notes') / 2")
    said = platform.tenantry("db", "reindex", database["id"], "--table", "public.orders")
    assert "2 indexes rebuilt" in said.stderr
    assert ask(url, f"SELECT pg_relation_size('notes') < {before}") is True
    (row,) = done(api, database, "reindex", indexes=["public.notes"])["indexes"]
    assert row["index"] == "public.notes"
    assert row["after_bytes"] == ask(url, "SELECT pg_relation_size('notes')")
    assert ask(url, INVALID) is None
    assert no_visitor_is_left(platform)

    problem(api.post(f"/api/databases/{database['id']}/reindex", json={}), 422)
    failed = ended(api, begin(api, database, "reindex", indexes=["public.nothing"]))
    assert failed["error"]["code"] == "not_found"
    actions = {
        each["action"]
        for each in data(api.get("/api/audit-logs", params={"resource_id": database["id"]}))
    }
    assert {"database.vacuum", "database.analyze", "database.reindex"} <= actions


def test_what_is_locked_is_left_and_nobody_waits_for_ever(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create(name="locked")
    url = database["connection_string"]
    do(url, "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE free (id int)")
    soon = {"lock_timeout_seconds": 0.1}
    with login(url) as session:
        session.execute("BEGIN; LOCK TABLE t")
        failed = ended(api, begin(api, database, "vacuum", **soon))
        assert failed["error"]["code"] == "conflict"
        session.execute("ROLLBACK; BEGIN; LOCK TABLE t IN SHARE MODE")
        result = done(api, database, "vacuum", **soon)
        assert [each["table"] for each in result["tables"]] == ["public.free"]
        assert "locked" in result["skipped"][0]["reason"]
        session.execute("ROLLBACK")
        # It waits for snapshots that are older than the new index: what it made is dropped.
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM free")
        failed = ended(api, begin(api, database, "reindex", indexes=["public.t_pkey"], **soon))
        assert "Open transactions" in failed["error"]["detail"]
        assert ask(url, INVALID) is None
        # What it made cannot be dropped while a transaction uses the table: it is named.
        session.execute("SELECT FROM t")
        failed = ended(api, begin(api, database, "reindex", indexes=["public.t_pkey"], **soon))
        assert "public.t_pkey_ccnew is left" in failed["error"]["detail"]
    assert ask(url, INVALID) == ["t_pkey_ccnew"]
    # The next rebuild is not disturbed by it, and leaves alone what is not its own.
    assert done(api, database, "reindex", tables=["public.t"])["skipped"] == []
    assert ask(url, INVALID) == ["t_pkey_ccnew"]


def test_an_index_is_created_while_its_table_is_used(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create(name="indexed")
    url = database["connection_string"]
    do(url, SHOP)
    said = platform.tenantry(
        "db", "create-index", database["id"], "--table", 'S s.it"s', "--column", "id"
    )
    assert 'S s.it"s_id_idx created' in said.stderr
    asked: Row = {"table": "public.orders", "columns": ["note", "id"]}
    result = done(api, database, "indexes", **asked)
    size = ask(url, "SELECT pg_relation_size('orders_note_id_idx')")
    assert result == {"index": "public.orders_note_id_idx", "size_bytes": size}
    result = done(api, database, "indexes", **asked, method="brin")
    assert result["index"] == "public.orders_note_id_idx1"

    do(url, "INSERT INTO orders SELECT id + 1, 'same' FROM orders LIMIT 2")
    refused: dict[str, Row] = {
        "could not create unique index": {"columns": ["note"], "unique": True},
        'column "nothing" does not exist': {"columns": ["nothing"]},
        "There is an index, or a table, public.notes": {"columns": ["id"], "name": "notes"},
        "no table public.nothing": {"columns": ["id"], "table": "public.nothing"},
    }
    for detail, body in refused.items():
        failed = ended(api, begin(api, database, "indexes", **(asked | body)))
        assert detail in failed["error"]["detail"]
    invalid: list[Row] = [
        {"columns": []},
        {"columns": ["id"], "method": "btree (id); DROP TABLE orders"},
        {"columns": ["id"], "method": "gin", "unique": True},
        {"columns": ["id"], "name": "n" * 64},
    ]
    for wrong in invalid:
        problem(api.post(f"/api/databases/{database['id']}/indexes", json=asked | wrong), 422)
    # A table has the name that PostgreSQL would give it.
    do(url, "CREATE TABLE orders_id_idx (id int)")
    assert done(api, database, "indexes", **(asked | {"columns": ["id"]}))["index"] == (
        "public.orders_id_idx1"
    )
    do(url, "CREATE TABLE parts (id int) PARTITION BY LIST (id)")
    do(url, "CREATE TABLE part PARTITION OF parts FOR VALUES IN (1)")
    failed = ended(api, begin(api, database, "indexes", table="public.parts", columns=["id"]))
    assert "is partitioned" in failed["error"]["detail"]
    assert ask(url, INVALID) is None
    eventually(lambda: no_visitor_is_left(platform))


def test_a_killed_or_cancelled_creation_leaves_nothing(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create(name="interrupted-index")
    url = database["connection_string"]
    do(url, SHOP)
    asked: Row = {"table": "public.orders", "columns": ["id"]}
    with login(url) as session:
        # Whoever writes to the table is waited for, with the index there and invalid.
        session.execute("BEGIN; DELETE FROM orders WHERE id = 10")
        operation = begin(api, database, "indexes", **asked)
        eventually(lambda: ask(url, INVALID) == ["orders_id_idx"])
        api.post(f"/api/operations/{operation['id']}/cancel")
        eventually(lambda: not creating(platform, database["database_name"]))
        session.execute("ROLLBACK")
        assert ended(api, operation, seconds=120)["status"] == "cancelled"
        assert ask(url, INVALID) is None

        session.execute("BEGIN; DELETE FROM orders WHERE id = 10")
        operation = begin(api, database, "indexes", **asked)
        eventually(lambda: ask(url, INVALID) == ["orders_id_idx"])
        os.kill(platform.pids()["worker"], signal.SIGKILL)
        session.execute("ROLLBACK")
    assert ended(api, operation, seconds=120)["status"] == "succeeded"
    query = "SELECT count(*) FROM pg_index WHERE indrelid = 'orders'::regclass AND indisvalid"
    assert ask(url, query) == 3
    assert ask(url, INVALID) is None

    # Where it is still in the way of the next try, that does not take the invalid one for done.
    asked |= {"columns": ["note", "id"], "lock_timeout_seconds": 2}
    with login(url) as session:
        session.execute("BEGIN; DELETE FROM orders WHERE id = 10")
        operation = begin(api, database, "indexes", **asked)
        eventually(lambda: ask(url, INVALID) == ["orders_note_id_idx"])
        os.kill(platform.pids()["worker"], signal.SIGKILL)
        failed = ended(api, operation, seconds=120)
        assert failed["status"] == "failed"
        assert "invalid: drop it" in failed["error"]["detail"]
    eventually(lambda: no_visitor_is_left(platform))


def test_a_tiny_limit_is_a_clear_failure(platform: Installation, api: httpx.Client) -> None:
    made = platform.create()
    do(made["connection_string"], SHOP)
    asked: Row = {"tables": ["public.orders"], "statement_timeout_seconds": 0.001}
    for verb in ("vacuum", "vacuum-full", "reindex"):
        operation = ended(api, begin(api, made, verb, **asked), seconds=120)
        assert operation["status"] == "failed"
        assert operation["error"]["code"] in {"statement_too_long", "conflict"}, operation["error"]
    assert no_visitor_is_left(platform)


def test_a_killed_or_cancelled_rebuild_leaves_nothing(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create(name="interrupted")
    url, name = database["connection_string"], database["database_name"]
    do(url, SLOW)
    operation = begin(api, database, "reindex", indexes=["public.slowly"])
    eventually(lambda: building(platform, name))
    reached = f"/api/operations/{operation['id']}"
    eventually(lambda: data(api.get(reached))["progress"] > 0.5)
    api.post(f"{reached}/cancel")
    assert ended(api, operation)["status"] == "cancelled"
    assert ask(url, INVALID) is None

    operation = begin(api, database, "reindex", tables=["public.events"])
    eventually(lambda: building(platform, name))
    os.kill(platform.pids()["worker"], signal.SIGKILL)
    assert ended(api, operation, seconds=120)["status"] == "succeeded"
    assert ask(url, INVALID) is None
    assert ask(url, "SELECT count(*) FROM pg_index WHERE indrelid = 'events'::regclass") == 1
    eventually(lambda: no_visitor_is_left(platform))
