"""Idempotency-Key: a request that is sent again is answered again, and done once."""

import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import ENDPOINTS, ask, eventually, refusal
from harness import Installation

BODY = {"friendlyName": "Once"}


def some_key() -> str:
    return f"key-{uuid.uuid4()}"


def create(
    api: httpx.Client, key: str | bytes, body: dict[str, Any] | None = None
) -> httpx.Response:
    raw = key.encode() if isinstance(key, str) else key
    return api.post("/api/databases", json=body or BODY, headers={b"Idempotency-Key": raw})


def create_key(api: httpx.Client, **asked: object) -> str:
    """A new API key."""
    return str(data(api.post("/api/api-keys", json={"name": "Test", **asked}), 201)["key"])


def test_a_repeat_is_answered_with_the_same_bytes(api: httpx.Client) -> None:
    key = some_key()
    first, again = create(api, key), create(api, key)
    made = data(first, 201)
    assert again.status_code == 201
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    for string in ENDPOINTS:
        assert ask(again.json()["data"][string]) == 1
    rows = data(api.get("/api/databases", params={"search": made["database_name"]}))
    assert len(rows) == 1
    actions = data(api.get("/api/audit-logs", params={"resource_id": made["id"]}))
    assert [row["action"] for row in actions] == ["database.create"]


def test_a_body_that_is_only_written_otherwise_is_the_same(api: httpx.Client) -> None:
    key = some_key()
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    one = api.post(
        "/api/databases", content='{"friendlyName": "É", "shadow": true}', headers=headers
    )
    other = api.post(
        "/api/databases", content='{"shadow":true,\n "friendlyName":"\\u00c9"}', headers=headers
    )
    data(one, 201)
    assert other.content == one.content


def test_another_request_under_the_same_key_is_refused(api: httpx.Client) -> None:
    key = some_key()
    made = data(create(api, key), 201)
    reported = problem(create(api, key, {"friendlyName": "Other"}), 422)
    assert reported["code"] == "idempotency_key_reused"
    assert reported["errors"][0]["field"] == "Idempotency-Key"
    elsewhere = api.post(
        f"/api/databases/{made['id']}/rotate-password", headers={"Idempotency-Key": key}
    )
    assert problem(elsewhere, 422)["code"] == "idempotency_key_reused"
    assert ask(made["connection_string"]) == 1


def test_a_failure_is_not_kept(api: httpx.Client) -> None:
    """What has failed may be tried again under the same key."""
    key, name = some_key(), f"n{uuid.uuid4().hex[:12]}"
    first = data(api.post("/api/databases", json={"name": name}), 201)
    assert problem(create(api, key, {"name": name}), 409)["code"] == "name_taken"
    api.delete(f"/api/databases/{first['id']}")
    data(create(api, key, {"name": name}), 201)


def test_a_rotation_is_done_once(platform: Installation, api: httpx.Client) -> None:
    made, key = platform.create(), some_key()

    def rotate(key: str, body: bytes = b"") -> httpx.Response:
        path = f"/api/databases/{made['id']}/rotate-password"
        return api.post(path, headers={"Idempotency-Key": key}, content=body)

    first = rotate(key)
    assert data(first)["password"] != made["password"]
    assert rotate(key).content == first.content
    assert ask(first.json()["data"]["connection_string_pooled"]) == 1
    later = rotate(some_key())
    assert data(later)["password"] != data(first)["password"]
    assert rotate(key).content == first.content
    refusal(first.json()["data"]["connection_string"])
    assert ask(data(later)["connection_string"]) == 1


@pytest.mark.parametrize("body", [b"not JSON", b"[" * 100_000, b"9" * 10_000, b"\xff\xfe", b"{}"])
def test_what_a_route_does_not_read_still_shows_requests_apart(
    platform: Installation, api: httpx.Client, body: bytes
) -> None:
    made, key = platform.create(), some_key()
    path, headers = f"/api/databases/{made['id']}/rotate-password", {"Idempotency-Key": key}
    first = api.post(path, headers=headers, content=body)
    data(first)
    assert api.post(path, headers=headers, content=body).content == first.content
    problem(api.post(path, headers=headers, content=b"else"), 422)


def test_an_api_key_is_made_once(platform: Installation, api: httpx.Client) -> None:
    headers = {"Idempotency-Key": some_key()}
    body = {"name": "Once", "scopes": ["databases:read"]}
    first = api.post("/api/api-keys", json=body, headers=headers)
    again = api.post("/api/api-keys", json=body, headers=headers)
    assert again.content == first.content
    with platform.client(data(again, 201)["key"]) as other:
        data(other.get("/api/databases"))


def test_another_api_keys_requests_are_other_requests(
    platform: Installation, api: httpx.Client
) -> None:
    key = some_key()
    with platform.client(create_key(api, scopes=["databases:write"])) as other:
        mine, theirs = data(create(api, key), 201), data(create(other, key), 201)
        assert mine["id"] != theirs["id"]
        assert mine["password"] != theirs["password"]
        reported = problem(create(other, key, {"friendlyName": "Other"}), 422)
        assert reported["code"] == "idempotency_key_reused"


def _at_once(count: int, request: Callable[[], httpx.Response]) -> list[httpx.Response]:
    together = threading.Barrier(count)

    def one(_: int) -> httpx.Response:
        together.wait()
        return request()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_requests_at_once_are_done_once(api: httpx.Client) -> None:
    """The second is reported to come again, or reported what the first was reported."""
    refused = 0
    for _ in range(20):
        key = some_key()
        answers = _at_once(3, lambda key=key: create(api, key))  # type: ignore[misc]
        bodies = {answer.content for answer in answers if answer.status_code == 201}
        assert len(bodies) == 1
        for answer in answers:
            if answer.status_code != 201:
                assert problem(answer, 409)["code"] == "request_in_progress"
                refused += 1
        assert create(api, key).content in bodies
    assert refused > 0


@pytest.mark.parametrize(
    "key", ["", "x" * 256, "x" * 300, "schlüssel".encode("latin-1"), "ключ".encode(), "a\tb"]
)
def test_a_key_that_cannot_be_one_is_refused(api: httpx.Client, key: str | bytes) -> None:
    reported = problem(create(api, key), 422)
    assert reported["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.parametrize("key", ["x", "x" * 255, "a b\"'\\;--%s{}<password:00>"])
def test_any_other_key_is_one(api: httpx.Client, key: str) -> None:
    first = create(api, key)
    data(first, 201)
    assert create(api, key).content == first.content


def test_a_key_is_forgotten_after_a_day(platform: Installation, api: httpx.Client) -> None:
    key = some_key()
    made = data(create(api, key), 201)
    with platform.control() as control:
        control.execute(
            "UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = %s",
            (key,),
        )
    os.kill(platform.pids()["worker"], signal.SIGTERM)  # the next one begins with a pass
    eventually(lambda: data(create(api, key), 201)["id"] != made["id"])


def _dump(platform: Installation) -> bytes:
    """Everything that the control cluster holds."""
    socket = str(platform.home / "run" / "control")
    words = ["pg_dumpall", "--no-password", f"--host={socket}", "--username=tenantry_admin"]
    return subprocess.run(words, check=True, capture_output=True).stdout


def test_no_secret_is_in_the_control_database(platform: Installation, api: httpx.Client) -> None:
    key = some_key()
    made = data(create(api, key), 201)
    rotated = data(
        api.post(
            f"/api/databases/{made['id']}/rotate-password", headers={"Idempotency-Key": f"{key}-2"}
        )
    )
    plain = platform.create()
    api_key = create_key(api, scopes=["databases:read"])
    with platform.client(api_key) as other:
        data(other.get("/api/databases"))
    dump = _dump(platform)
    for there in (made["database_name"], plain["id"], key, api_key[:12]):
        assert there.encode() in dump
    for secret in (made["password"], rotated["password"], plain["password"], api_key, platform.key):
        for written in (secret.removeprefix("tnt_"), secret.encode().hex()):
            assert written.encode() not in dump
    assert b"SCRAM-SHA-256$" not in dump
