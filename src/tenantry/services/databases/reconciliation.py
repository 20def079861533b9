"""Reconciliation of the databases of each cluster with their rows."""

import uuid
from functools import partial

import structlog

from tenantry.base.errors import Deferred
from tenantry.base.events import DatabaseMissing, emit
from tenantry.control import audit, passwords, replaced
from tenantry.control import databases as rows
from tenantry.control.store import ControlStore
from tenantry.pg import catalog, instance_roles, objects
from tenantry.pg.blockers import without_blockers
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import plan, steps
from tenantry.services.databases.service import Databases
from tenantry.services.pooling.service import Pooler
from tenantry.services.reconciling import Pass

log = structlog.get_logger()


class Reconciliation:
    """The reconciliation of databases."""

    def __init__(
        self, store: ControlStore, clusters: ClusterPools, pooler: Pooler, databases: Databases
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._pooler = pooler
        self._databases = databases
        self._warm_pool = databases.warm_pool
        self._holding = partial(steps.holding, store)

    async def reconcile(self, passed: Pass) -> None:
        """Complete or undo what a crash or a manual change has left behind."""
        with Deferred() as failures:
            async with self._store.transaction(audit.PLATFORM) as tx:
                instances = await rows.instances_to_delete(tx)
            for database_id in instances:
                with failures.deferred():
                    await self._databases.dropping.finish(database_id)
            for cluster in await self._clusters.with_databases():
                with failures.deferred():
                    if cluster.kind == "dedicated":  # a copy may have been cut off
                        await instance_roles.return_databases(cluster.address)
                    # First the actual state, then the rows: see plan.differences.
                    async with self._clusters.connection(cluster.id) as server:
                        roles = await catalog.tenant_roles(server)
                        databases = await catalog.tenant_databases(server)
                    async with self._store.transaction(audit.PLATFORM) as tx:
                        wanted = await rows.on_cluster(tx, cluster.id)
                        beside = await replaced.names(tx, cluster.id)
                    # On an instance they are its tenant's.
                    unknown = plan.unmanaged(wanted, databases, beside)
                    for name in unknown if cluster.kind == "shared" else ():
                        log.warning("database.unknown", database=name, cluster=cluster.name)
                    for row in wanted:
                        if row.is_instance and row.status == "active":
                            await instance_roles.grant_rights(cluster.address, row.username)
                        if row.missing_since is not None:
                            emit(DatabaseMissing(row.database_name, cluster.name))
                    passed.over(wanted)
                    for action in plan.differences(wanted, roles, databases, beside):
                        await passed.act("database", action, partial(self._act, cluster.id, action))
            with failures.deferred():
                async with self._store.transaction(audit.PLATFORM) as tx:
                    rotations = await passwords.unfinished_rotations(tx)
                for database_id in rotations:
                    with failures.deferred():
                        await self._undo_rotation(database_id)
            with failures.deferred():
                await self._pooler.refresh(self._store)

    async def _act(  # noqa: C901 (one short case an action)
        self, cluster_id: uuid.UUID, action: plan.Action
    ) -> bool:
        on_cluster = self._clusters.own_connection(cluster_id)
        match action:
            case plan.Prepare(database_id):
                await self._warm_pool.prepare(database_id)
            case plan.Drop(database_id):
                await self._databases.dropping.finish(database_id)
            case plan.Close(database_id):
                async with self._holding(database_id) as (_, row), on_cluster as server:
                    if row is not None and row.status == "warm":
                        await steps.close(server, self._pooler, row)
            case plan.Restore(database_id):
                await self._restore(database_id)
            case plan.Miss(database_id):
                await self._note_missing(database_id, missing=True)
            case plan.FindAgain(database_id):
                await self._note_missing(database_id, missing=False)
            case plan.Limit(database_id):
                async with self._holding(database_id) as (_, row), on_cluster as server:
                    if row is not None and row.status in {"warm", "active"}:
                        await steps.limit(server, row)
            case plan.DropShadow(database_id):
                async with self._holding(database_id) as (_, row), on_cluster as server:
                    if row is not None and row.status == "active" and not row.has_shadow:
                        await objects.drop_database(server, row.shadow_name)
            case plan.DropOrphanRole(username):
                async with on_cluster as server:
                    await objects.drop_role(server, username)
        return True

    async def _restore(self, database_id: uuid.UUID) -> None:
        async with self._holding(database_id) as (tx, row):
            if row is None or row.status != "active":
                return
            cluster = await self._clusters.cluster(row.cluster_id)
            async with self._clusters.own_connection(row.cluster_id) as server:
                await steps.rebuild_missing(server, cluster.address, row)
            await audit.record_on(
                tx,
                audit.PLATFORM,
                "database.made_again",
                row,
                details={"reason": "its shadow or its role had been removed by hand"},
            )

    async def _note_missing(self, database_id: uuid.UUID, *, missing: bool) -> None:
        async with self._holding(database_id) as (tx, row):
            if row is None or row.status != "active":
                return
            async with self._clusters.own_connection(row.cluster_id) as server:
                # A swap for another database has released the row by now.
                if await objects.database_exists(server, row.database_name) is missing:
                    return
            await rows.note_missing(tx, row.id, missing=missing)
            action = "database.missing" if missing else "database.found"
            await audit.record_on(tx, audit.PLATFORM, action, row)

    async def _undo_rotation(self, database_id: uuid.UUID) -> None:
        async with self._holding(database_id) as (tx, row):
            if row is None:
                return
            before = await passwords.find_rotation(tx, database_id)
            if before is None:
                return
            async with self._clusters.own_connection(row.cluster_id) as server:
                undo = partial(objects.set_verifier, server, row.username, before)
                await without_blockers(server, undo, roles=[row.username])
            await passwords.remove_rotation(tx, database_id)
            await audit.record_on(
                tx,
                audit.PLATFORM,
                "database.rotate_password_undone",
                row,
                details={"reason": "the change of password was not finished"},
            )
