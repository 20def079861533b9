"""Adding a shared cluster, in steps.

Until the last step the cluster is in no list: nothing is placed on it, and whatever there is of it
is removed if the operation is given up. The last step makes it a member of the fleet, for good.
"""

import datetime as dt
from dataclasses import dataclass

import structlog

from tenantry.base.errors import TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.control import audit
from tenantry.control import clusters as rows
from tenantry.control.store import ControlStore
from tenantry.pg.clusters import Cluster
from tenantry.services.cluster_additions.model import ADD, AddParams
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member
from tenantry.services.network.service import Network
from tenantry.services.operations.model import Done, Flow, Next, Outcome, Run, State, Step
from tenantry.services.repository.service import Repositories

log = structlog.get_logger()

_DEADLINE = dt.timedelta(hours=1)

AddRun = Run[AddParams, State]


@dataclass(frozen=True, slots=True)
class ClusterAddFlow:
    """The steps, with what they need."""

    store: ControlStore
    fleet: Fleet
    repositories: Repositories
    network: Network

    @property
    def flow(self) -> Flow[AddParams, State]:
        return Flow(
            ADD,
            [
                Step("create", self._create, share=3),
                Step("harden", self._harden),
                Step("join", self._join, final=True),
            ],
            undo=self._undo,
            deadline=_DEADLINE,
            lane="platform",
        )

    def _member(self, run: AddRun) -> Member:
        return Member(name=run.params.name, driver=run.params.driver, port=run.params.port)

    def _cluster(self, run: AddRun) -> Cluster:
        return self.fleet.of(self._member(run))

    async def _create(self, run: AddRun) -> Outcome:
        await self.fleet.ensure_running(self._cluster(run))
        emit(StepDone(ADD.name, "created", run.params.name))
        return Next()

    async def _harden(self, run: AddRun) -> Outcome:
        cluster = self._cluster(run)
        await self.fleet.ensure_running(cluster)  # it may have died since
        await self.fleet.harden(cluster)
        emit(StepDone(ADD.name, "hardened", run.params.name))
        return Next()

    async def _join(self, run: AddRun) -> Outcome:
        member = self._member(run)
        await self.fleet.ensure_running(self._cluster(run))
        self.fleet.put(member)
        emit(StepDone(ADD.name, "listed", member.name))
        try:
            self.repositories.ensure_files()
            await self.repositories.ensure_stanzas()
        except TenantryError as error:  # doctor and status report it, and the next backup retries
            log.warning("cluster.not_backed_up", cluster=member.name, error=str(error))
        await self.network.keep()
        async with self.store.transaction(audit.PLATFORM) as tx:
            await self.fleet.record(tx, self._cluster(run))
            await rows.set_ready(tx, member.name)
        emit(StepDone(ADD.name, "ready", member.name))
        return Done({"name": member.name, "port": member.port})

    async def _undo(self, run: AddRun) -> None:
        async with self.store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, run.row.resource_id)
        if row is None or row.ready:  # a ready one may have tenants' databases
            return
        # The row last: until then nobody else takes the name, and with it the folder.
        await self._cluster(run).remove()
        async with self.store.transaction(audit.PLATFORM) as tx:
            await rows.remove_unready(tx, row.name)
