"""Connections that never finish their login, as many as are wanted, from this machine to itself."""

import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import psycopg

_SSL_REQUEST, _VERSION_3 = 80877103, 196608
_SECONDS = 120  # no flood lasts longer

Open = Callable[[], socket.socket]


@cache
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def asked_for_proof(
    port: int, database: dict[str, Any], source: str = "127.0.0.1"
) -> ssl.SSLSocket:
    """A connection that has reported the name of a role, and has to prove that it is that role."""
    plain = socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0))
    try:
        plain.sendall(struct.pack("!ii", 8, _SSL_REQUEST))
        plain.recv(1)  # "S", or nothing where there is no place
        secure = _context().wrap_socket(plain)
    except BaseException:
        plain.close()
        raise
    words = ("user", database["username"], "database", database["database_name"], "")
    text = b"".join(word.encode() + b"\0" for word in words)
    secure.sendall(struct.pack("!ii", 8 + len(text), _VERSION_3) + text)
    secure.recv(1024)
    return secure


def stopping_in_scram(port: int, database: dict[str, Any], source: str = "127.0.0.1") -> Open:
    """How to open a connection that knows a role's name, and stops when it has to prove more."""

    def open_one() -> socket.socket:
        secure = asked_for_proof(port, database, source)
        first = b"n,,n=,r=abcdefghijklmnopqr"
        answer = b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first
        secure.sendall(b"p" + struct.pack("!i", len(answer) + 4) + answer)
        secure.recv(1024)  # the server's challenge: from here on it says nothing
        return secure

    return open_one


def send_large_proof(connection: ssl.SSLSocket, size: int) -> None:
    """Send all but the last byte of a message of ``size`` bytes, or less if it is ended."""
    connection.settimeout(10)
    with suppress(OSError):
        connection.sendall(b"p" + struct.pack("!i", size + 4))
        connection.sendall(b"x" * (size - 1))


def silent(port: int, source: str = "127.0.0.1", *, says: bytes = b"") -> Open:
    """How to open a connection that says nothing, or nothing more than this."""

    def open_one() -> socket.socket:
        made = socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0))
        made.sendall(says)
        return made

    return open_one


@contextmanager
def flood(open_one: Open, count: int, *, threads: int = 8) -> Iterator[Callable[[], int]]:
    """Hold so many connections open for as long as the block lasts: one that is ended is replaced.

    Yields how many have been opened in all.
    """
    over = threading.Event()
    opened = [0] * threads
    until = time.monotonic() + _SECONDS

    def work(number: int) -> None:
        with selectors.DefaultSelector() as held:
            while not over.is_set() and time.monotonic() < until:
                for key, _ in held.select(timeout=0):
                    held.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
                if len(held.get_map()) >= count // threads:
                    over.wait(0.02)
                    continue
                try:
                    made = open_one()
                except OSError:  # refused, or cut off
                    over.wait(0.01)
                    continue
                opened[number] += 1
                held.register(made, selectors.EVENT_READ)
            for key in list(held.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]

    every = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in every:
        thread.start()
    try:
        yield lambda: sum(opened)
    finally:
        over.set()
        for thread in every:
            thread.join()


class Neighbour:
    """Somebody who logs in, asks one thing and leaves, again and again, by one endpoint."""

    def __init__(self, url: str, *, patience: int = 15) -> None:
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self._url = url
        self._over = threading.Event()
        self._patience = patience
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        while not self._over.wait(0.01):
            began = time.monotonic()
            try:
                with psycopg.connect(
                    self._url, autocommit=True, connect_timeout=self._patience
                ) as session:
                    session.execute("SELECT 1")
            except psycopg.OperationalError as error:
                self.errors.append(f"{time.monotonic() - began:.1f} s: {error}")
            else:
                self.seconds.append(time.monotonic() - began)

    def __enter__(self) -> "Neighbour":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
