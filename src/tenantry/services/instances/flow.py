"""The steps that create, start, stop and restart an instance.

An instance that is being created is in no list, and has a row that is not ready; its database is
``branching``, so that reconciliation leaves it alone. What there is of it is removed if the
operation is given up. The supervisor runs what the fleet's file wants running: so a start writes
the file when the server runs, and a stop before it ends.
"""

import datetime as dt
from contextlib import suppress
from dataclasses import dataclass

import structlog

from tenantry.base.errors import Conflict, TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, branches, databases
from tenantry.control import clusters as rows
from tenantry.control.clusters import ClusterRow, Wanted
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.pg import instance_roles, objects
from tenantry.pg.clusters import Cluster
from tenantry.services.clusters import listening
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import steps
from tenantry.services.instances import extending, starting
from tenantry.services.instances.model import CREATE, RESTART, START, STOP, Progress
from tenantry.services.network.service import Network
from tenantry.services.operations.model import (
    Done,
    Flow,
    Next,
    Outcome,
    Params,
    Run,
    Step,
)
from tenantry.services.pooling.service import Pooler
from tenantry.services.repository.service import Repositories

log = structlog.get_logger()

_DEADLINE = dt.timedelta(minutes=30)

InstanceRun = Run[Params, Progress]


@dataclass(frozen=True, slots=True)
class InstanceFlow:
    """The flows of instances, with what they need."""

    store: ControlStore
    fleet: Fleet
    clusters: ClusterPools
    pooler: Pooler
    network: Network
    repositories: Repositories

    @property
    def flows(self) -> list[Flow[Params, Progress]]:
        create = [
            Step("start", self._create, share=4),
            Step("harden", self._harden),
            Step("database", self._make_database),
            Step("open", self._open, final=True),
        ]
        start, halt = Step("start", self._start), Step("stop", self._halt)
        stop = Step("stop", self._stop, final=True)
        return [
            Flow(CREATE, create, undo=self._undo_create, deadline=_DEADLINE),
            *(
                Flow(kind, steps_, undo=self._undo_change, deadline=_DEADLINE)
                for kind, steps_ in ((START, [start]), (STOP, [stop]), (RESTART, [halt, start]))
            ),
        ]

    # ── creating ─────────────────────────────────────────────────────────────

    async def _create(self, run: InstanceRun) -> Outcome:
        _, cluster = await self._found(run)
        await self.fleet.ensure_running(cluster)
        emit(StepDone(CREATE.name, "started", cluster.name))
        return Next()

    async def _harden(self, run: InstanceRun) -> Outcome:
        _, cluster = await self._found(run)
        await self.fleet.ensure_running(cluster)  # it may have died since
        await self.fleet.harden(cluster)
        emit(StepDone(CREATE.name, "hardened", cluster.name))
        return Next()

    async def _make_database(self, run: InstanceRun) -> Outcome:
        row, cluster = await self._found(run)
        await self.fleet.ensure_running(cluster)
        async with self.clusters.own_connection(row.cluster_id) as server:
            await steps.build(server, cluster.address, row)
        await instance_roles.grant_rights(cluster.address, row.username)
        emit(StepDone(CREATE.name, "database", cluster.name))
        return Next()

    async def _open(self, run: InstanceRun) -> Outcome:
        """Make it a member of the fleet, for good, and open its database to its owner."""
        row, cluster = await self._found(run)
        await self.fleet.ensure_running(cluster)
        self.fleet.put(Member.of(await self._cluster_row(row)))
        emit(StepDone(CREATE.name, "listed", cluster.name))
        await listening.taken(cluster.address.port)
        try:
            self.repositories.ensure_files()
            await self.repositories.ensure_stanzas()
        except TenantryError as error:  # doctor and status report it, and the next backup retries
            log.warning("cluster.not_backed_up", cluster=cluster.name, error=str(error))
        async with self.store.long_transaction(audit.PLATFORM) as tx:
            verifier = await branches.verifier(tx, row.id)
            await self.network.apply(tx)
            if verifier is not None:
                async with self.clusters.own_connection(row.cluster_id) as server:
                    await objects.open_role(
                        server,
                        row.username,
                        verifier=verifier,
                        max_connections=row.max_connections,
                    )
            emit(StepDone(CREATE.name, "opened", cluster.name))
            await rows.set_ready(tx, cluster.name)
            await branches.finish(tx, row.id, None)
        await self.pooler.refresh(self.store)
        return Done({"database_id": str(row.id), "container_name": row.container_name})

    async def _undo_create(self, run: InstanceRun) -> None:
        async with self.store.long_transaction(audit.PLATFORM) as tx:
            row = await databases.lock(tx, run.row.resource_id, wait=True)
            if row is None or row.status != "branching":
                return
            # The rows last: until then nobody else takes the names, and with them the folder.
            await self.fleet.delete(Member.of(await self._cluster_row(row)))
            await databases.remove(tx, row.id)
            await rows.remove_unready(tx, row.cluster)

    # ── starting and stopping ────────────────────────────────────────────────

    async def _start(self, run: InstanceRun) -> Outcome:
        row, cluster = await self._found(run)

        async def remember(refusal: str) -> None:
            run.state.refusal = refusal
            await run.save()

        await starting.start(self.store, self.fleet, await self._cluster_row(row), remember)
        await self.fleet.harden(cluster)
        emit(StepDone(START.name, "started", cluster.name))
        await self._want(row, "running")
        emit(StepDone(START.name, "listed", cluster.name))
        await self.pooler.refresh(self.store)
        if run.state.refusal is not None:
            raise Conflict(
                f"{run.state.refusal} It runs without that.",
                hint="Set other values, or reset them: PATCH /api/databases/{id}/settings.",
            )
        await extending.ensure(self.store, self.clusters, await self._cluster_row(row))
        return Done({"database_id": str(row.id), "status": "running"})

    async def _stop(self, run: InstanceRun) -> Outcome:
        row, _ = await self._found(run)
        await self._want(row, "stopped")
        emit(StepDone(STOP.name, "listed", row.cluster))
        await self._halt(run)
        # Clients whose server connections are gone would wait for others.
        with suppress(TenantryError):
            await self.pooler.kick_out(row.database_names)
        return Done({"database_id": str(row.id), "status": "stopped"})

    async def _halt(self, run: InstanceRun) -> Outcome:
        """Stop the server, which the supervisor then leaves stopped."""
        row, cluster = await self._found(run)
        member = Member.of(await self._cluster_row(row))
        self.fleet.put(member.model_copy(update={"wanted": "stopped"}))
        await self.fleet.stop(cluster)
        emit(StepDone(STOP.name, "stopped", cluster.name))
        return Next()

    async def _want(self, row: DatabaseRow, wanted: Wanted) -> None:
        async with self.store.transaction(audit.PLATFORM) as tx:
            await rows.set_wanted(tx, row.cluster_id, wanted)
        self.fleet.put(Member.of(await self._cluster_row(row)))

    async def _undo_change(self, run: InstanceRun) -> None:
        """Have it as its row wants it; the supervisor starts it if it is to run."""
        row, cluster = await self._found(run)
        member = Member.of(await self._cluster_row(row))
        self.fleet.put(member)
        if member.wanted == "stopped":
            await self.fleet.stop(cluster)

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _found(self, run: InstanceRun) -> tuple[DatabaseRow, Cluster]:
        """Return the managed database and its cluster. Raises Conflict."""
        async with self.store.transaction(audit.PLATFORM) as tx:
            row = await databases.find(tx, run.row.resource_id, customer_id=None)
        if row is None or row.status == "deleting":
            raise Conflict("The database has been deleted meanwhile.")
        return row, self.fleet.of(Member.of(await self._cluster_row(row)))

    async def _cluster_row(self, row: DatabaseRow) -> ClusterRow:
        async with self.store.transaction(audit.PLATFORM) as tx:
            found = await rows.find(tx, row.cluster_id)
        if found is None:
            raise Conflict("The instance has been deleted meanwhile.")
        return found
