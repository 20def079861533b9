"""Connections to the clusters that hold databases, and the choice among them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tenantry.base.errors import Busy, InvalidInput, TenantryError, Unavailable
from tenantry.control import audit
from tenantry.control import clusters as rows
from tenantry.control.clusters import ClusterRow
from tenantry.control.store import ControlStore
from tenantry.pg import connections
from tenantry.pg.connections import PLATFORM, PersistentConnection, connect

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

    async def with_databases(self) -> list[ClusterRow]:
        """Return the clusters for tenants' databases."""
        found = [each for each in await self.every() if each.kind != "control" and each.ready]
        self._rows.update({cluster.id: cluster for cluster in found})
        return found

    async def cluster(self, cluster_id: uuid.UUID) -> ClusterRow:
        if cluster_id not in self._rows:
            await self.with_databases()
        return self._rows[cluster_id]

    async def for_new_database(self, name: str | None = None) -> ClusterRow:
        """Return the shared cluster for the next database, which must have that name, if any.

        It is the one that has given away the fewest connections. Raises InvalidInput if there is
        none of that name, Unavailable if none has room.
        """
        shared = [each for each in await self.with_databases() if each.kind == "shared"]
        if name is not None:
            named = [each for each in shared if each.name == name]
            if not named:
                names = ", ".join(each.name for each in shared)
                raise InvalidInput.of("cluster", f"is no shared cluster; there are {names}")
            shared = named
        free = [each for each in shared if each.placed < each.max_databases]
        if not free:
            raise Unavailable(
                f"{name or 'No cluster'} has {'no ' if name else ''}room for another database.",
                hint="Delete databases, or add a cluster: tenantry cluster add",
            )
        return min(free, key=lambda each: each.allotted)

    @asynccontextmanager
    async def connection(self, cluster_id: uuid.UUID) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Borrow a pooled connection in autocommit mode to a cluster's maintenance database.

        Not for statements that a tenant can block: see ``own_connection``. Raises Unavailable if
        the cluster does not answer, Busy if a lock is not available within 3 seconds.
        """
        if cluster_id not in self._pools:
            cluster = await self.cluster(cluster_id)
            if cluster_id not in self._pools:
                pool = connections.pool(
                    cluster.address,
                    user=PLATFORM,
                    smallest=2,
                    lock_seconds=_LOCK_SECONDS,
                    kind=PersistentConnection,
                )
                self._pools[cluster_id] = pool
                await self._stack.enter_async_context(pool)
        try:
            async with self._pools[cluster_id].connection() as connection:
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise _refusal(error, await self.cluster(cluster_id)) from error

    @asynccontextmanager
    async def own_connection(
        self, cluster_id: uuid.UUID
    ) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Open a connection of its own, for statements that a tenant's open transaction can block.

        ALTER ROLE waits for a transaction that changes the same role, DROP DATABASE for one that
        changes a setting for that database. Callers limit the number of these connections.

        Raises Unavailable if the cluster does not answer, Busy if a lock is not available within 3
        seconds.
        """
        cluster = await self.cluster(cluster_id)
        try:
            async with connect(
                cluster.address, user=PLATFORM, lock_seconds=_LOCK_SECONDS
            ) as connection:
                yield connection
        except psycopg.OperationalError as error:
            raise _refusal(error, cluster) from error


def _refusal(error: PoolTimeout | psycopg.OperationalError, cluster: ClusterRow) -> TenantryError:
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return Busy(
            "An open transaction of a tenant's kept this waiting for too long.",
            hint="End what changes the database's roles or settings, and try again.",
        )
    return Unavailable(
        f"The cluster {cluster.name} does not answer.",
        hint="It is being started again; try in a few seconds.",
    )
