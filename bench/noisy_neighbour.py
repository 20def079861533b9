"""What a tenant notices of a neighbour that takes all it can get.

pgbench works for one tenant, at a steady rate, by both endpoints. Meanwhile another one opens all
connections it may, spills to disk until it is refused, fills its disk quota and overrides
what should stop it, and keeps all cores busy. Others write what no quota counts: uploads that
stall, notifications that nobody takes, write-ahead log, refused logins with long parameters, and
long statements that are logged;
"most_written_mib" is the largest amount that was there at once (of write-ahead log: in all).
Each noise takes turns with quiet.
"""

import contextlib
import http.client
import os
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from support import (
    MIB,
    Aim,
    Api,
    Installation,
    Report,
    installation,
    machine,
    run,
    say,
    settle,
    summary,
)

ENDPOINTS = {"direct": "connection_string", "pooled": "connection_string_pooled"}
RATE = 100  # transactions a second, by each endpoint
CLIENTS = 4
SPILL = (
    "SELECT count(*) FROM (SELECT md5(g::text) || g FROM generate_series(1, 3000000) g"
    " ORDER BY 1 OFFSET 0) s"
)
SPIN = "SELECT count(*) FROM generate_series(1, 3000000) g WHERE md5(g::text) = ''"
GROW = "INSERT INTO growing SELECT repeat(md5(random()::text), 31) FROM generate_series(1, 1024)"

Figures = dict[str, Any]
Noise = Callable[[Figures, threading.Event], None]


@dataclass(frozen=True, slots=True)
class Extent:
    """How long and how often; how large the neighbour's database is."""

    seconds: int
    rounds: int
    scale: int


# ── the neighbour ────────────────────────────────────────────────────────────


def pgbench(made: Figures, endpoint: str, *arguments: str) -> "subprocess.Popen[str]":
    connection = made["connection"]
    here = psycopg.conninfo.conninfo_to_dict(made[ENDPOINTS[endpoint]])
    return subprocess.Popen(
        ["pgbench", *arguments, connection["database"]],
        env=os.environ
        | {
            "PGHOST": "localhost",
            "PGPORT": str(here["port"]),
            "PGUSER": connection["username"],
            "PGPASSWORD": connection["password"],
            "PGSSLMODE": "require",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True, slots=True)
class Worked:
    """The seconds of each transaction, and how many failed."""

    seconds: list[float]
    errors: int


def work(made: Figures, extent: Extent) -> dict[str, Worked]:
    """Let pgbench work by both endpoints at once."""
    with TemporaryDirectory() as folder:
        running = {
            endpoint: pgbench(
                made,
                endpoint,
                f"--client={CLIENTS}",
                f"--time={extent.seconds}",
                f"--rate={RATE}",
                "--no-vacuum",
                "--log",
                f"--log-prefix={folder}/{endpoint}",
            )
            for endpoint in ENDPOINTS
        }
        found = {}
        for endpoint, process in running.items():
            said, complained = process.communicate(timeout=extent.seconds + 120)
            # The third column is the microseconds since it should have begun.
            seconds = [
                int(line.split()[2]) / 1e6
                for log in Path(folder).glob(f"{endpoint}.*")
                for line in log.read_text().splitlines()
            ]
            failed = re.search(r"failed transactions: ([0-9]+)", said)
            aborted = complained.count("aborted") + (process.returncode != 0)
            found[endpoint] = Worked(seconds, aborted + (int(failed[1]) if failed else 0))
        return found


# ── the noises ───────────────────────────────────────────────────────────────


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


def folder_bytes(folder: Path) -> int:
    """What the files below a folder have, also while some of them go."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


@contextmanager
def most_written(here: Installation, make: Noise) -> Iterator[Figures]:
    """Look five times a second at what a noise writes. Yields {"most_written_mib"}."""
    folder = WRITTEN.get(make)
    found: Figures = {}
    if folder is None:
        yield found
        return
    over = threading.Event()

    def measured() -> int:
        if make is write_ahead_log:
            with here.superuser() as server:
                row = server.execute(
                    "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
                ).fetchone()
            return int(row[0]) if row else 0
        return folder_bytes(here.home / folder)

    before = measured()

    def look() -> None:
        while not over.wait(0.2):
            found["most_written_mib"] = max(
                found.get("most_written_mib", 0), round((measured() - before) / MIB, 1)
            )

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


NOISES: dict[str, Noise] = {
    "all its connections": connections,
    "temporary files": temporary_files,
    "disk quota": disk_quota,
    "processors, twice as many sessions as cores": processors,
    "processors, all its connections": all_processors_may_do,
    "uploads": uploads,
    "notify": notifications,
    "wal": write_ahead_log,
    "log": refused_logins,
    "logged statements": logged_statements,
}
# Where each of these writes, below the home.
WRITTEN: dict[Noise, str] = {
    uploads: "scratch",
    notifications: "clusters/shared-1/data/pg_notify",
    write_ahead_log: "clusters/shared-1/data/pg_wal",
    refused_logins: "logs",
    logged_statements: "logs",
}


@contextmanager
def noise(here: Installation, make: Noise, extent: Extent) -> Iterator[Figures]:
    """A tenant of the plan standard that makes this noise while the block lasts."""
    small = make in {disk_quota, uploads, write_ahead_log}
    made = here.create(**({"diskQuotaBytes": 64 * MIB} if small else {}))
    made |= {"key": here.key, "api_port": here.api_port}
    over = threading.Event()
    thread = threading.Thread(target=make, args=(made, over))
    thread.start()
    over.wait(min(2, extent.seconds))
    reported: Figures = {}
    try:
        yield reported
    finally:
        over.set()
        thread.join()
        with Api(here) as api:
            row = api("GET", f"/api/databases/{made['id']}")[1]["data"]
            reported["disk"] = row["disk"]["state"]
            reported["pause"] = (row.get("paused") or {}).get("reason")
            api("DELETE", f"/api/databases/{made['id']}")


# ── the run ──────────────────────────────────────────────────────────────────


def compare(here: Installation, made: Figures, make: Noise, extent: Extent) -> Figures:
    """The neighbour's work with a noise and without it, in turns."""
    found: dict[str, dict[str, Worked]] = {
        way: {endpoint: Worked([], 0) for endpoint in ENDPOINTS} for way in ("quiet", "noisy")
    }
    ended: Figures = {}
    most: list[float] = []

    def keep(way: str) -> None:
        for endpoint, worked in work(made, extent).items():
            before = found[way][endpoint]
            found[way][endpoint] = Worked(
                before.seconds + worked.seconds, before.errors + worked.errors
            )

    for _ in range(extent.rounds):
        settle(here)
        keep("quiet")
        with most_written(here, make) as written, noise(here, make, extent) as reported:
            keep("noisy")
        most += written.values()
        ended = reported
    figures: Figures = {
        way: {
            endpoint: summary(worked.seconds) | {"errors": worked.errors}
            for endpoint, worked in endpoints.items()
        }
        for way, endpoints in found.items()
    }
    figures["p95_noisy_to_quiet"] = {
        endpoint: round(
            figures["noisy"][endpoint]["p95_ms"] / figures["quiet"][endpoint]["p95_ms"], 2
        )
        for endpoint in ENDPOINTS
    }
    figures |= {"its_disk_state_at_the_end": ended["disk"], "paused_for": ended["pause"]}
    return figures | ({"most_written_mib": max(most)} if most else {})


def chosen() -> list[str]:
    """The noises to make: those that NOISES names, separated by commas, or all."""
    names = os.environ.get("NOISES", "")
    return [name.strip() for name in names.split(",")] if names else list(NOISES)


def benchmark(quick: bool) -> Report:
    extent = Extent(seconds=6, rounds=1, scale=5) if quick else Extent(20, 3, 20)
    results: Figures = {}
    with installation(warm_pool=4) as here:
        made = here.create()
        pgbench(made, "direct", "--initialize", "--quiet", f"--scale={extent.scale}").communicate(
            timeout=300
        )
        for name in chosen():
            make = NOISES[name]
            results[name] = compare(here, made, make, extent)
            ratios = results[name]["p95_noisy_to_quiet"]
            most = results[name].get("most_written_mib")
            say(f"{name}: p95 noisy to quiet {ratios}, most written {most} MiB")
        about = machine(here)
    errors = sum(
        figures["noisy"][endpoint]["errors"]
        for figures in results.values()
        for endpoint in ENDPOINTS
    )
    return Report(about, results, [Aim.at_most("errors of the neighbour", errors, 0)])


if __name__ == "__main__":
    run("noisy_neighbour", __doc__ or "", benchmark)
