"""What placement, reconciliation and alerts take with 1,000 servers and 100,000 databases.

The code is the platform's, and so is the control database, in a PostgreSQL with the parameters of
the control cluster; its rows are generated, and the servers' answers are simulated. So the figures
are those of one worker and the control database: servers that answer in no time, over connections
that cost nothing. Each phase has its time, processor time, memory, connections, and what
pg_stat_statements counted in the control database.
"""

import asyncio
import re
import resource
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psycopg

from support import Aim, Report, computed, hardware, run, say, summary

# isort: split
# support has put the tests' folder on the path.
from postgres_server import Server, bin_dir, control_database, hardened, started
from simulated_fleet import (
    Extent,
    SimulatedPlatform,
    SimulatedServer,
    answering,
    generate,
    servers_of,
)
from tenantry.base import logs
from tenantry.base.errors import TenantryError
from tenantry.base.ids import new_suffix
from tenantry.control import audit, databases
from tenantry.control.store import DATABASE, ControlStore
from tenantry.host import processes
from tenantry.pg import parameters
from tenantry.services.alerts.databases import RULES
from tenantry.services.alerts.model import Found

WHOLE = Extent(servers=1_000, databases=100_000, customers=20_000, alerts=100_000)
QUICK = Extent(servers=50, databases=2_000, customers=400, alerts=2_000)
PER_SERVER = 100
LISTINGS = 20
PLACEMENTS = 200
SHARE_OF_OUTAGE = 10  # one server in so many
SHOWN = 5  # statements of a phase
PASS_SECONDS = 60.0
LOOK_SECONDS = 5.0  # what takes longer is unknown to alerts
EVERY_LOOK_SECONDS = 15.0
MOST_PLACEMENT_MS = 50.0
# A pool of connections to a server has at least so many (services/clusters/pools.py).
POOLED = 2
_CONTROL = parameters.control_parameters(wal_mb=1024)
# Those of the control cluster that matter here, and no shortcut of the tests'.
PARAMETERS = {
    name: _CONTROL[name] for name in ("shared_buffers", "max_wal_size", "wal_compression")
} | {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "off",
}


@dataclass(slots=True)
class Phases:
    """Measures phases, one after another."""

    server: Server
    platform: SimulatedPlatform
    found: dict[str, dict[str, object]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    async def measure(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Measure a phase. A failure is noted, as the worker would log it, and go on."""
        clusters = self.platform.clusters
        clusters.connections = 0
        _forget_peak()
        with self._superuser() as control:
            control.execute("SELECT pg_stat_statements_reset()")
        failure: str | None = None
        result: object = None
        before, began, spent = self._backends(), time.perf_counter(), _processor_seconds()
        try:
            result = await work()
        except TenantryError as error:
            failure = str(error)
            self.failed.append(name)
        seconds, spent = time.perf_counter() - began, _processor_seconds() - spent
        of_database = sum(used - before.get(pid, 0.0) for pid, used in self._backends().items())
        self.seconds[name] = seconds
        self.found[name] = {
            "seconds": round(seconds, 3),
            "processor_seconds": {
                "platform": round(spent, 3),
                "control_database": round(of_database, 3),
            },
            "peak_mib": _peak_mib(),
            "result": result,
            "failure": failure,
            "connections_to_servers": {
                "borrowed": clusters.connections,
                "kept_by_pools": POOLED * len(clusters.used),
            },
            "control_database": self._statements(),
        }
        say(
            f"{name}: {seconds:.2f} s, of the processor {spent:.2f} s here and"
            f" {of_database:.2f} s in the control database; {failure or result}"
        )

    def _backends(self) -> dict[int, float]:
        """The processor seconds of each process of the server that runs now."""
        text = (self.server.socket_dir / "data" / "postmaster.pid").read_text(encoding="ascii")
        return {pid: computed(pid) for pid in processes.children(int(text.split()[0]))}

    @contextmanager
    def _superuser(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.server.dsn(DATABASE), autocommit=True) as control:
            yield control

    def _statements(self) -> dict[str, object]:
        """What the control database did, and the statements that took most of its time."""
        with self._superuser() as control:
            rows = control.execute(
                """
                SELECT query, calls, rows, round(total_exec_time)::int,
                    (shared_blks_hit + shared_blks_read)::int8
                FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
                WHERE d.datname = %s AND query NOT LIKE '%%pg_stat_%%'
                ORDER BY total_exec_time DESC
                """,
                (DATABASE,),
            ).fetchall()
            connections = control.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
                " AND pid <> pg_backend_pid()",
                (DATABASE,),
            ).fetchone()
        return {
            "calls": sum(row[1] for row in rows),
            "rows": sum(row[2] for row in rows),
            "ms": sum(row[3] for row in rows),
            "blocks": sum(row[4] for row in rows),
            "connections": connections and connections[0],
            "most_time": [
                {
                    "query": re.sub(r"\s+", " ", query).strip()[:160],
                    "calls": calls,
                    "rows": count,
                    "ms": ms,
                    "blocks": blocks,
                }
                for query, calls, count, ms, blocks in rows[:SHOWN]
            ],
        }


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _forget_peak() -> None:
    """Have the most memory be counted from now on (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mib() -> int:
    """The most memory since the beginning of the phase (proc(5), VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 1024


# ── the phases ───────────────────────────────────────────────────────────────


async def placements(platform: SimulatedPlatform, count: int) -> dict[str, object]:
    """Place so many warm databases, as a refill of the warm pool does."""
    seconds: list[float] = []
    chosen: set[str] = set()
    for _ in range(count):
        began = time.perf_counter()
        cluster = (await platform.clusters.for_new_database()).cluster
        async with platform.store.transaction(audit.PLATFORM) as tx:
            await databases.insert_creating(tx, cluster_id=cluster.id, suffix=new_suffix())
        seconds.append(time.perf_counter() - began)
        chosen.add(cluster.name)
    return {**summary(seconds), "servers": len(chosen)}


async def listed(platform: SimulatedPlatform) -> dict[str, object]:
    """List the servers that are to be looked at, as every job of the worker does."""
    seconds: list[float] = []
    for _ in range(LISTINGS):
        began = time.perf_counter()
        await platform.clusters.with_databases()
        seconds.append(time.perf_counter() - began)
    return {**summary(seconds)}


class Looks:
    """Looks of the alerts at all databases, and their records."""

    def __init__(self, platform: SimulatedPlatform) -> None:
        self._platform = platform
        self._found = Found([], RULES)

    async def look(self) -> dict[str, int]:
        unknown: set[uuid.UUID] = set()
        seen = await self._platform.watch.look(unknown)
        self._found = Found(seen, RULES, unknown=frozenset(unknown))
        return {"conditions": len(seen), "unknown": len(unknown)}

    async def record(self) -> dict[str, int]:
        """Record what the last look has seen."""
        done = await self._platform.platform.alert_evaluation.record(self._found)
        return {"transitions": len(done)}


def use_up_connections(servers: Iterable[SimulatedServer]) -> None:
    """Have the tenants of these servers use all their connections."""
    for each in servers:
        for name, calm in each.activities.items():
            each.activities[name] = replace(
                calm, connections=calm.connections._replace(direct_active=100)
            )


async def phases(server: Server, store: ControlStore, home: Path, extent: Extent) -> Phases:
    """Run all phases."""
    say("writing rows")
    generate(server.dsn(DATABASE), extent)
    servers = await servers_of(store, limits_lost=lambda number: number % 1_000 == 1)
    # Another process has looked these up: here every server is a new one.
    platform = SimulatedPlatform(store, servers, home)
    await platform.platform.fleet.ensure_members(store)
    found = Phases(server, platform)
    looks = Looks(platform)
    await found.measure("reconciliation, first", platform.reconcile)
    await found.measure("reconciliation", platform.reconcile)
    await found.measure("list of servers", lambda: listed(platform))
    await found.measure("placement", lambda: placements(platform, PLACEMENTS))
    await found.measure("alerts, first look", looks.look)
    await found.measure("alerts, look", looks.look)
    await found.measure("alerts, record new", looks.record)
    await found.measure("alerts, record the same", looks.record)
    use_up_connections(list(servers.values())[::SHARE_OF_OUTAGE])
    await found.measure("outage, look", looks.look)
    await found.measure("outage, record new", looks.record)
    await found.measure("outage, record the same", looks.record)
    return found


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """A folder for the server and one for the platform's files, for the time of a block."""
    made = [Path(tempfile.mkdtemp(prefix="tenantry-bench-")) for _ in range(2)]
    try:
        yield made[0], made[1]
    finally:
        for each in made:
            shutil.rmtree(each)


def simulated(extent: Extent) -> Report:
    """Simulate a fleet of that extent."""
    with folders() as (data, home), started(data, bin_dir(), PARAMETERS) as server:

        async def work() -> Phases:
            address = await hardened(server)
            async with control_database(server, address) as store:
                with psycopg.connect(server.dsn(DATABASE), autocommit=True) as control:
                    control.execute("CREATE EXTENSION pg_stat_statements")
                with answering():
                    return await phases(server, store, home, extent)

        done = asyncio.run(work())
        with psycopg.connect(server.dsn()) as connection:
            version = connection.info.server_version // 10_000
    seconds = done.seconds
    placed = done.found["placement"]["result"]
    aims = [
        Aim.at_most("reconciliation_seconds", seconds["reconciliation"], PASS_SECONDS),
        Aim.at_most("first_reconciliation_seconds", seconds["reconciliation, first"], PASS_SECONDS),
        Aim.at_most("look_seconds", seconds["alerts, look"], LOOK_SECONDS),
        Aim.at_most("record_of_outage_seconds", seconds["outage, record new"], EVERY_LOOK_SECONDS),
        Aim.at_most("failed_phases", len(done.failed), 0),
    ]
    if isinstance(placed, dict):
        aims.append(Aim.at_most("placement_p95_ms", placed["p95_ms"], MOST_PLACEMENT_MS))
    return Report({**hardware(), "postgresql": version}, {**asdict(extent), **done.found}, aims)


def benchmark(quick: bool) -> Report:
    """The whole fleet, or a small one."""
    return simulated(QUICK if quick else WHOLE)


def at_sizes(counts: list[int]) -> Report:
    """Fleets with so many databases, with as many on each server as the whole one has."""
    reports = {
        count: simulated(
            Extent(max(1, count // PER_SERVER), count, max(1, count // 5), alerts=count)
        )
        for count in counts
    }
    last = reports[counts[-1]]
    results: dict[str, object] = {str(count): each.results for count, each in reports.items()}
    return Report(last.machine, results, last.aims)


if __name__ == "__main__":
    logs.configure("simulate")  # on standard error: the document is on standard output
    run("simulate", __doc__.partition("\n")[0], benchmark, at_sizes=at_sizes)
