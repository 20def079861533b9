"""Enabling the REST API of a database: keys, logins and what is left when it is disabled."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import psycopg
import pytest

from answers import data, problem
from clients import changed, do, eventually, login
from harness import Installation
from imported import ended
from tenantry.base.secrets import Seal

Row = dict[str, Any]
SHARED = ("anon", "authenticated", "service_role")


def path(database: Row, end: str = "") -> str:
    return f"/api/databases/{database['id']}/data-api{end}"


@pytest.fixture
def database(platform: Installation) -> Row:
    made = platform.create(maxConnections=20)
    do(made["connection_string"], "CREATE TABLE todos (id int); INSERT INTO todos VALUES (1)")
    return made


@pytest.fixture
def enabled(api: httpx.Client, database: Row) -> Row:
    found: Row = data(api.put(path(database), json={}))
    return found


def as_service(platform: Installation, database: Row) -> psycopg.Connection[Any]:
    """A session as the service opens it: by the pooler's socket, with the sealed password."""
    with platform.control() as control:
        row = control.execute(
            "SELECT authenticator, password, database_id FROM data_apis WHERE database_id = %s",
            (database["id"],),
        ).fetchone()
    assert row
    seal = Seal((platform.home / "seal.key").read_bytes())
    password = seal.open(row[1], owner=row[2].bytes + b"password")
    assert password
    return psycopg.connect(
        host=str(platform.home / "run" / "pooler"),
        port=platform.pool_port,
        user=row[0],
        dbname=database["database_name"],
        password=password.reveal(),
        autocommit=True,
    )


def claims(key: str, secret: str) -> Row:
    return jwt.decode(key, secret, algorithms=["HS256"])


def test_it_answers_once_it_is_enabled(enabled: Row) -> None:
    key = {"apikey": enabled["anon_key"]}
    assert httpx.get(f"{enabled['rest_url']}/todos", headers=key).status_code == 401


def test_the_keys_are_shown_once(api: httpx.Client, database: Row, enabled: Row) -> None:
    assert enabled["rest_url"].endswith(f"/{database['database_name']}/rest/v1")
    secret = enabled["jwt_secret"]
    assert len(secret) == 64
    for name in ("anon", "service_role"):
        found = claims(enabled[f"{name}_key"], secret)
        assert (found["role"], found["ref"]) == (name, database["database_name"])
        assert found["exp"] - found["iat"] == dt.timedelta(days=3652).total_seconds()
    shown = api.get(path(database))
    assert data(shown)["schemas"] == ["public"]
    again = data(api.put(path(database), json={"open": True, "max_rows": None}))
    assert (again["jwt_secret"], again["anon_key"], again["open"]) == (None, None, True)
    log = api.get("/api/audit-logs", params={"resource_id": database["id"]})
    assert [each["action"] for each in data(log)[:2]] == ["data_api.update", "data_api.enable"]
    for answer in (shown, log):
        assert secret not in answer.text
        assert enabled["anon_key"] not in answer.text


def test_a_repeat_under_the_same_key_shows_the_same_keys(api: httpx.Client, database: Row) -> None:
    key = {"Idempotency-Key": database["id"]}
    first, again = (api.put(path(database), json={}, headers=key) for _ in range(2))
    assert again.headers["idempotency-replayed"] == "true"
    assert data(first) == data(again)


def test_its_login_takes_the_roles_that_tokens_name(
    platform: Installation, api: httpx.Client, database: Row, enabled: Row
) -> None:
    assert enabled
    role = data(api.post(f"/api/databases/{database['id']}/roles", json={"name": "reads"}), 201)
    do(database["connection_string"], "GRANT SELECT ON todos TO anon")
    with as_service(platform, database) as session:
        for name in ("anon", "service_role", role["username"]):
            with session.transaction():
                session.execute("SELECT set_config('role', %s, true)", (name,))
                assert session.execute("SELECT id FROM todos").fetchall() == [(1,)]
        with session.transaction(), pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT set_config('role', %s, true)", (database["username"],))


@pytest.mark.parametrize("port", ["connection_string", "connection_string_pooled"])
def test_no_password_opens_its_login_to_the_network(
    platform: Installation, database: Row, enabled: Row, port: str
) -> None:
    """Code that runs as the login may change its own password."""
    assert enabled
    with as_service(platform, database) as session:
        session.execute("SET password_encryption = 'scram-sha-256'")
        session.execute("ALTER ROLE CURRENT_USER PASSWORD 'theirs'")
        name = f"{database['username']}__authenticator"
        with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry|login rejected"):
            login(changed(database[port], user=name, password="theirs"))


def test_what_requests_ran_is_shown_to_the_owner(
    platform: Installation, api: httpx.Client, database: Row, enabled: Row
) -> None:
    assert enabled
    do(database["connection_string"], "GRANT SELECT ON todos TO anon")
    with as_service(platform, database) as session, session.transaction():
        session.execute("SELECT set_config('role', 'anon', true)")
        session.execute("SELECT id AS of_a_request FROM todos")
        sessions = data(api.get(f"/api/databases/{database['id']}/sessions"))
        assert f"{database['username']}__authenticator" in {each["role"] for each in sessions}
    found = data(api.get(f"/api/databases/{database['id']}/queries?search=of_a_request"))
    assert [(each["calls"], each["rows"]) for each in found] == [(1, 1)]


def test_what_requests_made_is_backed_up_and_copied_at_once(
    platform: Installation, api: httpx.Client, database: Row, enabled: Row
) -> None:
    assert enabled

    def make() -> None:
        with as_service(platform, database) as session, session.transaction():
            session.execute("SELECT set_config('role', 'anon', true)")
            session.execute("SELECT lo_create(0)")

    make()
    backup = api.post(f"/api/databases/{database['id']}/backups", json={})
    assert ended(api, data(backup, 202))["status"] == "succeeded"
    make()
    branch = data(api.post(f"/api/databases/{database['id']}/branches", json={"name": "b"}), 202)
    assert ended(api, branch["operation"])["status"] == "succeeded"
    do(
        branch["connection_string"],
        "SELECT lo_get(oid) FROM pg_largeobject_metadata WHERE lomowner = current_user::regrole",
    )


def test_rotation_has_an_overlap(
    platform: Installation, api: httpx.Client, database: Row, enabled: Row
) -> None:
    new = data(api.post(path(database, "/rotate"), json={"overlap_seconds": 60}))
    assert claims(new["anon_key"], new["jwt_secret"])["role"] == "anon"
    assert new["jwt_secret"] != enabled["jwt_secret"]
    assert data(api.get(path(database)))["previous_keys_until"] == new["previous_keys_until"]
    last = data(api.post(path(database, "/rotate"), json={"overlap_seconds": 0}))
    assert last["previous_keys_until"] is None
    token = data(api.post(path(database, "/tokens"), json={"sub": "ann"}), 201)
    found = claims(token["token"], last["jwt_secret"])
    assert (found["sub"], found["role"]) == ("ann", "authenticated")
    refused = api.post(path(database, "/tokens"), json={"role": database["username"]})
    assert problem(refused, 422)
    command = platform.tenantry("data-api", "token", database["id"], "--role", "anon")
    assert claims(command.stdout.strip(), last["jwt_secret"])["role"] == "anon"


@pytest.mark.parametrize(
    "asked",
    [
        {"schemas": []},
        {"schemas": ["pg_catalog"]},
        {"schemas": ["missing"]},
        {"jwks_url": "http://login.example.com/keys"},
        {"jwks_url": "https://me:secret@login.example.com/keys"},
        {"allowed_origins": ["app.example.com"]},
        {"jwt_secret": "short"},
        {"max_rows": 0},
        {"more": 1},
    ],
)
def test_what_cannot_be_is_refused(api: httpx.Client, database: Row, asked: Row) -> None:
    problem(api.put(path(database), json=asked), 422)
    problem(api.get(path(database)), 404)
    for end in ("/rotate", "/tokens"):
        problem(api.post(path(database, end), json={}), 404)
    problem(api.delete(path(database)), 404)


def test_disabling_it_leaves_what_was_granted(
    platform: Installation, api: httpx.Client, database: Row, enabled: Row
) -> None:
    assert enabled
    do(database["connection_string"], "GRANT SELECT ON todos TO anon")
    with as_service(platform, database) as session:
        session.execute("SELECT 1")
        assert data(api.delete(path(database)))["status"] == "disabled"
    problem(api.get(path(database)), 404)
    with platform.superuser() as server:
        name = f"{database['username']}__authenticator"
        assert server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchall() == []
    again = data(api.put(path(database), json={}))
    assert again["jwt_secret"] != enabled["jwt_secret"]
    with as_service(platform, database) as session, session.transaction():
        session.execute("SET LOCAL ROLE anon")
        assert session.execute("SELECT id FROM todos").fetchall() == [(1,)]


def test_reconciliation_restores_the_login_and_drops_one_that_nobody_wants(
    platform: Installation, api: httpx.Client, database: Row, enabled: Row
) -> None:
    assert enabled
    name = f"{database['username']}__authenticator"
    with platform.superuser() as server:
        server.execute(f'ALTER ROLE "{name}" PASSWORD NULL')
        server.execute(f'REVOKE anon FROM "{name}"')
    platform.reconcile()
    with as_service(platform, database) as session:
        session.execute("SET ROLE anon")
    with platform.control() as control:
        control.execute("DELETE FROM data_apis WHERE database_id = %s", (database["id"],))
    platform.reconcile()
    with platform.superuser() as server:
        assert server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchall() == []
    assert data(api.put(path(database), json={}))["jwt_secret"]
    log = data(api.get("/api/audit-logs", params={"resource_id": database["id"]}))
    assert "data_api.login_restored" in [each["action"] for each in log]


def test_a_branch_has_the_grants_and_no_api(
    platform: Installation, api: httpx.Client, database: Row, enabled: Row
) -> None:
    assert enabled
    do(
        database["connection_string"],
        "ALTER TABLE todos ENABLE ROW LEVEL SECURITY; GRANT SELECT ON todos TO anon;"
        " CREATE POLICY all_of_them ON todos TO anon USING (auth.uid() IS NULL)",
    )
    made = data(api.post(f"/api/databases/{database['id']}/branches", json={"name": "trial"}), 202)
    operation = f"/api/operations/{made['operation']['id']}"
    eventually(lambda: data(api.get(operation))["status"] not in {"queued", "running"})
    assert data(api.get(operation))["status"] == "succeeded"
    problem(api.get(path(made)), 404)
    data(api.put(path(made), json={}))
    with as_service(platform, made) as session, session.transaction():
        session.execute("SET LOCAL ROLE anon")
        assert session.execute("SELECT id FROM todos").fetchall() == [(1,)]


@pytest.fixture
def owner(platform: Installation, api: httpx.Client) -> Iterator[tuple[httpx.Client, Row]]:
    """A customer's key, and its database."""
    owned = platform.create(ownerEmail="api-owner@example.org")
    asked = {
        "name": "theirs",
        "scopes": ["databases:read", "databases:write"],
        "customer_email": owned["owner_email"],
    }
    with platform.client(data(api.post("/api/api-keys", json=asked), 201)["key"]) as client:
        yield client, owned


def test_owners_enable_their_own_and_see_no_neighbours(
    owner: tuple[httpx.Client, Row], database: Row, enabled: Row
) -> None:
    assert enabled
    client, owned = owner
    for method, end, body, answer in (
        ("PUT", "", {}, 200),
        ("GET", "", None, 200),
        ("POST", "/rotate", {}, 200),
        ("POST", "/tokens", {}, 201),
        ("DELETE", "", None, 200),
    ):
        data(client.request(method, path(owned, end), json=body), answer)
        problem(client.request(method, path(database, end), json=body), 404)
