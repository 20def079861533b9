"""API keys and the audit: who may do what, and what is reported of it afterwards."""

import contextlib
import datetime as dt
import hashlib
import os
import re
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import ask, eventually, login, refusal
from harness import Installation

UNKNOWN = "3f2b8d1e-5a0c-4c57-9d5e-6f0a4b7c8d90"


def in_(**span: float) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(**span)).isoformat()


def some_email() -> str:
    return f"c{uuid.uuid4().hex[:12]}@example.com"


def make_key(api: httpx.Client, *scopes: str, **asked: object) -> dict[str, Any]:
    answer = api.post("/api/api-keys", json={"name": "Test", "scopes": list(scopes), **asked})
    return dict(data(answer, 201))


@pytest.fixture
def as_key(platform: Installation, api: httpx.Client) -> Iterator[Callable[..., httpx.Client]]:
    """Makes a key and a client with it."""
    opened: list[httpx.Client] = []

    def make(*scopes: str, **asked: object) -> httpx.Client:
        opened.append(platform.client(make_key(api, *scopes, **asked)["key"]))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


def audit(api: httpx.Client, **wanted: str) -> list[dict[str, Any]]:
    return list(data(api.get("/api/audit-logs", params=wanted)))


# Customers


def test_a_mistyped_customer_becomes_no_new_one(api: httpx.Client) -> None:
    email = some_email()
    mistyped = email.replace("@", "x@")
    name = f"n{uuid.uuid4().hex[:8]}"
    requests: list[tuple[str, str, dict[str, object]]] = [
        ("/api/databases", "owner_email", {"name": name}),
        ("/api/users", "customer_email", {"email": f"ann-{email}"}),
        ("/api/api-keys", "customer_email", {"name": "Test", "scopes": ["audit:read"]}),
    ]
    make_key(api, "audit:read", customer_email=email)
    for path, field, body in requests:
        refused = api.post(path, json={**body, field: mistyped, "new_customer": False})
        reported = problem(refused, 422)
        assert reported["code"] == "unknown_customer"
        assert f"Did you mean {email}?" in reported["detail"]
        unknown = problem(api.get("/api/databases", params={"owner": mistyped}), 422)
        assert unknown["errors"][0]["field"] == "owner"
        made = api.post(path, json={**body, field: email, "new_customer": False})
        assert data(made, 201)[field] == email
    path, field, body = requests[0]
    made = api.post(path, json={**body, field: mistyped})
    assert data(made, 201)["owner_email"] == mistyped


# Keys


def test_a_new_key_is_reported_in_full_and_once(api: httpx.Client) -> None:
    expires, email = in_(days=1), some_email()
    made = make_key(
        api, "databases:write", "databases:read", name="CI", expires_at=expires, customerEmail=email
    )
    assert made["key"].startswith("tnt_")
    assert len(made["key"]) == len("tnt_") + 64
    assert made["prefix"] == made["key"][:12]
    assert (made["name"], made["scopes"]) == ("CI", ["databases:read", "databases:write"])
    assert dt.datetime.fromisoformat(made["expires_at"]) == dt.datetime.fromisoformat(expires)
    assert made["customer_email"] == email
    assert made["revoked_at"] is made["last_used_at"] is None
    listed = api.get("/api/api-keys")
    row = next(row for row in data(listed) if row["id"] == made["id"])
    assert row == {field: value for field, value in made.items() if field != "key"}
    assert made["key"] not in listed.text


def test_only_a_hash_is_kept(platform: Installation, api: httpx.Client) -> None:
    made = make_key(api, "databases:read")
    with platform.control() as control:
        row = control.execute("SELECT hash FROM api_keys WHERE id = %s", (made["id"],)).fetchone()
    assert row == (hashlib.sha256(made["key"].encode()).digest(),)


def test_keys_come_in_pages(api: httpx.Client) -> None:
    made = [make_key(api, "databases:read")["id"] for _ in range(5)]
    seen: list[str] = []
    query: dict[str, str] = {"limit": "2"}
    while len(seen) < 5:
        reported = api.get("/api/api-keys", params=query).json()
        seen += [row["id"] for row in reported["data"]]
        query["cursor"] = reported["next_cursor"]
    assert seen[:5] == made[::-1]


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_a_key_comes_in_either_header(
    platform: Installation, api: httpx.Client, header: str
) -> None:
    key = make_key(api, "databases:read")["key"]
    value = key if header == "X-API-Key" else f"Bearer {key}"
    with platform.anonymous() as client:
        data(client.get("/api/databases", headers={header: value}))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "tnt_" + "0" * 64},
        {"X-API-Key": "x" * 5000},
        {"X-API-Key": "' OR true --"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer tnt_wrong"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_without_a_good_key_there_is_nothing(
    platform: Installation, api: httpx.Client, headers: dict[str, str]
) -> None:
    with platform.anonymous() as client:
        answers = [
            client.get("/api/databases", headers=headers),
            client.post("/api/databases", headers=headers, json={"friendlyName": "No"}),
            client.delete(f"/api/databases/{UNKNOWN}", headers=headers),
            client.get("/api/pooler", headers=headers),
            client.get("/api/databases/%00%ff%0a", headers=headers),
        ]
    for answer in answers:
        reported = problem(answer, 401)
        assert reported["code"] == "unauthenticated"
        assert answer.headers["www-authenticate"] == "ApiKey"
    refused = audit(api, action="login", result="refused", limit="5")
    assert [row["request_id"] for row in refused] == [
        answer.json()["request_id"] for answer in reversed(answers)
    ]
    assert {row["address"] for row in refused} == {"127.0.0.1"}
    assert refused[-1]["details"]["request"] == "GET /api/databases"
    assert {row["actor_kind"] for row in refused} == {"anonymous"}


def test_every_route_of_the_api_asks_for_a_key(platform: Installation) -> None:
    with platform.anonymous() as client:
        paths = client.get("/openapi.json").json()["paths"]
        checked = 0
        for path, methods in paths.items():
            for method in methods:
                answer = client.request(method, re.sub("{.*?}", UNKNOWN, path))
                if path in {"/api/auth/login", "/api/auth/mfa"}:
                    problem(answer, 422)  # they ask for other proofs
                elif path.startswith("/api/"):
                    assert problem(answer, 401)["code"] == "unauthenticated", (method, path)
                    checked += 1
                else:
                    assert answer.status_code == 200, (method, path)
    assert checked >= 12


def test_an_expired_key_is_refused(platform: Installation, api: httpx.Client) -> None:
    made = make_key(api, "databases:read", expires_at=in_(seconds=4))
    with platform.client(made["key"]) as client:
        data(client.get("/api/databases"))
        eventually(lambda: client.get("/api/databases").status_code == 401)
    (row, *_) = audit(api, action="login", result="refused", resource_id=made["id"])
    assert row["details"]["reason"] == "expired"
    assert row["actor"] == "Test"


def test_a_revoked_key_is_refused_at_once(platform: Installation, api: httpx.Client) -> None:
    made = make_key(api, "databases:read")
    with platform.client(made["key"]) as client:
        data(client.get("/api/databases"))
        first = data(api.delete(f"/api/api-keys/{made['id']}"))
        assert first["revoked_at"] is not None
        problem(client.get("/api/databases"), 401)
    again = data(api.delete(f"/api/api-keys/{made['id']}"))
    assert again["revoked_at"] == first["revoked_at"]
    (row, *_) = audit(api, action="login", result="refused", resource_id=made["id"])
    assert row["details"]["reason"] == "revoked"
    revocations = audit(api, action="api_key.revoke", resource_id=made["id"])
    assert len(revocations) == 1


@pytest.mark.parametrize("expiry", ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "2030-01-01"])
def test_an_expiry_that_cannot_be_is_refused(api: httpx.Client, expiry: str) -> None:
    asked = {"name": "Test", "scopes": ["databases:read"], "expires_at": expiry}
    reported = problem(api.post("/api/api-keys", json=asked), 422)
    assert [error["field"] for error in reported["errors"]] == ["expires_at"]


def test_last_use_is_noted(platform: Installation, api: httpx.Client) -> None:
    made = make_key(api, "databases:read")
    with platform.client(made["key"]) as client:
        client.get("/api/databases")
    row = next(row for row in data(api.get("/api/api-keys")) if row["id"] == made["id"])
    used = dt.datetime.fromisoformat(row["last_used_at"])
    assert dt.datetime.now(dt.UTC) - used < dt.timedelta(minutes=1)


def test_the_last_administrators_key_stays(api: httpx.Client) -> None:
    """Neither a customer's key nor one that has ended counts as another one."""
    make_key(api, "admin", customerEmail=some_email())
    ended = make_key(api, "admin", expires_at=in_(seconds=1))
    (first,) = [row for row in _all_keys(api) if row["name"] == "administrator"]

    other = make_key(api, "admin", name="Second")
    data(api.delete(f"/api/api-keys/{other['id']}"))
    # While the key that is about to end still counts, ours would really be revoked.
    eventually(lambda: dt.datetime.now(dt.UTC) > dt.datetime.fromisoformat(ended["expires_at"]))
    assert problem(api.delete(f"/api/api-keys/{first['id']}"), 409)["code"] == "conflict"
    data(api.get("/api/databases"))


def _all_keys(api: httpx.Client) -> list[dict[str, Any]]:
    return list(data(api.get("/api/api-keys", params={"limit": 1000})))


# Scopes


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("databases:read", {"list", "show", "stats", "strings", "operation"}),
        ("databases:write", {"create", "patch", "rotate", "delete"}),
        ("keys:read", {"keys"}),
        ("keys:write", {"key"}),
        ("audit:read", {"audit"}),
        ("platform:read", {"pooler", "clusters"}),
    ],
)
def test_a_key_does_what_its_scope_says_and_nothing_else(
    as_key: Callable[..., httpx.Client], api: httpx.Client, scope: str, allowed: set[str]
) -> None:
    client = as_key(scope)
    one = f"/api/databases/{UNKNOWN}"
    requests: dict[str, tuple[str, str, dict[str, Any] | None]] = {
        "list": ("GET", "/api/databases", None),
        "show": ("GET", one, None),
        "stats": ("GET", f"{one}/stats", None),
        "strings": ("GET", f"{one}/connection-strings", None),
        "operation": ("GET", f"/api/operations/{UNKNOWN}", None),
        "create": ("POST", "/api/databases", {"friendlyName": "Scopes"}),
        "patch": ("PATCH", one, {"friendlyName": "Scopes"}),
        "rotate": ("POST", f"{one}/rotate-password", None),
        "delete": ("DELETE", one, None),
        "keys": ("GET", "/api/api-keys", None),
        "key": ("POST", "/api/api-keys", {"name": "Scopes", "scopes": ["keys:write"]}),
        "audit": ("GET", "/api/audit-logs", None),
        "pooler": ("GET", "/api/pooler", None),
        "clusters": ("GET", "/api/clusters", None),
    }
    for name, (method, path, body) in requests.items():
        answer = client.request(method, path, json=body)
        if name in allowed:
            assert answer.status_code in {200, 201, 404}, (name, answer.text)
        else:
            reported = problem(answer, 403)
            assert reported["code"] == "forbidden"
            (row, *_) = audit(api, action="access", result="refused", limit="1")
            assert row["request_id"] == reported["request_id"]
            assert row["details"]["request"] == f"{method} {path}"


def test_a_key_passes_on_no_more_than_it_has(as_key: Callable[..., httpx.Client]) -> None:
    client = as_key("keys:write", "databases:read")

    def ask_for(*scopes: str, **asked: object) -> httpx.Response:
        return client.post("/api/api-keys", json={"name": "X", "scopes": list(scopes), **asked})

    data(ask_for("databases:read"), 201)
    data(ask_for("databases:read", "keys:write"), 201)
    for beyond in ("admin", "databases:write", "audit:read"):
        reported = problem(ask_for("databases:read", beyond), 403)
        assert beyond in reported["detail"]
    for unknown in ("root", "", "ADMIN"):
        reported = problem(ask_for(unknown), 422)
        assert reported["errors"][0]["field"] == "scopes.0"
    problem(ask_for(), 422)


# Customers


def test_a_customers_key_sees_only_what_is_its_own(
    platform: Installation, as_key: Callable[..., httpx.Client]
) -> None:
    email = some_email()
    scopes = ("databases:read", "databases:write", "keys:read", "keys:write", "audit:read")
    mine = as_key(*scopes, customerEmail=email)
    theirs = platform.create(ownerEmail=some_email())
    nobodys = platform.create()
    given = platform.create(ownerEmail=email)
    made = data(mine.post("/api/databases", json={"friendlyName": "Mine"}), 201)
    assert made["owner_email"] == email
    reported = problem(
        mine.post("/api/databases", json={"friendlyName": "X", "ownerEmail": some_email()}), 403
    )
    assert reported["code"] == "forbidden"

    assert {row["id"] for row in data(mine.get("/api/databases"))} == {given["id"], made["id"]}
    assert data(mine.get("/api/databases", params={"search": theirs["database_name"]})) == []
    for owner in (theirs["owner_email"], some_email()):  # another's is as one that does not exist
        unknown = problem(mine.get("/api/databases", params={"owner": owner}), 422)
        assert unknown["errors"][0]["message"] == f"there is no customer {owner} yet."
    key_rows = data(mine.get("/api/api-keys"))
    assert [row["customer_email"] for row in key_rows] == [email]
    resources = {row["resource_id"] for row in audit(mine)}
    assert {given["id"], made["id"]} <= resources
    assert not {theirs["id"], nobodys["id"]} & resources
    deletion = mine.delete(f"/api/databases/{made['id']}").json()["data"]
    data(mine.get(f"/api/operations/{deletion['operation_id']}"))


def test_what_is_anothers_is_as_if_it_were_not(
    platform: Installation, api: httpx.Client, as_key: Callable[..., httpx.Client]
) -> None:
    anonymous = as_key(
        *("databases:read", "databases:write", "keys:write", "audit:read"),
        customerEmail=some_email(),
    )
    theirs = platform.create(ownerEmail=some_email())
    key = make_key(api, "databases:read")
    gone = platform.create()
    operation = api.delete(f"/api/databases/{gone['id']}").json()["data"]["operation_id"]

    def reported(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = problem(anonymous.request(method, path, json=body), 404)
        return {field: answer.get(field) for field in ("title", "detail", "hint", "code", "type")}

    for method, path, body in (
        ("GET", "/api/databases/{}", None),
        ("PATCH", "/api/databases/{}", {"friendlyName": "Mine now"}),
        ("DELETE", "/api/databases/{}", None),
        ("GET", "/api/databases/{}/stats", None),
        ("GET", "/api/databases/{}/connection-strings", None),
        ("POST", "/api/databases/{}/rotate-password", None),
    ):
        foreign, unknown = path.format(theirs["id"]), path.format(UNKNOWN)
        assert reported(method, foreign, body) == reported(method, unknown, body)
    for path, foreign in (("/api/api-keys/{}", key["id"]), ("/api/operations/{}", operation)):
        method = "DELETE" if "keys" in path else "GET"
        assert reported(method, path.format(foreign)) == reported(method, path.format(UNKNOWN))
    assert data(api.get(f"/api/databases/{theirs['id']}"))["friendly_name"] == "Test"
    assert ask(theirs["connection_string"]) == 1


def test_a_customers_key_makes_keys_of_the_customer(
    platform: Installation, as_key: Callable[..., httpx.Client]
) -> None:
    email = some_email()
    mine = as_key("keys:write", "databases:read", customerEmail=email)
    asked = {"name": "Child", "scopes": ["databases:read"]}
    child = data(mine.post("/api/api-keys", json=asked), 201)
    assert child["customer_email"] == email
    foreign = asked | {"customerEmail": some_email()}
    problem(mine.post("/api/api-keys", json=foreign), 403)
    with platform.client(child["key"]) as client:
        assert data(client.get("/api/databases")) == []


def test_a_customers_administrator_is_one_of_the_customer_only(
    platform: Installation, api: httpx.Client, as_key: Callable[..., httpx.Client]
) -> None:
    mine = as_key("admin", customerEmail=some_email())
    theirs = platform.create()
    assert data(mine.get("/api/databases")) == []
    problem(mine.get(f"/api/databases/{theirs['id']}"), 404)
    for path in ("/api/pooler", "/api/clusters"):
        problem(mine.get(path), 403)
    (first,) = [row for row in _all_keys(api) if row["name"] == "administrator"]
    problem(mine.delete(f"/api/api-keys/{first['id']}"), 404)


# The audit


def test_every_change_is_in_the_audit(api: httpx.Client) -> None:
    (me,) = [row for row in _all_keys(api) if row["name"] == "administrator"]
    done: list[tuple[str, str, str]] = []

    def change(action: str, answer: httpx.Response) -> dict[str, Any]:
        assert answer.is_success, answer.text
        reported = dict(answer.json()["data"])
        done.append((action, reported["id"], answer.headers["x-request-id"]))
        return reported

    made = change("database.create", api.post("/api/databases", json={"friendlyName": "One"}))
    path = f"/api/databases/{made['id']}"
    change("database.update", api.patch(path, json={"friendlyName": "Two", "maxConnections": 9}))
    change("database.rotate_password", api.post(f"{path}/rotate-password"))
    change("database.delete", api.delete(path))
    key = change(
        "api_key.create", api.post("/api/api-keys", json={"name": "K", "scopes": ["admin"]})
    )
    change("api_key.revoke", api.delete(f"/api/api-keys/{key['id']}"))

    for action, resource_id, request_id in done:
        (row,) = audit(api, action=action, resource_id=resource_id)
        assert (row["actor"], row["actor_kind"]) == ("administrator", "api_key")
        assert row["actor_id"] == me["id"]
        result = "accepted" if action == "database.delete" else "ok"
        assert (row["result"], row["address"]) == (result, "127.0.0.1")
        assert row["request_id"] == request_id
        age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(row["at"])
        assert age < dt.timedelta(minutes=1)
    (update,) = audit(api, action="database.update", resource_id=made["id"])
    assert update["resource_name"] == made["database_name"]
    assert update["details"] == {"friendly_name": ["One", "Two"], "max_connections": [50, 9]}


def test_a_callers_own_request_id_is_kept(api: httpx.Client) -> None:
    mine = f"deploy-{uuid.uuid4()}"
    answer = api.post("/api/databases", json={"friendlyName": "Id"}, headers={"X-Request-Id": mine})
    assert answer.headers["x-request-id"] == mine
    (row,) = audit(api, resource_id=data(answer, 201)["id"])
    assert row["request_id"] == mine
    for strange in ("", "x" * 101, "a b", "é"):
        raw = strange.encode("latin-1")
        answer = api.get("/health", headers={b"X-Request-Id": raw})
        assert str(uuid.UUID(answer.headers["x-request-id"])) != strange


def test_what_failed_leaves_no_trace_of_a_change(api: httpx.Client) -> None:
    name = f"n{uuid.uuid4().hex[:12]}"
    data(api.post("/api/databases", json={"name": name}), 201)
    before = audit(api, action="database.create", limit="1")
    problem(api.post("/api/databases", json={"name": name}), 409)
    assert audit(api, action="database.create", limit="1") == before


def test_the_audit_is_filtered_and_comes_in_pages(api: httpx.Client) -> None:
    start = dt.datetime.now(dt.UTC).isoformat()
    key = make_key(api, "databases:read")
    data(api.delete(f"/api/api-keys/{key['id']}"))
    assert len(audit(api, resource_id=key["id"])) == 2
    assert len(audit(api, resource_id=key["id"], action="api_key.create")) == 1
    assert len(audit(api, resource_id=key["id"], since=start)) == 2
    assert audit(api, resource_id=key["id"], until=start) == []
    unknown = problem(api.get("/api/audit-logs", params={"actor": "nobody"}), 422)
    assert unknown["errors"][0]["field"] == "actor"
    assert audit(api, resource_id=key["id"], result="refused") == []
    seen: list[int] = []
    query = {"limit": "3"}
    while True:
        reported = api.get("/api/audit-logs", params=query).json()
        seen += [row["id"] for row in reported["data"]]
        if "next_cursor" not in reported:
            break
        query["cursor"] = reported["next_cursor"]
    assert len(seen) > 3
    assert seen == sorted(set(seen), reverse=True)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_logs SET actor_name = 'nobody'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
        "ALTER TABLE audit_logs ADD extra int",
        "DROP TABLE audit_logs",
        "SELECT setval('audit_logs_id_seq', 1)",
        "SET ROLE tenantry_admin",
        "CREATE TABLE mine ()",
    ],
)
def test_the_control_plane_cannot_change_the_audit(platform: Installation, statement: str) -> None:
    session = psycopg.connect(
        host=str(platform.home / "run" / "control"),
        port=5432,
        user="tenantry_platform",
        dbname="tenantry_control",
    )
    with session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(statement.encode())


# Secrets


def test_no_secret_is_in_a_log(platform: Installation, api: httpx.Client) -> None:
    """Neither when all goes well, nor when logins and statements fail."""
    made = platform.create()
    rotated = data(api.post(f"/api/databases/{made['id']}/rotate-password"))
    key = make_key(api, "databases:read")["key"]
    with platform.client(key) as client:
        client.get("/api/databases")
    for url in (made["connection_string"], made["connection_string_pooled"]):
        refusal(url)
    own = "my-own-secret-password"
    with login(rotated["connection_string"]) as session:
        session.execute(f"ALTER USER CURRENT_USER PASSWORD '{own}'".encode())
        with pytest.raises(psycopg.errors.SyntaxError):
            session.execute(f"ALTER USER CURRENT_USER PASSWORDS '{own}'".encode())
    data(api.post(f"/api/databases/{made['id']}/rotate-password"))
    # A worker's and an API's whole life, their ends included.
    before = platform.pids()
    for part in ("worker", "api"):
        os.kill(before[part], signal.SIGTERM)
    eventually(
        lambda: all(platform.pids().get(p, before[p]) != before[p] for p in ("worker", "api"))
    )
    eventually(platform.is_ready)

    logs = {path: path.read_bytes() for path in (platform.home / "logs").rglob("*")}
    assert len(logs) >= 5
    assert any(made["id"].encode() in text for text in logs.values())
    for secret in (
        *(made["password"], rotated["password"], own, "SCRAM-SHA-256$"),
        *(each.removeprefix("tnt_") for each in (key, platform.key)),
    ):
        found = [path.name for path, text in logs.items() if secret.encode() in text]
        assert found == []


def test_secrets_are_for_their_owner_only(platform: Installation) -> None:
    """No other user of the machine reads a file that holds one, or reaches a socket."""
    for name in ("admin.key", "seal.key", "tls/ca.key", "tls/server.pem"):
        mode = (platform.home / name).stat().st_mode & 0o777
        assert mode in {0o600, 0o400}, name
    for name in ("tls", "clusters", "pooler", "logs", "run", "run/control", "run/shared-1"):
        assert (platform.home / name).stat().st_mode & 0o777 == 0o700, name
    for pid in platform.processes():
        process = Path(f"/proc/{pid}")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            assert process.stat().st_uid == platform.home.stat().st_uid
            assert platform.key not in (process / "cmdline").read_text()
    if os.geteuid() == 0:
        assert platform.home.stat().st_uid != 0


# What anybody may read


def test_health_names_the_environment(platform: Installation) -> None:
    reported = platform.get("/health").json()
    assert (reported["status"], reported["environment"]) == ("ok", "production")


def test_details_of_readiness_are_for_this_machine_and_for_administrators(
    platform: Installation, api: httpx.Client
) -> None:
    """They name databases, files and versions with their known weaknesses."""

    def details(headers: dict[str, str]) -> set[str | None]:
        with platform.anonymous(headers) as client:
            answer = client.get("/ready")
        assert answer.status_code == 200
        return {part["detail"] for part in answer.json()["parts"]}

    elsewhere = {"Via": "1.1 proxy"}
    key = make_key(api, "platform:read")["key"]
    weak = make_key(api, "databases:read")["key"]
    customers = make_key(api, "platform:read", customerEmail=some_email())["key"]
    for hidden in ({}, {"X-API-Key": weak}, {"X-API-Key": customers}):
        assert details(elsewhere | hidden) == {None}, hidden
    for shown in ({}, elsewhere | {"X-API-Key": key}):
        assert details(shown) - {None}, shown
    # A page that a browser of this machine shows reaches it under a name of its own.
    rebound = {"Host": "evil.example"}
    assert details(rebound) == {None}
    with platform.anonymous(rebound) as client:
        problem(client.get("/metrics"), 401)
    with platform.anonymous(elsewhere | {"X-API-Key": "tnk_wrong"}) as client:
        problem(client.get("/ready"), 401)
    with platform.anonymous(elsewhere | {"X-API-Key": customers}) as client:
        problem(client.get("/metrics"), 403)
