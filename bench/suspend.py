"""Instances that are suspended: how long a wake takes, and whether anybody is refused.

A small instance of the process driver is suspended again and again. Wakes: from connect to the
first result, pooled and direct, beside ``pg_ctl start`` of the same server by hand. Races: clients
that connect at a moment around the suspension, on both ports. Prices: a round trip on the direct
port, forwarded and PostgreSQL's own, and pooled. Prints JSON.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

import support
from support import Aim, Api, Installation, Report, as_service_user, free_ports

_WHOLE = (60, 1_000, 3_000)  # wakes, clients, round trips
_QUICK = (5, 40, 200)
_RACERS = 4
_WAKE_MS = 150.0
_AROUND_SECONDS = 0.4  # a race begins within so long of the suspension's begin
# Suspends the instance once for each line, as the worker does when nobody was there for long.
_SUSPENDER = """
import asyncio, sys
from tenantry.base import settings
from tenantry.services.clusters import suspending
from tenantry.services.clusters.fleet import Fleet

fleet = Fleet(settings.load())
for line in sys.stdin:
    cluster = fleet.named(line.strip())
    print(asyncio.run(suspending.suspend(fleet, cluster)), flush=True)
"""


class Suspender:
    """A process of the platform's own user that suspends one instance at once."""

    def __init__(self, here: Installation, database: dict[str, Any]) -> None:
        self._here = here
        self._database = database
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SUSPENDER],
            env=here.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            **as_service_user(),
        )

    def suspend(self) -> bool:
        """Suspend it, unless somebody is there. Return whether it was."""
        if self._process.stdin is None or self._process.stdout is None:
            raise TypeError("it has pipes")
        self._process.stdin.write(f"{self._database['cluster']}\n")
        self._process.stdin.flush()
        answered: str = self._process.stdout.readline()
        return answered == "True\n"

    def surely(self) -> None:
        """Suspend it, whoever was there: their sessions are ended before."""
        while self.runs():
            self.empty()
            self.suspend()

    def empty(self) -> None:
        """End what the pooler keeps for a minute."""
        with self._here.superuser(self._database["cluster"]) as server:
            server.execute(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )

    def runs(self) -> bool:
        """Whether the server runs."""
        return str(self._database["cluster"]) in self._here.pids()

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


def created(here: Installation, **asked: object) -> dict[str, Any]:
    """A new instance that can be used."""
    with Api(here) as api:
        _, answer = api("POST", "/api/databases", kind="dedicated", memory_mb=128, **asked)
    made: dict[str, Any] = answer["data"]
    support.finished(here, made["operation_id"])
    return made


def first_result(url: str) -> float:
    """Seconds from a connect to the first row."""
    began = time.perf_counter()
    with psycopg.connect(url, autocommit=True, connect_timeout=30) as session:
        session.execute("SELECT 1").fetchone()
        return time.perf_counter() - began


def wakes(suspender: Suspender, url: str, count: int) -> list[float]:
    """Seconds of so many wakes."""
    found = []
    for _ in range(count):
        suspender.surely()
        found.append(first_result(url))
    return found


def by_hand(here: Installation, suspender: Suspender, database: dict[str, Any]) -> list[float]:
    """Seconds of ``pg_ctl start`` of a copy's worth of work: the same folder, stopped by hand."""
    folder = here.home / "clusters" / database["cluster"] / "data"
    with here.superuser() as server:
        bindir = server.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone()
    if bindir is None:
        raise LookupError("pg_config has no BINDIR")
    pg_ctl = [f"{bindir[0]}/pg_ctl", "--pgdata", str(folder), "--log", "/dev/null", "--wait"]
    found = []
    for _ in range(5):
        suspender.surely()
        began = time.perf_counter()
        run = subprocess.run(
            [*pg_ctl, "start"], check=False, capture_output=True, cwd="/", **as_service_user()
        )
        if run.returncode == 0:
            found.append(time.perf_counter() - began)
    return found


def races(suspender: Suspender, urls: list[str], count: int) -> tuple[Counter[str], Counter[str]]:
    """What became of clients that connected around suspensions, and of these."""
    found: Counter[str] = Counter()
    tries: Counter[str] = Counter()

    def race(url: str) -> str:
        time.sleep(random.uniform(0, _AROUND_SECONDS))  # noqa: S311
        try:
            first_result(url)
        except psycopg.OperationalError as error:
            return f"refused: {str(error).splitlines()[-1][:120]}"
        return "served"

    with ThreadPoolExecutor(_RACERS) as racers:
        while found.total() < count:
            if suspender.runs():
                suspender.empty()
            clients = [racers.submit(race, url) for url in urls * (_RACERS // len(urls))]
            time.sleep(random.uniform(0, _AROUND_SECONDS))  # noqa: S311
            tries["suspended" if suspender.suspend() else "taken back"] += 1
            found.update(each.result() for each in clients)
    return found, tries


def round_trips(url: str, count: int) -> list[float]:
    """Seconds of queries of one session."""
    with psycopg.connect(url, autocommit=True) as session:
        found = []
        for _ in range(count):
            began = time.perf_counter()
            session.execute("SELECT 1").fetchone()
            found.append(time.perf_counter() - began)
        return found


def benchmark(quick: bool) -> Report:
    ports = sorted(free_ports(3))
    with support.installation(
        warm_pool=1, TENANTRY_INSTANCE_PORTS=f"{ports[0]}-{ports[-1]}"
    ) as here:
        # The worker would wait for a month: the benchmark suspends by itself.
        month = 30 * 86_400
        woken = created(here, name="wakes", auto_suspend_seconds=month)
        own = created(here, name="own", auto_suspend_seconds=month, auto_suspend_direct="refuse")
        suspender = Suspender(here, woken)
        count, clients, trips = _QUICK if quick else _WHOLE
        direct, pooled = woken["connection_string"], woken["connection_string_pooled"]
        try:
            results: dict[str, object] = {}
            figures: dict[str, float] = {}
            for name, url in (("pooled", pooled), ("direct", direct)):
                support.say(f"{count} wakes, {name}")
                seconds = wakes(suspender, url, count)
                results[f"wake_{name}"] = support.summary(seconds)
                figures[name] = support.percentile(seconds, 0.95) * 1000
            support.say(f"{clients} races")
            found, tries = races(suspender, [direct, pooled], clients)
            results["races"] = {"clients": dict(found), "suspensions": dict(tries)}
            refused = sum(n for what, n in found.items() if what.startswith("refused"))
            results["pg_ctl_by_hand"] = support.summary(by_hand(here, suspender, woken))
            first_result(pooled)
            price: dict[str, Callable[[], list[float]]] = {
                "forwarded": lambda: round_trips(direct, trips),
                "own_port": lambda: round_trips(own["connection_string"], trips),
                "pooled": lambda: round_trips(pooled, trips),
            }
            results["round_trips"] = {
                name: support.summary(measure()) for name, measure in price.items()
            }
        finally:
            suspender.end()
        aims = [
            Aim.at_most("clients refused", refused, 0),
            *(Aim.at_most(f"wake, {name}, p95 ms", ms, _WAKE_MS) for name, ms in figures.items()),
        ]
        return Report(support.machine(here), results, aims)


if __name__ == "__main__":
    random.seed(os.getpid())
    support.run("suspend", __doc__ or "", benchmark)
