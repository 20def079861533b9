"""Samples all databases, from outside of them: one query for each cluster, and one pooler."""

import asyncio
import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import add

from tenantry.base.errors import Deferred
from tenantry.control import audit, sample_history
from tenantry.control import samples as rows
from tenantry.control.clusters import ClusterRow
from tenantry.control.sample_history import Period
from tenantry.control.samples import Sample, Sampled
from tenantry.control.store import ControlStore
from tenantry.pg import database_activity, names
from tenantry.pg.database_activity import Connections, Counters, DatabaseActivity
from tenantry.pg.drivers import PROCESS
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.overuse.service import Overuse
from tenantry.services.pooling.model import PoolerState
from tenantry.services.pooling.service import Pooler
from tenantry.services.samples import plan
from tenantry.services.samples.history import History
from tenantry.services.samples.plan import Reading
from tenantry.services.samples.session_use import SessionUse

_Activities = Mapping[str, DatabaseActivity]


@dataclass(slots=True)
class _Pooled:
    """What the pooler knows of a database and its shadow."""

    clients_active: int = 0
    clients_waiting: int = 0
    longest_wait_seconds: float = 0.0
    queries: int = 0
    query_seconds: float = 0.0
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Pools:
    """What the pooler of one process knows of all databases that were used through it."""

    pid: int | None
    of_database: Mapping[str, _Pooled]


@dataclass(slots=True)
class _Known:
    """The readings of a database that were last recorded, and last taken."""

    recorded: Reading
    seen: Reading


@dataclass(slots=True)
class _Cluster:
    """What is remembered of a cluster."""

    use: SessionUse = field(default_factory=SessionUse)
    known: dict[uuid.UUID, _Known] = field(default_factory=dict)


class Sampler:
    """The sampler of all databases. One for the worker's process."""

    def __init__(
        self, store: ControlStore, clusters: ClusterPools, pooler: Pooler, overuse: Overuse
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._pooler = pooler
        self._overuse = overuse
        self._history = History(store)
        self._of_cluster: defaultdict[uuid.UUID, _Cluster] = defaultdict(_Cluster)
        # Coarser rows were computed from those before this moment.
        self._closed = dt.datetime.fromtimestamp(0, dt.UTC)

    async def look(self) -> None:
        """Read all databases, and record those in which something happened, or that are due.

        A cluster or a pooler that does not answer does not hold the others up; what it knows is
        missing then.
        """
        began = dt.datetime.now(dt.UTC)
        with Deferred() as failures:
            with failures.deferred():
                await self._history.prepare(began)
            wanted = await self._wanted()
            pools: _Pools | None = None
            with failures.deferred():
                pools = _of_databases(await self._pooler.state(), self._pooler.pid())
            for cluster in await self._clusters.with_databases():
                with failures.deferred():
                    await self._look_at(cluster, wanted.get(cluster.id, []), pools)
            if began.replace(second=0, microsecond=0) != self._closed:
                with failures.deferred():
                    self._closed = began.replace(second=0, microsecond=0)
                    await self._history.roll_up(began)
                    async with self._store.transaction(audit.PLATFORM) as tx:
                        await rows.forget_deleted(tx)

    async def _wanted(self) -> dict[uuid.UUID, list[Sampled]]:
        found: defaultdict[uuid.UUID, list[Sampled]] = defaultdict(list)
        async with self._store.transaction(audit.PLATFORM) as tx:
            for each in await rows.databases(tx):
                found[each.cluster_id].append(each)
        return found

    async def _look_at(
        self, cluster: ClusterRow, wanted: Sequence[Sampled], pools: _Pools | None
    ) -> None:
        """Read the databases of one cluster, and record what is due."""
        remembered = self._of_cluster[cluster.id]
        async with self._clusters.connection(cluster.id) as server:
            found = await database_activity.of_cluster(server)
        at = dt.datetime.now(dt.UTC)
        is_local = cluster.driver == PROCESS
        if is_local:
            await asyncio.to_thread(remembered.use.look, _processes(found))
        known: dict[uuid.UUID, _Known] = {}
        periods: list[Period] = []
        newest: list[Sample] = []
        for database in wanted:
            reading = self._reading(
                database, at, found, pools, remembered.use if is_local else None
            )
            if reading is None:
                continue  # missing on the server
            before = remembered.known.get(database.id)
            due = (
                [plan.period(None, reading)]
                if before is None
                else plan.due(before.recorded, before.seen, reading, closed=self._closed)
            )
            known[database.id] = _Known(
                recorded=reading if due or before is None else before.recorded, seen=reading
            )
            if due:
                periods += due
                newest.append(reading.sample)
        if periods:
            async with self._store.transaction(audit.PLATFORM) as tx:
                await sample_history.add(tx, periods)
                await rows.keep_newest(tx, newest)
        remembered.known = known

    def _reading(
        self,
        database: Sampled,
        at: dt.datetime,
        found: _Activities,
        pools: _Pools | None,
        use: SessionUse | None,
    ) -> Reading | None:
        """Return what is known of a database now; None if its server does not have it."""
        name = database.database_name
        main = found.get(name)
        if main is None:
            return None
        shadow = found.get(names.shadow(name)) if database.has_shadow else None
        counters, connections = main.counters, main.connections
        longest = main.longest_transaction_seconds
        if shadow is not None:
            counters = Counters._make(map(add, counters, shadow.counters))
            connections = Connections._make(map(add, connections, shadow.connections))
            longest = max(longest, shadow.longest_transaction_seconds)
        pooled = None if pools is None else pools.of_database.get(name, _NOT_POOLED)
        sample = Sample(
            database.id,
            at,
            database.size_bytes,
            database.shadow_bytes,
            None if use is None else use.memory_bytes(name),
            *connections,
            longest,
            None if pooled is None else pooled.clients_active,
            None if pooled is None else pooled.clients_waiting,
            None if pooled is None else pooled.longest_wait_seconds,
            *counters,
            None if use is None else use.cpu_seconds(name),
            None if use is None else self._overuse.wal_written[name],
            None if pooled is None else pooled.queries,
            None if pooled is None else pooled.query_seconds,
            None if pooled is None else pooled.wait_seconds,
        )
        return Reading(
            sample,
            server=(main.epoch, shadow and shadow.epoch),
            pooler=None if pools is None else pools.pid,
            sessions=main.sessions + (shadow.sessions if shadow else 0),
        )


_NOT_POOLED = _Pooled()


def _processes(found: _Activities) -> dict[str, list[int]]:
    """Return the processes of open sessions by the main database's name."""
    pids: defaultdict[str, list[int]] = defaultdict(list)
    for name, activity in found.items():
        if activity.pids:
            pids[names.main_of(name)] += activity.pids
    return pids


def _of_databases(state: PoolerState, pid: int | None) -> _Pools:
    """Return what the pooler knows by the main database's name."""
    found: defaultdict[str, _Pooled] = defaultdict(_Pooled)
    for pool in state.pools:
        one = found[names.main_of(pool.database)]
        one.clients_active += pool.clients_active
        one.clients_waiting += pool.clients_waiting
        one.longest_wait_seconds = max(one.longest_wait_seconds, pool.longest_wait_seconds)
    for stats in state.stats:
        one = found[names.main_of(stats.database)]
        one.queries += stats.queries
        one.query_seconds += stats.query_seconds
        one.wait_seconds += stats.wait_seconds
    return _Pools(pid, found)
