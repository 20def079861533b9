"""Looks for the conditions of databases, on all clusters."""

import asyncio
import datetime as dt
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping

import psycopg

from tenantry.base.errors import TenantryError
from tenantry.base.setting_groups import Alert
from tenantry.control import alert_channels, audit, query_history
from tenantry.control import databases as rows
from tenantry.control.query_history import Pace
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import database_activity
from tenantry.services.alerts import databases
from tenantry.services.alerts.model import Condition
from tenantry.services.clusters.pools import ClusterPools

_CLUSTER_SECONDS = 3.0


class DatabaseWatch:
    """Looks for the databases' conditions. It keeps counters from one look to the next."""

    def __init__(self, store: ControlStore, clusters: ClusterPools, usual: Alert) -> None:
        self._store = store
        self._clusters = clusters
        self._usual = usual
        self._histories: dict[uuid.UUID, databases.History] = defaultdict(databases.History)
        self._paces: dict[uuid.UUID, tuple[dt.datetime, Mapping[uuid.UUID, Pace]]] = {}

    async def look(self, unknown: set[uuid.UUID]) -> list[Condition]:
        """Return the databases' conditions; add those whose cluster does not answer to unknown."""
        clusters = await self._clusters.with_databases()
        found = await asyncio.gather(*(self._of_cluster(each.id, unknown) for each in clusters))
        return [condition for some in found for condition in some]

    async def _of_cluster(self, cluster_id: uuid.UUID, unknown: set[uuid.UUID]) -> list[Condition]:
        async with self._store.transaction(audit.PLATFORM) as tx:
            active = [
                row for row in await rows.on_cluster(tx, cluster_id) if row.status == "active"
            ]
            own = await alert_channels.thresholds(tx, [row.id for row in active])
            paces = await self._paces_of(tx, cluster_id)
        try:
            async with (
                asyncio.timeout(_CLUSTER_SECONDS),
                self._clusters.connection(cluster_id) as server,
            ):
                now = await database_activity.of_cluster(server)
        except (TenantryError, psycopg.Error, OSError):
            unknown.update(row.id for row in active)
            return []
        before = self._histories[cluster_id].before(time.monotonic(), now)
        return [
            condition
            for row in active
            for condition in databases.conditions(
                row,
                databases.in_force(self._usual, own.get(row.id)),
                now.get(row.database_name),
                before.get(row.database_name),
                paces.get(row.id),
            )
        ]

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
