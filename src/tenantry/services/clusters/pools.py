"""Connections to the clusters that hold databases, and the choice among them."""

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tenantry.base.errors import Busy, Conflict, NotFound, TenantryError, Unavailable
from tenantry.control import audit, moves
from tenantry.control import clusters as rows
from tenantry.control.clusters import ClusterRow, LoadedCluster
from tenantry.control.store import ControlStore
from tenantry.pg import connections
from tenantry.pg.connections import PLATFORM, PersistentConnection, connect
from tenantry.services.clusters import plan
from tenantry.services.clusters.plan import Placement

_LOCK_SECONDS = 3


class ClusterPools:
    """Connections to the clusters that hold databases, as the platform's role. Opened lazily."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store
        self._stack = AsyncExitStack()
        self._pools: dict[uuid.UUID, AsyncConnectionPool[PersistentConnection]] = {}
        self._rows: dict[uuid.UUID, ClusterRow] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def every(self) -> list[ClusterRow]:
        """Return all clusters of the control database."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.every(tx)

    async def loaded(self) -> list[LoadedCluster]:
        """Return all clusters with what is on them."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.loaded(tx)

    async def with_databases(self) -> list[ClusterRow]:
        """Return the clusters with tenants' databases that are to run: no stopped instances."""
        return [each for each in await self.every() if each.serves]

    async def cluster(self, cluster_id: uuid.UUID) -> ClusterRow:
        """Return a cluster, as it was when it was first looked up. Raises NotFound."""
        if cluster_id not in self._rows:
            self._rows[cluster_id] = await self._look_up(cluster_id)
        return self._rows[cluster_id]

    async def name_at(
        self, database_id: uuid.UUID, cluster_id: uuid.UUID, moment: dt.datetime
    ) -> str:
        """Return the name of the cluster that a database was on at a moment.

        ``cluster_id`` is its present one. Only that cluster's backups have the database then.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            before = await moves.cluster_at(tx, database_id, moment)
        return before or (await self.cluster(cluster_id)).name

    async def _look_up(self, cluster_id: uuid.UUID) -> ClusterRow:
        async with self._store.transaction(audit.PLATFORM) as tx:
            found = await rows.find(tx, cluster_id)
        if found is None:
            raise NotFound("The cluster is gone: it was deleted with its database.")
        return found

    async def for_new_database(
        self, name: str | None = None, *, customer_id: uuid.UUID | None = None
    ) -> Placement:
        """Return the shared cluster for the next database, and why: see ``plan.place``.

        Raises InvalidInput if there is none of that name, Unavailable if none has room.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            clusters = await rows.loaded(tx)
            owned = None if customer_id is None else await rows.databases_of(tx, customer_id)
        return plan.place(clusters, name=name, of_customer=owned)

    @asynccontextmanager
    async def connection(self, cluster_id: uuid.UUID) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Borrow a pooled connection in autocommit mode to a cluster's maintenance database.

        Not for statements that a tenant can block: see ``own_connection``. Raises Unavailable if
        the cluster does not answer, Conflict if it is a stopped or suspended instance, Busy if a
        lock is not available within 3 seconds.
        """
        cluster = await self._running(cluster_id)
        if cluster_id not in self._pools:
            pool = connections.pool(
                cluster.address,
                user=PLATFORM,
                smallest=0 if cluster.kind == "dedicated" else 2,
                lock_seconds=_LOCK_SECONDS,
                kind=PersistentConnection,
            )
            self._pools[cluster_id] = pool
            await self._stack.enter_async_context(pool)
        try:
            async with self._pools[cluster_id].connection() as connection:
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise await self._refusal(error, cluster_id) from error

    @asynccontextmanager
    async def own_connection(
        self, cluster_id: uuid.UUID
    ) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Open a connection of its own, for statements that a tenant's open transaction can block.

        ALTER ROLE waits for a transaction that changes the same role, DROP DATABASE for one that
        changes a setting for that database. Callers limit the number of these connections.

        Raises Unavailable if the cluster does not answer, Conflict if it is a stopped or suspended
        instance, Busy if a lock is not available within 3 seconds.
        """
        cluster = await self._running(cluster_id)
        try:
            async with connect(
                cluster.address, user=PLATFORM, lock_seconds=_LOCK_SECONDS
            ) as connection:
                yield connection
        except psycopg.OperationalError as error:
            raise await self._refusal(error, cluster_id) from error

    async def _running(self, cluster_id: uuid.UUID) -> ClusterRow:
        """Return a cluster. Raises Conflict for a stopped instance, for which a pool would wait."""
        cluster = await self.cluster(cluster_id)
        if cluster.kind == "dedicated" and not cluster.address.socket.exists():
            raise await self._silence(cluster_id)
        return cluster

    async def _refusal(
        self, error: PoolTimeout | psycopg.OperationalError, cluster_id: uuid.UUID
    ) -> TenantryError:
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return Busy(
                "An open transaction of a tenant's kept this waiting for too long.",
                hint="End what changes the database's roles or settings, and try again.",
            )
        return await self._silence(cluster_id)

    async def _silence(self, cluster_id: uuid.UUID) -> TenantryError:
        """Return the error for a cluster that does not answer."""
        cluster = await self._look_up(cluster_id)
        if cluster.wanted == "stopped":
            return instance_stopped(cluster.container_name)
        if cluster.wanted == "suspended":
            return Conflict(
                f"The instance {cluster.container_name} is suspended.",
                hint="The next connection through the pooler wakes it.",
            )
        return Unavailable(
            f"The cluster {cluster.name} does not answer.",
            hint="It is being started again; try in a few seconds.",
        )


def instance_stopped(container_name: str | None) -> Conflict:
    """Return the error for what needs an instance that is stopped."""
    return Conflict(
        f"The instance {container_name} is stopped.",
        hint="POST /api/databases/{id}/start starts it.",
    )
