"""The status of an installation, read on this machine even if parts of it are down."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    usage,
)
from tenantry.control import clusters as rows
from tenantry.control.operations import QueuedKind
from tenantry.control.store import connected
from tenantry.host import processes
from tenantry.pg.connections import PLATFORM, connect
from tenantry.services import reconciling, supervisor, transaction_ids, versions
from tenantry.services.backups.plan import failing_backups
from tenantry.services.cluster_restores.service import every_retained
from tenantry.services.clusters.fleet import CONTROL, Fleet
from tenantry.services.passwords import alerts as password_alerts
from tenantry.services.platform import local_pooler
from tenantry.services.quotas import plan as quotas
from tenantry.services.repository import plan
from tenantry.services.repository.looking import Seen, seen, upkeep
from tenantry.services.repository.model import Known, Upkeep
from tenantry.services.repository.service import Repositories

State = Literal["running", "stopped"]


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One process of the platform."""

    name: str
    state: State
    detail: str | None


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """One cluster. ``databases`` counts tenants' databases.

    ``warnings`` concern the cluster, its backups and paused databases; ``retained`` are the folders
    that a restore of it has replaced. ``backups`` is whether there is a backup that can be restored
    from, ``last_backup_at`` the end of the last one; None where backups are off.
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


@dataclass(frozen=True, slots=True)
class Status:
    """The status of all parts and clusters."""

    parts: list[PartStatus]
    clusters: list[ClusterStatus]

    @property
    def all_running(self) -> bool:
        return bool(self.parts) and all(part.state == "running" for part in self.parts)


def _state(pid: int | None) -> State:
    return "stopped" if pid is None else "running"


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


async def look(settings: Settings) -> Status:
    """Return the status now. Empty before the first start."""
    home = Home(settings.home)
    fleet = Fleet(settings)
    if not home.clusters.exists():
        return Status([], [])
    pids = {each.name: each.pid() for each in fleet.every}
    control = fleet.control
    parts = [
        _part("supervisor", supervisor.running_pid(settings), f"home {settings.home}"),
        _part(CONTROL, pids[CONTROL], f"socket {control.address.socket_dir}"),
        *(_part(each.name, pids[each.name], f"port {each.address.port}") for each in fleet.shared),
        _part("pooler", local_pooler(settings).pid(), f"port {settings.pool.port}"),
        _part("api", processes.read_pid(home.run / "api.pid"), settings.api_url),
        _part("worker", processes.read_pid(home.run / "worker.pid"), "jobs and reconciliation"),
    ]
    found: list[rows.ClusterRow] = []
    repositories = Repositories(settings)
    known = Seen([], [], {})
    late: str | None = None
    paused: dict[str, int] = {}
    failing = 0
    aged: list[str] = []
    unreconciled: list[str] = []
    full: dict[str, int] = {}
    reports: list[transaction_ids.Report] = []
    if pids[CONTROL] is not None:
        try:
            async with connected(control.address) as connection:
                found = await rows.every(connection)
                paused = await pauses.count_paused(connection)
                days = settings.password_days
                aged = password_alerts(await passwords.ages(connection, days=days), days)
                unreconciled = reconciling.alerts(await reconciliations.failing(connection))
                failing = await backup_schedules.count_failing(connection)
                known = await seen(repositories, connection)
                full = await usage.count_by_state(connection)
                late = _late(settings, await operations.queued(connection))
                reports.append(await transaction_ids.report(CONTROL, connection, control.data))
            for each in fleet.shared:
                if pids[each.name] is not None:
                    async with connect(each.address, user=PLATFORM) as connection:
                        reports.append(
                            await transaction_ids.report(each.name, connection, each.data)
                        )
        except (TenantryError, psycopg.Error):
            pass  # it is starting or stopping
    backups = await upkeep(repositories, known)
    running = {each.name: await versions.cluster(each) for each in fleet.every}
    if late is not None:
        parts = [
            replace(part, detail=f"{part.detail}; {late}") if part.name == "worker" else part
            for part in parts
        ]
    clusters = [
        ClusterStatus(
            name=row.name,
            kind=row.kind,
            driver=row.driver,
            status=_state(pids.get(row.name)),
            version=row.version,
            socket_dir=row.socket_dir,
            port=row.port,
            databases=row.databases,
            **_backups(next((each for each in backups if each.cluster == row.name), None)),
            warnings=[
                *(map(str, running[row.name].alerts()) if row.name in running else []),
                *(_restricted(paused, full) if row.kind != CONTROL else []),
                *([failing_backups(failing)] if failing and row.kind != CONTROL else []),
                *([*aged, *unreconciled] if row.kind != CONTROL else []),
                *(
                    alert.detail
                    for each in reports
                    if each.cluster == row.name
                    for alert in each.alerts
                ),
                *(
                    alert.detail
                    for each in backups
                    if each.cluster == row.name
                    for alert in plan.alerts(each, dt.datetime.now(dt.UTC))
                ),
            ],
            retained=[each.name for each in every_retained(settings) if each.cluster == row.name],
        )
        for row in found
    ]
    return Status(parts, clusters)
