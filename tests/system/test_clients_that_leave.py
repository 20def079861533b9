"""Clients of the API that leave in the midst of a request: no failure of ours is reported of."""

import json
import socket
import struct
import uuid
from typing import Any

import httpx
import pytest

from clients import eventually
from harness import Installation

GONE = 499


def leave(platform: Installation, head: list[str], body: bytes, *, reset: bool) -> dict[str, Any]:
    """Send a part of a request and go. Returns the log's line of the request."""
    request_id = f"left-{uuid.uuid4()}"
    lines = [*head, "Host: localhost", f"X-API-Key: {platform.key}", f"X-Request-ID: {request_id}"]
    with socket.create_connection(("127.0.0.1", platform.api_port), timeout=30) as peer:
        peer.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        if "GET" in head[0]:
            assert peer.recv(1024).startswith(b"HTTP/1.1 200 ")
        if reset:  # a RST instead of a FIN (socket(7), SO_LINGER)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    log = platform.home / "logs" / "tenantry.log"
    reported: list[dict[str, Any]] = []

    def logged() -> bool:
        lines = [line for line in log.read_text().splitlines() if request_id in line]
        reported[:] = [json.loads(line) for line in lines if line.startswith("{")]
        return any(each["event"] == "request" for each in reported)

    eventually(logged)
    assert not [each for each in reported if each["level"] == "error"]
    assert "exception" not in "".join(map(json.dumps, reported)).lower()
    return next(each for each in reported if each["event"] == "request")


def failures(api: httpx.Client) -> list[str]:
    """What the measures tell of answers with a status of 500."""
    lines = api.get("/metrics").text.splitlines()
    return [line for line in lines if "http_request" in line and 'status="500"' in line]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream"])
def test_a_body_that_is_broken_off(
    platform: Installation, api: httpx.Client, kind: str, reset: bool
) -> None:
    before = failures(api)
    database = platform.create()
    path = f"/api/databases/{database['id']}/import"
    head = [f"POST {path} HTTP/1.1", f"Content-Type: {kind}", "Content-Length: 1000000"]
    reported = leave(platform, head, b"PGDMP" + b"\0" * 100_000, reset=reset)
    assert reported["status"] == GONE
    assert failures(api) == before
    assert not [each for each in platform.home.rglob("uploads/*") if each.is_file()]
    # Nothing holds the database.
    assert api.delete(f"/api/databases/{database['id']}").is_success


@pytest.mark.parametrize("path", ["/api/databases", "/api/auth/login"])
def test_a_small_body_that_is_broken_off(
    platform: Installation, api: httpx.Client, path: str
) -> None:
    before = failures(api)
    head = [f"POST {path} HTTP/1.1", "Content-Type: application/json", "Content-Length: 100"]
    head.append(f"Idempotency-Key: {uuid.uuid4()}")
    reported = leave(platform, head, b'{"name": "half', reset=False)
    assert reported["status"] == GONE
    assert failures(api) == before


def test_a_stream_that_nobody_reads_to_its_end(platform: Installation, api: httpx.Client) -> None:
    before = failures(api)
    with platform.control() as control:
        control.execute(
            "INSERT INTO audit_logs"
            " (actor_kind, actor_name, action, resource_kind, result, details)"
            " SELECT 'platform', 'tenantry', 'cluster.verify', 'test', 'ok',"
            " jsonb_build_object('text', repeat('x', 1000)) FROM generate_series(1, 30000)"
        )
    reported = leave(
        platform, ["GET /api/audit-logs/export?action=cluster.verify HTTP/1.1"], b"", reset=True
    )
    assert reported["status"] == GONE
    assert failures(api) == before
