"""What one request may have the API keep in memory before anything is known of its sender."""

import contextlib
import json
import socket
from collections.abc import Iterable, Iterator
from itertools import repeat

import pytest

from harness import Installation

MIB = 1024 * 1024
PLENTY = 64 * MIB  # what is sent if nobody hangs up; the kernel's buffers hold a few MiB of it


def ask(platform: Installation, pieces: Iterable[bytes]) -> tuple[bytes, int]:
    """Send pieces of a request until the API hangs up. Returns its answer, and what was sent."""
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", platform.api_port), timeout=30) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        with contextlib.suppress(ConnectionResetError):
            while received := connection.recv(65536):
                answer += received
    return answer, sent


def request(
    *headers: str, line: str = "GET /health HTTP/1.1", body: str = "", close: bool = True
) -> bytes:
    every = ("Host: x", *headers, *(["Connection: close"] if close else []))
    return (line + "\r\n" + "".join(f"{each}\r\n" for each in every) + f"\r\n{body}").encode()


def reported(answer: bytes, status: int) -> str:
    """The code of a problem."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:500]
    assert b"application/problem+json" in head
    found: str = json.loads(body)["code"]
    return found


def endless(first: str, piece: bytes) -> Iterator[bytes]:
    yield first.encode()
    yield from repeat(piece, PLENTY // len(piece))


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        pytest.param("GET /", b"a" * 65536, id="target"),
        pytest.param("GET / HTTP/1.1\r\nHost: x\r\n", b"a" * 65536, id="name"),
        pytest.param("GET / HTTP/1.1\r\nHost: x\r\nA: ", b"a" * 65536, id="value"),
        pytest.param("GET / HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n" * 10_000, id="headers"),
        pytest.param(
            "POST /api/databases HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ",
            b"a" * 65536,
            id="trailer",
        ),
        pytest.param(
            "POST /api/databases HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=",
            b"a" * 65536,
            id="chunk extension",
        ),
    ],
)
def test_a_head_without_end_is_cut_off(platform: Installation, first: str, piece: bytes) -> None:
    _, sent = ask(platform, endless(first, piece))
    assert sent < PLENTY / 2, f"{sent:,} bytes were taken"
    assert platform.get("/health").is_success


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request(line=f"GET /{'a' * 17_000} HTTP/1.1"), 414),
        (request(f"A: {'a' * 17_000}"), 431),
        (request(f"{'a' * 17_000}: A"), 431),
        (request(*[f"A{number}: {'a' * 1000}" for number in range(70)]), 431),
        (request(*[f"A{number}: b" for number in range(101)]), 431),
    ],
    ids=["target", "value", "name", "together", "number"],
)
def test_a_head_that_is_too_large_is_reported_so(
    platform: Installation, head: bytes, status: int
) -> None:
    assert reported(ask(platform, [head])[0], status) == "head_too_large"


def test_a_head_that_is_large_is_taken(platform: Installation) -> None:
    head = request(f"A: {'a' * 15_000}", *[f"A{number}: {'a' * 500}" for number in range(80)])
    answer, _ = ask(platform, [head])
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_headers_after_a_body_are_not_taken(platform: Installation) -> None:
    """uvicorn would add them to those that the request is judged by."""
    late = request(
        "Transfer-Encoding: chunked",
        line="POST /api/api-keys HTTP/1.1",
        body=f"0\r\nX-API-Key: {platform.key}\r\n\r\n",
    )
    assert reported(ask(platform, [late])[0], 400) == "bad_request"


SINGLE = {
    "Authorization": "Bearer x",
    "Content-Length": "0",
    "Content-Type": "application/json",
    "Host": "x",
    "Idempotency-Key": "x",
    "Transfer-Encoding": "chunked",
    "X-API-Key": "x",
    "X-Request-ID": "x",
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_header_of_one_value_comes_once(platform: Installation, name: str) -> None:
    twice = [f"{name}: {SINGLE[name]}", f"{name.upper()}: {SINGLE[name]}"]
    answer, _ = ask(platform, [request(*twice, line="GET /api/databases HTTP/1.1")])
    # Of those that frame the body the parser itself takes one only.
    framing = name in {"Content-Length", "Transfer-Encoding"}
    assert reported(answer, 400) in {"repeated_header", *(["bad_request"] if framing else [])}


def test_a_length_and_chunks_are_not_taken_together(platform: Installation) -> None:
    both = request("Content-Length: 5", "Transfer-Encoding: chunked", body="0\r\n\r\n")
    assert reported(ask(platform, [both])[0], 400) == "bad_request"


@pytest.mark.parametrize(
    "types",
    [
        ("application/json", "application/octet-stream"),
        ("application/octet-stream", "application/json"),
        ("Application/JSON; x=application/octet-stream",),
        ("application/octet-stream, application/json",),
    ],
)
def test_no_content_type_has_a_body_read_without_a_limit(
    platform: Installation, types: tuple[str, ...]
) -> None:
    made = platform.create(shadow=False)
    head = request(
        f"X-API-Key: {platform.key}",
        *[f"Content-Type: {each}" for each in types],
        f"Content-Length: {PLENTY}",
        line=f"POST /api/databases/{made['id']}/import HTTP/1.1",
        close=False,
    )
    _, sent = ask(platform, endless(head.decode(), b" " * 65536))
    assert sent < PLENTY / 2, f"{sent:,} bytes were taken"


def test_the_errors_of_a_body_are_few(platform: Installation) -> None:
    body = json.dumps({f"field_{number}": 1 for number in range(20_000)})
    with platform.client() as api:
        answer = api.post(
            "/api/databases", content=body, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) <= 100
