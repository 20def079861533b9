"""A fleet of servers that exists in the control database only.

Its rows are generated; the control database is a real one. What would be asked of the servers is
answered in their place, as their rows want it, but for those that are said to differ.
"""

import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg

from tenantry.base.settings import Settings
from tenantry.control import audit
from tenantry.control import clusters as cluster_rows
from tenantry.control import databases as rows
from tenantry.control.store import ControlStore
from tenantry.host import files
from tenantry.pg import catalog, database_activity
from tenantry.pg.catalog import DatabaseState, RoleState
from tenantry.pg.database_activity import Blocked, Connections, Counters, DatabaseActivity
from tenantry.services.alerts.watching import DatabaseWatch
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import plan
from tenantry.services.platform import Platform
from tenantry.services.pooling.service import Pooler
from tenantry.services.reconciling import Pass


@dataclass(frozen=True, slots=True)
class Extent:
    """How large the fleet is. Of each hundred databases one is nearly full.

    ``alerts`` is how many resolved alerts the control database still has.
    """

    servers: int
    databases: int
    customers: int
    alerts: int

    @property
    def full(self) -> int:
        """How many databases are nearly full."""
        return self.databases // 100


_STATEMENTS = (
    "INSERT INTO customers (id, email)"
    " SELECT gen_random_uuid(), 'customer' || n || '@example.com'"
    " FROM generate_series(1, %(customers)s) n",
    "INSERT INTO clusters (id, name, kind, driver, version, socket_dir, port)"
    " SELECT gen_random_uuid(), 'shared-' || n, 'shared', 'process', 15, '/nowhere/' || n, 5432"
    " FROM generate_series(1, %(servers)s) n",
    """
    WITH numbered AS (
        SELECT id, row_number() OVER (ORDER BY name) - 1 AS place FROM clusters
    ), owners AS (
        SELECT id, row_number() OVER (ORDER BY email) - 1 AS place FROM customers
    )
    INSERT INTO databases (id, cluster_id, database_name, username, status, friendly_name,
        customer_id, plan, created_at)
    SELECT gen_random_uuid(), c.id, 'tenant_s' || n, 'user_s' || n, 'active', 'Shop ' || n, o.id,
        CASE n %% 10 WHEN 0 THEN 'premium' WHEN 1 THEN 'hobby' ELSE 'standard' END,
        now() - n * interval '1 second'
    FROM generate_series(1, %(databases)s) n
        JOIN numbered c ON c.place = (n + n / %(servers)s) %% %(servers)s
        JOIN owners o ON o.place = n %% %(customers)s
    """,
    """
    INSERT INTO disk_usage (database_id, used_bytes, shadow_bytes)
    SELECT d.id, CASE WHEN substring(d.database_name FROM '[0-9]+$')::int %% 100 = 0
        THEN p.disk_quota_bytes * 9 / 10 ELSE 16000000 END, 8000000
    FROM databases d JOIN plans p ON p.name = d.plan
    """,
    "INSERT INTO database_activity (database_id, sessions, last_active_at)"
    " SELECT id, 10, now() FROM databases",
    """
    INSERT INTO alerts (id, rule, subject, severity, detail, database_id, customer_id, state, open,
        since, fired_at, resolved_at)
    SELECT gen_random_uuid(), 'database.connections', d.database_name, 'warning', 'It was full.',
        d.id, d.customer_id, 'resolved', false, past.at, past.at, past.at + interval '1 hour'
    FROM (SELECT *, row_number() OVER (ORDER BY database_name) - 1 AS place FROM databases) d
        JOIN (SELECT n, now() - interval '2 days' - n * interval '1 second' AS at
            FROM generate_series(1, %(alerts)s) n) past ON past.n %% %(databases)s = d.place
    """,
)


def generate(superuser_dsn: str, extent: Extent) -> None:
    """Write the rows of a fleet into an empty control database."""
    values = {
        name: getattr(extent, name) for name in ("servers", "databases", "customers", "alerts")
    }
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        for statement in _STATEMENTS:
            connection.execute(statement, values)
        connection.execute("VACUUM ANALYZE")


@dataclass(frozen=True, slots=True)
class SimulatedServer:
    """What a server answers, in place of a connection to it."""

    roles: Mapping[str, RoleState]
    databases: Mapping[str, DatabaseState]
    activities: dict[str, DatabaseActivity]
    blocked: Mapping[str, Blocked] = field(default_factory=dict)


class SimulatedClusters(ClusterPools):
    """Connections to simulated servers, which are counted."""

    def __init__(self, store: ControlStore, servers: Mapping[uuid.UUID, SimulatedServer]) -> None:
        super().__init__(store)
        self._servers = servers
        self.used: set[uuid.UUID] = set()
        self.connections = 0

    @asynccontextmanager
    async def connection(self, cluster_id: uuid.UUID) -> AsyncIterator[Any]:
        await self._running(cluster_id)  # the rows are looked up as for a real one
        self.used.add(cluster_id)
        self.connections += 1
        yield self._servers[cluster_id]

    own_connection = connection


_COUNTERS = Counters(*(0 for _ in Counters._fields))
_CALM = DatabaseActivity(("started",), 10, _COUNTERS, Connections(0, 1, 0, 0, 0, 0), 0.0, ())


async def servers_of(
    store: ControlStore, *, limits_lost: Callable[[int], bool] = lambda _: False
) -> dict[uuid.UUID, SimulatedServer]:
    """Return servers that have what their rows want.

    ``limits_lost`` says which databases, by their number, have no connection limit any more.
    """
    roles: defaultdict[uuid.UUID, dict[str, RoleState]] = defaultdict(dict)
    states: defaultdict[uuid.UUID, dict[str, DatabaseState]] = defaultdict(dict)
    known: dict[str, DatabaseState] = {}
    async with store.transaction(audit.PLATFORM) as tx:
        clusters = await cluster_rows.every(tx)
    for cluster in clusters:
        async with store.transaction(audit.PLATFORM) as tx:
            wanted = await rows.on_cluster(tx, cluster.id)
        for row in wanted:
            state = known.setdefault(row.plan, plan.wanted_state(row))
            if limits_lost(int(row.username.removeprefix("user_s"))):
                state = replace(state, connection_limit=-1)
            for name in row.database_names:
                states[cluster.id][name] = state
            roles[cluster.id][row.username] = RoleState(row.username, True, row.max_connections)
    return {
        each.id: SimulatedServer(
            roles[each.id], states[each.id], dict.fromkeys(states[each.id], _CALM)
        )
        for each in clusters
    }


@contextmanager
def answering() -> Iterator[None]:
    """Have the simulated servers answer what the catalog and the statistics are asked for."""

    def answer(name: str) -> Callable[..., Awaitable[object]]:
        async def answered(server: SimulatedServer, **_: float) -> object:
            return getattr(server, name)

        return answered

    async def no_pooler(_: Pooler) -> None:
        return None

    with ExitStack() as patches:
        for target, function, replacement in (
            (catalog, "tenant_roles", answer("roles")),
            (catalog, "tenant_databases", answer("databases")),
            (database_activity, "of_cluster", answer("activities")),
            (database_activity, "blocked", answer("blocked")),
            (Pooler, "reload", no_pooler),
        ):
            patches.enter_context(mock.patch.object(target, function, replacement))
        yield


@dataclass(slots=True)
class Planned(Pass):
    """A pass whose actions are noted, by their kind, and not taken."""

    actions: dict[str, int] = field(default_factory=dict)

    async def act(
        self,
        kind: str,
        action: object,
        acting: Callable[[], Awaitable[bool]],  # noqa: ARG002 (it would change the servers)
    ) -> None:
        name = f"{kind}.{type(action).__name__}"
        self.actions[name] = self.actions.get(name, 0) + 1


class SimulatedPlatform:
    """The platform's own placement, reconciliation and alerts, over simulated servers."""

    def __init__(
        self, store: ControlStore, servers: Mapping[uuid.UUID, SimulatedServer], home: Path
    ) -> None:
        self.settings = Settings(home=home)
        self.store = store
        self.servers = servers
        self.clusters = SimulatedClusters(store, servers)
        queue: Any = None  # nothing wakes another process
        self.platform = Platform(self.settings, store, self.clusters, queue)
        for folder in (self.platform.home.run, self.platform.home.pooler):
            files.ensure_folder(folder)
        self.watch = DatabaseWatch(store, self.clusters, self.settings.alert)

    async def reconcile(self) -> dict[str, int]:
        """Reconcile all databases, as each minute. Return the actions that were planned."""
        passed = Planned()
        await self.platform.reconciliation.reconcile(passed)
        await passed.record(self.store)
        return passed.actions
