"""The verbs on moves of databases between clusters."""

import uuid

from tenantry.base.errors import Conflict, Forbidden, Unavailable
from tenantry.base.settings import Settings
from tenantry.control import audit, moves, operations
from tenantry.control.audit import Actor
from tenantry.control.clusters import ClusterRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.store import Tx, as_platform
from tenantry.host.packages import extensions_of
from tenantry.pg import api_roles, catalog, extensions, logins, preloading, unmanaged
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.pools import ClusterPools, instance_stopped
from tenantry.services.databases.hosts import direct_host
from tenantry.services.databases.service import Databases
from tenantry.services.instances.service import Instances, container_name_for
from tenantry.services.moves import plan
from tenantry.services.moves.flow import MoveFlow, require_movable
from tenantry.services.moves.model import (
    MOVE,
    LeftOut,
    MoveParams,
    MoveWouldLose,
    NewMove,
    Preview,
)
from tenantry.services.operations.service import Operations
from tenantry.services.requests.service import Caller


class Moves:
    """The verbs on moves."""

    def __init__(
        self,
        settings: Settings,
        databases: Databases,
        instances: Instances,
        operations: Operations,
        flow: MoveFlow,
    ) -> None:
        self._settings = settings
        self._store = flow.store
        self._databases = databases
        self._instances = instances
        self._operations = operations
        self._fleet: Fleet = flow.copying.fleet
        self._clusters: ClusterPools = flow.copying.clusters
        operations.register(flow.flow)

    async def preview(self, actor: Actor, database_id: uuid.UUID, wanted: NewMove) -> Preview:
        """Return what a move would do, without beginning it.

        Raises NotFound; Conflict and InvalidInput where it is not possible, Forbidden for a
        customer that names a cluster or asks for more than its plan grants, Unavailable if no
        cluster has room or a server does not answer.
        """
        row = await self._databases.active(actor, database_id)
        if row.wanted == "stopped":
            raise instance_stopped(row.container_name)
        async with self._store.transaction(audit.PLATFORM) as tx:
            await operations.require_free(tx, "database", row.id)
            await require_movable(tx, row, to_instance=wanted.instance is not None)
        name: str | None = None
        instance: str | None = None
        if wanted.instance is None:
            cluster = await self._shared(actor, row, wanted.cluster)
            name = cluster.name
            version, port, memory_mb = cluster.version, cluster.port, None
            async with self._clusters.connection(cluster.id) as server:
                there = await extensions.installed(server) - preloading.ALLOWED.keys()
        else:
            await self._instances.require_driver(wanted.instance.driver)
            version = self._instances.version(wanted.instance)
            async with self._store.transaction(audit.PLATFORM) as tx:
                its = await self._instances.size(tx, actor, row.customer_id, wanted.instance)
            known = await self._clusters.every()
            port = self._fleet.free_port(each.port for each in known)
            instance = container_name_for(row, row.database_name, known)
            memory_mb = its.memory_mb
            there = extensions_of(self._settings.engines_dir, version)
        plan.require_target(
            row,
            version=version,
            most_connections=self._fleet.sizing_for(memory_mb).per_database,
            missing_extensions=await self._extensions(row) - there,
        )
        async with self._clusters.connection(row.cluster_id) as server:
            sizes = await catalog.sizes(server, [row.database_name])
        size = sizes.get(row.database_name, 0)
        async with self._store.transaction(audit.PLATFORM) as tx:
            pace = await moves.pace(tx, least=plan.MEASURED_BYTES)
        expected, basis = plan.expected_wait(size, *pace)
        return Preview(
            kind="shared" if wanted.instance is None else "dedicated",
            cluster=name,
            version=version,
            host=direct_host(self._settings, instance, port).name,
            port=port,
            size_bytes=size,
            expected_wait_seconds=round(expected, 1),
            basis=basis,
            max_wait_seconds=wanted.max_wait_seconds,
            left_out=await self._left_out(row),
        )

    async def begin(self, caller: Caller, database_id: uuid.UUID, wanted: NewMove) -> OperationRow:
        """Begin a move; under an idempotency key, at most once.

        Raises as ``preview``; InvalidInput if clients may not wait for as long as is expected,
        MoveWouldLose if something would be left out.
        """
        if not await caller.is_repeated():
            async with caller.visiting():
                found = await self.preview(caller.actor, database_id, wanted)
            plan.require_time(found.expected_wait_seconds, wanted.max_wait_seconds)
            if found.left_out and not wanted.accept_losses:
                row = await self._databases.show(caller.actor, database_id)
                raise MoveWouldLose.of_left_out(row.database_name, found.left_out)

        async def begin(tx: Tx) -> OperationRow:
            return await self._begin(tx, caller.actor, database_id, wanted)

        return await caller.begin(begin)

    async def _begin(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: NewMove
    ) -> OperationRow:
        row = await self._databases.lock_there(tx, actor, database_id)
        async with as_platform(tx):
            await require_movable(tx, row, to_instance=wanted.instance is not None)
            if wanted.instance is None:
                target_id = (await self._shared(actor, row, wanted.cluster)).id
            else:
                target_id = await self._instances.add(
                    tx,
                    actor,
                    row,
                    wanted.instance,
                    customer_id=row.customer_id,
                    database_name=row.database_name,
                )
        await self._databases.check_count(tx, actor, row.customer_id, more=1)  # it is retained
        operation = await self._operations.begin(
            tx,
            actor,
            MOVE,
            MoveParams(
                target_id=target_id,
                max_wait_seconds=wanted.max_wait_seconds,
                accept_losses=wanted.accept_losses,
            ),
            resource_kind="database",
            resource_id=row.id,
            customer_id=row.customer_id,
        )
        details: dict[str, object] = {"from": row.cluster, "operation_id": str(operation.id)}
        await audit.record_on(tx, actor, MOVE.name, row, result="accepted", details=details)
        return operation

    async def _shared(self, actor: Actor, row: DatabaseRow, name: str | None) -> ClusterRow:
        """Return the shared cluster to move to. Raises as ``preview``."""
        if name is not None and actor.customer_id is not None:
            raise Forbidden("Only administrators choose the cluster.", hint="Leave cluster out.")
        if row.kind == "shared" and name in {None, row.cluster}:
            raise Conflict(
                f"{row.database_name} is on the shared cluster {row.cluster} already.",
                hint='Ask for the kind "dedicated", or name another shared cluster.',
            )
        found = await self._clusters.for_new_database(name, customer_id=row.customer_id)
        return found.cluster

    async def _extensions(self, row: DatabaseRow) -> set[str]:
        """Return the extensions that a database has. Raises Conflict, Unavailable."""
        cluster = await self._clusters.cluster(row.cluster_id)
        inside = logins.inside(cluster.address, row.database_name, [row.username])
        try:
            async with inside as session:
                found = await extensions.every(session)
        except Unavailable:
            async with self._store.transaction(audit.PLATFORM) as tx:
                await operations.require_free(tx, "database", row.id)  # it has begun meanwhile
            raise
        return {each.name for each in found if each.installed_version is not None}

    async def _left_out(self, row: DatabaseRow) -> list[LeftOut]:
        if not row.is_instance:
            return []
        async with self._clusters.connection(row.cluster_id) as server:
            databases = await unmanaged.databases(server)
            roles = await unmanaged.roles(server, shared=api_roles.SHARED)
        return [
            *(LeftOut("database", name) for name in databases),
            *(LeftOut("role", name) for name in roles),
        ]
