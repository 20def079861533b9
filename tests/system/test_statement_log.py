"""An owner has statements logged: all of its own, none of others', none forged, and no secret."""

import json
import os
import signal
import socket
import struct
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any, LiteralString

import httpx
import psycopg
import pytest

from answers import data, problem
from browsing import visiting
from clients import ENDPOINTS, ask, changed, do, eventually, login, port_of
from harness import Installation

SECRET = "s3cr3t_W0rd"
NOTHING = {"statements": "none", "min_duration_ms": None, "errors": False, "keep_days": None}
OFF = NOTHING | {"paused_until": None}


class Logged:
    """A database whose statements are logged."""

    def __init__(self, api: httpx.Client, made: dict[str, Any]) -> None:
        self.api = api
        self.made = made
        self.path = f"/api/databases/{made['id']}/logs"

    def set(self, **wanted: object) -> dict[str, Any]:
        reported: dict[str, Any] = data(self.api.put(f"{self.path}/settings", json=wanted))
        return reported

    def entries(self, **asked: str) -> list[dict[str, Any]]:
        """All entries, the oldest first."""
        found: list[dict[str, Any]] = data(self.api.get(self.path, params={"limit": 1000, **asked}))
        return found[::-1]

    def statements(self, **asked: str) -> list[str]:
        return [each["statement"] for each in self.entries(**asked)]

    def wait_for(self, text: str) -> list[dict[str, Any]]:
        """All entries, once one has this in its statement."""
        eventually(lambda: any(text in (each or "") for each in self.statements()))
        return self.entries()


@pytest.fixture
def logged(platform: Installation, api: httpx.Client) -> Logged:
    return Logged(api, platform.create(ownerEmail=f"o{uuid.uuid4().hex[:8]}@example.com"))


def texts_of_logs(platform: Installation) -> str:
    logs = (platform.home / "logs").iterdir()
    return "".join(path.read_text(errors="replace") for path in logs)


def test_statements_and_errors_are_logged_as_the_owner_says(logged: Logged) -> None:
    url, pooled = (
        changed(logged.made[endpoint], application_name="shop") for endpoint in ENDPOINTS
    )
    assert data(logged.api.get(f"{logged.path}/settings")) == OFF
    do(pooled, "CREATE TABLE before (id int)")
    wanted = OFF | {"statements": "ddl", "errors": True}
    assert logged.set(statements="ddl", errors=True) == wanted
    assert data(logged.api.get(f"/api/databases/{logged.made['id']}"))["log"] == wanted
    with login(url) as session:
        session.execute("CREATE TABLE t (id int PRIMARY KEY)")
        session.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            session.execute("INSERT INTO t VALUES (%s)", (1,))
    do(pooled, "CREATE TABLE u (id int)")
    do(logged.made["shadow_database_url"], "CREATE TABLE last (id int)")
    first, error, through_pooler, shadow = logged.wait_for("last")
    assert first["statement"] == "CREATE TABLE t (id int PRIMARY KEY)"
    assert (first["kind"], first["role"]) == ("statement", logged.made["username"])
    assert (first["application"], first["client_address"]) == ("shop", "127.0.0.1")
    assert (error["kind"], error["sqlstate"]) == ("error", "23505")
    assert error["statement"] == "INSERT INTO t VALUES ($1)"
    assert "duplicate key" in error["message"]
    assert through_pooler["statement"] == "CREATE TABLE u (id int)"
    assert through_pooler["client_address"] is None
    assert shadow["database_name"] == f"{logged.made['database_name']}_shadow"


def test_durations_are_logged_and_entries_come_in_pages(
    platform: Installation, logged: Logged
) -> None:
    logged.set(statements="mod", minDurationMs=0, errors=True)
    with login(logged.made["connection_string"]) as session:
        session.execute("CREATE TABLE t (id int PRIMARY KEY)")
        with pytest.raises(psycopg.errors.UndefinedTable):
            session.execute("SELECT * FROM nowhere")
        session.execute("INSERT INTO t VALUES (2)")
        session.execute("SELECT 'last of all'")
    *_, error, change, took, last = logged.wait_for("last of all")
    assert change["statement"] == "INSERT INTO t VALUES (2)"
    assert (took["kind"], took["statement"]) == ("duration", None)
    assert took["session_id"] == change["session_id"]
    assert took["duration_ms"] > 0
    assert last["duration_ms"] > 0

    assert logged.entries(kind="error") == [error]
    assert error not in logged.entries(until=error["time"])
    assert logged.entries(since=change["time"])[-3:] == [change, took, last]
    page = logged.api.get(logged.path, params={"limit": 2}).json()
    assert page["data"] == [last, took]
    older = data(logged.api.get(logged.path, params={"cursor": page["next_cursor"], "limit": 1}))
    assert older == [change]
    assert data(logged.api.get(logged.path, params={"after": change["id"]})) == [took, last]

    name = logged.made["id"]
    printed = platform.tenantry("db", "logs", name, "-n", "2", "--json").stdout
    assert [json.loads(each) for each in printed.splitlines()] == [took, last]
    assert "INSERT INTO t" in platform.tenantry("db", "logs", name).stdout


def test_it_is_switched_on_and_off_and_the_audit_shows(
    platform: Installation, logged: Logged
) -> None:
    url, name = logged.made["connection_string"], logged.made["id"]
    reported = platform.tenantry("db", "log-settings", name, "--statements", "ddl", "--json").stdout
    on = {**OFF, "statements": "ddl"}
    assert json.loads(reported) == on
    assert "statements: ddl" in platform.tenantry("db", "show", name).stdout
    do(url, "CREATE TABLE a (id int)")
    logged.wait_for("TABLE a")
    reported = platform.tenantry("db", "log-settings", name, "--off", "--json").stdout
    assert json.loads(reported) == OFF
    assert "statements:" not in platform.tenantry("db", "show", name).stdout
    do(url, "CREATE TABLE quiet (id int)")
    logged.set(statements="ddl")
    do(url, "CREATE TABLE loud (id int)")
    assert [each["statement"] for each in logged.wait_for("loud")] == [
        "CREATE TABLE a (id int)", "CREATE TABLE loud (id int)",
    ]  # fmt: skip
    logged.set(statements="ddl")  # which changes nothing
    rows = data(logged.api.get("/api/audit-logs", params={"resource_id": name, "limit": 100}))
    found = [each["details"] for each in rows if each["action"] == "database.log_settings"]
    ddl = NOTHING | {"statements": "ddl"}
    assert found == [
        {"from": NOTHING, "to": ddl}, {"from": ddl, "to": NOTHING}, {"from": NOTHING, "to": ddl}
    ]  # fmt: skip


def test_the_platforms_own_statements_are_left_out_and_those_that_it_runs_are_attributed(
    platform: Installation, logged: Logged
) -> None:
    name, path = logged.made["id"], logged.path.removesuffix("/logs")
    logged.set(statements="all", errors=True)
    data(logged.api.get(f"{path}/advice"))
    data(logged.api.get(f"{path}/tables"))
    data(logged.api.post(f"{path}/explain", json={"sql": "SELECT 1"}))
    platform.tenantry("backup", "create", name)
    platform.tenantry("sql", name, "-c", "SELECT 'by a caller'")
    with visiting(platform, platform.key) as visitor:
        assert visitor.http.post(f"/databases/{name}/sql", data={"sql": "SELECT 'seen'"}).is_success
    do(changed(logged.made["connection_string"], application_name="shop"), "SELECT 'last of all'")
    found = {(each.get("application"), each["statement"]) for each in logged.wait_for("last of")}
    assert {application for application, _ in found} == {
        "shop",
        "tenantry console",
        "tenantry sql",
    }
    assert ("tenantry sql", "SELECT 'by a caller'") in found
    assert ("tenantry console", "SELECT 'seen'") in found


def test_bad_settings_and_places_are_refused(logged: Logged) -> None:
    for body in ({"statements": "some"}, {"min_duration_ms": -1}, {"errors": "yes"}, {"x": 1}):
        assert logged.api.put(f"{logged.path}/settings", json=body).status_code == 422
    for field in ("cursor", "after"):
        reported = problem(logged.api.get(logged.path, params={field: "../1"}), 422)
        assert reported["errors"][0]["field"] == field


def test_only_its_owner_reads_and_sets_it(platform: Installation, logged: Logged) -> None:
    logged.set(statements="all")
    do(logged.made["connection_string"], "SELECT 'mine'")
    logged.wait_for("mine")

    def key(scopes: list[str], email: str | None) -> str:
        asked = {"name": "x", "scopes": scopes} | ({"customer_email": email} if email else {})
        return str(data(logged.api.post("/api/api-keys", json=asked), 201)["key"])

    scopes = ["audit:read", "databases:read", "databases:write"]
    with platform.client(key(scopes, logged.made["owner_email"])) as owner:
        assert any("mine" in each["statement"] for each in data(owner.get(logged.path)))
        data(owner.put(f"{logged.path}/settings", json={"statements": "ddl"}))
    with platform.client(key(scopes, "other@example.com")) as other:
        problem(other.get(logged.path), 404)
        problem(other.get(f"{logged.path}/settings"), 404)
        problem(other.put(f"{logged.path}/settings", json={}), 404)
    with platform.client(key(["databases:read"], logged.made["owner_email"])) as reader:
        problem(reader.get(logged.path), 403)
        problem(reader.put(f"{logged.path}/settings", json={}), 403)
        data(reader.get(f"{logged.path}/settings"))
    assert platform.get(logged.path).status_code == 401


TENANTS: list[LiteralString] = [
    "SET log_statement = 'none'",
    "SET log_min_duration_statement = -1",
    "SET log_min_messages = fatal",
    "SET log_min_error_statement = panic",
    "SET log_error_verbosity = terse",
    "SET log_parameter_max_length = -1",
    "SET log_duration = on",
    "ALTER ROLE CURRENT_USER SET log_statement = 'none'",
    "ALTER ROLE CURRENT_USER RESET log_statement",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_statement = none', current_database());"
    " END $$",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET ALL', current_database()); END $$",
    "SELECT set_config('log_statement', 'none', false)",
    "DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET log_statement = none',"
    " current_database()); END $$",
]


def test_a_tenant_changes_nothing_about_it(logged: Logged) -> None:
    logged.set(statements="ddl")
    with login(logged.made["connection_string"]) as session:
        for statement in TENANTS:
            try:
                session.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                continue
            # Of its own settings there are none, and the platform's stay.
            assert statement.endswith("RESET log_statement"), statement
        session.execute("CREATE TABLE still (id int)")
    do(logged.made["connection_string"], "CREATE TABLE last (id int)")
    logged.wait_for("last")
    assert any("still" in each for each in logged.statements())


FORGED = "DROP TABLE forged"
RAISES: LiteralString = """
    CREATE TABLE r (id int);
    CREATE FUNCTION raise_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE LOG E'statement: DROP TABLE forged';
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER late AFTER INSERT ON r DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION raise_it();
"""


def test_nobody_forges_an_entry(platform: Installation, logged: Logged) -> None:
    neighbour = platform.create()
    logged.set(statements="ddl", errors=True)
    entry = json.dumps(
        {
            "timestamp": "2026-11-29 11:00:00.000 UTC", "user": logged.made["username"],
            "dbname": logged.made["database_name"], "ps": "idle", "error_severity": "LOG",
            "message": f"statement: {FORGED}", "func_name": "exec_simple_query",
            "file_name": "postgres.c",
        }
    )  # fmt: skip
    words = (entry, f"\n{entry}\n", f'"}}\n{entry}\n{{"x":"')
    other = Logged(logged.api, neighbour)
    other.set(statements="all", errors=True)
    # A neighbour, in its own texts, names and messages.
    for word in words:
        with login(changed(neighbour["connection_string"], application_name=word)) as session:
            session.execute("SELECT %s::text", (word,))
            session.execute("DO {}".format(f"$x$ BEGIN RAISE LOG $y${word}$y$; END $x$").encode())
            session.execute(f"SELECT 1 /* {word} */".encode())
            with pytest.raises(psycopg.errors.RaiseException):
                session.execute(f"DO $x$ BEGIN RAISE EXCEPTION $y${word}$y$; END $x$".encode())
    # Somebody who has not logged in, with any name.
    for word in words:
        name = word[:63].encode().replace(b"\0", b"")
        database = logged.made["database_name"].encode()
        body = b"user\0" + name + b"\0database\0" + database + b"\0\0"
        port = port_of(neighbour["connection_string"])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as here:
            here.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
            here.recv(4096)
    # An application's user in the database itself: not even at a commit without a statement.
    url = logged.made["connection_string"]
    do(url, RAISES)
    with login(url) as session:
        session.execute(f"DO $$ BEGIN RAISE LOG 'statement: {FORGED}'; END $$".encode())
        with session.pipeline():
            session.execute("INSERT INTO r VALUES (%s)", (1,))
    do(url, "CREATE TABLE last (id int)")
    found = logged.wait_for("CREATE TABLE last")
    assert [each["statement"] for each in found] == [RAISES, "CREATE TABLE last (id int)"]
    assert {each["role"] for each in found} == {logged.made["username"]}
    do(neighbour["connection_string"], "SELECT 'last'")
    others = other.wait_for("'last'")
    assert FORGED not in {each["statement"] for each in others}
    assert {each["database_name"] for each in others} == {neighbour["database_name"]}


def test_secrets_reach_neither_the_entries_nor_stay_in_the_servers_log(
    platform: Installation, logged: Logged
) -> None:
    logged.set(statements="all", minDurationMs=0, errors=True)
    with login(logged.made["connection_string"]) as session:
        session.execute(f"SET app.token = {SECRET}".encode())
        session.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{SECRET}'".encode())
        session.execute(f"SELECT set_config('app.key', '{SECRET}', false)".encode())
        session.execute("SELECT %s::text", (SECRET,))
        session.execute("SELECT %s::text", (SECRET,), prepare=True)
        for bad in (
            f'ALTER ROLE CURRENT_USER PASSWORD "{SECRET}"',
            f"ALTER ROLE CURRENT_USER PASSWORD {SECRET}",
            f"ALTER ROLE CURRENT_USER PASSWORD '{SECRET}",
            f"ALTER ROLE no_such_role PASSWORD '{SECRET}'",
        ):
            with pytest.raises(psycopg.DatabaseError):
                session.execute(bad.encode())
        session.execute("SELECT 'last'")
    found = logged.wait_for("'last'")
    assert SECRET not in json.dumps(found)
    statements = [each["statement"] for each in found]
    assert "SET app.token = '***'" in statements
    assert "ALTER ROLE CURRENT_USER PASSWORD '***'" in statements
    assert "SELECT $1::text" in statements
    assert "ALTER ROLE no_such_role PASSWORD '***'" in statements
    assert SECRET not in texts_of_logs(platform)
    for path in (platform.home / "statements").rglob("*.json*"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert SECRET not in path.read_text()


def test_entries_go_with_their_database_and_a_branch_has_none(
    platform: Installation, logged: Logged
) -> None:
    logged.set(statements="all")
    do(logged.made["connection_string"], "SELECT 'mine'")
    logged.wait_for("mine")
    answer = logged.api.post(f"/api/databases/{logged.made['id']}/branches", json={"name": "b"})
    branch = data(answer, 202)
    operation = branch["operation"]["id"]
    eventually(
        lambda: data(logged.api.get(f"/api/operations/{operation}"))["status"] == "succeeded"
    )
    assert branch["log"] == OFF
    do(branch["connection_string"], "SELECT 'of the branch'")
    do(logged.made["connection_string"], "SELECT 'last'")
    logged.wait_for("'last'")
    assert data(logged.api.get(f"/api/databases/{branch['id']}/logs")) == []
    assert not any("of the branch" in (each or "") for each in logged.statements())
    with platform.superuser() as server:
        row = server.execute(
            "SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
            " WHERE d.datname = %s AND array_to_string(setconfig, ' ') LIKE '%%log\\_%%'",
            (branch["database_name"],),
        ).fetchone()
    assert row == (0,)


@pytest.fixture
def numbering(logged: Logged) -> Iterator[list[int]]:
    """Numbers, of each of which the database has had a statement."""
    done: list[int] = []
    over = threading.Event()

    def work() -> None:
        with login(logged.made["connection_string"]) as session:
            while not over.wait(0.005):  # so that all of them are within the bounds
                session.execute(f"SELECT 'number {len(done)}'".encode())
                done.append(len(done))

    logged.set(statements="all")
    thread = threading.Thread(target=work)
    thread.start()
    yield done
    over.set()
    thread.join()


def test_a_worker_that_is_killed_loses_no_entry_and_repeats_none(
    platform: Installation, logged: Logged, numbering: list[int]
) -> None:
    def has_another(worker: int) -> bool:
        return platform.pids().get("worker", worker) != worker

    for _ in range(2):
        worker = platform.pids()["worker"]
        before = len(numbering)
        logged.wait_for(f"number {before}'")
        os.kill(worker, signal.SIGKILL)
        eventually(partial(has_another, worker))
    last = len(numbering)
    eventually(lambda: len(numbering) > last)

    def numbers() -> list[int]:
        found: list[int] = []
        after = "00000000-00000000"
        while rows := data(logged.api.get(logged.path, params={"after": after, "limit": 1000})):
            after = rows[-1]["id"]
            found += [
                int(each["statement"].split()[2].strip("'"))
                for each in rows
                if "number" in each["statement"]
            ]
        return found

    eventually(lambda: last in numbers())
    found = numbers()
    assert found == list(range(len(found)))


def test_who_floods_the_log_is_not_logged_for_a_while(
    platform: Installation, logged: Logged
) -> None:
    neighbour = Logged(logged.api, platform.create())
    neighbour.set(statements="all")
    logged.set(statements="all", keepDays=30)
    large = f"SELECT length('{'x' * 300_000}')".encode()

    def is_paused() -> bool:
        do(neighbour.made["connection_string"], "SELECT 'a neighbour''s'")
        with login(logged.made["connection_string"]) as session:
            try:
                for _ in range(10):
                    session.execute(large)
            except psycopg.OperationalError:
                pass  # its sessions are ended: they would go on
        return data(logged.api.get(f"{logged.path}/settings"))["paused_until"] is not None

    eventually(is_paused)
    eventually(lambda: logged.entries(kind="notice"))
    assert "100 kB/s" in logged.entries(kind="notice")[-1]["message"]
    settings = data(logged.api.get(f"{logged.path}/settings"))
    assert (settings["statements"], settings["keep_days"]) == ("all", 30)
    row = data(logged.api.get(f"/api/databases/{logged.made['id']}"))
    assert row["paused"] is None
    do(logged.made["connection_string"], "SELECT 'meanwhile'")
    audit = data(logged.api.get("/api/audit-logs", params={"resource_id": row["id"], "limit": 100}))
    assert [each["action"] for each in audit].count("database.log_paused") == 1
    cut = [each for each in logged.entries() if each["truncated"]]
    assert cut[0]["statement"].startswith("SELECT length('xxx")
    assert ask(logged.made["connection_string"]) == 1
    assert data(neighbour.api.get(f"{neighbour.path}/settings"))["paused_until"] is None
    do(neighbour.made["connection_string"], "SELECT 'last'")
    neighbour.wait_for("'last'")
    assert any("a neighbour" in (each or "") for each in neighbour.statements())

    with platform.control() as control:  # a minute later
        control.execute(
            "UPDATE databases SET log_paused_until = now() WHERE id = %s", (logged.made["id"],)
        )
    eventually(lambda: "resumed" in logged.entries(kind="notice")[-1]["message"])
    assert data(logged.api.get(f"{logged.path}/settings"))["paused_until"] is None

    def is_logged(endpoint: str) -> bool:
        do(logged.made[endpoint], f"SELECT 'again, {endpoint}'")
        return any(f"again, {endpoint}'" in (each or "") for each in logged.statements())

    for endpoint in ENDPOINTS:  # of pooled clients once their pool is renewed
        eventually(partial(is_logged, endpoint))
    assert not any("meanwhile" in (each or "") for each in logged.statements())


def test_entries_are_shown_for_the_days_that_they_are_kept(
    platform: Installation, logged: Logged
) -> None:
    logged.set(statements="all")
    do(logged.made["connection_string"], "SELECT 'of today'")
    logged.wait_for("of today")
    (path,) = (platform.home / "statements" / logged.made["id"]).iterdir()
    old = {"time": "2026-01-01T00:00:00+00:00", "kind": "statement", "statement": "SELECT 'old'"}
    path.write_text(f"{json.dumps(old)}\n{path.read_text()}")
    assert "SELECT 'old'" in logged.statements()
    name = logged.made["id"]
    platform.tenantry("db", "log-settings", name, "--keep-days", "1")
    assert "SELECT 'old'" not in logged.statements()
    assert any("of today" in (each or "") for each in logged.statements())
    shown = platform.tenantry("db", "log-settings", name, "--keep-days", "0", "--json").stdout
    assert json.loads(shown)["keep_days"] is None
    platform.tenantry("db", "log-settings", name, "--off", "--json")
