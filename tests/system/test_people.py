"""People come in: users, passwords, sessions, the wait after failures, keys of their own."""

import datetime as dt
import json
import os
import statistics
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from answers import data, problem
from harness import Installation
from persons import (
    OTHER,
    PASSWORD,
    WRONG,
    Person,
    change,
    locked_for_long,
    make_user,
    some_email,
    unlocked,
)


def audit(api: httpx.Client, **wanted: str) -> list[dict[str, Any]]:
    return list(data(api.get("/api/audit-logs", params=wanted)))


# Users


def test_only_administrators_manage_users(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    made = make_user(api, name="Ann", customer_email="Shop@Example.com")
    assert (made["role"], made["customer_email"], made["password"]) == (
        "customer",
        "shop@example.com",
        None,
    )
    path = f"/api/users/{made['id']}"
    assert data(api.get(path))["name"] == "Ann"
    assert made["id"] in [row["id"] for row in data(api.get("/api/users"))]
    customer = people().come_in()
    bound = data(
        api.post(
            "/api/api-keys",
            json={"name": "b", "scopes": ["admin"], "customer_email": some_email()},
        ),
        201,
    )
    with platform.client(bound["key"]) as customers_admin:
        for client in (customer, customers_admin):
            problem(client.get("/api/users"), 403)
            problem(client.get(path), 403)
            problem(client.post("/api/users", json={"email": some_email()}), 403)
            problem(client.post(f"{path}/reset-password"), 403)
            problem(client.delete(path), 403)
    administrator = people(role="administrator").come_in()
    assert data(administrator.get(path))["id"] == made["id"]
    data(api.delete(path))
    problem(api.get(path), 404)


def test_a_viewer_sees_what_a_customer_has_and_changes_nothing(
    platform: Installation, api: httpx.Client
) -> None:
    owner = some_email()
    made = platform.create(ownerEmail=owner)
    other = platform.create(ownerEmail=some_email())
    user = make_user(api, role="viewer", customer_email=owner)
    assert (user["role"], user["customer_email"]) == ("viewer", owner)
    path = f"/api/databases/{made['id']}"
    viewer = Person(platform, user["email"]).come_in()
    assert data(viewer.get("/api/auth/me"))["scopes"] == ["databases:read", "metrics:read"]
    assert [row["id"] for row in data(viewer.get("/api/databases"))] == [made["id"]]
    for place in ("", "/connection-strings", "/stats", "/whitelist", "/queries", "/tables"):
        answer = viewer.get(path + place)
        assert answer.is_success
        assert made["password"] not in answer.text
    problem(viewer.get(f"/api/databases/{other['id']}"), 404)
    for place in ("/api/api-keys", "/api/audit-logs", f"{path}/backups", f"{path}/logs"):
        problem(viewer.get(place), 403)
    problem(viewer.patch(path, json={"friendly_name": "X"}), 403)
    problem(viewer.delete(path), 403)
    asked = {"name": "k", "scopes": ["databases:read"]}
    for place, body in (
        (f"{path}/rotate-password", {}),
        (f"{path}/sql", {"sql": "SELECT 1"}),
        ("/api/databases", {"name": "x"}),
        ("/api/api-keys", asked),
    ):
        problem(viewer.post(place, json=body), 403)


def test_an_address_has_one_user(api: httpx.Client) -> None:
    made = make_user(api)
    again = {"email": made["email"].upper(), "password": PASSWORD}
    assert problem(api.post("/api/users", json=again), 409)["code"] == "conflict"


@pytest.mark.parametrize("password", ["short", "passwordpassword", "x" * 300, "with\nnewline" * 4])
def test_a_poor_password_is_refused(api: httpx.Client, password: str) -> None:
    asked = {"email": some_email(), "password": password}
    reported = problem(api.post("/api/users", json=asked), 422)
    assert [error["field"] for error in reported["errors"]] == ["password"]
    assert password not in str(reported)


def test_a_password_that_is_made_is_reported_again_under_the_same_idempotency_key(
    platform: Installation, api: httpx.Client
) -> None:
    body, headers = {"email": some_email()}, {"Idempotency-Key": str(uuid.uuid4())}
    first = data(api.post("/api/users", json=body, headers=headers), 201)
    again = data(api.post("/api/users", json=body, headers=headers), 201)
    assert first == again
    assert len(first["password"]) == 24
    Person(platform, body["email"]).come_in(first["password"])


# Coming in


def test_a_session_is_as_good_as_a_key(api: httpx.Client, people: Callable[..., Person]) -> None:
    email = some_email()
    person = people(customer_email=email)
    problem(person.http.get("/api/auth/me"), 401)
    session = person.come_in()
    me = data(session.get("/api/auth/me"))
    assert me["user"]["locked_until"] is None
    assert (me["kind"], me["name"], me["customer_email"]) == ("user", person.email, email)
    assert "admin" not in me["scopes"]
    made = data(session.post("/api/databases", json={"friendlyName": "Mine"}), 201)
    assert made["owner_email"] == email
    assert [row["id"] for row in data(session.get("/api/databases"))] == [made["id"]]
    problem(session.get("/api/clusters"), 403)
    (row,) = audit(api, action="database.create", resource_id=made["id"])
    assert (row["actor"], row["actor_kind"]) == (person.email, "user")
    data(session.post("/api/auth/logout"))
    problem(session.get("/api/databases"), 401)


def test_an_administrators_session_does_everything(people: Callable[..., Person]) -> None:
    session = people(role="administrator").come_in()
    data(session.get("/api/clusters"))
    data(session.get("/api/databases"))


def test_wrong_logins_are_all_alike(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    known, disabled, unknown = people(), people(), Person(platform, some_email())
    (row,) = [r for r in data(api.get("/api/users")) if r["email"] == disabled.email]
    data(api.patch(f"/api/users/{row['id']}", json={"disabled": True}))
    reported = [
        problem(known.login(WRONG), 401),
        problem(unknown.login(WRONG), 401),
        problem(disabled.login(PASSWORD), 401),
    ]
    for each in reported:
        del each["request_id"]
    assert reported[0] == reported[1] == reported[2]
    assert reported[0]["code"] == "wrong_credentials"


def test_an_unknown_address_takes_as_long_as_a_wrong_password(
    platform: Installation, api: httpx.Client
) -> None:
    def took(person: Person) -> float:
        began = time.perf_counter()
        problem(person.login(WRONG), 401)
        return time.perf_counter() - began

    known = [Person(platform, make_user(api)["email"]) for _ in range(12)]
    unknown = [Person(platform, some_email()) for _ in range(12)]
    pairs = [(took(a), took(b)) for a, b in zip(known, unknown, strict=True)]
    ratio = statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)
    assert 0.6 < ratio < 1.7, pairs


def test_after_five_failures_from_one_address_nobody_comes_in_from_there_for_a_while(
    platform: Installation, people: Callable[..., Person]
) -> None:
    """Known or not: the same. Nor does the right password help."""
    for person in (people(), Person(platform, some_email())):
        for _ in range(5):
            assert problem(person.login(WRONG), 401)["code"] == "wrong_credentials"
        locked = person.login()
        assert problem(locked, 429)["code"] == "login_locked"
        assert 25 <= int(locked.headers["retry-after"]) <= 30
        unlocked(platform, person.email)
        problem(person.login(WRONG), 401)
        assert 55 <= int(person.login(WRONG).headers["retry-after"]) <= 60
    known = people()
    for _ in range(4):
        problem(known.login(WRONG), 401)
    known.come_in()
    for _ in range(4):
        problem(known.login(WRONG), 401)
    known.come_in()


def test_nobody_locks_somebody_else_out(
    platform: Installation, people: Callable[..., Person]
) -> None:
    """Neither from elsewhere, nor from the same address if the device has been used before."""
    owner = people(role="administrator")
    address = "127.52.0.1"
    attacker = Person(platform, owner.email, address)
    while attacker.login(WRONG).status_code != 429:
        pass
    locked_for_long(platform, f"pair:{owner.email} {address}")
    owner.come_in()  # from elsewhere, for the first time
    beside = Person(platform, owner.email, address)
    device = data(Person(platform, owner.email).login())["device_token"]
    problem(beside.login(), 429)
    known = Person(platform, owner.email, address, device=device)
    known.come_in()
    while Person(platform, some_email(), address).login(WRONG).status_code != 429:
        pass  # the address itself is locked now
    locked_for_long(platform, f"address:{address}")
    known.come_in()
    # The device has its own count, which only it can raise; a made-up one counts as none.
    for _ in range(5):
        problem(known.login(WRONG), 401)
    problem(known.login(), 429)
    for forged in ("tnd_x", device[:-4] + "AAAA", "tnd_" + "A" * 300):
        problem(Person(platform, owner.email, address, device=forged).login(), 429)
    # Nor is a token of one's own any good for another's account.
    other = people()
    own = data(other.login())["device_token"]
    problem(Person(platform, owner.email, address, device=own).login(), 429)


def test_guesses_from_many_addresses_become_slow(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    """For an account that exists and for one that does not; not for devices that are known."""
    owner = people()
    device = data(owner.login())["device_token"]
    for email in (owner.email, some_email()):
        change(
            platform,
            "INSERT INTO failed_logins (subject, account, failures) VALUES (%s, %s, 99)"
            " ON CONFLICT (subject) DO UPDATE SET failures = 99",
            f"account:{email}",
            email,
        )
        problem(Person(platform, email).login(WRONG), 401)
        reported = Person(platform, email).login(WRONG)
        assert problem(reported, 429)["code"] == "login_locked"
        assert 1 <= int(reported.headers["retry-after"]) <= 30
    Person(platform, owner.email, device=device).come_in()
    # What the password is asked for in an open session counts in that session only.
    session = Person(platform, owner.email, device=device).come_in()
    problem(session.post("/api/auth/totp", json={"password": WRONG}), 401)
    data(session.post("/api/auth/totp", json={"password": PASSWORD}))
    (row,) = [r for r in data(api.get("/api/users")) if r["email"] == owner.email]
    data(api.post(f"/api/users/{row['id']}/unlock"))
    Person(platform, owner.email).come_in()


def test_the_lock_outlives_a_restart_and_administrators_lift_it(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    person = people()
    for _ in range(5):
        problem(person.login(WRONG), 401)
    locked_for_long(platform, f"pair:{person.email} %")
    before = platform.pids()["api"]
    os.kill(before, 15)
    deadline = time.monotonic() + 60
    while platform.pids().get("api", before) == before and time.monotonic() < deadline:
        time.sleep(0.2)
    while time.monotonic() < deadline:
        try:
            if api.get("/health").is_success:
                break
        except httpx.TransportError:
            time.sleep(0.2)
    problem(person.login(), 429)
    (row,) = [r for r in data(api.get("/api/users")) if r["email"] == person.email]
    assert dt.datetime.fromisoformat(row["locked_until"]) > dt.datetime.now(dt.UTC)
    data(api.post(f"/api/users/{row['id']}/unlock"))
    person.come_in()


def test_an_address_is_locked_too(platform: Installation, people: Callable[..., Person]) -> None:
    address = "127.53.0.77"
    for _ in range(20):
        problem(Person(platform, some_email(), address).login(WRONG), 401)
    known = people()
    problem(Person(platform, known.email, address).login(), 429)
    known.come_in()  # from elsewhere


def test_many_at_once_get_no_further_than_one_after_the_other(
    platform: Installation, people: Callable[..., Person]
) -> None:
    email = people().email

    def ask(_: int) -> int:
        return Person(platform, email, "127.54.0.1").login(WRONG).status_code

    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(ask, range(20)))
    assert sorted(statuses) == [401] * 5 + [429] * 15


# Sessions


def test_sessions_end(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    person = people()
    for statement in (
        "UPDATE sessions SET expires_at = now() WHERE id = %s",
        "UPDATE sessions SET last_used_at = now() - interval '61 minutes' WHERE id = %s",
    ):
        session = person.come_in()
        (row,) = [r for r in data(session.get("/api/auth/sessions")) if r["current"]]
        lasts = dt.datetime.fromisoformat(row["expires_at"]) - dt.datetime.now(dt.UTC)
        assert dt.timedelta(hours=11) < lasts <= dt.timedelta(hours=12)
        change(platform, statement, row["id"])
        problem(session.get("/api/auth/me"), 401)
        (refused, *_) = audit(api, action="login", result="refused", resource_id=row["id"])
        assert refused["details"]["reason"] == "expired"


def test_one_ends_ones_own_sessions_only(
    platform: Installation, people: Callable[..., Person]
) -> None:
    person, anonymous = people(), people().come_in()
    session = person.come_in()
    elsewhere = Person(platform, person.email).come_in()
    rows = data(session.get("/api/auth/sessions"))
    assert [row["current"] for row in rows] == [False, True]
    other = rows[0]["id"]
    problem(anonymous.delete(f"/api/auth/sessions/{other}"), 404)
    data(elsewhere.get("/api/auth/me"))
    data(session.delete(f"/api/auth/sessions/{other}"))
    problem(elsewhere.get("/api/auth/me"), 401)
    assert len(data(session.get("/api/auth/sessions"))) == 1


def test_another_password_ends_the_other_sessions(
    platform: Installation, people: Callable[..., Person]
) -> None:
    person = people()
    session, elsewhere = person.come_in(), Person(platform, person.email).come_in()
    asked = {"current_password": PASSWORD, "new_password": OTHER}
    problem(session.post("/api/auth/password", json=asked | {"current_password": WRONG}), 401)
    problem(session.post("/api/auth/password", json=asked | {"new_password": person.email}), 422)
    data(elsewhere.get("/api/auth/me"))
    data(session.post("/api/auth/password", json=asked))
    data(session.get("/api/auth/me"))
    problem(elsewhere.get("/api/auth/me"), 401)
    problem(person.login(PASSWORD), 401)
    person.come_in(OTHER)


def test_who_is_shut_out_is_out_at_once(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    person = people()
    session = person.come_in()
    path = f"/api/users/{data(session.get('/api/auth/me'))['id']}"
    asked = {"name": "mine", "scopes": ["databases:read"]}
    key = data(session.post("/api/api-keys", json=asked), 201)["key"]
    with platform.client(key) as client:
        data(client.get("/api/databases"))
        data(api.patch(path, json={"disabled": True}))
        problem(session.get("/api/auth/me"), 401)
        problem(client.get("/api/databases"), 401)
        data(api.patch(path, json={"disabled": False}))
        problem(session.get("/api/auth/me"), 401)
        data(client.get("/api/databases"))
        person.come_in()
        reset = data(api.post(f"{path}/reset-password"))["password"]
        problem(session.get("/api/auth/me"), 401)
        problem(person.login(), 401)
        person.come_in(reset)
        data(api.delete(path))
        problem(session.get("/api/auth/me"), 401)
        problem(client.get("/api/databases"), 401)


def test_keys_have_no_sessions(api: httpx.Client) -> None:
    assert data(api.get("/api/auth/me"))["kind"] == "api_key"
    for method, path, body in (
        ("POST", "logout", None),
        ("GET", "sessions", None),
        ("POST", "password", {"current_password": PASSWORD, "new_password": OTHER}),
        ("POST", "totp", {"password": PASSWORD}),
    ):
        problem(api.request(method, f"/api/auth/{path}", json=body), 403)


# Keys that people make


def test_people_make_keys_within_their_own_scopes(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    email = some_email()
    session = people(customer_email=email).come_in()
    foreign = data(api.post("/api/api-keys", json={"name": "f", "scopes": ["databases:read"]}), 201)

    def ask(*scopes: str, **asked: object) -> httpx.Response:
        body = {"name": "K", "scopes": [*scopes], **asked}
        answer: httpx.Response = session.post("/api/api-keys", json=body)
        return answer

    for beyond in ("admin", "platform:read"):
        assert problem(ask("databases:read", beyond), 403)["code"] == "forbidden"
    problem(ask("databases:read", customer_email=some_email()), 403)
    made = data(ask("databases:read", "keys:write"), 201)
    assert made["customer_email"] == email
    assert [row["id"] for row in data(session.get("/api/api-keys"))] == [made["id"]]
    problem(session.delete(f"/api/api-keys/{foreign['id']}"), 404)
    with platform.client(made["key"]) as client:
        assert data(client.get("/api/databases")) == []
        problem(client.get("/api/api-keys"), 403)
    data(session.delete(f"/api/api-keys/{made['id']}"))


# The command line


def test_the_command_line_is_a_endpoint_for_people(
    platform: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    email = some_email()

    def ask(*words: str, stdin: str | None = None) -> Any:
        return json.loads(platform.tenantry(*words, "--json", stdin=stdin).stdout)

    refused = platform.tenantry("user", "create", email, check=False)
    assert (refused.returncode, f"there is no customer {email} yet" in refused.stderr) == (1, True)
    first = ask("user", "create", email, "--new-customer")["password"]
    assert ask("login", email, stdin=f"{first}\n")["user"]["email"] == email
    ask("db", "create", "--name", "mine")
    (row,) = ask("db", "list")
    assert row["owner_email"] == email
    refused = platform.tenantry("user", "list", check=False)
    assert (refused.returncode, "administrator" in refused.stderr) == (1, True)
    platform.tenantry("logout")
    assert not list(tmp_path.rglob("*.json"))
    assert email in [row["email"] for row in ask("user", "list")]
    reset = ask("user", "reset-password", email)["password"]
    assert platform.tenantry("login", email, stdin=f"{first}\n", check=False).returncode == 1
    ask("login", email, stdin=f"{reset}\n")
    platform.tenantry("logout")
    ask("user", "delete", email)
