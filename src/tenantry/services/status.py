"""The status of an installation, read on this machine even if parts of it are down."""

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import psycopg

from tenantry.base.errors import TenantryError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control import (
    backup_schedules,
    operations,
    passwords,
    pauses,
    reconciliations,
    sample_history,
    usage,
)
from tenantry.control import clusters as rows
from tenantry.control.operations import QueuedKind
from tenantry.control.store import connected
from tenantry.host import processes
from tenantry.pg.connections import PLATFORM, connect
from tenantry.services import (
    cpu_shares,
    disk_areas,
    reconciling,
    supervisor,
    transaction_ids,
    versions,
)
from tenantry.services.alerts import parts as incidents
from tenantry.services.backups.plan import failing_backups
from tenantry.services.caching import process as caching
from tenantry.services.caching.semantic import process as embedder
from tenantry.services.cluster_restores.service import every_retained
from tenantry.services.clusters import listener
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.fleet_file import CONTROL, FIRST
from tenantry.services.data_api import process as data_api
from tenantry.services.disk_areas import Disk, Level, Stored
from tenantry.services.edge.service import address_of
from tenantry.services.local_parts import LocalParts
from tenantry.services.passwords import alerts as password_alerts
from tenantry.services.quotas import plan as quotas
from tenantry.services.repository import plan
from tenantry.services.repository.looking import Seen, seen, upkeep
from tenantry.services.repository.model import Known, Upkeep
from tenantry.services.repository.service import Repositories
from tenantry.services.sites import process as sites

State = Literal["running", "stopped", "suspended"]

_HOUR, _HOURS = dt.timedelta(hours=1), 24  # of activity


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One process of the platform. ``detail`` ends with why it does not run, if that is known."""

    name: str
    state: State
    detail: str | None


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """One cluster. ``databases`` counts tenants' databases.

    ``warnings`` concern the cluster, its backups and paused databases; ``retained`` are the folders
    that a restore of it has replaced. ``backups`` is whether there is a backup that can be restored
    from, ``last_backup_at`` the end of the last one; None where backups are off. ``activity`` is
    the transactions a second of its databases in each hour of the last day; None is not known.
    """

    name: str
    kind: str
    driver: str
    status: State
    version: int
    socket_dir: str
    port: int
    databases: int | None
    last_backup_at: str | None
    backups: Known | None
    warnings: list[str]
    retained: list[str]
    activity: list[float | None]


@dataclass(frozen=True, slots=True)
class DiskStatus:
    """The disk of the home, in words and in bytes; what the control database knows may be None."""

    level: Level
    detail: str
    free_bytes: int
    total_bytes: int
    wal_bytes: int
    databases_bytes: int | None
    dump_bytes: int | None

    @classmethod
    def of(cls, found: Disk) -> "DiskStatus":
        return cls(
            level=found.level,
            detail=found.sentence(),
            free_bytes=found.free,
            total_bytes=found.total,
            wal_bytes=found.wal,
            databases_bytes=None if found.stored is None else found.stored.databases,
            dump_bytes=None if found.stored is None else found.stored.dumps,
        )


@dataclass(frozen=True, slots=True)
class Status:
    """The status of all parts and clusters; and of the disk, None if it does not answer."""

    parts: list[PartStatus]
    clusters: list[ClusterStatus]
    disk: DiskStatus | None = None

    @property
    def all_running(self) -> bool:
        return bool(self.parts) and all(part.state == "running" for part in self.parts)


def _state(pid: int | None, *, suspended: bool = False) -> State:
    if pid is not None:
        return "running"
    return "suspended" if suspended else "stopped"


def _part(name: str, pid: int | None, where: str) -> PartStatus:
    return PartStatus(name, _state(pid), where if pid is None else f"{where}, pid {pid}")


def _late(settings: Settings, kinds: list[QueuedKind]) -> str | None:
    """Return the warning about operations that have waited too long to begin."""
    most = dt.timedelta(minutes=settings.queued_minutes)
    late = [each for each in kinds if each.oldest > most]
    if not late:
        return None
    return f"warning: {', '.join(f'{each.count} {each.kind}' for each in late)} wait to begin"


def _backups(found: Upkeep | None) -> dict[str, Any]:
    last = None if found is None else found.last_backup_at
    return {
        "last_backup_at": None if last is None else last.isoformat(),
        "backups": None if found is None else found.known,
    }


def _restricted(paused: Mapping[str, int], full: Mapping[str, int]) -> list[str]:
    """Return the warnings about databases that are paused or restricted by their disk quota."""
    found = [f"databases paused ({reason}): {count}." for reason, count in paused.items()]
    found += [quotas.summary(full)] if quotas.summary(full) else []
    return [f"{each} tenantry db list shows which." for each in found]


@dataclass(slots=True)
class _Database:
    """What the control database and the running clusters report; empty while they are down."""

    clusters: list[rows.LoadedCluster] = field(default_factory=list)
    activity: dict[uuid.UUID, list[float | None]] = field(default_factory=dict)
    seen: Seen = field(default_factory=lambda: Seen([], [], {}))
    late: str | None = None
    warnings: list[str] = field(default_factory=list)  # about databases
    reports: list[transaction_ids.Report] = field(default_factory=list)
    stored: Stored | None = None


async def look(settings: Settings) -> Status:
    """Return the status now. Empty before the first start."""
    fleet = Fleet(settings)
    if not Home(settings.home).clusters.exists():
        return Status([], [])
    pids = {each.name: each.pid() for each in fleet.every}
    repositories = Repositories(settings)
    found = await _ask(settings, fleet, pids, repositories)
    backups = {each.cluster: each for each in await upkeep(repositories, found.seen)}
    running = {each.name: await versions.cluster(each) for each in fleet.every}
    clusters = []
    for row in found.clusters:
        upkept = backups.get(row.name)
        alerts = [] if upkept is None else plan.alerts(upkept, dt.datetime.now(dt.UTC))
        reported = [
            alert for each in found.reports if each.cluster == row.name for alert in each.alerts
        ]
        clusters.append(
            ClusterStatus(
                name=row.name,
                kind=row.kind,
                driver=row.driver,
                status=_state(pids.get(row.name), suspended=row.wanted == "suspended"),
                version=row.version,
                socket_dir=row.socket_dir,
                port=row.port,
                databases=row.databases,
                **_backups(upkept),
                warnings=[
                    *(map(str, running[row.name].alerts()) if row.name in running else []),
                    *(found.warnings if row.name == FIRST else []),
                    *(each.detail for each in reported),
                    *(each.detail for each in alerts),
                ],
                retained=[
                    each.name for each in every_retained(settings) if each.cluster == row.name
                ],
                activity=found.activity.get(row.id, []),
            )
        )
    parts = _explained(settings, _parts(settings, fleet, pids, found.late))
    return Status(parts, clusters, await _disk(settings, fleet, found.stored))


async def _disk(settings: Settings, fleet: Fleet, stored: Stored | None) -> DiskStatus | None:
    with suppress(OSError):  # TimeoutError is one
        return DiskStatus.of(await disk_areas.measure(settings, fleet.every, stored))
    return None


def reasons(settings: Settings) -> dict[str, str]:
    """Return why parts do not run, by name, as far as a supervisor that runs has noted it."""
    if supervisor.running_pid(settings) is None:
        return {}
    noted = incidents.read(Home(settings.home)).incidents
    return {name: " ".join(each.detail.split()) for name, each in noted.items() if not each.until}


def _explained(settings: Settings, parts: list[PartStatus]) -> list[PartStatus]:
    """Return the parts, with what the supervisor has noted of those that do not run."""
    why = reasons(settings)
    return [
        replace(each, detail=f"{each.detail}: {why[each.name]}")
        if each.state == "stopped" and each.name in why
        else each
        for each in parts
    ]


def _parts(
    settings: Settings, fleet: Fleet, pids: Mapping[str, int | None], late: str | None
) -> list[PartStatus]:
    run, socket_dir = Home(settings.home).run, fleet.control.address.socket_dir
    work = "jobs and reconciliation"
    worker = _part("worker", processes.read_pid(run / "worker.pid"), work)
    shares = cpu_shares.absence(Home(settings.home))
    warnings = [late, "warning: databases have no CPU shares, see doctor" if shares else None]
    worker = replace(worker, detail="; ".join(filter(None, [worker.detail, *warnings])))
    return [
        _part("supervisor", supervisor.running_pid(settings), f"home {settings.home}"),
        _part(CONTROL, pids[CONTROL], f"socket {socket_dir}"),
        *(_part(each.name, pids[each.name], f"port {each.address.port}") for each in fleet.serving),
        _part("pooler", LocalParts(settings).pooler.pid(), f"port {settings.pool.port}"),
        _part("api", processes.read_pid(run / "api.pid"), settings.api_url),
        worker,
        *_edge(settings),
        *_while_wanted(settings),
        *_sites(settings),
    ]


def _edge(settings: Settings) -> list[PartStatus]:
    if not settings.edge:
        return []
    return [_part("edge", LocalParts(settings).edge.pid(), address_of(settings))]


def _while_wanted(settings: Settings) -> Iterator[PartStatus]:
    """Yield the processes that run only while something needs them, if it does."""
    home = Home(settings.home)
    for part, where in (
        (data_api, f"data API, {settings.rest_root}"),
        (caching, f"AI cache, port {settings.cache.port}"),
        (embedder, f"socket {embedder.socket_of(home)}"),
        (listener, "instances that do not run"),
    ):
        pids = {name: processes.read_pid(home.run / f"{name}.pid") for name in part.every(settings)}
        if any(pids.values()) or part.wanted(settings):
            yield from (_part(name, pid, where) for name, pid in pids.items())


def _sites(settings: Settings) -> list[PartStatus]:
    """Return the processes of sites, as one part, if there are any."""
    running, wanted = sites.count(Home(settings.home))
    state: State = "running" if running >= wanted else "stopped"
    return [PartStatus("sites", state, f"{running} of {wanted} run")] if wanted else []


def _first_hour() -> dt.datetime:
    this_hour = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
    return this_hour - (_HOURS - 1) * _HOUR


async def _ask(
    settings: Settings, fleet: Fleet, pids: Mapping[str, int | None], repositories: Repositories
) -> _Database:
    """Ask the clusters that run. One may be starting or stopping."""
    found = _Database()
    if pids[CONTROL] is None:
        return found
    control, days = fleet.control, settings.password_days
    with suppress(TenantryError, psycopg.Error):
        async with connected(control.address) as connection:
            found.clusters = await rows.loaded(connection)
            paused = await pauses.count_paused(connection)
            failing = await backup_schedules.count_failing(connection)
            found.seen = await seen(repositories, connection)
            found.warnings = [
                *_restricted(paused, await usage.count_by_state(connection)),
                *([failing_backups(failing)] if failing else []),
                *password_alerts(await passwords.ages(connection, days=days), days),
                *reconciling.alerts(await reconciliations.failing(connection)),
            ]
            found.late = _late(settings, await operations.queued(connection))
            found.reports.append(await transaction_ids.report(CONTROL, connection, control.data))
            found.activity = await sample_history.transactions_of_clusters(
                connection, start=_first_hour(), step=_HOUR, steps=_HOURS
            )
            found.stored = await disk_areas.stored(connection)
    for each in fleet.serving:
        if pids[each.name] is not None:
            with suppress(TenantryError, psycopg.Error):
                async with connect(each.address, user=PLATFORM) as server:
                    found.reports.append(await transaction_ids.report(each.name, server, each.data))
    return found
