"""The steps of a move.

The invariant: at every moment at most one of the original and its copy can be entered, and once the
operation has ended exactly one is in service: the copy if it was switched to, else the original.

One transaction of the control database is the switch. Until it is committed no role can log in on
the target; and before the dump begins the original is renamed while nobody is in it, so that
nothing that knows its name enters it. Whoever brings it back holds the lock of the database's row,
and so waits for a switch that is still being committed. After the switch each step is final: what
is left open is completed, and the original is retained under a third name.
"""

import asyncio
import datetime as dt
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass

import psycopg
import structlog

from tenantry.base.errors import Conflict, TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, moves, replaced
from tenantry.control import clusters as cluster_rows
from tenantry.control import databases as rows
from tenantry.control.clusters import ClusterRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import catalog, names, replacing, visitors
from tenantry.pg.connections import ADMIN, connect
from tenantry.services.clusters import suspending
from tenantry.services.clusters.members import Member
from tenantry.services.databases.plan import wanted_state
from tenantry.services.databases.replacement import require_row, retained_name
from tenantry.services.moves import plan
from tenantry.services.moves.copying import Copying
from tenantry.services.moves.model import MOVE, MoveParams, MoveRun, MoveState, MoveTooLong
from tenantry.services.network.service import Network
from tenantry.services.operations.model import Done, Flow, Next, Outcome, Step, required
from tenantry.services.pooling.service import Pooler
from tenantry.services.repository.flow import ClusterBackups
from tenantry.services.repository.service import Repositories

log = structlog.get_logger()

_PAUSE_SECONDS = 5.0  # how long open transactions of pooled clients can go on
_DEADLINE = dt.timedelta(hours=3)
_COPIES = 2  # the dump, and what is loaded


@dataclass(frozen=True, slots=True)
class MoveFlow:
    """The flow that moves a database to another cluster."""

    store: ControlStore
    pooler: Pooler
    network: Network
    repositories: Repositories
    backups: ClusterBackups
    copying: Copying
    days: int

    @property
    def flow(self) -> Flow[MoveParams, MoveState]:
        return Flow(
            MOVE,
            [
                Step("start", self._start, share=4),
                Step("copy", self._copy, share=10),
                Step("serve", self._serve, share=1, final=True),
                Step("retain", self._retain, share=1, final=True),
            ],
            undo=self._undo,
            deadline=_DEADLINE,
            records_audit=True,
        )

    # ── before anybody waits ─────────────────────────────────────────────────

    async def _start(self, run: MoveRun) -> Outcome:
        """Start the instance to move to, if it is one, and look for room."""
        row, target = await self._both(run)
        if run.state.source_id is None:
            run.state.source_id = row.cluster_id
            run.state.staging_name = row.database_name
            run.state.aside = names.of_operation(row.database_name, "moving", run.row.id)
            # Reconciliation shall know the roles and databases before they are there.
            await run.save()
        await self._ensure_running(target)
        emit(StepDone(MOVE.name, "started", row.database_name))
        if not target.ready:
            await self.copying.fleet.harden(self.copying.fleet.of(Member.of(target)))
        async with self.copying.clusters.own_connection(row.cluster_id) as server:
            sizes = await catalog.sizes(server, [row.database_name])
        if row.database_name not in sizes:
            raise Conflict(f"{row.database_name} is missing on its server.")
        run.state.size = sizes[row.database_name]
        self.copying.sides.require_room(_COPIES * run.state.size)
        return Next()

    async def _ensure_running(self, target: ClusterRow) -> None:
        if not target.ready:  # the supervisor does not know it yet
            await self.copying.fleet.ensure_running(self.copying.fleet.of(Member.of(target)))

    # ── while clients wait ───────────────────────────────────────────────────

    async def _copy(self, run: MoveRun) -> Outcome:
        """Copy the database while its clients wait, and switch to the copy.

        Whatever goes wrong, the original is in service again at once, or the copy is switched to.
        """
        row, target = await self._both(run)
        if row.cluster_id == target.id:
            return Next()  # an earlier try has switched
        await self._ensure_running(target)  # it may have died since
        try:
            await self._copy_and_switch(run, target)
        except BaseException as error:
            with suppress(TenantryError, psycopg.Error):  # else undoing does it
                if await self._bring_back(run):
                    return Next()  # it was switched all the same
            if isinstance(error, TimeoutError):
                raise _too_long(run) from None
            raise
        return Next()

    async def _copy_and_switch(self, run: MoveRun, target: ClusterRow) -> None:
        source = await self._source(run)
        async with self.store.long_transaction(audit.PLATFORM) as tx:
            row = require_row(await rows.lock(tx, run.row.resource_id, wait=True))
            if row.cluster_id == target.id:
                return  # a switch was still being committed: the target is in service
            # Its instance is stopped: a branch may have been made there since it was asked for.
            await require_movable(tx, row, to_instance=target.kind == "dedicated")
            await self.copying.prepare(row, source, target)
            began = time.monotonic()
            async with asyncio.timeout(run.params.max_wait_seconds):
                await self._set_aside(run, row, source)
                await self.copying.copy(run, row, source, target)
                await self.copying.settle(run, row, source, target)
            run.state.waited_seconds = time.monotonic() - began
            # Which roles log in has to be known before they are to.
            await run.save()
            await self._switch(tx, run, row, target)
            emit(StepDone(MOVE.name, "switching", row.database_name))
        emit(StepDone(MOVE.name, "switched", row.database_name))

    async def _set_aside(self, run: MoveRun, row: DatabaseRow, source: ClusterRow) -> None:
        """Pause pooled clients, end all sessions, and have nobody find the original."""
        async with connect(source.address, user=ADMIN) as admin:
            if rights := await replacing.admitted(admin, row.database_name):
                run.state.rights = rights
                await run.save()
        for name in row.database_names:
            await self.pooler.pause(name, within=_PAUSE_SECONDS)
        emit(StepDone(MOVE.name, "paused", row.database_name))
        await replacing.set_aside(
            source.address, service=row.database_name, aside=required(run.state.aside)
        )

    async def _switch(self, tx: Tx, run: MoveRun, row: DatabaseRow, target: ClusterRow) -> None:
        await moves.switch(
            tx,
            row.id,
            target=target.id,
            operation_id=run.row.id,
            size=run.state.size,
            seconds=run.state.waited_seconds,
        )
        await replaced.keep(
            tx,
            row.id,
            retained_name(row, run.row.id),
            cluster_id=row.cluster_id,
            operation_id=run.row.id,
            days=self.days,
        )
        await cluster_rows.set_ready(tx, target.name)
        details: dict[str, object] = {
            "from": row.cluster,
            "to": target.name,
            "seconds": round(run.state.waited_seconds, 1),
            "operation_id": str(run.row.id),
        }
        await audit.record_on(tx, run.actor, "database.moved", row, details=details)

    # ── in service ───────────────────────────────────────────────────────────

    async def _serve(self, run: MoveRun) -> Outcome:
        """Open the copy to its clients, direct and pooled ones."""
        async with self.store.long_transaction(audit.PLATFORM) as tx:
            row = require_row(await rows.lock(tx, run.row.resource_id, wait=True))
            if row.is_instance:
                member = Member.of(await self._cluster(row.cluster_id))
                self.copying.fleet.put(member)
                await self.copying.fleet.ensure_running(self.copying.fleet.of(member))
            await self.network.apply(tx)
            emit(StepDone(MOVE.name, "listed", row.database_name))
            await self.copying.open(tx, run, row)
        # The pooler has the new address before it resumes.
        await self.pooler.refresh(self.store)
        for name in row.database_names:
            await self.pooler.resume(name)
        emit(StepDone(MOVE.name, "resumed", row.database_name))
        return Next()

    async def _retain(self, run: MoveRun) -> Outcome:
        """Retain the original under a third name; stop its instance if it has one."""
        row, source = await self._row(run), await self._source(run)
        retained = retained_name(row, run.row.id)
        # No operation is about it since the switch, and it may have been suspended.
        await suspending.ensure_awake(self.copying.fleet, source.name)
        if source.wanted != "stopped":
            aside = required(run.state.aside)
            await replacing.retain(source.address, aside=aside, retained=retained)
            await self._secure(source)
        if source.name in names.instances_of(row.database_name):
            await self._stop(source)
        else:
            await self.copying.close_roles(row, source)
        await self._back_up(row)
        return Done(
            {
                "database_id": str(row.id),
                "kind": row.kind,
                "cluster": row.cluster,
                "port": row.direct_port,
                "waited_seconds": round(run.state.waited_seconds, 1),
                "tables": run.state.tables,
                "rows": run.state.rows,
                "replaced": retained,
                "changed": run.state.exceptions.changed + run.state.refreshed,
                "lost": run.state.exceptions.lost,
            }
        )

    async def _stop(self, source: ClusterRow) -> None:
        async with self.store.transaction(audit.PLATFORM) as tx:
            await cluster_rows.set_wanted(tx, source.id, "stopped")
        fleet, member = self.copying.fleet, Member.of(source)
        fleet.put(member.model_copy(update={"wanted": "stopped"}))
        emit(StepDone(MOVE.name, "unlisted", source.name))
        await fleet.stop(fleet.of(member))

    async def _secure(self, source: ClusterRow) -> None:
        """Archive the log of the original, so that each moment before the move can be restored."""
        if not self.repositories.enabled:
            return
        try:
            await self.repositories.secure(source.name)
        except (TenantryError, psycopg.Error) as error:  # it is archived when it is full
            log.warning("move.not_secured", cluster=source.name, error=str(error))

    async def _back_up(self, row: DatabaseRow) -> None:
        """Begin the first backup of a new instance now; a shared cluster's log has the copy."""
        if not row.is_instance or not self.repositories.enabled:
            return
        try:
            self.repositories.ensure_files()
            await self.repositories.ensure_stanzas()
            await self.backups.begin_due()
        except (TenantryError, psycopg.Error) as error:  # the worker begins it in a minute
            log.warning("move.not_backed_up", cluster=row.cluster, error=str(error))

    # ── undoing ──────────────────────────────────────────────────────────────

    async def _undo(self, run: MoveRun) -> None:
        """Bring the original back, and remove what there is of the target.

        If it was switched, as it is cancelled in that moment, the move is completed instead.
        """
        target = await self._find(run.params.target_id)
        if await self._bring_back(run):
            await self._serve(run)
            await self._retain(run)
            return
        await self.copying.sides.remove(run.row.id)
        if run.state.source_id is not None:
            await self._drop_visitor(run, await self._source(run))
            if target is not None and target.ready:
                await self.copying.drop_copy(await self._row(run), target)
                await self._drop_visitor(run, target)
        if target is not None and not target.ready:
            # The row last: until then nobody else takes the names, and with them the folder.
            await self.copying.fleet.delete(Member.of(target))
            async with self.store.transaction(audit.PLATFORM) as tx:
                await cluster_rows.remove_unready(tx, target.name)

    async def _drop_visitor(self, run: MoveRun, cluster: ClusterRow) -> None:
        if run.row.id.hex in await visitors.purposes(cluster.address):
            await visitors.drop(cluster.address, run.row.id.hex)

    async def _bring_back(self, run: MoveRun) -> bool:
        """Bring the original back in service. Return whether that was switched from instead."""
        async with self.store.long_transaction(audit.PLATFORM) as tx:
            # This waits for a switch that is being committed.
            row = require_row(await rows.lock(tx, run.row.resource_id, wait=True))
            if row.cluster_id == run.params.target_id:
                return True
            if run.state.aside is not None:
                await replacing.bring_back(
                    (await self._cluster(row.cluster_id)).address,
                    service=row.database_name,
                    aside=run.state.aside,
                    rights=run.state.rights,
                    connection_limit=wanted_state(row).connection_limit,
                )
        for name in row.database_names:
            await self.pooler.resume(name)
        return False

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _row(self, run: MoveRun) -> DatabaseRow:
        async with self.store.transaction(audit.PLATFORM) as tx:
            return require_row(await rows.find(tx, run.row.resource_id, customer_id=None))

    async def _both(self, run: MoveRun) -> tuple[DatabaseRow, ClusterRow]:
        """Return the database, and the cluster that it is moved to."""
        return await self._row(run), await self._cluster(run.params.target_id)

    async def _source(self, run: MoveRun) -> ClusterRow:
        return await self._cluster(required(run.state.source_id))

    async def _find(self, cluster_id: uuid.UUID) -> ClusterRow | None:
        async with self.store.transaction(audit.PLATFORM) as tx:
            return await cluster_rows.find(tx, cluster_id)

    async def _cluster(self, cluster_id: uuid.UUID) -> ClusterRow:
        found = await self._find(cluster_id)
        if found is None:
            raise Conflict("The cluster has been deleted meanwhile.")
        return found


async def require_movable(tx: Tx, row: DatabaseRow, *, to_instance: bool) -> None:
    """Raise Conflict unless a database can be moved.

    While ``tx`` locks its row no branch of it is begun.
    """
    found = await rows.on_cluster(tx, row.cluster_id) if row.is_instance else []
    others = [each.name or each.database_name for each in found if each.id != row.id]
    plan.require_movable(row, to_instance=to_instance, others=others)


def _too_long(run: MoveRun) -> MoveTooLong:
    return MoveTooLong(
        f"Clients would have waited for more than {run.params.max_wait_seconds:g} seconds.",
        hint="Nothing was moved, and the original is in service. Ask for more max_wait_seconds"
        " (--max-wait), or when there is less load.",
    )
