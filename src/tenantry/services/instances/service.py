"""The verbs on instances."""

import asyncio
import uuid
from collections.abc import Iterable

from tenantry.base.errors import Conflict, InvalidInput, Unavailable
from tenantry.base.ids import new_suffix
from tenantry.base.secrets import Secret, scram_verifier
from tenantry.base.settings import Settings
from tenantry.control import audit, database_counts, databases, plans
from tenantry.control import clusters as rows
from tenantry.control.attributes import Attributes
from tenantry.control.audit import Actor
from tenantry.control.clusters import ClusterRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx, as_platform
from tenantry.host import containers
from tenantry.host.packages import installed_servers
from tenantry.pg import catalog, names, unmanaged
from tenantry.pg.clusters import DRIVERS, Cluster
from tenantry.pg.docker_driver import DockerDriver
from tenantry.pg.parameters import MIB, Machine
from tenantry.services.clusters.members import Member
from tenantry.services.databases.model import NewDatabase, NewInstance, Opened, Statistics
from tenantry.services.databases.service import Databases
from tenantry.services.instances import plan
from tenantry.services.instances.flow import InstanceFlow
from tenantry.services.instances.model import (
    CREATE,
    RESTART,
    START,
    STOP,
    Choices,
    InstanceStatus,
    InstanceUse,
    Progress,
    Size,
)
from tenantry.services.operations.model import Kind, Params
from tenantry.services.operations.service import Operations

_LOOK_SECONDS = 0.2  # over which the use of processors is measured


class Instances:
    """The service for instances."""

    def __init__(
        self,
        settings: Settings,
        store: ControlStore,
        databases_: Databases,
        operations: Operations,
        flow: InstanceFlow,
    ) -> None:
        self._settings = settings
        self._store = store
        self._databases = databases_
        self._operations = operations
        self._fleet = flow.fleet
        self._clusters = flow.clusters
        operations.register(*flow.flows)

    def choices(self) -> Choices:
        """Return what can be asked for of a new instance, and what it has otherwise."""
        own = self._settings.instance
        return Choices(self._fleet.usable_versions(), own.version or self._fleet.newest_version())

    async def require_driver(self, driver: str) -> None:
        """Raise EngineUnavailable if this machine cannot run instances by the driver."""
        if driver == DockerDriver.name:
            await containers.check()

    async def create(
        self, tx: Tx, actor: Actor, wanted: NewDatabase, asked: NewInstance, password: Secret
    ) -> tuple[Opened, OperationRow]:
        """Begin to create an instance. Its strings are valid when the operation has succeeded.

        Raises as ``Databases.create`` and ``add``; InvalidInput for a name that cannot be had.
        """
        if wanted.attributes.name is None:
            raise InvalidInput.of("name", "is needed for an instance, which is named by it")
        customer_id = await self._databases.owner(tx, actor, wanted)
        async with as_platform(tx):
            suffix = new_suffix()
            cluster_id = await self.add(
                tx,
                actor,
                wanted.attributes,
                asked,
                customer_id=customer_id,
                database_name=names.main(suffix),
            )
            database_id = await databases.insert_creating(tx, cluster_id=cluster_id, suffix=suffix)
            before = await databases.lock(tx, database_id, wait=True)
            await databases.promise(
                tx,
                database_id,
                wanted.attributes,
                customer_id=customer_id,
                limits=wanted.limits,
                verifier=scram_verifier(password),
            )
        row = await self._databases.find(tx, actor, database_id)
        await self._databases.check_limits(tx, actor, before=before or row, after=row, is_new=True)
        await self._databases.check_count(tx, actor, row.customer_id)
        operation = await self._begin(tx, actor, CREATE, row)
        return Opened(row, password), operation

    def version(self, asked: NewInstance) -> int:
        """Return the major version of a new instance. Raises InvalidInput if it cannot be had."""
        return plan.version(
            asked.version or self._settings.instance.version or self._fleet.newest_version(),
            installed=[each.version for each in installed_servers(self._settings.engines_dir)],
            usable=self._fleet.usable_versions(),
        )

    async def size(
        self, tx: Tx, actor: Actor, customer_id: uuid.UUID | None, asked: NewInstance
    ) -> Size:
        """Return the size of a new instance of a customer's, or of nobody's.

        Raises Forbidden if a customer asks for more than its plan grants, Conflict for one more
        instance than that.
        """
        granted = await plans.of_customer(tx, customer_id)
        found = plan.size(
            asked.cpus,
            asked.memory_mb,
            granted,
            processors=Machine.this().cores,
            otherwise_mb=self._settings.instance.memory_mb,
        )
        if actor.customer_id is not None and granted is not None:
            plan.require_granted(granted, found)
            plan.require_another(
                granted, await database_counts.count_instances(tx, actor.customer_id)
            )
        return found

    async def add(
        self,
        tx: Tx,
        actor: Actor,
        attributes: Attributes,
        asked: NewInstance,
        *,
        customer_id: uuid.UUID | None,
        database_name: str,
    ) -> uuid.UUID:
        """Insert the row of a new instance for a database, for an operation that creates it.

        Raises as ``size``; InvalidInput for a name or version that cannot be had, Conflict if not
        enough memory is left or the database has its two instances, Unavailable if no port is free.
        """
        await rows.lock_additions(tx)
        known = await rows.every(tx)
        size = await self.size(tx, actor, customer_id, asked)
        self.require_memory(size.memory_mb, known)
        version = self.version(asked)
        container_name = container_name_for(attributes, database_name, known)
        member = Member(
            name=plan.cluster_name(database_name, {each.name for each in known}),
            driver=asked.driver,
            port=self._fleet.free_port(each.port for each in known),
            kind="dedicated",
            version=version,
            cpus=size.cpus,
            memory_mb=size.memory_mb,
            container_name=container_name,
        )
        return await rows.insert_instance(
            tx,
            name=member.name,
            driver=member.driver,
            version=version,
            address=self._fleet.of(member).address,
            cpus=member.cpus,
            memory_mb=size.memory_mb,
            container_name=container_name,
        )

    def require_memory(self, asked: int, others: Iterable[ClusterRow]) -> None:
        """Raise Conflict unless so many MiB are left for an instance beside these clusters."""
        half = Machine.this(self._settings.memory_mb).memory_bytes // MIB // 2
        plan.require_memory(
            asked,
            given=sum(each.memory_mb or 0 for each in others),
            most=self._settings.instance.total_mb or half,
        )

    def limits_are_enforced(self, driver: str) -> bool:
        """Whether this machine enforces the size of instances that a driver runs."""
        return DRIVERS[driver].can_limit(self._settings.home)

    # ── starting and stopping ────────────────────────────────────────────────

    async def start(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> OperationRow:
        """Begin to start an instance; one that runs goes on. Raises NotFound, Conflict."""
        return await self._change(tx, actor, database_id, START)

    async def stop(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> OperationRow:
        """Begin to stop an instance, and end all its sessions. Raises NotFound, Conflict."""
        return await self._change(tx, actor, database_id, STOP)

    async def restart(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> OperationRow:
        """Begin to stop an instance and to start it again. Raises NotFound, Conflict."""
        return await self._change(tx, actor, database_id, RESTART)

    async def _change(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, kind: Kind[Params, Progress]
    ) -> OperationRow:
        row = await self._databases.lock_active(tx, actor, database_id)
        require_instance(row)
        return await self._begin(tx, actor, kind, row)

    async def _begin(
        self, tx: Tx, actor: Actor, kind: Kind[Params, Progress], row: DatabaseRow
    ) -> OperationRow:
        operation = await self._operations.begin(
            tx,
            actor,
            kind,
            Params(),
            resource_kind="database",
            resource_id=row.id,
            customer_id=row.customer_id,
        )
        details: dict[str, object] = {
            "container_name": row.container_name,
            "operation_id": str(operation.id),
        }
        await audit.record_on(tx, actor, kind.name, row, result="accepted", details=details)
        return operation

    # ── what they use ────────────────────────────────────────────────────────

    async def statistics(
        self, actor: Actor, database_id: uuid.UUID
    ) -> tuple[Statistics, InstanceUse | None]:
        """Return the statistics of a database, and of its instance if it is on one.

        Raises NotFound; Unavailable if a shared cluster does not answer.
        """
        row = await self._databases.show(actor, database_id)
        use = None if row.kind == "shared" else await self._use(row)
        if use is not None and use.status != "running":
            return Statistics.of_stopped(row), use
        return await self._databases.statistics(actor, database_id), use

    async def _use(self, row: DatabaseRow) -> InstanceUse | None:
        """Return what an instance is doing, with all its databases; None if it is gone."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            cluster_row = await rows.find(tx, row.cluster_id)
        if cluster_row is None:
            return None
        cluster = self._fleet.of(Member.of(cluster_row))
        limit = cluster.limits.memory_bytes
        status = _status(row, cluster, ready=cluster_row.ready)
        before = await cluster.driver.usage(cluster)
        if status != "running" or before is None:
            detail = cluster.last_words() if status == "error" else None
            return InstanceUse(status, detail, row.used_bytes or 0, memory_limit_bytes=limit)
        await asyncio.sleep(_LOOK_SECONDS)
        now = await cluster.driver.usage(cluster) or before
        try:
            async with self._clusters.connection(row.cluster_id) as server:
                there = await catalog.tenant_databases(server)
                use = (await catalog.database_use(server, [*there])).values()
                beside = await unmanaged.databases(server)
        except Unavailable:
            return InstanceUse("starting", None, row.used_bytes or 0, memory_limit_bytes=limit)
        return InstanceUse(
            status,
            None,
            size_bytes=sum(each.size_bytes for each in use),
            connections=sum(each.connections for each in use),
            cpu_percent=round((now.cpu_seconds - before.cpu_seconds) / _LOOK_SECONDS * 100, 1),
            memory_bytes=now.memory_bytes,
            memory_limit_bytes=limit,
            started_at=now.started_at,
            unmanaged=beside,
        )


def container_name_for(
    attributes: Attributes, database_name: str, known: Iterable[ClusterRow]
) -> str:
    """Return the name that a new instance of a database gets, beside the ``known`` clusters.

    Raises InvalidInput for a name that is too long.
    """
    return plan.container_name(
        attributes.name or "",
        attributes.environment,
        {each.container_name for each in known if each.container_name},
        names.suffix_of(database_name),
    )


def require_instance(row: DatabaseRow) -> None:
    """Raise Conflict unless a database has an instance, which it is created and deleted with."""
    if not row.is_instance:
        raise Conflict(
            f"{row.database_name} is on {row.container_name or row.cluster}, which is not its"
            " own: it cannot be started, stopped or configured by itself.",
            hint='Only a database of the kind "dedicated" can be.',
        )


def _status(row: DatabaseRow, cluster: Cluster, *, ready: bool) -> InstanceStatus:
    if not ready:
        return "creating"
    if row.wanted == "stopped":
        return "stopped"
    if cluster.pid() is not None:
        return "running"
    return "suspended" if row.wanted == "suspended" else "error"
