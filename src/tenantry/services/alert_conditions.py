"""The conditions that need attention, as ``/ready``, ``status`` and the quotas have them.

The worker looks every five seconds at the incidents that the supervisor has noted, and every
fifteen at everything else.
"""

import asyncio
import datetime as dt
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

import psycopg

from tenantry.base.errors import TenantryError
from tenantry.control import audit, database_counts, reconciliations
from tenantry.control.alerts import Severity
from tenantry.services import health, reconciling
from tenantry.services.alerts import databases, parts
from tenantry.services.alerts.model import PART, Condition, Found
from tenantry.services.alerts.watching import LONGEST_SECONDS, DatabaseWatch
from tenantry.services.certificates.plan import NEXT_STEP
from tenantry.services.health import Health
from tenantry.services.platform import Platform
from tenantry.services.repository import plan as backups
from tenantry.services.repository.model import Alert

_EVERY_SECONDS = 15.0
_CLOCK_SECONDS = 5.0
_SOURCE_SECONDS = 5.0  # and one that takes longer is unknown
_WAIT_SECONDS = 10.0  # of a pooled client, before it counts as waiting for long

# What /ready says of a part that is no process, and the rule that it is called here.
_OF_HEALTH = {
    "disk": "disk",
    "drills": "drills",
    "logins": "logins",
    "operations": "operations",
    "ownership": "ownership",
    "passwords": "passwords",
    "scheduled backups": "scheduled_backups",
    "site backups": "site_backups",
    "transaction ids": "transaction_ids",
    "versions": "versions",
}
# What it says of these is evaluated in more detail here.
_IN_DETAIL = {"backups", "certificate", "databases", "instances", "worker"}

_Source = Callable[[], Awaitable[list[Condition]]]


class AlertWatch:
    """Looks for conditions and records them. It keeps counters from one look to the next."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._databases = DatabaseWatch(platform.store, platform.clusters, platform.settings.alert)
        self._looked_at = -_EVERY_SECONDS
        self._clock = _clock_difference()

    async def look(self) -> None:
        """Look, and record what is found. Raises TenantryError if it cannot be stored."""
        noted = parts.read(self._platform.home)
        found = [each.condition() for each in noted.incidents.values()]
        looked = {PART}
        unknown: set[uuid.UUID] = set()
        if time.monotonic() - self._looked_at >= _EVERY_SECONDS:
            self._looked_at = time.monotonic()
            for rules, source in self._sources(noted, unknown):
                longest = LONGEST_SECONDS if rules == databases.RULES else _SOURCE_SECONDS
                try:
                    async with asyncio.timeout(longest):
                        found += await source()
                except (TenantryError, psycopg.Error, OSError):
                    continue  # nothing is known of these rules now
                looked |= rules
        await self._platform.alert_evaluation.record(
            Found(found, frozenset(looked), frozenset(noted.reported), frozenset(unknown))
        )

    def _sources(
        self, noted: parts.Noted, unknown: set[uuid.UUID]
    ) -> list[tuple[frozenset[str], _Source]]:
        down = {each.part for each in noted.incidents.values() if each.until is None}

        async def health_of_parts() -> list[Condition]:
            return of_health(await health.check(self._platform), besides=down)

        return [
            (frozenset({*_OF_HEALTH.values(), "unresponsive", "pooler"}), health_of_parts),
            (frozenset({"archiving", "backups"}), self._backups),
            (frozenset({"certificate"}), self._certificate),
            (frozenset({"reconciliation", "missing"}), self._reconciliation),
            (frozenset({"pool"}), self._pool),
            (frozenset({"clock"}), self._clock_jumps),
            (databases.RULES, lambda: self._databases.look(unknown)),
        ]

    async def _backups(self) -> list[Condition]:
        if not self._platform.repositories.enabled:
            return []
        now = dt.datetime.now(dt.UTC)
        said: dict[tuple[str, str], list[Alert]] = defaultdict(list)
        for each in await self._platform.cluster_backups.upkeep():
            for alert in backups.alerts(each, now):
                said[alert.about, alert.cluster].append(alert)
        return [
            Condition(
                rule=about,
                subject=cluster,
                detail=" ".join(map(str, alerts)),
                severity="critical"
                if any(each.level == "danger" for each in alerts)
                else "warning",
            )
            for (about, cluster), alerts in said.items()
        ]

    async def _certificate(self) -> list[Condition]:
        found = self._platform.certificates.status()
        if found.warning is None:
            return []
        severity: Severity = "critical" if found.seconds_left <= 0 else "warning"
        text = f"{found.warning} {NEXT_STEP}"
        return [Condition("certificate", self._platform.settings.domain, text, severity)]

    async def _reconciliation(self) -> list[Condition]:
        async with self._platform.store.transaction(audit.PLATFORM) as tx:
            failing = await reconciliations.failing(tx)
            missing = (await database_counts.count_by_status(tx)).get("missing", 0)
        found = [
            Condition("reconciliation", "databases", text) for text in reconciling.alerts(failing)
        ]
        if missing:
            said = "1 database is" if missing == 1 else f"{missing} databases are"
            text = f"{said} missing: see missing_since in GET /api/databases."
            found.append(Condition("missing", "databases", text, "critical"))
        return found

    async def _pool(self) -> list[Condition]:
        state = await self._platform.pooler.state()
        waiting = sum(each.clients_waiting for each in state.pools)
        longest = max((each.longest_wait_seconds for each in state.pools), default=0.0)
        if longest < _WAIT_SECONDS:
            return []
        who = "1 client waits" if waiting == 1 else f"{waiting} clients wait"
        text = (
            f"{who} for a server connection, the longest for {longest:.0f} s;"
            f" {state.servers} of {state.budget} server connections are open."
        )
        return [Condition("pool", "pooler", text)]

    async def _clock_jumps(self) -> list[Condition]:
        before, self._clock = self._clock, _clock_difference()
        jumped = self._clock - before
        if abs(jumped) < _CLOCK_SECONDS:
            return []
        text = f"The clock was set {abs(jumped):.0f} s {'forward' if jumped > 0 else 'back'}."
        return [Condition("clock", "machine", text)]


def of_health(found: Health, *, besides: Iterable[str]) -> list[Condition]:
    """Return the conditions that ``/ready`` reports; ``besides`` are parts known to be down."""
    conditions = []
    for part in found.parts:
        if part.state == "up" or part.name in _IN_DETAIL or part.name in besides:
            continue
        detail = part.detail or "It does not answer."
        if part.name in _OF_HEALTH:
            severity: Severity = "critical" if part.state == "down" else "warning"
            conditions.append(Condition(_OF_HEALTH[part.name], "platform", detail, severity))
        elif part.state == "down":
            conditions.append(Condition("unresponsive", part.name, detail, "critical"))
        else:
            conditions.append(Condition(part.name, "platform", detail))
    return conditions


def _clock_difference() -> float:
    """Return by how much the wall clock differs from the time since boot."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
