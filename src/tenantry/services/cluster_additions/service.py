"""The verb that adds a shared cluster."""

from collections.abc import Iterable

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.base.settings import Settings
from tenantry.control import audit, operations
from tenantry.control import clusters as rows
from tenantry.control.audit import Actor
from tenantry.control.clusters import ClusterRow
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg.drivers import PROCESS
from tenantry.pg.names import INSTANCE
from tenantry.services.cluster_additions.flow import ClusterAddFlow
from tenantry.services.cluster_additions.model import ADD, AddParams
from tenantry.services.clusters.members import Member
from tenantry.services.operations.service import Operations

_PREFIX = "shared-"
_MOST = 99  # shared clusters that get their name from the platform
# Other parts and folders are named like this.
_RESERVED = (
    "api",
    "cache",
    "control",
    "embedder",
    INSTANCE,
    "listener",
    "pooler",
    "rest",
    "side",
    "supervisor",
    "worker",
)


class ClusterAdditions:
    """Adds shared clusters: on request, and when all are full."""

    def __init__(
        self,
        settings: Settings,
        store: ControlStore,
        operations_: Operations,
        adding: ClusterAddFlow,
    ) -> None:
        self._settings = settings
        self._store = store
        self._operations = operations_
        self._fleet = adding.fleet
        operations_.register(adding.flow)

    async def begin(self, tx: Tx, actor: Actor, name: str | None = None) -> OperationRow:
        """Begin to add a shared cluster.

        Raises InvalidInput for a name that cannot be used, Conflict while another one is being
        added or if there is not enough memory, Unavailable if no port is free.
        """
        await rows.lock_additions(tx)
        found = await rows.every(tx)
        if any(not each.ready for each in found if each.kind == "shared"):
            raise Conflict(
                "Another cluster is being added.", hint="Wait for it: tenantry operation list"
            )
        name = _free_name(found) if name is None else _usable(name, found)
        most = self._fleet.most_shared
        if sum(each.kind == "shared" for each in found) >= most:
            raise Conflict(
                f"The memory of this machine is enough for {most} shared clusters.",
                hint="Each gets an equal part of it, and needs 512 MiB.",
            )
        port = self._fleet.free_port(each.port for each in found)
        member = Member(name=name, driver=PROCESS, port=port)
        cluster = self._fleet.of(member)
        cluster_id = await rows.insert_unready(
            tx,
            name=name,
            driver=member.driver,
            version=self._fleet.newest_version(),
            address=cluster.address,
        )
        operation = await self._operations.begin(
            tx,
            actor,
            ADD,
            AddParams(name=name, driver=member.driver, port=member.port),
            resource_kind="cluster",
            resource_id=cluster_id,
            customer_id=None,
        )
        await audit.record(
            tx,
            actor,
            ADD.name,
            resource_kind="cluster",
            resource_id=cluster_id,
            resource_name=name,
            result="accepted",
            details={"operation_id": str(operation.id), "port": member.port},
        )
        return operation

    async def add_if_full(self) -> bool:
        """Begin to add a cluster if none has room for a full warm pool. Returns whether it did."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            shared = [each for each in await rows.loaded(tx) if each.kind == "shared"]
            room = sum(max(0, each.max_databases - each.placed) for each in shared if each.ready)
            if room > self._settings.warm_pool or not all(each.ready for each in shared):
                return False
            if await operations.last_status(tx, ADD.name) == "failed":
                return False  # an administrator has to look at it first
            await self.begin(tx, audit.PLATFORM)
        return True


def _free_name(found: Iterable[ClusterRow]) -> str:
    taken = {each.name for each in found}
    return next(
        name for name in (f"{_PREFIX}{number}" for number in range(2, _MOST)) if name not in taken
    )


def _usable(name: str, found: Iterable[ClusterRow]) -> str:
    for taken in (*_RESERVED, *(each.name for each in found)):
        if name == taken:
            raise InvalidInput.of("name", f"{name} is taken")
        # Files of a cluster are found by its name and a dash.
        if name.startswith(f"{taken}-") or taken.startswith(f"{name}-"):
            raise InvalidInput.of("name", f"is too similar to {taken}")
    return name
