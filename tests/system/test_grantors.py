"""Rights end with whoever granted them: along chains of keys, at each request, in operations."""

import datetime as dt
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import eventually
from harness import Installation
from persons import Person, change, some_email

ALL = ["databases:read", "databases:write", "keys:read", "keys:write", "audit:read"]


def key_of(api: httpx.Client, *scopes: str, **asked: object) -> dict[str, Any]:
    body = {"name": f"k{uuid.uuid4().hex[:8]}", "scopes": list(scopes), **asked}
    return dict(data(api.post("/api/api-keys", json=body), 201))


def chain_of(
    platform: Installation, stack: ExitStack, first: httpx.Client, *scopes: str, length: int = 3
) -> list[tuple[dict[str, Any], httpx.Client]]:
    """Keys, each created by the one before."""
    made: list[tuple[dict[str, Any], httpx.Client]] = []
    for _ in range(length):
        row = key_of(made[-1][1] if made else first, *scopes)
        made.append((row, stack.enter_context(platform.client(row["key"]))))
    return made


def statuses(keys: list[tuple[dict[str, Any], httpx.Client]]) -> set[int]:
    return {client.get("/api/auth/me").status_code for _, client in keys}


def shown(api: httpx.Client, key_id: str) -> dict[str, Any]:
    rows = data(api.get("/api/api-keys", params={"limit": 1000}))
    return next(dict(row) for row in rows if row["id"] == key_id)


def refused_because(api: httpx.Client, key_id: str) -> str:
    wanted = {"action": "login", "result": "refused", "resource_id": key_id}
    (row, *_) = data(api.get("/api/audit-logs", params=wanted))
    return str(row["details"]["reason"])


@pytest.mark.parametrize("role", ["customer", "administrator"])
def test_keys_at_any_depth_end_with_the_user_behind_them(
    platform: Installation, api: httpx.Client, people: Callable[..., Person], role: str
) -> None:
    session = people(role=role).come_in()
    me = data(session.get("/api/auth/me"))
    path = f"/api/users/{me['id']}"
    scopes = ["admin"] if role == "administrator" else ALL
    with ExitStack() as stack:
        keys = chain_of(platform, stack, session, *scopes)
        last = keys[-1][0]
        assert statuses(keys) == {200}
        assert last["created_by"] == {"kind": "user", "id": me["id"], "name": me["name"]}
        assert last["parent"] == {"id": keys[1][0]["id"], "name": keys[1][0]["name"]}
        assert keys[0][0]["parent"] is None
        data(api.patch(path, json={"disabled": True}))
        assert statuses(keys) == {401}
        assert refused_because(api, last["id"]) == "user disabled"
        reported = shown(api, last["id"])
        assert (reported["status"], reported["effective_scopes"]) == ("suspended", [])
        assert reported["scopes"] == sorted(scopes)
        data(api.patch(path, json={"disabled": False}))
        assert statuses(keys) == {200}
        data(api.delete(path))
        assert statuses(keys) == {401}
        reported = shown(api, last["id"])
        assert reported["status"] == "revoked"
        assert reported["created_by"] == {"kind": "user", "id": me["id"], "name": None}


def test_keys_end_with_the_key_that_created_them(platform: Installation, api: httpx.Client) -> None:
    with ExitStack() as stack:
        keys = chain_of(platform, stack, api, "admin", length=4)
        assert statuses(keys) == {200}
        assert keys[0][0]["created_by"]["kind"] == "platform"
        data(api.delete(f"/api/api-keys/{keys[1][0]['id']}"))
        assert statuses(keys[:1]) == {200}
        assert statuses(keys[1:]) == {401}
        last = keys[-1][0]["id"]
        assert refused_because(api, last) == "grantor revoked"
        assert shown(api, last)["status"] == "revoked"


def test_keys_expire_with_the_key_that_created_them(
    platform: Installation, api: httpx.Client
) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    with ExitStack() as stack:
        first = key_of(api, *ALL, expires_at=soon.isoformat())
        client = stack.enter_context(platform.client(first["key"]))
        ((child, below),) = chain_of(platform, stack, client, *ALL, length=1)
        assert dt.datetime.fromisoformat(child["expires_at"]) == soon
        data(below.get("/api/databases"))
        eventually(lambda: below.get("/api/databases").status_code == 401)
        assert dt.datetime.now(dt.UTC) >= soon
        assert refused_because(api, child["id"]) == "grantor expired"


def test_keys_have_what_their_user_has_now(
    platform: Installation, people: Callable[..., Person]
) -> None:
    """An administrator becomes a customer's user, who then goes to another customer."""
    administrator = people(role="administrator").come_in()
    me = data(administrator.get("/api/auth/me"))["id"]
    email = some_email()
    with ExitStack() as stack:
        unbound = key_of(administrator, "admin")
        bound = key_of(administrator, "admin", customer_email=email)
        keys = [(row, stack.enter_context(platform.client(row["key"]))) for row in (unbound, bound)]
        ((child, below),) = chain_of(platform, stack, keys[1][1], "databases:read", length=1)
        assert statuses(keys) == {200}
        demote = (
            "UPDATE users SET role = 'customer', customer_id = c.id FROM customers c"
            " WHERE c.email = %s AND users.id = %s"
        )
        change(platform, demote, email, me)
        assert statuses(keys[:1]) == {401}
        scopes = data(keys[1][1].get("/api/auth/me"))["scopes"]
        assert "admin" not in scopes
        assert "databases:write" in scopes
        problem(administrator.get("/api/users"), 403)
        other = some_email()
        change(platform, "INSERT INTO customers VALUES (gen_random_uuid(), %s)", other)
        change(platform, demote, other, me)
        assert statuses([*keys, (child, below)]) == {401}


def test_without_admin_one_revokes_only_what_is_below(
    platform: Installation, api: httpx.Client
) -> None:
    victim = key_of(api, "admin")
    theirs = key_of(api, "keys:write", customer_email=some_email())
    peer = key_of(api, "keys:write")
    with ExitStack() as stack:
        ((mine, client),) = chain_of(platform, stack, api, "keys:read", "keys:write", length=1)
        below = chain_of(platform, stack, client, "keys:write", length=2)
        for foreign in (victim, theirs, peer):
            assert problem(client.delete(f"/api/api-keys/{foreign['id']}"), 403)["hint"]
            assert shown(api, foreign["id"])["status"] == "active"
        asked = {"name": "x", "scopes": ["keys:write"], "customer_email": some_email()}
        problem(client.post("/api/api-keys", json=asked), 403)
        with platform.control() as control:
            found = control.execute(
                "SELECT FROM customers WHERE email = %s", (asked["customer_email"],)
            )
            assert found.fetchone() is None
        for row in (below[1][0], below[0][0], mine):
            data(client.delete(f"/api/api-keys/{row['id']}"))
        problem(client.get("/api/api-keys"), 401)


def test_a_customer_revokes_keys_within_ones_own_rights(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    email = some_email()
    bound_admin = key_of(api, "admin", customer_email=email)
    ordinary = key_of(api, "databases:read", customer_email=email)
    alone = key_of(api, "keys:write", customer_email=email)
    with platform.client(alone["key"]) as client:
        problem(client.delete(f"/api/api-keys/{bound_admin['id']}"), 403)
        problem(client.delete(f"/api/api-keys/{ordinary['id']}"), 403)
    session = people(customer_email=email).come_in()
    data(session.delete(f"/api/api-keys/{ordinary['id']}"))
    problem(session.delete(f"/api/api-keys/{bound_admin['id']}"), 403)
    with platform.client(bound_admin["key"]) as client:
        data(client.delete(f"/api/api-keys/{bound_admin['id']}"))  # not the platform's last one


def test_an_installation_cannot_lock_itself_out(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    """What depends on the last administrator's key does not count as another one."""
    people(role="administrator")
    key_of(api, "admin")
    (first,) = [
        row
        for row in data(api.get("/api/api-keys", params={"limit": 1000}))
        if row["name"] == "administrator" and row["status"] == "active"
    ]
    assert first["created_by"] == {"kind": "platform", "id": None, "name": None}
    with ExitStack() as stack:
        ((_, other),) = chain_of(platform, stack, api, "admin", length=1)
        reported = problem(other.delete(f"/api/api-keys/{first['id']}"), 409)
        assert "tenantry up" in reported["hint"]
    # Two at once, each of which would leave the other: one of them stays.
    twin = key_of(api, "admin")
    change(platform, "UPDATE api_keys SET parent_id = NULL WHERE id = %s", twin["id"])
    with platform.client(twin["key"]) as second, ThreadPoolExecutor(2) as threads:
        answers = list(
            threads.map(
                lambda pair: pair[0].delete(f"/api/api-keys/{pair[1]['id']}"),
                [(api, twin), (second, first)],
            )
        )
    ended = [answer.status_code for answer in answers]
    change(platform, "UPDATE api_keys SET revoked_at = NULL WHERE id = %s", first["id"])
    change(platform, "UPDATE api_keys SET revoked_at = now() WHERE id = %s", twin["id"])
    assert sorted(ended) in ([200, 401], [200, 409])


def test_a_chain_of_keys_has_an_end(platform: Installation, api: httpx.Client) -> None:
    parent = key_of(api, "keys:write")["id"]
    for _ in range(29):
        statement = (
            "INSERT INTO api_keys (id, name, prefix, hash, scopes, parent_id) SELECT %s, 'x', 'x',"
            " sha256(%s::text::bytea), '{keys:write}', %s"
        )
        below = str(uuid.uuid4())
        change(platform, statement, below, below, parent)
        parent = below
    with ExitStack() as stack:
        (last,) = chain_of(platform, stack, api, "keys:write", length=1)
        change(platform, "UPDATE api_keys SET parent_id = %s WHERE id = %s", parent, last[0]["id"])
        asked = {"name": "x", "scopes": ["keys:write"]}
        assert problem(last[1].post("/api/api-keys", json=asked), 409)["code"] == "conflict"


def test_no_answer_is_given_again_to_who_lost_the_right(
    platform: Installation, people: Callable[..., Person]
) -> None:
    """A kept answer shows a database's password: not to a user who is another customer's now."""
    session = people().come_in()
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"friendlyName": "Theirs"}
    made = data(session.post("/api/databases", json=body, headers=headers), 201)
    again = session.post("/api/databases", json=body, headers=headers)
    assert data(again, 201)["password"] == made["password"]
    other, me = some_email(), data(session.get("/api/auth/me"))["id"]
    change(platform, "INSERT INTO customers VALUES (gen_random_uuid(), %s)", other)
    change(
        platform,
        "UPDATE users SET customer_id = (SELECT id FROM customers WHERE email = %s) WHERE id = %s",
        other,
        me,
    )
    reported = session.post("/api/databases", json=body, headers=headers)
    assert problem(reported, 422)["code"] == "idempotency_key_reused"
    assert made["password"] not in reported.text


def test_an_operation_ends_with_the_right_of_who_asked_for_it(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    path = f"/api/databases/{database['id']}"
    with ExitStack() as stack:
        keys = chain_of(platform, stack, api, "databases:read", "databases:write", "keys:write")
        files = [
            {"name": "000001_sleep.up.sql", "sql": "SELECT pg_sleep(300);"},
            {"name": "000001_sleep.down.sql", "sql": "SELECT 1;"},
        ]
        answer = keys[-1][1].post(f"{path}/migrations", json={"files": files})
        operation = data(answer, 202)["id"]
        following = f"/api/operations/{operation}"
        eventually(lambda: data(api.get(following))["status"] == "running")
        data(api.delete(f"/api/api-keys/{keys[0][0]['id']}"))
        eventually(lambda: data(api.get(following))["status"] == "failed")
        assert data(api.get(following))["error"]["code"] == "forbidden"
