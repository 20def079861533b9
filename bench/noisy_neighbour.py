"""What a tenant notices of a neighbour that takes all it can get.

pgbench works for one tenant, at a steady rate, by both endpoints. Meanwhile another one opens all
connections it may, spills to disk until it is refused, fills its disk quota and overrides
what should stop it, and keeps all cores busy. Others write what no quota counts: uploads that
stall, notifications that nobody takes, write-ahead log, refused logins with long parameters, and
long statements that are logged;
"most_written_mib" is the largest amount that was there at once (of write-ahead log: in all).
Each noise takes turns with quiet. With and without CPU shares, pgbench only reads; and works alone
as fast as it can, which shares must not slow down.
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from noises import (
    Figures,
    Noise,
    all_processors_may_do,
    connections,
    disk_quota,
    logged_statements,
    notifications,
    processors,
    refused_logins,
    temporary_files,
    uploads,
    write_ahead_log,
)
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
from tenantry.host import cgroups
from tenantry.services.cpu_shares import ARRIVALS

ENDPOINTS = {"direct": "connection_string", "pooled": "connection_string_pooled"}
RATE = 100  # transactions a second, by each endpoint
CLIENTS = 4


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


def work(made: Figures, extent: Extent, *options: str) -> dict[str, Worked]:
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
                *options,
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


SHARED = "computing beside reading"
UNSHARED = "computing beside reading without CPU shares"
NOISES: dict[str, Noise] = {
    "all its connections": connections,
    "temporary files": temporary_files,
    "disk quota": disk_quota,
    "processors, twice as many sessions as cores": processors,
    "processors, all its connections": all_processors_may_do,
    SHARED: all_processors_may_do,
    UNSHARED: all_processors_may_do,
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


# ── CPU shares ───────────────────────────────────────────────────────────────


@contextmanager
def without_shares(here: Installation) -> Iterator[None]:
    """Have all processes outside of the control groups; the worker stops meanwhile. As root."""
    groups = cgroups.find(here.home)
    if groups is None:
        raise SystemExit(cgroups.missing(here.home))
    top = groups.folders["cpu"].parent.parent / "cgroup.procs"
    worker, postmaster = here.pids()["worker"], here.pids()["shared-1"]
    os.kill(worker, signal.SIGSTOP)
    for pid in here.processes():
        with contextlib.suppress(ProcessLookupError):
            top.write_text(f"{pid}\n")
    try:
        yield
    finally:
        os.kill(worker, signal.SIGKILL)  # the next one moves them again
        while postmaster not in groups.members(ARRIVALS):
            time.sleep(0.1)


def throughput(made: Figures, extent: Extent) -> float:
    """Transactions a second of a database that has the machine to itself."""
    said, _ = pgbench(
        made, "direct", "--select-only", f"--client={CLIENTS}", f"--time={extent.seconds}"
    ).communicate(timeout=extent.seconds + 120)
    found = re.search(r"tps = ([0-9.]+)", said)
    return float(found[1]) if found else 0.0


def alone(here: Installation, made: Figures, extent: Extent) -> Figures:
    """The throughput with shares and without them, in turns."""
    found: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(extent.rounds):
        found["with"].append(throughput(made, extent))
        with without_shares(here):
            found["without"].append(throughput(made, extent))
    return {f"tps_{way}_shares": round(sum(all_) / len(all_)) for way, all_ in found.items()}


# ── the run ──────────────────────────────────────────────────────────────────


def compare(
    here: Installation, made: Figures, make: Noise, extent: Extent, *options: str
) -> Figures:
    """The neighbour's work with a noise and without it, in turns."""
    found: dict[str, dict[str, Worked]] = {
        way: {endpoint: Worked([], 0) for endpoint in ENDPOINTS} for way in ("quiet", "noisy")
    }
    ended: Figures = {}
    most: list[float] = []

    def keep(way: str) -> None:
        for endpoint, worked in work(made, extent, *options).items():
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
            options = ["--select-only"] if name in {SHARED, UNSHARED} else []
            with without_shares(here) if name == UNSHARED else contextlib.nullcontext():
                results[name] = compare(here, made, make, extent, *options)
            ratios = results[name]["p95_noisy_to_quiet"]
            most = results[name].get("most_written_mib")
            say(f"{name}: p95 noisy to quiet {ratios}, most written {most} MiB")
        about = machine(here)
        errors = sum(
            figures["noisy"][endpoint]["errors"]
            for figures in results.values()
            for endpoint in ENDPOINTS
        )
        aims = [Aim.at_most("errors of the neighbour", errors, 0)]
        if SHARED in results:
            worst = max(results[SHARED]["p95_noisy_to_quiet"].values())
            aims.append(Aim.at_most("p95 beside 50 computing sessions, in quiet ones", worst, 10))
            results["alone"] = alone(here, made, extent)
    return Report(about, results, aims)


if __name__ == "__main__":
    run("noisy_neighbour", __doc__ or "", benchmark)
