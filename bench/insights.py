"""What sampling all databases costs, and how long series and statements take to be read.

The worker is stopped meanwhile, and this process samples in its place, with its code: so all CPU
time of a look is seen, of this process, of both clusters and of the pooler. Looks while nothing
happens, and looks after something has happened in each database, are measured apart. The history
of a year is written into the tables for some of the databases; routes are asked in turns.
"""

import asyncio
import datetime as dt
import os
import signal
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from support import (
    Aim,
    Api,
    Installation,
    Report,
    as_service_user,
    computed,
    installation,
    machine,
    percentile,
    run,
    say,
    summary,
)
from tenantry.base import settings
from tenantry.control.samples import COUNTERS, GAUGES
from tenantry.control.store import ControlStore
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.local_parts import LocalParts
from tenantry.services.overuse.service import Overuse
from tenantry.services.samples.history import History
from tenantry.services.samples.resolutions import SAMPLE_SECONDS
from tenantry.services.samples.sampling import Sampler

MOST_OF_A_CORE = 0.02
MOST_ROUTE = 0.05  # seconds, p95
CAUGHT_UP_SECONDS = 10
BUSY = 0.3  # of a processor, by the worker and the clusters: less when nothing is overdue
HISTORIES = 100  # databases with a whole history, at most
WAYS: dict[str, str] = {
    "series of a day": "/metrics",
    "series of an hour": "/metrics?step=15&from={hour}",
    "series of a week": "/metrics?from={week}",
    "series of a year": "/metrics?from={year}",
    "queries": "/queries",
}


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of it."""

    databases: int
    looks: int
    requests: int
    pairs: int
    seconds: int


class Sampling:
    """The sampler of an installation, in this process."""

    def __init__(self, here: Installation) -> None:
        os.environ.update(here.env)
        self._settings = settings.load()
        self._here = here
        self._loop = asyncio.new_event_loop()
        self._user = as_service_user().get("user", os.getuid())

    def __enter__(self) -> "Sampling":
        self._run(self._open())
        return self

    def _run(self, work: Coroutine[object, object, None]) -> None:
        # The pooler lets only the user in that it runs as.
        self._become(self._user)
        try:
            self._loop.run_until_complete(work)
        finally:
            self._become(os.getuid())

    @staticmethod
    def _become(user: int) -> None:
        if os.getuid() == 0:
            os.seteuid(user)

    async def _open(self) -> None:
        self._store = ControlStore(Fleet(self._settings).control.address)
        await self._store.__aenter__()
        self._clusters = ClusterPools(self._store)
        pooler = LocalParts(self._settings).pooler
        counted = self._here.home / "run" / "bench-overuse.json"
        overuse = Overuse(self._store, self._clusters, pooler, counted=counted)
        self._sampler = Sampler(self._store, self._clusters, pooler, overuse)

    def __exit__(self, *_: object) -> None:
        async def close() -> None:
            await self._clusters.__aexit__()
            await self._store.__aexit__()

        self._run(close())

    def look(self) -> None:
        self._run(self._sampler.look())

    def prepare(self, *moments: dt.datetime) -> None:
        """Have the partitions of these moments."""
        for at in moments:
            self._run(History(self._store).prepare(at))

    def drop_what_is_not_kept(self) -> None:
        self._run(History(self._store).roll_up(dt.datetime.now(dt.UTC)))


@contextmanager
def without_worker(here: Installation) -> Iterator[None]:
    """Have the worker do nothing meanwhile."""
    pid = here.pids()["worker"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Meter:
    """What has been used of the processors, by part."""

    def __init__(self, here: Installation) -> None:
        pids = here.pids()
        self._pids = {name: pids[name] for name in ("control", "shared-1", "pooler")}
        self._pids["sampler"] = os.getpid()

    def read(self) -> dict[str, float]:
        return {name: computed(pid) for name, pid in self._pids.items()}


def made(here: Installation, count: int) -> list[dict[str, Any]]:
    """Create so many databases."""
    found = []
    with Api(here) as api:
        for number in range(count):
            status, answer = api("POST", "/api/databases", friendlyName="Sampled")
            if status != 201:
                raise RuntimeError(answer)
            found.append(answer["data"])
            if number % 100 == 99:
                say(f"{number + 1} databases")
    return found


def touch(here: Installation, databases: list[dict[str, Any]]) -> None:
    """Have something happen in each."""
    for each in databases:
        with here.superuser(dbname=each["database_name"]) as session:
            session.execute("SELECT 1")


def looks(
    sampling: Sampling, meter: Meter, count: int, before: Callable[[], object]
) -> dict[str, Any]:
    """The CPU time of so many looks, each after ``before``, and how long they take."""
    used: defaultdict[str, float] = defaultdict(float)
    seconds = []
    for _ in range(count):
        before()
        earlier, began = meter.read(), time.perf_counter()
        sampling.look()
        seconds.append(time.perf_counter() - began)
        for name, now in meter.read().items():
            used[name] += now - earlier[name]
    whole = sum(used.values()) / count
    return {
        "look": summary(seconds),
        "cpu_ms": {name: round(1000 * each / count, 2) for name, each in used.items()},
        "share_of_a_core": round(whole / SAMPLE_SECONDS, 5),
    }


def stored(control: psycopg.Connection[Any]) -> dict[str, float]:
    """The bytes of a row of ``raw``, with its part of the index, from the rows there are."""
    control.execute("VACUUM ANALYZE samples_raw")
    row = control.execute(
        "SELECT sum(pg_total_relation_size(i.inhrelid)), (SELECT count(*) FROM samples_raw)"
        " FROM pg_inherits i WHERE i.inhparent = 'samples_raw'::regclass"
    ).fetchone() or (0, 0)
    each = float(row[0]) / max(1, row[1])
    per_day = {"active": 86_400 / SAMPLE_SECONDS + 1440 + 24, "idle": 288 + 288 + 24}
    return {"bytes_of_a_row": round(each, 1)} | {
        f"bytes_of_a_day_{name}": round(rows * each) for name, rows in per_day.items()
    }


def write_history(here: Installation, sampling: Sampling, ids: list[str]) -> None:
    """Write what a year of activity leaves of these databases."""
    now = dt.datetime.now(dt.UTC)
    sampling.prepare(*(now - dt.timedelta(days=days) for days in range(0, 372, 7)))
    sampling.prepare(*(now - dt.timedelta(days=days) for days in range(8)))
    sampling.prepare(*(now - dt.timedelta(hours=hours) for hours in range(0, 25, 6)))
    names = ("seconds", "pooler_seconds", *COUNTERS, *GAUGES)
    values = ["15", "15", *["(random() * 100)::int"] * (len(names) - 2)]
    statement = sql.SQL(
        "INSERT INTO {table} (database_id, at, {names}) SELECT %s, at, {values}"
        " FROM generate_series(date_trunc('hour', now()) - %s::interval,"
        " now() - interval '1 min', %s::interval) at ON CONFLICT DO NOTHING"
    )
    spans = (("raw", "1 day", "15 s"), ("minute", "7 days", "1 min"), ("hour", "365 days", "1 h"))
    with here.control() as control:
        control.execute("SET synchronous_commit = off")
        for resolution, ago, step in spans:
            filled = statement.format(
                table=sql.Identifier(f"samples_{resolution}"),
                names=sql.SQL(", ").join(map(sql.Identifier, names)),
                values=sql.SQL(", ").join(map(sql.SQL, values)),
            )
            for identifier in ids:
                control.execute(filled, (identifier, ago, step))
        control.execute(
            "INSERT INTO sample_rollups VALUES ('minute', date_trunc('minute', now())),"
            " ('hour', date_trunc('hour', now()))"
            " ON CONFLICT (resolution) DO UPDATE SET until = excluded.until"
        )
        control.execute("ANALYZE")
    sampling.drop_what_is_not_kept()


def wait_for_worker(here: Installation) -> None:
    """Wait until the worker, stopped for so long, has done what was due meanwhile."""
    pids = [here.pids()[name] for name in ("worker", "control", "shared-1")]
    while True:
        before = sum(map(computed, pids))
        time.sleep(CAUGHT_UP_SECONDS)
        if sum(map(computed, pids)) - before < CAUGHT_UP_SECONDS * BUSY:
            return


def asked(here: Installation, ids: list[str], requests: int) -> dict[str, list[float]]:
    """The seconds that each route takes, in turns."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    ago = {"hour": dt.timedelta(hours=1), "week": dt.timedelta(days=7)}
    ago["year"] = dt.timedelta(days=364)
    moments = {name: f"{now - span:%Y-%m-%dT%H:%M:%SZ}" for name, span in ago.items()}
    took: defaultdict[str, list[float]] = defaultdict(list)
    page = "&".join(f"ids={each}" for each in ids[:50])
    with Api(here) as api:
        for number in range(requests):
            paths = {
                name: f"/api/databases/{ids[number % len(ids)]}{path.format(**moments)}"
                for name, path in WAYS.items()
            }
            paths["sparklines of up to 50"] = f"/api/metrics/sparklines?{page}"
            for name, path in paths.items():
                began = time.perf_counter()
                status, answer = api("GET", path)
                if status != 200:
                    raise RuntimeError(answer)
                if number:  # the first one plans and compiles
                    took[name].append(time.perf_counter() - began)
    return took


def rate(url: str, seconds: int, meanwhile: Callable[[], object]) -> float:
    """The transactions a second of a client that reads, while something else is done."""
    process = subprocess.Popen(
        ["pgbench", "--select-only", "--client=4", f"--time={seconds}", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while process.poll() is None:
        meanwhile()
        time.sleep(0.05)
    (line,) = (each for each in (process.stdout or ()) if each.startswith("tps"))
    return float(line.split()[2])


def throughput(sampling: Sampling, url: str, extent: Extent) -> dict[str, Any]:
    """Ratios of the rate with sampling to that without, in alternating pairs."""
    subprocess.run(
        ["pgbench", "--initialize", "--quiet", "--scale=1", url], check=True, capture_output=True
    )
    due = 0.0

    def look_if_due() -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + SAMPLE_SECONDS
            sampling.look()

    ways: dict[str, Callable[[], object]] = {"with": look_if_due, "without": lambda: None}
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for turn in range(extent.pairs):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            rates[name].append(rate(url, extent.seconds, ways[name]))
        say(f"pair {turn + 1} of {extent.pairs}")
    ratios = [a / b for a, b in zip(rates["with"], rates["without"], strict=True)]
    return {
        "transactions_per_second": {name: round(statistics.median(rates[name])) for name in ways},
        "median_ratio": round(statistics.median(ratios), 4),
        "ratios": [round(each, 4) for each in ratios],
    }


def measure(extent: Extent) -> Report:
    with installation(warm_pool=2) as here:
        about = machine(here)
        databases = made(here, extent.databases)
        ids = [each["id"] for each in databases]
        with without_worker(here), Sampling(here) as sampling:
            meter = Meter(here)
            sampling.look()  # the first one plans, and remembers
            idle = looks(sampling, meter, extent.looks, lambda: None)
            active = looks(sampling, meter, extent.looks, lambda: touch(here, databases))
            say(f"idle {idle['cpu_ms']}, active {active['cpu_ms']}")
            with here.control() as control:
                space = stored(control)
            found = throughput(sampling, databases[0]["connection_string"], extent)
            write_history(here, sampling, ids[:HISTORIES])
        wait_for_worker(here)
        took = asked(here, ids[:HISTORIES], extent.requests)
    aims = [
        Aim.at_most("share of a core, all active", active["share_of_a_core"], MOST_OF_A_CORE),
        *(
            Aim.at_most(f"{name}: p95 in s", percentile(took[name], 0.95), MOST_ROUTE)
            for name in took
        ),
    ]
    results: dict[str, object] = {
        "databases": extent.databases,
        "looks_while_idle": idle,
        "looks_after_activity_in_each": active,
        "space": space,
        "throughput": found,
        "routes": {name: summary(seconds) for name, seconds in took.items()},
    }
    return Report(about, results, aims)


def benchmark(quick: bool) -> Report:
    if quick:
        return measure(Extent(databases=10, looks=5, requests=10, pairs=1, seconds=5))
    return measure(Extent(databases=50, looks=20, requests=60, pairs=10, seconds=30))


def at_sizes(sizes: list[int]) -> Report:
    """The same with the last of these numbers of databases: 2,000 take half an hour."""
    return measure(Extent(databases=sizes[-1], looks=10, requests=60, pairs=10, seconds=30))


if __name__ == "__main__":
    run("insights", __doc__.partition("\n")[0], benchmark, at_sizes=at_sizes)
