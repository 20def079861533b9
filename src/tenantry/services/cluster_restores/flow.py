"""The restore of a shared cluster while the platform is up: the same steps, as an operation.

The old cluster serves until the new one is made, recovered and checked. Then it is *held*: the
supervisor does not start it again, and whatever tries to gets an error that says so, until the new
one is in its place.
"""

import contextlib
import datetime as dt
import uuid
from dataclasses import dataclass

import structlog

from tenantry.base.errors import Conflict, MachineError, NotFound, TenantryError
from tenantry.base.settings import Settings
from tenantry.control import audit
from tenantry.control import clusters as rows
from tenantry.control import operations as operation_rows
from tenantry.control.audit import Actor
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx
from tenantry.services.cluster_restores import recovering, service
from tenantry.services.cluster_restores.folders import RESTORE, Folders
from tenantry.services.cluster_restores.model import Reached, Report
from tenantry.services.cluster_restores.service import ClusterRestore
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.fleet_file import CONTROL
from tenantry.services.network.service import Network
from tenantry.services.operations.model import (
    Done,
    Flow,
    Kind,
    Next,
    Outcome,
    Params,
    Run,
    State,
    Step,
    Wait,
    required,
)
from tenantry.services.operations.service import Operations
from tenantry.services.pooling.service import Pooler
from tenantry.services.repository.service import Repositories

log = structlog.get_logger()

_DEADLINE = dt.timedelta(hours=24)
_DRAIN_SECONDS = 0.5
_DRAINED_SECONDS = 60.0


class ClusterRestoreParams(Params):
    """The cluster to restore, and the time to restore it to."""

    cluster: str
    to: dt.datetime


class ClusterRestoreState(State):
    """The restored backup, how far it was recovered, and the seconds waited for others."""

    label: str = ""
    reached: Reached | None = None
    waited: float = 0.0
    report: Report | None = None


KIND = Kind(RESTORE, ClusterRestoreParams, ClusterRestoreState)
ClusterRestoreRun = Run[ClusterRestoreParams, ClusterRestoreState]


@dataclass(frozen=True, slots=True)
class ClusterRestoring:
    """The restore of clusters as an operation, with what its steps need."""

    settings: Settings
    store: ControlStore
    operations: Operations
    repositories: Repositories
    network: Network
    pooler: Pooler

    @property
    def flow(self) -> Flow[ClusterRestoreParams, ClusterRestoreState]:
        return Flow(
            KIND,
            [
                Step("restore", self._restore, share=10),
                Step("recover", self._recover, share=5),
                Step("drain", self._drain),
                Step("agree", self._agree),
                Step("swap", self._swap, final=True),
                Step("serve", self._serve, final=True),
            ],
            undo=self._undo,
            deadline=_DEADLINE,
            lane="platform",
            records_audit=True,
        )

    async def begin(
        self, tx: Tx, actor: Actor, cluster_id: uuid.UUID, to: dt.datetime
    ) -> OperationRow:
        """Begin to restore a cluster. Raises NotFound, Conflict, OutsideWindow, NotEnoughDisk, …"""
        row = await rows.find(tx, cluster_id)
        if row is None:
            raise NotFound("There is no such cluster.", hint="GET /api/clusters lists them.")
        if row.name == CONTROL or all(each.name != row.name for each in self.repositories.clusters):
            raise Conflict(
                f"The cluster {row.name} is not restored while the platform is up.",
                hint=f"On its machine: tenantry down; tenantry cluster restore {row.name}",
            )
        wanted = await ClusterRestore(self.settings, row.name).look(to)
        operation = await self.operations.begin(
            tx,
            actor,
            KIND,
            ClusterRestoreParams(cluster=row.name, to=to),
            resource_kind="cluster",
            resource_id=row.id,
            customer_id=None,
        )
        await audit.record(
            tx,
            actor,
            RESTORE,
            resource_kind="cluster",
            resource_id=row.id,
            resource_name=row.name,
            result="accepted",
            details={
                "operation_id": str(operation.id),
                "to": to.isoformat(),
                "backup": wanted.backups[0].label,
            },
        )
        return operation

    # ── steps ────────────────────────────────────────────────────────────────

    def _of(self, run: ClusterRestoreRun) -> ClusterRestore:
        return ClusterRestore(self.settings, run.params.cluster)

    def _folders(self, run: ClusterRestoreRun) -> Folders:
        return service.folders_of(self.settings, run.params.cluster)

    async def _restore(self, run: ClusterRestoreRun) -> Outcome:
        async def show(_: str, done: int, total: int) -> None:
            await run.report(done / max(1, total), done_bytes=done, total_bytes=total)

        folders = self._folders(run)
        await folders.undo()
        if folders.cluster.pid() is not None:
            # Committed transactions have to be in the repository: the old cluster keeps writing.
            await self.repositories.secure(folders.cluster.name)
        wanted = await self._of(run).look(run.params.to)
        run.state.label = await self._of(run).restore(wanted, say=_say, show=show)
        return Next()

    async def _recover(self, run: ClusterRestoreRun) -> Outcome:
        if not self._folders(run).restored.data.exists():
            return Next("restore")  # the platform was restarted meanwhile
        wanted = await self._of(run).choose(run.params.to)
        reached = await self._of(run).recover(wanted, run.state.label, say=_say)
        run.state.reached = reached
        return Next()

    async def _drain(self, run: ClusterRestoreRun) -> Outcome:
        """Cancel and await the other operations: the restore would undo half of their work."""
        async with self.store.transaction(audit.PLATFORM) as tx:
            others = await operation_rows.unfinished(tx) - {run.row.id}
            if others:
                await operation_rows.cancel_all(tx, besides=run.row.id)
        run.state.waited += _DRAIN_SECONDS
        # After a minute go on: on a broken cluster they cannot end, and on the new one they undo
        # what is not there.
        return Wait(_DRAIN_SECONDS) if others and run.state.waited < _DRAINED_SECONDS else Next()

    async def _agree(self, run: ClusterRestoreRun) -> Outcome:
        folders = self._folders(run)
        if not folders.restored.data.exists():
            return Next("restore")
        folders.hold()
        wanted = await self._of(run).choose(run.params.to)
        if folders.restored.pid() is None:  # it has died meanwhile
            await self._of(run).recover(wanted, run.state.label, say=_say)
        report = await self._of(run).agree(wanted, required(run.state.reached), say=_say)
        report.operation_id = run.row.id
        run.state.report = report
        return Next()

    async def _swap(self, run: ClusterRestoreRun) -> Outcome:
        folders, report = self._folders(run), required(run.state.report)
        folders.finish()
        if folders.restored.data.exists():
            folders.hold()
            await self._of(run).swap(report)
        elif all(each.name != report.retained for each in folders.retained()):
            return Next("restore")  # the platform was restarted meanwhile, which has undone it
        return Next()

    async def _serve(self, run: ClusterRestoreRun) -> Outcome:
        folders, fleet = self._folders(run), Fleet(self.settings)
        folders.release()
        await fleet.ensure_running(folders.cluster)
        await recovering.answering(folders.cluster)
        reports = await service.complete(self.settings)
        await self.network.keep()
        report = next(
            (each for each in reports if each.operation_id == run.row.id),
            required(run.state.report),
        )
        try:
            await self.pooler.end_clients_of(report.locked)
            # Once the new timeline is in the repository, backups of the abandoned timeline are not
            # chosen any more.
            await self.repositories.secure(folders.cluster.name)
        except TenantryError as error:
            log.warning("cluster.restored", error=str(error))
        return Done(report.model_dump(mode="json", exclude={"operation_id", "in_service"}))

    async def _undo(self, run: ClusterRestoreRun) -> None:
        folders = self._folders(run)
        await folders.end_private()
        await folders.undo()
        folders.release()
        with contextlib.suppress(MachineError):  # the supervisor keeps trying
            await Fleet(self.settings).ensure_running(folders.cluster)


def _say(text: str) -> None:
    log.info("cluster.restore", said=text)
