"""What a tenant does to its neighbours in ``noisy_neighbour.py``, until an event is set."""

import contextlib
import http.client
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import psycopg

from support import MIB

SPILL = (
    "SELECT count(*) FROM (SELECT md5(g::text) || g FROM generate_series(1, 3000000) g"
    " ORDER BY 1 OFFSET 0) s"
)
SPIN = "SELECT count(*) FROM generate_series(1, 3000000) g WHERE md5(g::text) = ''"
GROW = "INSERT INTO growing SELECT repeat(md5(random()::text), 31) FROM generate_series(1, 1024)"

Figures = dict[str, Any]
Noise = Callable[[Figures, threading.Event], None]


def repeat(url: str, statement: bytes, over: threading.Event) -> None:
    """Do this again and again in a session, and in a new one where it is ended or refused."""
    while not over.wait(0.01):
        with contextlib.suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as session:
            while not over.is_set():
                session.execute(statement)


def side_by_side(url: str, statement: str, count: int, over: threading.Event) -> None:
    threads = [
        threading.Thread(target=repeat, args=(url, statement.encode(), over)) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def connections(made: Figures, over: threading.Event) -> None:
    side_by_side(
        made["connection_string"], "SELECT pg_sleep(1)", made["max_connections"] + 10, over
    )


def temporary_files(made: Figures, over: threading.Event) -> None:
    side_by_side(made["connection_string"], SPILL, 4, over)


def disk_quota(made: Figures, over: threading.Event) -> None:
    url = f"{made['connection_string']}&options=-cdefault_transaction_read_only%3Doff"
    with contextlib.suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as session:
        session.execute("CREATE TABLE IF NOT EXISTS growing (x text)")
    side_by_side(url, GROW, 2, over)


def processors(made: Figures, over: threading.Event) -> None:
    side_by_side(made["connection_string"], SPIN, 2 * len(os.sched_getaffinity(0)), over)


def all_processors_may_do(made: Figures, over: threading.Event) -> None:
    side_by_side(made["connection_string"], SPIN, made["max_connections"], over)


# ── what no quota counts ─────────────────────────────────────────────────────


def _upload(made: Figures, over: threading.Event) -> None:
    """Send all but the end of a dump as large as the quota, then stall."""
    piece = b"\0" * MIB
    head = (
        f"POST /api/databases/{made['id']}/import HTTP/1.1\r\nHost: localhost\r\n"
        f"X-API-Key: {made['key']}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {64 * MIB}\r\n\r\n"
    ).encode()
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", made["api_port"]), timeout=10) as here,
    ):
        here.sendall(head + b"PGDMP" + b"\0" * 1024)
        for _ in range(60):
            here.sendall(piece)
        over.wait()
        return
    over.wait(0.2)


def uploads(made: Figures, over: threading.Event) -> None:
    def again() -> None:
        while not over.is_set():
            _upload(made, over)

    threads = [threading.Thread(target=again) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def notifications(made: Figures, over: threading.Event) -> None:
    """Two sessions notify; a third listens, and keeps the queue by an open transaction."""
    url = made["connection_string"]
    held = threading.Event()

    def hold() -> None:
        while not over.wait(0.05):
            with contextlib.suppress(psycopg.Error), psycopg.connect(url) as session:
                session.execute("LISTEN noise")
                session.commit()
                while not over.wait(0.2):
                    session.execute("SELECT 1")
                    held.set()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(5)
    side_by_side(
        url,
        "SELECT count(pg_notify('noise', g || repeat('x', 7900))) FROM generate_series(1, 2000) g",
        2,
        over,
    )
    holder.join()


def write_ahead_log(made: Figures, over: threading.Event) -> None:
    """Write the same rows again and again: the table stays small."""
    url = made["connection_string"]
    with contextlib.suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as session:
        session.execute("CREATE TABLE IF NOT EXISTS again (x text)")
    side_by_side(
        url,
        "TRUNCATE again; INSERT INTO again SELECT repeat(md5(g::text), 31)"
        " FROM generate_series(1, 8192) g",
        1,
        over,
    )


def refused_logins(made: Figures, over: threading.Event) -> None:
    """Startup packets with a parameter of 9 KB, which the server repeats in its log."""
    port = psycopg.conninfo.conninfo_to_dict(made["connection_string"])["port"]
    words = b"user\0nobody\0database\0nowhere\0replication\0" + b"x" * 9000 + b"\0\0"
    packet = struct.pack("!ii", len(words) + 8, 196608) + words

    def again() -> None:
        while not over.is_set():
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", int(str(port))), timeout=5) as here,
            ):
                here.sendall(packet)
                here.recv(4096)

    threads = [threading.Thread(target=again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def logged_statements(made: Figures, over: threading.Event) -> None:
    """Have long statements logged, until logging is paused, and again afterwards."""
    path = f"/api/databases/{made['id']}/logs/settings"
    headers = {"X-API-Key": made["key"], "Content-Type": "application/json"}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", made["api_port"])) as api:
        api.request("PUT", path, '{"statements": "all"}', headers)
        api.getresponse().read()
    side_by_side(made["connection_string"], f"SELECT length('{'x' * 256 * 1024}')", 4, over)
