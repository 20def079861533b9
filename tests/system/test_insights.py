"""An owner sees what its database does: each situation is made, and must be reported."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import TupleRow

from answers import data, problem
from attempts_disk import long_statements
from clients import ENDPOINTS, changed, do, eventually, is_open, login
from harness import Installation

Row = dict[str, Any]
Session = psycopg.Connection[TupleRow]


class Seen:
    """A database, and its insights as its owner gets them."""

    def __init__(self, platform: Installation, api: httpx.Client) -> None:
        email = f"o{uuid.uuid4().hex[:8]}@example.com"
        self.made = platform.create(ownerEmail=email)
        scopes = ["databases:read", "databases:write", "audit:read"]
        asked = {"scopes": scopes, "customerEmail": email}
        key = data(api.post("/api/api-keys", json={"name": "own", **asked}), 201)["key"]
        self.api = platform.client(key)
        self.path = f"/api/databases/{self.made['id']}"
        self.direct, self.pooled = (self.made[endpoint] for endpoint in ENDPOINTS)

    def sessions(self) -> list[Row]:
        found: list[Row] = data(self.api.get(f"{self.path}/sessions"))
        return found

    def session(self, pid: int) -> Row:
        return next(each for each in self.sessions() if each["pid"] == pid)

    def locks(self) -> list[Row]:
        found: list[Row] = data(self.api.get(f"{self.path}/locks"))
        return found

    def signal(self, pid: int, verb: str, **body: object) -> httpx.Response:
        return self.api.post(f"{self.path}/sessions/{pid}/{verb}", json=body)


@pytest.fixture
def seen(platform: Installation, api: httpx.Client) -> Iterator[Seen]:
    found = Seen(platform, api)
    with found.api:
        yield found


@contextmanager
def running(session: Session, statement: str) -> Iterator[list[psycopg.Error]]:
    """Have a session run a statement meanwhile; yields what it failed with, in the end."""
    errors: list[psycopg.Error] = []

    def run() -> None:
        try:
            session.execute(statement.encode())
        except psycopg.Error as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield errors
    finally:
        thread.join(60)
        assert not thread.is_alive()


# ── sessions ─────────────────────────────────────────────────────────────────


def test_sessions_of_both_ports_are_listed_with_their_clients(seen: Seen) -> None:
    with (
        login(changed(seen.direct, application_name="shop")) as direct,
        login(seen.pooled) as pooled,
        pooled.transaction(),
    ):
        direct.execute("BEGIN; SELECT 'direct'")
        pid = pooled.execute("SELECT pg_backend_pid()").fetchone()
        assert pid
        row = seen.session(direct.info.backend_pid)
        assert (row["port"], row["client_address"]) == ("direct", "127.0.0.1")
        assert (row["role"], row["application"]) == (seen.made["username"], "shop")
        assert row["database_name"] == seen.made["database_name"]
        assert (row["state"], row["query"]) == ("idle in transaction", "BEGIN; SELECT 'direct'")
        assert row["age_seconds"] >= row["transaction_seconds"] >= row["state_seconds"] >= 0
        assert (row["blocked_by"], row["blocked_by_others"]) == ([], False)
        served = seen.session(pid[0])
        assert (served["port"], served["client_address"]) == ("pooled", "127.0.0.1")
        assert served["state"] == "idle in transaction"
    # Between transactions the server connection has no client.
    eventually(lambda: seen.session(pid[0])["client_address"] is None)


def test_nobody_elses_sessions_are_listed(
    platform: Installation, api: httpx.Client, seen: Seen
) -> None:
    other = Seen(platform, api)
    shadow = seen.made["shadow_database_url"]
    with other.api, login(other.direct) as foreign, login(seen.direct) as own, login(shadow) as too:
        with platform.superuser(dbname=seen.made["database_name"]):
            pids = {each["pid"] for each in seen.sessions()}
        assert pids == {own.info.backend_pid, too.info.backend_pid}
        assert foreign.info.backend_pid in {each["pid"] for each in other.sessions()}
        for path in ("sessions", "locks"):
            problem(seen.api.get(f"{other.path}/{path}"), 404)


def test_a_query_shows_no_password(seen: Seen) -> None:
    with login(seen.direct) as session:
        session.execute("SELECT 's3cr3t' AS password")
        query = seen.session(session.info.backend_pid)["query"]
    assert query == "SELECT '***' AS password"


def test_who_may_not_read_logged_statements_sees_no_constants(
    platform: Installation, api: httpx.Client, seen: Seen
) -> None:
    asked = {"name": "reads", "scopes": ["databases:read"]}
    key = data(api.post("/api/api-keys", json=asked), 201)["key"]
    with login(seen.direct) as session, platform.client(key) as reader:
        session.execute("SELECT 'Ann', 4111, 3.5 AS a1 /* hidden */ FROM pg_class WHERE oid = 7")
        (row,) = data(reader.get(f"{seen.path}/sessions"))
        assert row["query"] == "SELECT '***', ?, ? AS a1   FROM pg_class WHERE oid = ?"
        (row,) = seen.sessions()
        assert "'Ann', 4111" in row["query"]


# ── locks ────────────────────────────────────────────────────────────────────


def test_the_blocking_tree_names_who_waits_for_whom(platform: Installation, seen: Seen) -> None:
    do(seen.direct, "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0)")
    assert seen.locks() == []
    update = "UPDATE t SET n = n + 1 WHERE id = 1"
    with login(seen.direct) as first, login(seen.pooled) as second, login(seen.direct) as third:
        first.execute(f"BEGIN; {update}".encode())
        with running(second, update), running(third, update):
            eventually(lambda: len(seen.locks()) == 3)
            top, below, last = seen.locks()
            assert (top["pid"], top["depth"], top["blocks"]) == (first.info.backend_pid, 0, 2)
            assert (top["state"], top["lock"]) == ("idle in transaction", None)
            assert (below["depth"], last["depth"]) == (1, 2)
            assert below["blocked_by"] == [top["pid"]]
            assert below["pid"] in last["blocked_by"]
            assert (below["blocks"], last["blocks"]) == (1, 0)
            assert {each["lock"]["relation"] for each in (below, last)} == {"public.t"}
            assert {each["port"] for each in (below, last)} == {"direct", "pooled"}
            reported = platform.tenantry("db", "locks", seen.made["id"]).stdout
            assert "public.t" in reported
            assert f"\n  {below['pid']}" in reported
            done = data(seen.signal(top["pid"], "terminate"))
            assert done["done"] is True
        assert seen.locks() == []
        assert not is_open(first)


def test_a_table_lock_is_named_although_every_connection_waits(
    platform: Installation, api: httpx.Client
) -> None:
    """The tree is there; the name of the table takes a connection of the database's."""
    seen = Seen(platform, api)
    data(api.patch(seen.path, json={"maxConnections": 2}))
    do(seen.direct, "CREATE TABLE t (id int)")
    with seen.api, login(seen.direct) as first, login(seen.direct) as second:
        first.execute("BEGIN; LOCK TABLE t")
        with running(second, "SELECT count(*) FROM t"):
            eventually(lambda: len(seen.locks()) == 2)
            wait = seen.locks()[1]["lock"]
            assert (wait["lock_type"], wait["mode"]) == ("relation", "AccessShareLock")
            first.execute("ROLLBACK")


# ── ending them ──────────────────────────────────────────────────────────────


def test_a_statement_is_cancelled_and_the_session_stays(seen: Seen) -> None:
    with login(seen.direct) as session:
        with running(session, "SELECT pg_sleep(3600)") as errors:
            pid = session.info.backend_pid
            eventually(lambda: seen.session(pid)["wait_event"] == "PgSleep")
            assert data(seen.signal(pid, "cancel"))["pid"] == pid
        assert isinstance(errors[0], psycopg.errors.QueryCanceled)
        assert is_open(session)


def test_ending_a_session_is_audited_without_its_query(api: httpx.Client, seen: Seen) -> None:
    with login(seen.direct) as session:
        session.execute("SELECT 'literal'")
        row = seen.session(session.info.backend_pid)
        done = data(seen.signal(row["pid"], "terminate", startedAt=row["started_at"]))
        assert done["done"] is True
        assert not is_open(session)
    asked = {"resource_id": seen.made["id"], "limit": 100}
    rows = data(api.get("/api/audit-logs", params=asked))
    (found,) = [each for each in rows if each["action"] == "database.terminate_session"]
    assert found["details"]["pid"] == row["pid"]
    assert found["details"]["role"] == seen.made["username"]
    assert "literal" not in json.dumps(found)


def test_only_the_session_that_is_meant_gets_the_signal(
    platform: Installation, api: httpx.Client, seen: Seen
) -> None:
    other = Seen(platform, api)
    with other.api, login(other.direct) as foreign, login(seen.direct) as own:
        started_at = seen.session(own.info.backend_pid)["started_at"]
        with platform.superuser(dbname=seen.made["database_name"]) as platforms:
            for pid in (foreign.info.backend_pid, platforms.info.backend_pid, 2**31 - 1):
                for verb in ("cancel", "terminate"):
                    problem(seen.signal(pid, verb), 404)
                    problem(seen.signal(pid, verb, started_at=started_at), 404)
            assert is_open(platforms)
        # As if the process ID were another session's by now.
        pid = own.info.backend_pid
        problem(seen.signal(pid, "terminate", started_at="2026-01-01T00:00:00Z"), 404)
        problem(other.signal(pid, "terminate"), 404)
        assert is_open(foreign)
        assert is_open(own)
        for bad in ("0", "-1", "x", "99999999999"):
            answer = seen.api.post(f"{seen.path}/sessions/{bad}/terminate")
            assert answer.status_code in {404, 422}, answer.text


def test_a_key_that_only_reads_ends_nothing(api: httpx.Client, seen: Seen) -> None:
    key = data(
        api.post("/api/api-keys", json={"name": "reads", "scopes": ["databases:read"]}), 201
    )["key"]
    with login(seen.direct) as session:
        pid = session.info.backend_pid
        answer = seen.api.post(f"{seen.path}/sessions/{pid}/cancel", headers={"X-API-Key": key})
        problem(answer, 403)


def test_the_command_line_shows_and_ends_sessions(platform: Installation, seen: Seen) -> None:
    name = seen.made["id"]
    with login(seen.direct) as session:
        session.execute("SELECT 'shown'")
        pid = str(session.info.backend_pid)
        reported = platform.tenantry("db", "sessions", name).stdout
        assert pid in reported
        assert "SELECT 'shown'" in reported
        shown = json.loads(platform.tenantry("db", "sessions", name, "--json").stdout)
        assert [str(each["pid"]) for each in shown] == [pid]
        assert "No session" in platform.tenantry("db", "locks", name).stderr
        platform.tenantry("db", "cancel", name, pid)
        assert is_open(session)
        assert "ended" in platform.tenantry("db", "terminate", name, pid).stderr
        assert not is_open(session)
    failed = platform.tenantry("db", "terminate", name, pid, check=False)
    assert failed.returncode == 1
    assert "tenantry db sessions" in failed.stderr


# ── tables and indexes ───────────────────────────────────────────────────────

SHOP = """
    CREATE TABLE orders (id int PRIMARY KEY, note text);
    CREATE INDEX unused ON orders (note);
    INSERT INTO orders SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i;
    DELETE FROM orders WHERE id % 10 <> 0;
    CREATE TABLE small (id int);
    CREATE SCHEMA other;
    CREATE MATERIALIZED VIEW other.few AS SELECT 1 AS one;
    CREATE TABLE parted (id int) PARTITION BY RANGE (id);
    CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9);
"""


def test_bloat_and_use_of_tables_and_indexes_are_reported(
    platform: Installation, seen: Seen
) -> None:
    do(seen.direct, SHOP)
    with login(seen.direct) as session:
        session.execute("VACUUM (ANALYZE, INDEX_CLEANUP on) orders")
        for _ in range(3):
            session.execute("SET enable_seqscan = off; SELECT note FROM orders WHERE id = 10")
            session.execute("SELECT count(*) FROM small")

    def tables() -> dict[str, Row]:
        found: list[Row] = data(seen.api.get(f"{seen.path}/tables"))
        sizes = [each["size_bytes"] for each in found]
        assert sizes == sorted(sizes, reverse=True)
        return {each["table"]: each for each in found}

    # Counters are there when the session that they are of has ended.
    eventually(lambda: tables()["public.small"]["sequential_scans"] == 3)
    found = tables()
    assert found.keys() == {"public.orders", "public.small", "other.few", "public.part"}
    orders = found["public.orders"]
    assert orders["rows"] == 2000
    assert orders["heap_bytes"] + orders["index_bytes"] <= orders["size_bytes"]
    # Nine of ten rows are deleted, and VACUUM leaves their places in the table.
    assert orders["bloat_bytes"] > orders["heap_bytes"] // 2
    assert orders["last_vacuum_at"] is not None
    assert orders["last_analyze_at"] is not None
    assert 0 < orders["cache_hit_ratio"] <= 1
    indexes = {each["index"]: each for each in orders["indexes"]}
    key, unused = indexes["public.orders_pkey"], indexes["public.unused"]
    assert (key["primary_key"], key["unique"], key["valid"]) == (True, True, True)
    assert key["scans"] == orders["index_scans"] == 3
    assert (unused["scans"], unused["unique"]) == (0, False)
    assert unused["definition"] == "CREATE INDEX unused ON public.orders USING btree (note)"
    assert found["other.few"]["kind"] == "materialized_view"
    assert found["public.part"]["root"] == "public.parted"

    name = seen.made["id"]
    reported = platform.tenantry("db", "tables", name)
    assert reported.stdout.splitlines()[1].startswith("public.orders ")
    assert "counted since" in reported.stderr
    reported = platform.tenantry("db", "indexes", name, "--table", "public.orders")
    assert "public.unused" in reported.stdout
    shown = json.loads(platform.tenantry("db", "indexes", name, "--json").stdout)
    assert [each["index"] for each in shown] == [each["index"] for each in orders["indexes"]]


def test_a_table_that_is_locked_is_an_error_that_says_so(seen: Seen) -> None:
    do(seen.direct, "CREATE TABLE t (id int)")
    with login(seen.direct) as session:
        session.execute("BEGIN; LOCK TABLE t")
        assert "kept this waiting" in problem(seen.api.get(f"{seen.path}/tables"), 409)["detail"]


# ── statements ───────────────────────────────────────────────────────────────


def queries(seen: Seen, **asked: object) -> list[Row]:
    params = {name: str(value) for name, value in asked.items()}
    found: list[Row] = data(seen.api.get(f"{seen.path}/queries", params=params))
    return found


def test_slow_statements_are_reported_without_their_constants(
    platform: Installation, api: httpx.Client, seen: Seen
) -> None:
    other = Seen(platform, api)
    do(other.direct, "SELECT 'neighbour' FROM pg_sleep(0.01)")
    do(seen.direct, "CREATE TABLE t (id int, note text)")
    for endpoint in (seen.direct, seen.pooled):
        with login(endpoint) as session:
            session.execute("INSERT INTO t SELECT i, 'literal' FROM generate_series(1, 1000) i")
            session.execute("SELECT pg_sleep(0.3), 'literal'")
            session.execute("SELECT count(*) FROM t")
    do(seen.made["shadow_database_url"], "SELECT 'shadow'")
    found = {each["query"]: each for each in queries(seen)}
    slow = found["SELECT pg_sleep($1), $2"]
    assert queries(seen)[0] == slow
    assert (slow["calls"], slow["rows"]) == (2, 2)
    assert slow["total_ms"] >= 600
    assert slow["mean_ms"] == pytest.approx(slow["total_ms"] / 2)
    assert slow["min_ms"] <= slow["mean_ms"] <= slow["max_ms"]
    assert slow["share"] > 0.5
    assert sum(each["share"] for each in found.values()) == pytest.approx(1)
    write = found["INSERT INTO t SELECT i, $1 FROM generate_series($2, $3) i"]
    assert (write["rows"], write["calls"]) == (2000, 2)
    assert write["wal_bytes"] > 1000
    assert write["cache_hit_ratio"] > 0
    assert found["SELECT $1"]["database_name"] == f"{seen.made['database_name']}_shadow"
    assert "neighbour" not in json.dumps(found)
    assert not any("pg_sleep($1)" in query and "FROM" in query for query in found)

    assert queries(seen, search="PG_SLEEP") == [slow]
    assert queries(seen, sort="rows")[0]["query"] == write["query"]
    assert len(queries(seen, limit=1)) == 1
    assert seen.api.get(f"{seen.path}/queries", params={"sort": "query"}).status_code == 422
    problem(seen.api.get(f"{other.path}/queries"), 404)

    reported = platform.tenantry("db", "queries", seen.made["id"], "--search", "count(*)")
    assert "SELECT count(*) FROM t" in reported.stdout
    assert "Counted since" in reported.stderr


def test_no_password_and_nothing_of_the_platforms_is_counted(
    platform: Installation, seen: Seen
) -> None:
    do(seen.direct, "SET application_name = 's3cr3t_W0rd'; SELECT 1 AS one")
    do(seen.direct, "DO $$ BEGIN PERFORM 's3cr3t_W0rd'; END $$")
    do(seen.direct, "ALTER ROLE CURRENT_USER PASSWORD 's3cr3t_W0rd'")
    data(seen.api.get(f"{seen.path}/tables"))  # a visitor
    explain(seen, "SELECT 1")
    found = {each["query"] for each in queries(seen)}
    assert found == {"SELECT $1 AS one", "SELECT $1"}  # the latter in the block
    with platform.superuser() as server:
        texts = server.execute("SELECT query FROM statistics.pg_stat_statements").fetchall()
    assert "s3cr3t_W0rd" not in str(texts)


def test_statements_of_the_platforms_own_are_apart(
    platform: Installation, api: httpx.Client, seen: Seen, tmp_path: Path
) -> None:
    """Those that it runs with the rights of the owner role; what somebody types is not its own."""
    do(seen.direct, "CREATE TABLE t (id int PRIMARY KEY)")
    change = {"table": "t", "changes": [{"action": "insert", "values": {"id": 1}}]}
    data(api.post(f"{seen.path}/rows", json=change))
    data(api.post(f"{seen.path}/sql", json={"sql": "SELECT 7 AS typed", "read_only": True}))
    (tmp_path / "000001_x.up.sql").write_text("SELECT count(*) FROM t")
    platform.tenantry("migrate", "up", "--path", str(tmp_path), "--database", seen.made["id"])
    # These have forms that the platform has, too, and would be hidden if it marked its own.
    for statement in ("INSERT INTO t VALUES (3)", "SELECT 1", "SELECT pg_advisory_lock(5)"):
        do(seen.direct, statement)
    do(seen.direct, "SELECT set_config('a.b', 'c', false)")
    theirs = {" ".join(each["query"].split()) for each in queries(seen, limit=500)}
    assert theirs == {
        'INSERT INTO "public"."t" ("id") VALUES ($1)',
        "SELECT $1 AS typed",
        "SELECT count(*) FROM t",
        "SELECT pg_advisory_lock($1)",
        "SELECT set_config($1, $2, $3)",
    }
    every = queries(seen, limit=500, own=True)
    own = [each["query"] for each in every if each["own"]]
    assert len(own) == len(every) - len(theirs)
    for begin in ("SELECT pg_catalog.format_type", "SELECT $1, $2 ", "SELECT pg_advisory_lock"):
        assert any(query.startswith(begin) for query in own), own
    assert any("schema_migrations" in query for query in own), own
    assert sum(each["share"] for each in every) == pytest.approx(1)
    shown = platform.tenantry("db", "queries", seen.made["id"], "--own", "--limit", "500")
    assert "schema_migrations" in shown.stdout


def test_statements_are_counted_again(
    platform: Installation, api: httpx.Client, seen: Seen
) -> None:
    other = Seen(platform, api)
    with other.api:
        do(other.direct, "SELECT 'of another'")
        do(seen.direct, "SELECT 'before'")
        before = seen.api.get(f"{seen.path}/queries").json()
        assert (before["count"], before["recorded"]) == (1, True)
        data(seen.api.post(f"{seen.path}/queries/reset"))
        after = seen.api.get(f"{seen.path}/queries").json()
        assert after["data"] == []
        assert after["counted_since"] > before["counted_since"]
        assert len(queries(other)) == 1
        problem(seen.api.post(f"{other.path}/queries/reset"), 404)
    asked = {"resource_id": seen.made["id"], "limit": 100}
    actions = [each["action"] for each in data(api.get("/api/audit-logs", params=asked))]
    assert "database.reset_queries" in actions
    do(seen.direct, "SELECT 'after', 2")
    platform.tenantry("db", "queries", seen.made["id"], "--reset")
    assert queries(seen) == []


def test_endless_different_statements_make_other_views_incomplete(
    platform: Installation, api: httpx.Client, seen: Seen
) -> None:

    def is_complete_again() -> bool:
        data(seen.api.post(f"{seen.path}/queries/reset"))
        return seen.api.get(f"{seen.path}/queries").json()["incomplete_since"] is None

    do(seen.direct, "SELECT 'mine'")
    eventually(is_complete_again)  # others' statements may be in the way at once
    other = Seen(platform, api)
    with other.api, login(other.direct) as session, session.pipeline():
        for number in range(6000):
            columns = ("now()" if bit == "1" else "1" for bit in f"{number:013b}")
            session.execute(f"SELECT {', '.join(columns)}".encode())
    page = seen.api.get(f"{seen.path}/queries").json()
    assert page["incomplete_since"] == page["counted_since"]
    reported = platform.tenantry("db", "queries", seen.made["id"])
    assert "Incomplete since" in reported.stderr
    eventually(is_complete_again)


def test_who_fills_the_file_of_texts_is_not_recorded_for_a_while(
    platform: Installation, seen: Seen
) -> None:
    """Its owner is reported so; see also the attempt ``fill-statement-texts``."""
    with login(seen.direct) as session:
        with suppress(psycopg.Error):
            for text in long_statements(32):
                session.execute(text.encode())
        eventually(lambda: not seen.api.get(f"{seen.path}/queries").json()["recorded"])
        eventually(lambda: not is_open(session))
    do(seen.direct, "SELECT 'not recorded'")
    assert queries(seen) == []
    assert "not recorded" in platform.tenantry("db", "queries", seen.made["id"]).stderr


# ── plans ────────────────────────────────────────────────────────────────────


def explain(seen: Seen, sql: str, **asked: object) -> Row:
    found: Row = data(seen.api.post(f"{seen.path}/explain", json={"sql": sql, **asked}))
    return found


def refused(seen: Seen, sql: str, status: int = 422, **asked: object) -> str:
    answer = seen.api.post(f"{seen.path}/explain", json={"sql": sql, **asked})
    return str(problem(answer, status)["detail"])


def test_a_plan_names_its_expensive_nodes(platform: Installation, seen: Seen) -> None:
    do(seen.direct, "CREATE TABLE t AS SELECT i FROM generate_series(1, 20000) i; ANALYZE t")
    found = explain(seen, "SELECT count(*) FROM t WHERE i < 0")
    top, scan = found["nodes"]
    assert (top["node_type"], top["depth"]) == ("Aggregate", 0)
    assert (scan["node_type"], scan["relation"], scan["depth"]) == ("Seq Scan", "t", 1)
    assert (top["expensive"], scan["expensive"]) == (False, True)
    assert scan["actual_rows"] is None
    assert found["plan"][0]["Plan"]["Node Type"] == "Aggregate"
    measured = explain(seen, "SELECT count(*) FROM t", analyze=True)
    assert measured["nodes"][1]["actual_rows"] == 20000
    assert measured["nodes"][1]["row_error"] == pytest.approx(1)
    assert measured["execution_ms"] > 0
    reported = platform.tenantry("db", "explain", seen.made["id"], "SELECT * FROM t", "--analyze")
    assert "Seq Scan on t" in reported.stdout
    assert "execution" in reported.stderr


def test_explaining_changes_nothing(seen: Seen) -> None:
    do(seen.direct, "CREATE TABLE t (i int); CREATE SEQUENCE s")
    for sql in ("INSERT INTO t VALUES (1)", "SELECT nextval('s')"):
        assert "read_only" in refused(seen, sql, analyze=True)
    assert explain(seen, "INSERT INTO t VALUES (1)")["nodes"][0]["node_type"] == "ModifyTable"
    done = explain(seen, "INSERT INTO t VALUES (1)", analyze=True, read_only=False)
    assert done["execution_ms"] is not None
    with login(seen.direct) as session:
        assert session.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_what_is_no_statement_to_explain_is_refused_with_the_reason(seen: Seen) -> None:
    assert "one statement" in refused(seen, "SELECT 1; SELECT 2")
    assert "one statement" in refused(seen, "-- nothing")
    assert "line 1" in refused(seen, "SELEC 1")
    # EXPLAIN ANALYZE would create these even in a read-only transaction.
    for sql in ("CREATE TABLE u AS SELECT 1", "SELECT 1 INTO u", "DROP TABLE t", "EXECUTE s"):
        assert "must be SELECT" in refused(seen, sql)
    assert "does not exist" in refused(seen, "SELECT * FROM nowhere")
    assert "too large" in refused(
        seen, "SELECT FROM pg_class WHERE relname = repeat('x', 10000000)"
    )
    for body in ({}, {"sql": ""}, {"sql": "SELECT 1", "timeout_ms": 0}, {"sql": "\x00"}):
        assert seen.api.post(f"{seen.path}/explain", json=body).status_code == 422


def test_a_statement_that_takes_too_long_is_ended(seen: Seen) -> None:
    assert "took longer" in refused(
        seen, "SELECT pg_sleep(3600)", 409, analyze=True, timeout_ms=200
    )
    do(
        seen.direct,
        "CREATE FUNCTION stays() RETURNS int LANGUAGE plpgsql AS $$ BEGIN LOOP BEGIN"
        " PERFORM pg_sleep(3600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$",
    )
    assert "took longer" in refused(seen, "SELECT stays()", 409, analyze=True, timeout_ms=200)


def test_a_plan_is_made_with_the_rights_of_the_tenant(seen: Seen, platform: Installation) -> None:
    assert "permission denied" in refused(seen, "SELECT rolpassword FROM pg_authid", analyze=True)
    do(
        seen.direct,
        "CREATE FUNCTION escape() RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
        " EXECUTE 'RESET ROLE'; EXECUTE 'SET LOCAL row_security = off';"
        " RETURN (SELECT rolpassword FROM pg_authid LIMIT 1); END $$",
    )
    assert "permission denied" in refused(seen, "SELECT escape()", analyze=True)
    visitors = "SELECT FROM pg_roles WHERE starts_with(rolname, 'tenantry_visitor_')"
    with platform.superuser() as server:  # others come and go all the time
        eventually(lambda: server.execute(visitors).fetchall() == [])
