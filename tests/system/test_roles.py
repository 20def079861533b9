"""Additional roles of a database, through the product's endpoints."""

import contextlib
from typing import Any

import httpx
import psycopg
import pytest
from test_allowlist import V4, relay

from answers import data, problem
from clients import CLOSED, ENDPOINTS, ask, changed, do, eventually, is_open, login, refusal
from harness import Installation

Row = dict[str, Any]


def make(api: httpx.Client, database: Row, name: str = "reporting", **asked: object) -> Row:
    answer = api.post(f"/api/databases/{database['id']}/roles", json={"name": name, **asked})
    role: Row = data(answer, 201)
    return role


def path(role: Row, end: str = "") -> str:
    return f"/api/databases/{role['database_id']}/roles/{role['id']}{end}"


@pytest.fixture
def database(platform: Installation) -> Row:
    made = platform.create(maxConnections=20)
    do(made["connection_string"], "CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    return made


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_reader_reads_and_does_not_write(api: httpx.Client, database: Row, endpoint: str) -> None:
    role = make(api, database)
    assert role["username"] == f"{database['username']}_reporting"
    assert (role["access"], role["max_connections"]) == ("read_only", 10)
    do(database["connection_string"], "CREATE SCHEMA s CREATE TABLE later (i int)")
    assert ask(role[endpoint], "SELECT i FROM t") == 1
    assert ask(role[endpoint], "SELECT count(*) FROM s.later") == 0
    with login(role[endpoint]) as session, session.transaction():
        session.execute("SET TRANSACTION READ WRITE")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("INSERT INTO t VALUES (2)")
    shadow = f"{database['database_name']}_shadow"
    assert "permission denied" in refusal(changed(role[endpoint], dbname=shadow))
    assert CLOSED[endpoint] in refusal(changed(role[endpoint], dbname="postgres"))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_writer_writes(api: httpx.Client, database: Row, endpoint: str) -> None:
    role = make(api, database, "app", access="read_write", maxConnections=5)
    do(role[endpoint], "INSERT INTO t VALUES (2)")
    assert ask(database[endpoint], "SELECT sum(i) FROM t") == 3
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        do(role[endpoint], "CREATE TABLE mine (i int)")


def test_it_is_reported_without_its_password(api: httpx.Client, database: Row) -> None:
    role = make(api, database)
    reported = data(api.get(path(role)))
    assert reported == data(api.get(f"/api/databases/{database['id']}/roles"))[0]
    assert "password" not in reported
    assert role["password"] not in str(reported)
    assert reported["connection_string"] == role["connection_string"].replace(
        role["password"], "***"
    )
    log = api.get("/api/audit-logs", params={"resource_id": database["id"]})
    assert data(log)[0]["action"] == "role.create"
    assert role["password"] not in log.text
    again = api.post(f"/api/databases/{database['id']}/roles", json={"name": "reporting"})
    assert problem(again, 409)["code"] == "name_taken"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"name": ""},
        {"name": "Reporting"},
        {"name": "1st"},
        {"name": "a" * 31},
        {"name": "a_"},
        {"name": 'a"; DROP ROLE x'},
        {"name": "ok", "access": "owner"},
        {"name": "ok", "max_connections": 0},
        {"name": "ok", "max_connections": 21},
        {"name": "ok", "more": 1},
    ],
)
def test_what_cannot_be_is_refused(api: httpx.Client, database: Row, asked: Row) -> None:
    problem(api.post(f"/api/databases/{database['id']}/roles", json=asked), 422)
    assert data(api.get(f"/api/databases/{database['id']}/roles")) == []


def test_a_foreign_role_is_no_role(
    platform: Installation, api: httpx.Client, database: Row
) -> None:
    role, other = make(api, database), platform.create()
    foreign = f"/api/databases/{other['id']}/roles/{role['id']}"
    for method, url in (("GET", foreign), ("DELETE", foreign), ("GET", f"{foreign}x")):
        assert problem(api.request(method, url), 404)["detail"] == "This database has no such role."
    assert ask(role["connection_string"]) == 1


def test_a_repeat_under_the_same_key_shows_the_same_password(
    api: httpx.Client, database: Row
) -> None:
    url, key = f"/api/databases/{database['id']}/roles", {"Idempotency-Key": database["id"]}
    first = api.post(url, json={"name": "once"}, headers=key)
    again = api.post(url, json={"name": "once"}, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert data(first, 201) == data(again, 201)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_new_password_takes_the_place_of_the_old_one(
    api: httpx.Client, database: Row, endpoint: str
) -> None:
    role = make(api, database)
    with login(role[endpoint]) as before:
        new = data(api.post(path(role, "/rotate-password")))
        assert new["password"] != role["password"]
        assert is_open(before)
    assert "authentication failed" in refusal(role[endpoint])
    assert ask(new[endpoint]) == 1
    assert ask(database[endpoint]) == 1


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_deleted_role_is_gone_with_its_sessions(
    platform: Installation, api: httpx.Client, database: Row, endpoint: str
) -> None:
    role = make(api, database, "app", access="read_write")
    with login(role[endpoint]) as session, login(database[endpoint]) as beside:
        session.execute("SELECT lo_create(0)")
        assert data(api.delete(path(role)))["status"] == "deleted"
        assert not is_open(session)
        assert is_open(beside)
    refusal(role[endpoint], seconds=20)
    problem(api.get(path(role)), 404)
    assert role["username"] not in platform.inventory()[0]
    # Its name is free again, and what comes now has nothing of what was.
    make(api, database, "app")


@pytest.mark.parametrize("endpoint", ["direct", "pooled"])
def test_the_allowlist_holds_for_all_roles(
    platform: Installation, api: httpx.Client, database: Row, endpoint: str
) -> None:
    here, there = V4
    early = make(api, database, "early")
    url = f"/api/databases/{database['id']}/whitelist"
    string = "connection_string" if endpoint == "direct" else "connection_string_pooled"
    with contextlib.ExitStack() as stack:
        near = stack.enter_context(relay(platform, here, endpoint))
        far = stack.enter_context(relay(platform, there, endpoint))

        def through(role: Row, port: int) -> str:
            return changed(role[string], host="127.0.0.1", port=str(port))

        open_far = stack.enter_context(login(through(early, far)))
        entry = data(api.post(url, json={"ipAddress": here}), 201)
        assert not is_open(open_far)
        late = make(api, database, "late")
        for role in (early, late):
            assert ask(through(role, near)) == 1
            refusal(through(role, far))
        open_near = stack.enter_context(login(through(late, near)))
        api.put(url, json={"entries": [{"ipAddress": "192.0.2.1"}]}).raise_for_status()
        assert not is_open(open_near)
        refusal(through(late, near))
        api.put(url, json={"entries": []}).raise_for_status()
        for role in (early, late):
            assert ask(through(role, far)) == 1
    assert entry["ip_address"] == f"{here}/32"


def test_all_roles_together_have_the_databases_connections(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create(maxConnections=3)
    role = make(api, database, maxConnections=2)
    with contextlib.ExitStack() as stack:
        for url in (role["connection_string"],) * 2:
            stack.enter_context(login(url))
        assert "too many connections for role" in refusal(role["connection_string"])
        stack.enter_context(login(database["connection_string"]))
        assert "too many connections for database" in refusal(database["connection_string"])
        more = api.patch(f"/api/databases/{database['id']}", json={"maxConnections": 4})
        assert data(more)["max_connections"] == 4
        stack.enter_context(login(database["connection_string"]))
        assert "too many connections for database" in refusal(database["connection_string"])
    assert data(api.patch(path(role), json={"maxConnections": 1}))["max_connections"] == 1
    with login(role["connection_string"]):
        assert "too many connections for role" in refusal(role["connection_string"])


def test_what_a_hand_removes_is_made_again_and_what_it_adds_goes(
    platform: Installation, api: httpx.Client, database: Row
) -> None:
    role = make(api, database)
    unmanaged = f"{database['username']}_unmanaged"
    with platform.superuser() as server:
        server.execute(f"CREATE ROLE {unmanaged} LOGIN".encode())
        server.execute(
            f"REVOKE CONNECT ON DATABASE {database['database_name']}"
            f" FROM {role['username']}".encode()
        )
        server.execute(f"ALTER ROLE {role['username']} CONNECTION LIMIT -1".encode())
    assert "permission denied" in refusal(role["connection_string"])

    platform.reconcile()
    with platform.superuser() as server:
        limit = server.execute(
            "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", (role["username"],)
        ).fetchone()
    assert limit == (10,)
    assert unmanaged not in platform.inventory()[0]
    assert ask(role["connection_string"], "SELECT i FROM t") == 1


def test_a_database_goes_with_its_roles(
    platform: Installation, api: httpx.Client, database: Row
) -> None:
    role = make(api, database)
    with login(role["connection_string"]) as session:
        api.delete(f"/api/databases/{database['id']}").raise_for_status()
        eventually(lambda: database["username"] not in platform.inventory()[0])
        assert not is_open(session)
    assert role["username"] not in platform.inventory()[0]


def test_a_customers_key_reaches_its_own_databases_roles_only(
    platform: Installation, api: httpx.Client
) -> None:
    keys = [
        data(
            api.post(
                "/api/api-keys",
                json={
                    "name": "own",
                    "scopes": ["databases:read", "databases:write"],
                    "customerEmail": f"{name}@example.com",
                },
            ),
            201,
        )["key"]
        for name in ("ann", "bob")
    ]
    with platform.client(keys[0]) as ann, platform.client(keys[1]) as bob:
        database = data(ann.post("/api/databases", json={"friendlyName": "Ann's"}), 201)
        api.post(
            f"/api/databases/{database['id']}/whitelist", json={"ipAddress": "127.0.0.1"}
        ).raise_for_status()
        role = make(ann, database)
        assert ask(role["connection_string"]) == 1
        new = data(ann.post(path(role, "/rotate-password")))
        assert ask(new["connection_string"]) == 1
        for answer in (
            bob.get(f"/api/databases/{database['id']}/roles"),
            bob.get(path(role)),
            bob.delete(path(role)),
            bob.post(path(role, "/rotate-password")),
        ):
            problem(answer, 404)
        assert data(ann.delete(path(role)))["status"] == "deleted"


def test_the_command_line(platform: Installation, database: Row) -> None:
    name = database["database_name"]
    made = platform.tenantry("role", "create", name, "reporting")
    assert f"{database['username']}_reporting" in made.stdout
    assert "reporting" in platform.tenantry("role", "list", name).stdout
    platform.tenantry("role", "rotate-password", name, "reporting")
    platform.tenantry("role", "delete", name, "reporting")
    assert "one login" in platform.tenantry("role", "list", name).stderr
    missing = platform.tenantry("role", "delete", name, "reporting", check=False)
    assert (missing.returncode, "has no role called" in missing.stderr) == (1, True)
