"""The steps that restore a database beside itself, to look at it, or to bring tables back from it.

The invariant: the live database changes in one transaction or not at all, and no row of it is
overwritten that is not what the comparison found (``pg/bringing_back_program.py``). The comparison
is stored before that transaction begins: a step that is repeated after its commit finds the rows as
they were then, or changed since, and leaves both alone. Copies go to a schema with the operation's
own name: if it is there, an earlier try has committed it whole.

A past session outlives its operation. Its row has the same id, and says for how long.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.errors import Conflict
from tenantry.control import audit, past_sessions
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.host import files
from tenantry.pg.connections import Address
from tenantry.pg.lost_rows import ThenAndNow
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.replacement import require_row
from tenantry.services.lost_rows.model import (
    MINUTES,
    PAST,
    RESTORE_TABLES,
    PastParams,
    PastRun,
    PastState,
    TablesParams,
    TablesRun,
    TablesState,
)
from tenantry.services.operations.model import Done, Flow, Next, Outcome, Step, required
from tenantry.services.repository.service import Repositories
from tenantry.services.restores import roles
from tenantry.services.restores.past import Past
from tenantry.services.side_clusters.service import SideClusters

_COPIES = {"past": 1, "new": 2, "rows": 1}  # of the database, for which there has to be room
_PAST_DEADLINE = dt.timedelta(hours=2)
_TABLES_DEADLINE = dt.timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class PastFlow:
    """The flows that make a past session, and that bring tables back."""

    store: ControlStore
    clusters: ClusterPools
    repositories: Repositories
    sides: SideClusters

    @property
    def past(self) -> Flow[PastParams, PastState]:
        return Flow(
            PAST,
            [
                Step("prepare", self._prepare, share=0.2),
                Step("restore", self._restore, share=3),
                Step("recover", self._recover, share=1),
                Step("open", self._open, share=0.1),
            ],
            undo=self._undo,
            deadline=_PAST_DEADLINE,
        )

    @property
    def tables(self) -> Flow[TablesParams, TablesState]:
        return Flow(
            RESTORE_TABLES,
            [
                Step("prepare", self._prepare, share=0.2),
                Step("restore", self._restore, share=3),
                Step("recover", self._recover, share=1),
                Step("compare", self._compare, share=1),
                Step("bring_back", self._bring_back, share=1),
                Step("clean_up", self._clean_up, share=0.1, final=True),
            ],
            undo=self._undo,
            deadline=_TABLES_DEADLINE,
        )

    # ── the past ─────────────────────────────────────────────────────────────

    async def _prepare(self, run: PastRun) -> Outcome:
        if run.state.moment is None:
            into = run.params.into if isinstance(run.params, TablesParams) else "past"
            run.state.moment, run.state.size = await Past.prepare(
                self.store,
                self.clusters,
                self.repositories,
                self.sides,
                row=await self._row(run),
                to=run.params.to,
                copies=_COPIES[into],
            )
        return Next()

    async def _past(self, run: PastRun) -> Past:
        row, moment = await self._row(run), required(run.state.moment)
        return await Past.of(
            self.clusters, self.sides, run, row, moment=moment, size=run.state.size
        )

    async def _restore(self, run: PastRun) -> Outcome:
        await (await self._past(run)).restore()
        return Next()

    async def _recover(self, run: PastRun) -> Outcome:
        await self._recovered(run)
        return Next()

    async def _recovered(self, run: PastRun) -> Address:
        """Return where the past runs; only logins of ours can enter the database there."""
        past = await self._past(run)
        side = await past.recover()
        first = past.row.username
        await roles.open_up(
            side.address,
            past.row.database_name,
            first=first,
            new_owner=first,
            limits={"temp_file_limit": str(past.row.temp_file_limit_bytes // 1024)},
        )
        return side.address

    async def _open(self, run: PastRun) -> Outcome:
        await self._recovered(run)
        async with self.store.transaction(audit.PLATFORM) as tx:
            opened = await past_sessions.open_for(tx, run.row.id, MINUTES)
        if opened is None:
            raise Conflict("The database has been deleted meanwhile.")
        return Done(
            {
                "past_id": str(run.row.id),
                "moment": required(run.state.moment).isoformat(),
                "expires_at": required(opened.expires_at).isoformat(),
            }
        )

    async def _undo(self, run: PastRun) -> None:
        await self.sides.remove(run.row.id)
        async with self.store.transaction(audit.PLATFORM) as tx:
            await past_sessions.remove(tx, run.row.id)

    # ── tables ───────────────────────────────────────────────────────────────

    async def _compare(self, run: TablesRun) -> Outcome:
        if run.params.into == "new":
            moment = required(run.state.moment).astimezone(dt.UTC)
            run.state.schema_name = f"restored_{moment:%Y%m%dt%H%M%S}_{run.row.id.hex[:6]}"
            return Next()
        row = await self._row(run)
        sides = await self._then_and_now(run, row)
        for (schema, table), file in zip(run.params.tables, self._files(run), strict=True):
            files.ensure_folder(file.parent)
            found = await sides.compare(
                schema, table, file=file, seconds=row.longest_statement_seconds
            )
            if found["truncated"]:
                raise Conflict(
                    f"Too many rows of {schema}.{table} differ to be brought back one by one.",
                    hint='Nothing was changed. Restore the table, with "tables" and "as": "new".',
                )
        return Next()

    async def _bring_back(self, run: TablesRun) -> Outcome:
        row = await self._row(run)
        sides, seconds = await self._then_and_now(run, row), row.longest_statement_seconds
        if run.params.into == "new":
            run.state.result = await sides.copy(
                run.params.tables, run.state.schema_name, seconds=seconds
            )
        else:
            # Nobody has looked at the changed ones: the application has written some of them.
            run.state.result = await sides.bring_back(
                self._files(run), ["deleted"], seconds=seconds
            )
            del run.state.result["rows"]  # with keys: an operation's row is kept for long
        return Next()

    async def _then_and_now(self, run: TablesRun, row: DatabaseRow) -> ThenAndNow:
        then = await self._recovered(run)
        cluster = await self.clusters.cluster(row.cluster_id)
        purpose = f"{run.row.id.hex}_rows"
        return ThenAndNow(then, cluster.address, row.database_name, row.username, purpose)

    def _files(self, run: TablesRun) -> list[Path]:
        folder = self.sides.folder(run.row.id) / "comparisons"
        return [folder / f"{nth}.jsonl" for nth, _ in enumerate(run.params.tables)]

    async def _clean_up(self, run: TablesRun) -> Outcome:
        await self.sides.remove(run.row.id)
        moment = required(run.state.moment).isoformat()
        return Done({"restored_to": moment, "as": run.params.into, **run.state.result})

    async def _row(self, run: PastRun) -> DatabaseRow:
        async with self.store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, run.row.resource_id, customer_id=None)
        return require_row(row)
