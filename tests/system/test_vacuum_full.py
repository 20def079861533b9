"""Giving back the disk that deleted rows have taken."""

import os
import signal
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import TupleRow

from answers import data, problem
from clients import VISITORS, ask, do, eventually, login
from harness import Installation
from imported import ended

Row = dict[str, Any]

MIB = 2**20
# Rows of 1,000 bytes, whose index takes a while to be built again.
FILLED = """
    CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT i';
    CREATE TABLE events AS
        SELECT i, repeat(md5(i::text), 31) AS filler FROM generate_series(1, 60000) i;
    CREATE INDEX ON events (slow(i)) WHERE i > 59400;
    CREATE OR REPLACE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN i; END $$;
"""
FILE = "SELECT pg_relation_filenode('{}')"


def path(database: Row) -> str:
    return f"/api/databases/{database['id']}/vacuum-full"


def begin(api: httpx.Client, database: Row, **asked: object) -> Row:
    started: Row = data(api.post(path(database), json=asked), 202)
    return started


def copying(platform: Installation) -> bool:
    """Whether a table is being rewritten now, or is waited for."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'VACUUM (FULL%'"
    with platform.superuser() as server:
        return server.execute(query).fetchone() != (0,)


def no_visitor_is_left(platform: Installation) -> bool:
    with platform.superuser() as server:
        return server.execute(VISITORS).fetchall() == []


def test_what_deleted_rows_have_taken_is_estimated_and_given_back(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create(name="bloated")
    url = database["connection_string"]
    do(
        url,
        """
        CREATE TABLE orders WITH (autovacuum_enabled = off) AS
            SELECT i, md5(i::text) AS name FROM generate_series(1, 100000) i;
        ALTER TABLE orders ADD PRIMARY KEY (i);
        CREATE TABLE tight AS SELECT * FROM orders;
        CREATE SCHEMA s;
        CREATE TABLE s."a table" (i int) PARTITION BY RANGE (i);
        CREATE TABLE s.part PARTITION OF s."a table" FOR VALUES FROM (0) TO (10000)
            WITH (autovacuum_enabled = off);
        INSERT INTO s.part SELECT generate_series(0, 9999);
        ANALYZE;
        DELETE FROM orders WHERE i % 10 > 0;
        DELETE FROM s.part WHERE i > 10;
        """,
    )

    def reported() -> dict[str, Row]:
        return {row["table"]: row for row in data(api.get(path(database)))}

    # The server counts rows a moment later.
    eventually(lambda: (reported()["public.orders"]["returned_bytes"] or 0) > MIB)
    before = reported()
    assert next(iter(before)) == "public.orders"
    assert before["public.tight"]["returned_bytes"] < before["public.tight"]["size_bytes"] * 0.1
    tight = ask(url, FILE.format("tight"))

    done = ended(api, begin(api, database))
    assert done["status"] == "succeeded", done["error"]
    result = done["result"]
    rewritten = {each["table"]: each for each in result["tables"]}
    assert set(rewritten) == {"public.orders", "s.part"}
    assert result["skipped"] == []
    orders = rewritten["public.orders"]
    assert orders["before_bytes"] == before["public.orders"]["size_bytes"]
    assert orders["after_bytes"] == ask(url, "SELECT pg_total_relation_size('orders')")
    returned = orders["before_bytes"] - orders["after_bytes"]
    assert before["public.orders"]["returned_bytes"] == pytest.approx(returned, rel=0.1)
    assert result["returned_bytes"] == sum(
        each["before_bytes"] - each["after_bytes"] for each in rewritten.values()
    )
    assert ask(url, "SELECT count(*) FROM orders") == 10000
    assert ask(url, FILE.format("tight")) == tight
    assert no_visitor_is_left(platform)

    # What is named is rewritten anyway: a partitioned table with its parts.
    again = ended(api, begin(api, database, tables=["s.a table", "public.tight"]))["result"]
    assert {each["table"] for each in again["tables"]} == {"s.part", "public.tight"}
    assert ask(url, FILE.format("tight")) != tight
    failed = ended(api, begin(api, database, tables=["public.nothing"]))
    assert failed["error"]["code"] == "not_found"
    problem(api.post(path(database), json={"lock_timeout_seconds": 0}), 422)


def test_a_table_that_is_in_use_is_left_as_it_is(platform: Installation, api: httpx.Client) -> None:
    database = platform.create(name="in-use")
    url = database["connection_string"]
    do(url, "CREATE TABLE held AS SELECT 1 AS i; CREATE TABLE free AS SELECT 1 AS i")
    file = ask(url, FILE.format("held"))
    tables = ["public.held", "public.free"]
    with login(url) as session, session.transaction():
        session.execute("SELECT FROM held")
        done = ended(api, begin(api, database, tables=tables, lock_timeout_seconds=0.1))
        assert [each["table"] for each in done["result"]["tables"]] == ["public.free"]
        (skipped,) = done["result"]["skipped"]
        assert skipped["table"] == "public.held"
        assert "locked" in skipped["reason"]
        failed = ended(api, begin(api, database, tables=tables[:1], lock_timeout_seconds=0.1))
        assert failed["status"] == "failed"
        assert "public.held" in failed["error"]["detail"]

        waiting = begin(api, database, tables=tables[:1], lock_timeout_seconds=600)
        eventually(lambda: copying(platform))
        api.post(f"/api/operations/{waiting['id']}/cancel")
        assert ended(api, waiting)["status"] == "cancelled"
        eventually(lambda: not copying(platform))
    assert ask(url, FILE.format("held")) == file
    assert no_visitor_is_left(platform)


def full(platform: Installation, api: httpx.Client) -> tuple[Row, psycopg.Connection[TupleRow]]:
    """A database that is full, and a session of its tenant's that has made room in the table."""
    database = platform.create(name="full", diskQuotaBytes=64 * MIB, shadow=False)
    url = database["connection_string"]
    do(url, FILLED)
    eventually(lambda: disk(api, database)["state"] == "read_only")
    session = login(url)
    session.execute("SET default_transaction_read_only = off")
    session.execute("DELETE FROM events WHERE i < 20000")
    return database, session


def disk(api: httpx.Client, database: Row) -> Row:
    shown: Row = data(api.get(f"/api/databases/{database['id']}"))["disk"]
    return shown


def test_a_full_database_gets_room_even_if_the_worker_dies(
    platform: Installation, api: httpx.Client
) -> None:
    database, session = full(platform, api)
    session.close()
    before = disk(api, database)["used_bytes"]
    operation = begin(api, database, tables=["public.events"])
    # While there are two of the table, more than that would stop the database.
    eventually(lambda: disk(api, database)["used_bytes"] > before + 20 * MIB)
    os.kill(platform.pids()["worker"], signal.SIGKILL)
    done = ended(api, operation, seconds=120)
    assert done["status"] == "succeeded", done["error"]
    (table,) = done["result"]["tables"]
    assert table["after_bytes"] < table["before_bytes"] - 15 * MIB
    eventually(lambda: disk(api, database)["state"] in {"ok", "warning"})
    assert ask(database["connection_string"], "SELECT count(*) FROM events") == 40_001
    actions = {
        entry["action"]
        for entry in data(api.get("/api/audit-logs", params={"resource_id": database["id"]}))
    }
    assert "database.quota_read_only" in actions
    assert "database.quota_stopped" not in actions
    eventually(lambda: no_visitor_is_left(platform))
