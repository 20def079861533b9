"""The warm pool: databases that are made ahead, so that to give one away takes milliseconds."""

import uuid

from tenantry.base.errors import Conflict
from tenantry.base.events import StepDone, emit
from tenantry.base.ids import new_suffix
from tenantry.control import audit
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.services.clusters.service import ClusterPools
from tenantry.services.databases import steps


class WarmPool:
    """Databases that wait for an owner."""

    def __init__(self, store: ControlStore, clusters: ClusterPools) -> None:
        self._store = store
        self._clusters = clusters

    async def refill(self, target: int) -> int:
        """Make warm databases until ``target`` wait. Returns how many were made."""
        made = 0
        while True:
            async with self._store.transaction(audit.PLATFORM) as tx:
                if await rows.count_warm(tx) >= target:
                    return made
            await self._make_warm()
            made += 1

    async def needs_refill(self, target: int) -> bool:
        """Whether so many are gone that it is worth waking the worker."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.count_warm(tx) <= target * 3 // 4

    async def ensure_warm(self) -> None:
        """Have a database ready to be given away, so that no transaction waits for its making."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            if await rows.count_warm(tx):
                return
        await self._make_warm()

    async def _want_another(self) -> uuid.UUID:
        cluster = await self._clusters.for_new_database()
        async with self._store.transaction(audit.PLATFORM) as tx:
            database_id = await rows.insert_creating(tx, cluster_id=cluster.id, suffix=new_suffix())
        emit(StepDone("prepare", "wanted", str(database_id)))
        return database_id

    async def _make_warm(self) -> None:
        await self.prepare(await self._want_another())

    async def take(self, tx: Tx) -> DatabaseRow:
        """A database whose row ``tx`` holds, ready to be given away; with none ready, made now.

        Raises Conflict, Unavailable.
        """
        if (warm := await rows.lock_warm(tx)) is not None:
            return warm
        row = await rows.lock(tx, await self._want_another(), wait=True)
        if row is None:
            raise Conflict("A database that was just wanted is gone.", hint="Try again.")
        await self._build(row)
        return row

    async def _build(self, row: DatabaseRow) -> None:
        cluster = await self._clusters.cluster(row.cluster_id)
        async with self._clusters.connection(row.cluster_id) as server:
            await steps.build(server, cluster.address, row)

    async def prepare(self, database_id: uuid.UUID) -> None:
        """Finish making a database that has no owner yet, unless somebody else is at it."""
        async with steps.holding(self._store, database_id) as (tx, row):
            if row is None or row.status not in {"creating", "warm"}:
                return
            await self._build(row)
            await rows.set_status(tx, row.id, "warm")
        emit(StepDone("prepare", "warm", row.database_name))
