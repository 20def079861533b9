"""Puts a retained database back in service, in place of the present one."""

import datetime as dt
from dataclasses import dataclass

from tenantry.base.errors import Conflict
from tenantry.control import audit, replaced
from tenantry.control import databases as rows
from tenantry.control.store import ControlStore
from tenantry.pg import objects
from tenantry.services.databases.replacement import Replacement, require_row, retained_name
from tenantry.services.operations.model import AnyRun, Done, Flow, Next, Outcome, State, Step
from tenantry.services.restores.model import PUT_BACK, PutBackParams, PutBackRun
from tenantry.services.roles.steps import active_roles, grant_access


@dataclass(frozen=True, slots=True)
class PutBackFlow:
    """The flow that puts a replaced database back in service."""

    store: ControlStore
    replacement: Replacement

    @property
    def flow(self) -> Flow[PutBackParams, State]:
        return Flow(
            PUT_BACK,
            [Step("prepare", self._prepare), Step("serve", self._serve, final=True)],
            undo=self._undo,
            deadline=dt.timedelta(hours=1),
            records_audit=True,
        )

    async def _prepare(self, run: PutBackRun) -> Outcome:
        async with self.store.transaction(audit.PLATFORM) as tx:
            row = require_row(await rows.find(tx, run.row.resource_id, customer_id=None))
        clusters, name = self.replacement.clusters, run.params.replaced
        async with clusters.own_connection(row.cluster_id) as server:
            if not await objects.database_exists(server, name):
                raise Conflict(
                    f"{name} does not exist any more: somebody has dropped it.",
                    hint="Nothing was changed. Restore to a moment, or from a backup, instead.",
                )
        later = await active_roles(self.store, row, after=run.params.replaced_at)
        address = (await clusters.cluster(row.cluster_id)).address
        await grant_access(later, address, name, tenant=row.username)
        return Next()

    async def _serve(self, run: PutBackRun) -> Outcome:
        name = run.params.replaced
        async with self.store.long_transaction(audit.PLATFORM) as tx:
            row = require_row(await rows.lock(tx, run.row.resource_id, wait=True))
            if not await self.replacement.can_swap(row, name, run.row.id):
                return Next("prepare")  # which reports that it was dropped by hand
            is_first = await self.replacement.swap(tx, row, name, operation_id=run.row.id)
            await replaced.remove(tx, name, row.id)
            if is_first:  # after a crash before this step is recorded it runs again
                details: dict[str, object] = {"operation_id": str(run.row.id)}
                await audit.record_on(tx, run.actor, "database.put_back", row, details=details)
        return Done(
            {
                "database_id": str(row.id),
                "database_name": row.database_name,
                "replaced": retained_name(row, run.row.id),
            }
        )

    async def _undo(self, _: AnyRun) -> None:
        """Do nothing: nothing is created before the database is in service."""
