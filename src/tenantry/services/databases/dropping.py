"""Carries out accepted deletions: of a database, or of an instance with all that is on it."""

import uuid
from contextlib import suppress
from functools import partial

from tenantry.base.errors import TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.base.shares import NoPlace, Shares
from tenantry.control import audit, replaced
from tenantry.control import clusters as cluster_rows
from tenantry.control.audit import Actor
from tenantry.control.clusters import ClusterRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.replaced import ReplacedRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import names, objects
from tenantry.pg.blockers import without_blockers
from tenantry.services.clusters import suspending
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import steps
from tenantry.services.pooling.service import Pooler

_DROPS_AT_ONCE = 6  # each waits for a checkpoint, and all of them load the disk
_CLOSINGS_AT_ONCE = 12  # sessions that block one are ended after seconds
_DROP_TURN_SECONDS = 60.0


class Dropping:
    """The removal of databases whose deletion was accepted."""

    def __init__(
        self, store: ControlStore, clusters: ClusterPools, pooler: Pooler, fleet: Fleet
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._pooler = pooler
        self._fleet = fleet
        self._closings = Shares(each=_CLOSINGS_AT_ONCE)
        self._drops = Shares(each=2, total=_DROPS_AT_ONCE)

    async def finish(self, database_id: uuid.UUID, actor: Actor = audit.PLATFORM) -> None:
        """Carry out an accepted deletion, unless another process is working on it.

        All connections are closed at once; the databases and roles are dropped when the deletion
        gets its turn. If that takes too long, a reconciliation pass continues.
        """
        with suppress(NoPlace):
            if (closed := await self._close(database_id, actor)) is not None:
                await self._drop(closed, actor)

    async def _close(self, database_id: uuid.UUID, actor: Actor) -> DatabaseRow | None:
        """Close a database and return it; delete an instance, of which nothing is left to drop."""
        async with (
            self._closings.place(None, within=_DROP_TURN_SECONDS),
            steps.holding(self._store, database_id) as (tx, row),
        ):
            if row is None or row.status not in {"deleting", "scratch"}:
                return None
            if row.is_instance:
                await self._drop_elsewhere(tx, row)
                await self._kick_out(row)
                await self._delete_instance(tx, row.cluster_id)
                await steps.forget(tx, row, actor)
                await cluster_rows.remove_instance(tx, row.cluster_id)
                tx.in_background(self._refresh_pooler)
                return None
            async with self._clusters.own_connection(row.cluster_id) as server:
                await steps.close(server, self._pooler, row)
            return row

    async def _drop(self, closed: DatabaseRow, actor: Actor) -> None:
        async with (
            self._drops.place(closed.customer_id or closed.id, within=_DROP_TURN_SECONDS),
            steps.holding(self._store, closed.id) as (tx, row),
        ):
            if row is None:
                return
            async with self._clusters.own_connection(row.cluster_id) as server:
                await steps.drop(server, self._pooler, row)
            await self._drop_elsewhere(tx, row)
            await steps.forget(tx, row, actor)

    async def drop_retained(self, tx: Tx, row: DatabaseRow, old: ReplacedRow) -> None:
        """Drop one retained database; ``tx`` locks the row of the one that it was.

        An instance that the database was moved from goes with its last one.
        """
        await replaced.remove(tx, old.database_name, row.id)
        cluster = await cluster_rows.find(tx, old.cluster_id)
        if cluster is not None and _is_former(cluster, row):
            left = await replaced.of_database(tx, row.id)
            if not any(each.cluster_id == cluster.id for each in left):
                await self._delete_instance(tx, cluster.id)
                await cluster_rows.remove_instance(tx, cluster.id)
            return
        if cluster is not None:
            await suspending.ensure_awake(self._fleet, cluster.name)
        async with self._clusters.own_connection(old.cluster_id) as server:
            await without_blockers(
                server,
                partial(objects.drop_database, server, old.database_name),
                databases=[old.database_name],
            )

    async def _drop_elsewhere(self, tx: Tx, row: DatabaseRow) -> None:
        """Drop what is retained of a database on clusters that it was moved from."""
        found = await replaced.of_database(tx, row.id)
        for cluster_id in {each.cluster_id for each in found} - {row.cluster_id}:
            cluster = await cluster_rows.find(tx, cluster_id)
            if cluster is not None and _is_former(cluster, row):
                await self._delete_instance(tx, cluster_id)
                await cluster_rows.remove_instance(tx, cluster_id)
                continue
            if cluster is not None:
                await suspending.ensure_awake(self._fleet, cluster.name)
            async with self._clusters.own_connection(cluster_id) as server:
                await steps.drop(server, self._pooler, row)

    async def _kick_out(self, row: DatabaseRow) -> None:
        with suppress(TenantryError):  # without the pooler no pooled session is left
            await self._pooler.kick_out((row.database_name, row.shadow_name))

    async def _delete_instance(self, tx: Tx, cluster_id: uuid.UUID) -> None:
        cluster = await cluster_rows.find(tx, cluster_id)
        if cluster is not None:
            await self._fleet.delete(Member.of(cluster))
            emit(StepDone("delete", "instance", cluster.name))

    async def _refresh_pooler(self) -> None:
        await self._pooler.refresh(self._store)


def _is_former(cluster: ClusterRow, row: DatabaseRow) -> bool:
    """Whether a cluster is an instance that a database has been moved from."""
    return cluster.id != row.cluster_id and cluster.name in names.instances_of(row.database_name)
