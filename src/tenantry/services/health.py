"""Health checks of each part of the platform, with response times."""

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import psycopg
from psycopg_pool import PoolTimeout

from tenantry.base.errors import TenantryError, Unavailable
from tenantry.base.sizes import readable
from tenantry.control import audit, database_counts, pauses, reconciliations, usage
from tenantry.host import processes
from tenantry.pg.transaction_ids import LIMIT
from tenantry.services import disk_areas, login_floods, reconciling
from tenantry.services.backups.plan import failing_backups
from tenantry.services.caching import process as caching
from tenantry.services.certificates.plan import NEXT_STEP
from tenantry.services.data_api import process as data_api
from tenantry.services.observations.model import Measure, gauge
from tenantry.services.platform import Platform
from tenantry.services.quotas import plan as quotas
from tenantry.services.repository import plan

_UP = gauge("tenantry_part_up", "Whether a part answers", "part")
_LATENCY = gauge("tenantry_part_latency_seconds", "Time a part took to answer", "part")

_DEADLINE_SECONDS = 3.0
_LOOK_SECONDS = 1.5  # for a repository: no answer means unknown, not down
_HOUR = dt.timedelta(hours=1)
_MINUTE = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class PartHealth:
    """One part: ``up``; ``warning`` if it needs attention; or ``down``, with the reason."""

    name: str
    state: Literal["up", "warning", "down"]
    latency_ms: float | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """The health of all parts."""

    parts: list[PartHealth]

    @property
    def ready(self) -> bool:
        return all(part.state != "down" for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Worry:
    """A condition that needs attention in a part that answers."""

    detail: str


_Probe = Callable[[], Awaitable[str | _Worry | None]]


async def _timed(name: str, probe: _Probe) -> PartHealth:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            found = await probe()
    except (TenantryError, psycopg.Error, PoolTimeout, OSError, TimeoutError) as error:
        detail = (
            f"gave no answer within {_DEADLINE_SECONDS:.0f} s"
            if isinstance(error, TimeoutError)
            else str(error)
        )
        return PartHealth(name, "down", None, detail)
    latency = round((time.perf_counter() - began) * 1000, 2)
    if isinstance(found, _Worry):
        return PartHealth(name, "warning", latency, found.detail)
    return PartHealth(name, "up", latency, found)


async def _certificate(platform: Platform) -> str | _Worry:
    found = platform.certificates.status()
    if found.seconds_left <= 0:
        raise Unavailable(f"{found.warning or 'The certificate has expired.'} {NEXT_STEP}")
    if found.warning is not None:
        return _Worry(f"{found.warning} {NEXT_STEP}")
    return f"expires {found.not_after:%Y-%m-%d}"


async def _edge(platform: Platform) -> str | _Worry:
    await platform.edge.check()
    found = platform.edge.certificates.status()
    if said := [each.warning for each in found if each.warning]:
        return _Worry(" ".join(said))
    if not found:
        raise Unavailable("The edge's certificates cannot be read.")
    return f"certificates expire from {min(each.not_after for each in found):%Y-%m-%d} on"


async def _disk(platform: Platform) -> str | _Worry:
    free, level = await disk_areas.left(platform.settings)
    if level == "ok":
        return f"{readable(free)} free"
    found = await disk_areas.look(platform.settings, platform.store, platform.fleet.every)
    text = f"Only {found.sentence()}"
    if level == "critical":
        raise Unavailable(text)
    return _Worry(text)


async def _backups(platform: Platform) -> str | _Worry:
    if not platform.repositories.enabled:
        return "off: nothing is backed up (TENANTRY_BACKUPS)"
    now = dt.datetime.now(dt.UTC)
    found = await platform.cluster_backups.upkeep(deadline=_LOOK_SECONDS)
    said = [alert for each in found for alert in plan.alerts(each, now)]
    text = " ".join(map(str, said))
    if any(alert.level == "danger" for alert in said):
        raise Unavailable(text)
    if said:
        return _Worry(text)
    ages = [now - each.last_backup_at for each in found if each.last_backup_at]
    if len(ages) < len(found):
        return "the first is to be made"
    return f"the last is {max(ages) // _HOUR} h old"


async def _passwords(platform: Platform) -> _Worry | None:
    reported = await platform.passwords.alerts()
    return _Worry(" ".join(reported)) if reported else None


async def _scheduled_backups(platform: Platform) -> _Worry | None:
    failing = await platform.backup_schedules.count_failing()
    return _Worry(failing_backups(failing)) if failing else None


async def _site_backups(platform: Platform) -> _Worry | None:
    reported = await platform.site_backups.troubles()
    return _Worry(reported) if reported else None


async def _ownership(platform: Platform) -> _Worry | None:
    found = await platform.ownership.findings()
    if not found:
        return None
    return _Worry(
        f"{len(found)} tenants' databases have objects that are not their tenants'. The log names "
        "them (ownership.foreign_objects): find out who made them, and drop them."
    )


async def _drills(platform: Platform) -> str | _Worry | None:
    found = await platform.drills.summary()
    if found.failing:
        return _Worry(
            f"The last drill of {found.failing} failed: see GET /api/databases/{{id}}/proofs, and "
            "GET /api/operations?kind=database.drill."
        )
    if found.last_passed_at is None:
        return None
    age = dt.datetime.now(dt.UTC) - found.last_passed_at
    return f"the last passed {age // _HOUR} h ago"


async def _operations(platform: Platform) -> _Worry | None:
    most = dt.timedelta(minutes=platform.settings.queued_minutes)
    late = [each for each in await platform.operations.queued() if each.oldest > most]
    if not late:
        return None
    said = ", ".join(
        f"{each.count} of the lane {each.lane}, the oldest for {each.oldest // _MINUTE} min"
        for each in late
    )
    return _Worry(f"Operations wait to begin: {said}. See GET /api/operations?status=queued.")


async def _pooler(platform: Platform) -> str | _Worry:
    state = await platform.pooler.state()
    if state.memory_bytes > state.memory_limit_bytes:
        return _Worry(
            f"It takes {readable(state.memory_bytes)} of memory, more than the"
            f" {readable(state.memory_limit_bytes)} it may: see TENANTRY_POOL_MEMORY_MB."
        )
    return state.version


async def _logins(platform: Platform) -> str | _Worry | None:
    seen = login_floods.seen(platform.home)
    if seen is None:
        return None
    if seen.warning is not None:
        return _Worry(seen.warning)
    return f"{seen.authenticating + seen.pooled} unfinished"


async def _transaction_ids(platform: Platform) -> str | _Worry:
    reports = await platform.transaction_ids.reports()
    alerts = [alert for each in reports for alert in each.alerts]
    text = " ".join(alert.detail for alert in alerts)
    if any(alert.level == "danger" for alert in alerts):
        raise Unavailable(text)
    if alerts:
        return _Worry(text)
    oldest = max(each.state.oldest("transactions").transactions for each in reports)
    return f"the oldest is {oldest // 1_000_000} million behind, of {LIMIT // 1_000_000:,} million"


async def _versions(platform: Platform) -> str | _Worry | None:
    parts = await platform.versions.look()
    text = " ".join(str(each) for part in parts for each in (*part.alerts(), *part.advice()))
    if any(part.fails for part in parts):
        raise Unavailable(text)
    return _Worry(text) if text else None


def _instances(platform: Platform) -> list[tuple[str, _Probe]]:
    """Return the probe of instances, if any is to run.

    One that does not run is its tenant's trouble, not everybody's.
    """
    wanted = [each for each in platform.fleet.serving if each.kind == "dedicated"]

    async def probe() -> str | _Worry:
        if down := [each.name for each in wanted if each.pid() is None]:
            return _Worry(f"Not running: {', '.join(down)}. They are being started again.")
        return f"{len(wanted)} running"

    return [("instances", probe)] if wanted else []


async def _control(platform: Platform) -> None:
    async with platform.store.transaction(audit.PLATFORM) as tx:
        await tx.execute("SELECT 1")


async def _databases(platform: Platform) -> _Worry | None:
    async with platform.store.transaction(audit.PLATFORM) as tx:
        missing = (await database_counts.count_by_status(tx)).get("missing", 0)
        paused = await pauses.count_paused(tx)
        full = await usage.count_by_state(tx)
        unreconciled = await reconciliations.failing(tx)
    found = [f"{missing} missing: see missing_since in GET /api/databases."] if missing else []
    if paused:
        reasons = ", ".join(f"{count} for {reason}" for reason, count in sorted(paused.items()))
        found.append(f"Paused: {reasons}. GET /api/databases says why (paused).")
    if restricted := quotas.summary(full):
        found.append(f"{restricted} GET /api/databases says which (disk).")
    found += reconciling.alerts(unreconciled)
    return _Worry(" ".join(found)) if found else None


async def _worker(platform: Platform) -> None:
    if processes.read_pid(platform.home.run / "worker.pid") is None:
        raise ProcessLookupError("it does not run")


async def _cluster(cluster_id: uuid.UUID, platform: Platform) -> None:
    async with platform.clusters.connection(cluster_id) as server:
        await server.execute("SELECT 1")


_PROBES: dict[str, Callable[[Platform], Awaitable[str | _Worry | None]]] = {
    "control": _control,
    "databases": _databases,
    "pooler": _pooler,
    "logins": _logins,
    "worker": _worker,
    "certificate": _certificate,
    "disk": _disk,
    "backups": _backups,
    "scheduled backups": _scheduled_backups,
    "site backups": _site_backups,
    "drills": _drills,
    "passwords": _passwords,
    "ownership": _ownership,
    "operations": _operations,
    "versions": _versions,
    "transaction ids": _transaction_ids,
}


async def check(platform: Platform) -> Health:
    """Check every part concurrently; each has at most 3 seconds to answer."""
    probes: list[tuple[str, _Probe]] = [
        *((name, partial(probe, platform)) for name, probe in _PROBES.items()),
        *_instances(platform),
        *([("edge", partial(_edge, platform))] if platform.settings.edge else []),
        *(
            (name, partial(data_api.check, platform.home, name))
            for name in data_api.wanted(platform.settings)
        ),
        *(
            (name, partial(caching.check, platform.settings))
            for name in caching.wanted(platform.settings)
        ),
    ]
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            found = await platform.clusters.with_databases()
        shared = [each for each in found if each.kind == "shared"]
        probes[1:1] = [(each.name, partial(_cluster, each.id, platform)) for each in shared]
    except (TenantryError, TimeoutError):
        pass  # reported by the part "control"
    return Health(list(await asyncio.gather(*(_timed(name, probe) for name, probe in probes))))


def measures(found: Health) -> list[Measure]:
    """Return whether each part answers, and the latency of those that do."""
    return [
        *(_UP(part.state != "down", part.name) for part in found.parts),
        *(
            _LATENCY(part.latency_ms / 1000, part.name)
            for part in found.parts
            if part.latency_ms is not None
        ),
    ]
