"""Looks for the conditions of databases, on all clusters."""

import asyncio
import datetime as dt
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping

import psycopg
import structlog

from tenantry.base.errors import TenantryError
from tenantry.base.setting_groups import Alert
from tenantry.control import alert_channels, audit, query_history, watched
from tenantry.control.alert_channels import Thresholds
from tenantry.control.query_history import Pace
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import database_activity
from tenantry.services.alerts import databases
from tenantry.services.alerts.model import Condition
from tenantry.services.clusters.pools import ClusterPools

log = structlog.get_logger()

_AT_ONCE = 8  # clusters; fewer than the control database's connections
_LOOK_SECONDS = 6.0
_CLUSTER_SECONDS = 3.0
LONGEST_SECONDS = _LOOK_SECONDS + _CLUSTER_SECONDS + 1.0


class DatabaseWatch:
    """Looks for the databases' conditions. It keeps counters from one look to the next."""

    def __init__(self, store: ControlStore, clusters: ClusterPools, usual: Alert) -> None:
        self._store = store
        self._clusters = clusters
        self._usual = Thresholds(**usual.model_dump())
        self._left: set[uuid.UUID] = set()
        self._histories: dict[uuid.UUID, databases.History] = defaultdict(databases.History)
        self._paces: dict[uuid.UUID, tuple[dt.datetime, Mapping[uuid.UUID, Pace]]] = {}

    async def look(self, unknown: set[uuid.UUID]) -> list[Condition]:
        """Return the databases' conditions, in ``LONGEST_SECONDS`` at most.

        Those whose cluster does not answer are added to ``unknown``. So are those of the clusters
        that the time is not enough for; these come first at the next look.
        """
        clusters = await self._clusters.with_databases()
        clusters.sort(key=lambda each: each.id not in self._left)
        async with self._store.transaction(audit.PLATFORM) as tx:
            own = await alert_channels.every_threshold(tx)
        found: list[Condition] = []
        left: set[uuid.UUID] = set()
        waiting = iter(clusters)
        until = time.monotonic() + _LOOK_SECONDS

        async def look_at_some() -> None:
            for each in waiting:
                if time.monotonic() >= until:
                    left.add(each.id)
                else:
                    found.extend(await self._of_cluster(each.id, own, unknown))

        await asyncio.gather(*(look_at_some() for _ in range(_AT_ONCE)))
        self._left = left
        if left:
            log.warning("alerts.clusters_left", clusters=len(left), of=len(clusters))
            async with self._store.transaction(audit.PLATFORM) as tx:
                unknown |= await watched.ids_on(tx, left)
        return found

    async def _of_cluster(
        self,
        cluster_id: uuid.UUID,
        own: Mapping[uuid.UUID, Thresholds],
        unknown: set[uuid.UUID],
    ) -> list[Condition]:
        async with self._store.transaction(audit.PLATFORM) as tx:
            active = await watched.on_cluster(tx, cluster_id)
            paces = await self._paces_of(tx, cluster_id)
        try:
            async with (
                asyncio.timeout(_CLUSTER_SECONDS),
                self._clusters.connection(cluster_id) as server,
            ):
                now = await database_activity.of_cluster(server)
                blocked = await database_activity.blocked(server, seconds=databases.BLOCKED_SECONDS)
        except (TenantryError, psycopg.Error, OSError):
            unknown.update(row.id for row in active)
            return []
        before = self._histories[cluster_id].before(time.monotonic(), now)
        found: list[Condition] = []
        for row in active:
            limits = self._usual
            if (its := own.get(row.id)) is not None:
                limits = databases.in_force(limits, its)
            found += databases.conditions(
                row,
                limits,
                now.get(row.database_name),
                before.get(row.database_name),
                paces.get(row.id),
                blocked=blocked.get(row.database_name),
            )
        return found

    async def _paces_of(self, tx: Tx, cluster_id: uuid.UUID) -> Mapping[uuid.UUID, Pace]:
        """Return the paces of databases in the last hour that is over; read once an hour.

        Five minutes after it, since the last of its counts are added later.
        """
        now = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
        hour = query_history.hour_of(now) - dt.timedelta(hours=1)
        known = self._paces.get(cluster_id)
        if known is None or known[0] != hour:
            known = hour, await query_history.paces(tx, cluster_id, hour)
            self._paces[cluster_id] = known
        return known[1]
