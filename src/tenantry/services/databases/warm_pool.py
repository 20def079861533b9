"""The warm pool: databases that are created ahead, so that to give one away takes milliseconds."""

import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from tenantry.base.errors import Conflict, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.base.ids import new_suffix
from tenantry.control import audit, database_counts
from tenantry.control import clusters as cluster_rows
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.services.clusters.fleet_file import FIRST
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import steps
from tenantry.services.pooling.service import Pooler

log = structlog.get_logger()


class WarmPool:
    """Databases that wait for an owner, ``size`` of them; ``wake`` has the worker refill it."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        pooler: Pooler,
        *,
        size: int,
        wake: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._pooler = pooler
        self._size = size
        self._wake = wake

    async def refill(self) -> int:
        """Create warm databases until the pool is full. Returns how many were created."""
        made = 0
        while True:
            async with self._store.transaction(audit.PLATFORM) as tx:
                if await database_counts.count_warm(tx) >= self._size:
                    return made
            await self._make_warm()
            made += 1

    async def ask_for_refill(self) -> None:
        """Wake the worker if the pool is down to three quarters or less."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            is_low = await database_counts.count_warm(tx) <= self._size * 3 // 4
        if is_low:
            await self._wake()

    async def ensure_warm(self, cluster: str | None = None) -> None:
        """Ensure that a warm database is ready, so that no transaction waits for its creation.

        It is on the cluster of that name, if any. Raises InvalidInput, Unavailable.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            if await database_counts.count_warm(tx, cluster):
                return
        await self.prepare(await self._want_another(cluster))

    async def _want_another(
        self, name: str | None = None, customer_id: uuid.UUID | None = None
    ) -> uuid.UUID:
        found = await self._clusters.for_new_database(name, customer_id=customer_id)
        cluster_id = found.cluster.id
        async with self._store.transaction(audit.PLATFORM) as tx:
            database_id = await rows.insert_creating(tx, cluster_id=cluster_id, suffix=new_suffix())
        log.info("database.placed", cluster=found.cluster.name, why=found.reason)
        emit(StepDone("prepare", "wanted", str(database_id)))
        return database_id

    async def _make_warm(self) -> None:
        await self.prepare(await self._want_another())

    async def take(
        self, tx: Tx, cluster: str | None = None, *, customer_id: uuid.UUID | None = None
    ) -> DatabaseRow:
        """Return a database to give away, whose row ``tx`` locks; if none is ready, create one.

        It is on the cluster of that name, if any; otherwise rather on one with few databases of
        the customer that it is for. Raises Conflict, InvalidInput, Unavailable.
        """
        owned: dict[uuid.UUID, int] = {}
        if customer_id is not None:
            owned = await cluster_rows.databases_of(tx, customer_id)
        most_last = sorted(owned, key=lambda each: owned[each])
        if (warm := await rows.lock_warm(tx, cluster, rather_not=most_last)) is not None:
            return warm
        wanted = await self._want_another(cluster, customer_id)
        row = await rows.lock(tx, wanted, wait=True)
        if row is None:
            raise Conflict("A database that was just wanted is gone.", hint="Try again.")
        await self._build(row)
        return row

    async def _build(self, row: DatabaseRow) -> None:
        cluster = await self._clusters.cluster(row.cluster_id)
        async with self._clusters.connection(row.cluster_id) as server:
            await steps.build(server, cluster.address, row)
        if row.cluster != FIRST:
            with suppress(Unavailable):  # it reads its files when it is started
                await self._pooler.refresh(self._store)

    async def prepare(self, database_id: uuid.UUID) -> None:
        """Finish creating a database without an owner, unless another process works on it."""
        async with steps.holding(self._store, database_id) as (tx, row):
            if row is None or row.status not in {"creating", "warm"}:
                return
            await self._build(row)
            await rows.set_status(tx, row.id, "warm")
        emit(StepDone("prepare", "warm", row.database_name))
