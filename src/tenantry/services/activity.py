"""Detection of the databases that tenants use, from PostgreSQL's session counters.

PostgreSQL counts the sessions of each database. The worker announces its own sessions (scans and
backups), and they are subtracted. Other sessions of the platform are the result of a request, and
so count as use.
"""

import uuid
from collections import Counter
from collections.abc import Mapping

from tenantry.base.errors import Deferred
from tenantry.base.events import Event, SessionAnnounced, subscribe
from tenantry.control import activity as rows
from tenantry.control import audit
from tenantry.control import databases as database_rows
from tenantry.control.activity import Look
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.pg import catalog
from tenantry.pg.catalog import SessionCount
from tenantry.services.clusters.pools import ClusterPools


def started_since(before: int, now: int) -> int:
    """Return how many sessions began; counters restart at 0 after a crash or a reset."""
    return now - before if now >= before else now


class Activity:
    """The recorder of when databases were last used. One for the worker's process."""

    def __init__(self, store: ControlStore, clusters: ClusterPools) -> None:
        self._store = store
        self._clusters = clusters
        self._visits: Counter[str] = Counter()
        # Announced before the last look, but not yet counted by the server then.
        self._late: Mapping[uuid.UUID, int] = {}
        subscribe(self._hear)

    def _hear(self, event: Event) -> None:
        match event:
            case SessionAnnounced(database):
                self._visits[database] += 1

    async def look(self) -> None:
        """Record which databases were used since the last look."""
        visits, self._visits = self._visits, Counter()
        late: dict[uuid.UUID, int] = {}
        with Deferred() as failures:
            for cluster in await self._clusters.with_databases():
                with failures.deferred():
                    async with self._clusters.connection(cluster.id) as server:
                        counts = await catalog.session_counts(server)
                    async with self._store.transaction(audit.PLATFORM) as tx:
                        before = await rows.sessions_seen(tx, cluster.id)
                        found = []
                        for row in await database_rows.on_cluster(tx, cluster.id):
                            if row.status != "active":
                                continue
                            count = _of(row, counts)
                            ours = sum(visits[name] for name in row.database_names)
                            started = started_since(
                                before.get(row.id, count.started), count.started
                            )
                            used = count.tenants_open or started > ours + self._late.get(row.id, 0)
                            late[row.id] = max(0, ours - started)
                            found.append(Look(row.id, count.started, used))
                        await rows.keep(tx, found)
            self._late = late


def _of(row: DatabaseRow, counts: Mapping[str, SessionCount]) -> SessionCount:
    there = [counts[name] for name in row.database_names if name in counts]
    return SessionCount(
        sum(each.started for each in there), any(each.tenants_open for each in there)
    )
