"""Clients of the API that go silent: each is cut off, and others are served meanwhile."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from harness import Installation

SECONDS = 1  # of each deadline here


@pytest.fixture(scope="module")
def hasty() -> Iterator[Installation]:
    """An API with TLS and short deadlines."""
    installation = Installation(
        {
            "TENANTRY_API_HOST": "0.0.0.0",  # noqa: S104
            "TENANTRY_API_HEAD_SECONDS": str(SECONDS),
            "TENANTRY_API_STALL_SECONDS": str(SECONDS),
            "TENANTRY_API_IDLE_SECONDS": str(SECONDS),
        }
    )
    try:
        installation.up()
        yield installation
    finally:
        installation.remove()


@contextlib.contextmanager
def connected(platform: Installation) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=platform.home / "ca.crt")
    with (
        socket.create_connection(("127.0.0.1", platform.api_port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        yield secured


def everything(peer: socket.socket) -> bytes:
    """What the other side still says before it closes."""
    said = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError, ssl.SSLError):
        while piece := peer.recv(65536):
            said += piece
    return said


HEAD = b"POST /api/databases HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "sent", [b"", b"GET /hea", HEAD, b"\r\n"], ids=["", "line", "head", "blank"]
)
def test_a_head_that_does_not_come_to_its_end(hasty: Installation, sent: bytes) -> None:
    with connected(hasty) as peer:
        peer.sendall(sent)
        assert b" 408 " in everything(peer).partition(b"\r\n")[0]


def test_a_head_that_trickles(hasty: Installation) -> None:
    with connected(hasty) as peer:
        peer.settimeout(0.1)
        said = b""
        for byte in HEAD * 100:
            try:
                peer.sendall(bytes([byte]))
                said += peer.recv(65536)
            except TimeoutError:
                continue
            except (ConnectionError, ssl.SSLError):
                break
            if said:
                break
        assert said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "headers",
    [b"Content-Length: 100000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"],
    ids=["length", "chunked"],
)
def test_a_body_that_does_not_come_to_its_end(hasty: Installation, headers: bytes) -> None:
    with connected(hasty) as peer:
        key = f"X-API-Key: {hasty.key}\r\nContent-Type: application/json\r\n".encode()
        peer.sendall(HEAD + key + headers)
        reported = everything(peer)
    assert reported.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in reported
    assert b'"code":"request_timeout"' in reported


def test_an_idle_connection_is_closed_without_a_word(hasty: Installation) -> None:
    with connected(hasty) as peer:
        peer.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert everything(peer).count(b"HTTP/1.1 ") == 1


def test_a_handshake_that_does_not_come_to_its_end(hasty: Installation) -> None:
    with socket.create_connection(("127.0.0.1", hasty.api_port), timeout=60) as peer:
        assert everything(peer) == b""


def test_an_answer_that_nobody_reads(hasty: Installation) -> None:
    """Many answers are asked for on one connection, and none is read."""
    with connected(hasty) as peer:
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        # As much as no buffer of the kernel's holds.
        peer.sendall(ask * 400)
        deadline = time.monotonic() + 60
        log = hasty.home / "logs" / "tenantry.log"
        while "reading an answer" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert b"HTTP/1.1 408" not in everything(peer)
    assert hasty.tenantry("status").returncode == 0
