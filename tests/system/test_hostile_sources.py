"""Servers to import from that answer with more than there is memory."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import httpx
import pytest

from answers import problem
from harness import Installation

MIB = 1024 * 1024
PLENTY = 1024 * MIB  # what is sent if nobody hangs up; a child may take half of it


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def value(length: int) -> bytes:
    return struct.pack("!hi", 1, length)


WELCOME = message(b"R", struct.pack("!i", 0)) + message(b"Z", b"I")
COLUMNS = message(b"T", struct.pack("!h", 1) + b"x\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0))
PIECE = b"x" * MIB


def rows() -> Iterator[bytes]:
    yield COLUMNS
    row = message(b"D", value(1000) + b"x" * 1000) * 1000
    yield from repeat(row, PLENTY // len(row))


def one_row() -> Iterator[bytes]:
    yield COLUMNS + b"D" + struct.pack("!i", PLENTY + 10) + value(PLENTY)
    yield from repeat(PIECE, PLENTY // MIB)


def parameters() -> Iterator[bytes]:
    for number in range(PLENTY // MIB):
        yield message(b"S", b"p%d\0" % number + PIECE + b"\0")


def error() -> Iterator[bytes]:
    yield b"E" + struct.pack("!i", PLENTY + 10) + b"M"
    yield from repeat(PIECE, PLENTY // MIB)


@contextmanager
def hostile(answer: Iterator[bytes]) -> Iterator[int]:
    """A server that lets anybody in and answers the first query so. Yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)

        def serve() -> None:
            with server.accept()[0] as client:
                client.settimeout(60)
                try:
                    client.recv(8192)
                    client.sendall(WELCOME)
                    client.recv(8192)
                    for piece in answer:
                        client.sendall(piece)
                except OSError:
                    pass  # it has been hung up on

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def memory(pid: int) -> int:
    """The most that a process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (size,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(size) * 1024


@pytest.mark.parametrize("answer", [rows, one_row, parameters, error])
def test_a_hostile_source_takes_no_memory_of_ours(
    platform: Installation, api: httpx.Client, answer: object
) -> None:
    assert callable(answer)
    pid = platform.pids()["api"]
    before = memory(pid)
    with hostile(answer()) as port:
        url = f"postgresql://a:b@127.0.0.1:{port}/c?sslmode=disable"
        asked = {"friendlyName": "Hostile", "import_from": url}
        reported = problem(api.post("/api/databases", json=asked), 422)
    assert reported["code"] == "source_error"
    assert memory(pid) - before < 64 * MIB
