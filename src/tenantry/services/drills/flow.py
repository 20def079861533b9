"""The steps of a drill. They only read the database in service.

The live database's tables are read before the restored time, and again after it: those that are
equal both times must be equal in the copy. Then the copy is dumped and loaded beside it in the
sandbox, as a restore does: what has to be proven is the result of a restore.
"""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from pydantic import Field

from tenantry.base.errors import MachineError, NotFound
from tenantry.base.events import DrillFailed, emit
from tenantry.control import audit, proofs
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.proofs import ProofRow
from tenantry.control.store import ControlStore
from tenantry.host import commands, files
from tenantry.pg import catalog, fingerprints, names, objects, tables, visitors
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.pg.fingerprints import Fingerprint, Table
from tenantry.pg.tenant_settings import settings_of
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.drills import plan
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
    required,
)
from tenantry.services.repository.service import Repositories
from tenantry.services.restores import transfer
from tenantry.services.restores.past import Past
from tenantry.services.side_clusters.model import SideCluster
from tenantry.services.side_clusters.service import SideClusters

_HOURS = 3600.0
_LIVE_BYTES = 256 * 2**20  # of tables that are read twice while their tenant is working
_COPIES = 3.2  # times the database: restored, dumped and loaded; and the log to replay
_MOST_REPORTED = 5  # tables that an error names
_CORRUPT = 2  # the exit status of pg_amcheck if it has found corruption
_DAMAGE = (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted, psycopg.InternalError)

Figures = dict[str, Fingerprint]


class DrillParams(Params):
    """Why the drill runs: scheduled ("nightly"), or requested ("now")."""

    asked: str


class DrillState(State):
    """The time that is restored, and the findings by table.

    ``expected`` are the tables of the database in service that did not change meanwhile; ``found``
    those of the copy, ``compared`` what the proof reports.
    """

    moment: dt.datetime | None = None
    size: int = 0
    expected: dict[str, Fingerprint] = Field(default_factory=dict)
    changing: int = 0
    too_large: int = 0
    found: dict[str, Fingerprint] = Field(default_factory=dict)
    compared: dict[str, Any] = Field(default_factory=dict)


DRILL = Kind("database.drill", DrillParams, DrillState)
DrillRun = Run[DrillParams, DrillState]


class NotProven(MachineError):
    code = "backup_not_proven"
    title = "What was restored is not what it has to be"


@dataclass(frozen=True, slots=True)
class DrillFlow:
    """The operation that drills a database, with what its steps need."""

    store: ControlStore
    clusters: ClusterPools
    repositories: Repositories
    sides: SideClusters

    @property
    def flow(self) -> Flow[DrillParams, DrillState]:
        return Flow(
            DRILL,
            [
                Step("read", self._read, share=1),
                Step("restore", self._restore, share=3),
                Step("recover", self._recover, share=1),
                Step("compare", self._compare, share=2),
                Step("dump", self._dump, share=1),
                Step("load", self._load, share=2),
                Step("compare_loaded", self._compare_loaded, share=2),
                # Last, since it adds an extension to the copy.
                Step("check", self._check, share=1),
                Step("prove", self._prove, share=0.1, final=True),
            ],
            undo=self._undo,
            records_audit=True,
            deadline=dt.timedelta(hours=12),
        )

    # ── the database in service ──────────────────────────────────────────────

    async def _read(self, run: DrillRun) -> Outcome:
        row = await self._row(run)
        cluster = await self.clusters.cluster(row.cluster_id)
        async with self.clusters.connection(row.cluster_id) as server:
            sizes = await catalog.sizes(server, [row.database_name])
        self.sides.require_room(int(_COPIES * sizes.get(row.database_name, 0)))
        scratch = self.sides.folder(run.row.id)
        files.ensure_folder(scratch)
        async with _inside(run, cluster.address, row, scratch) as inside:
            there = await fingerprints.tables(inside)
            chosen = plan.affordable(there, _LIVE_BYTES)
            before = await _readable(inside, chosen)
            moment = await self.repositories.secure(cluster.name)
            after = await _readable(inside, chosen)
        expected = plan.unchanged(before, after)
        run.state.moment = moment
        run.state.size = sizes.get(row.database_name, 0)
        run.state.expected = expected
        run.state.changing = len(chosen) - len(expected)
        run.state.too_large = len(there) - len(chosen)
        return Next()

    async def _row(self, run: DrillRun) -> DatabaseRow:
        async with self.store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, run.row.resource_id, customer_id=None)
        if row is None or row.status != "active":
            raise NotFound("The database has been deleted meanwhile.")
        return row

    # ── the copy ─────────────────────────────────────────────────────────────

    async def _past(self, run: DrillRun) -> Past:
        row, moment, size = await self._row(run), required(run.state.moment), run.state.size
        return await Past.of(self.clusters, self.sides, run, row, moment=moment, size=size)

    async def _restore(self, run: DrillRun) -> Outcome:
        await (await self._past(run)).restore()
        return Next()

    async def _recover(self, run: DrillRun) -> Outcome:
        await self._side(run)
        return Next()

    async def _side(self, run: DrillRun) -> SideCluster:
        return await (await self._past(run)).recover()

    async def _compare(self, run: DrillRun) -> Outcome:
        """Read every row of the copy. Raises NotProven if a table differs or cannot be read."""
        row, side = await self._row(run), await self._side(run)
        expected = run.state.expected
        found: Figures = {}
        async with _inside(run, side.address, row, side.folder) as inside:
            there = await fingerprints.tables(inside)
            for number, table in enumerate(there):
                await run.report(number / len(there))
                try:
                    found[str(table)] = await fingerprints.fingerprint(inside, table)
                except psycopg.Error as error:
                    if inside.broken:
                        raise  # the server is gone, which says nothing about the backup
                    if str(table) in expected or isinstance(error, _DAMAGE):
                        raise NotProven(f"{table} cannot be read in the copy: {error}") from error
        if wrong := fingerprints.differing(expected, found):
            raise NotProven(
                f"{len(wrong)} of {len(expected)} tables differ from what they were at "
                f"{required(run.state.moment).isoformat()}: {', '.join(wrong[:_MOST_REPORTED])}.",
                hint="Make a full backup now (tenantry cluster backup --type full), drill again, "
                "and see tenantry cluster verify.",
            )
        run.state.compared = {
            "tables": len(found),
            "rows": sum(each.rows for each in found.values()),
            "equal_to_live": len(expected),
            "changing": run.state.changing,
            "too_large": run.state.too_large,
        }
        run.state.found = found
        return Next()

    # ── dump and load, as in a restore ───────────────────────────────────────

    async def _dump(self, run: DrillRun) -> Outcome:
        past = await self._past(run)
        await past.dump(target_role=past.row.username)
        return Next()

    async def _load(self, run: DrillRun) -> Outcome:
        """Load the dump as a restore does. Raises NotProven if a restore would lose objects."""
        row, side = await self._row(run), await self._side(run)
        name = _loaded_name(row)
        async with connect(side.address, user=ADMIN) as server:
            await objects.drop_database(server, name)
            await objects.ensure_database(server, side.address, name, tenant=row.username)

        async def report(done: int, items: int | None) -> None:
            await run.report(done / max(1, items or 1))

        reloaded = await transfer.load_in(
            transfer.Target(side.address, side.bindir, name, row.username),
            run.row.id.hex,
            side.folder / "dump",
            folder=side.folder,
            settings=await settings_of(side.address, row.username, row.database_name),
            seconds=row.longest_statement_seconds,
            report=report,
        )
        run.state.compared |= reloaded.as_json()
        if reloaded.lost:
            raise NotProven(
                f"A restore would lose {len(reloaded.lost)} objects: "
                + "; ".join(
                    f"{each.object} ({each.reason})" for each in reloaded.lost[:_MOST_REPORTED]
                ),
                hint="PostgreSQL does not build them again as they are: change or drop them, and "
                "drill again.",
            )
        return Next()

    async def _compare_loaded(self, run: DrillRun) -> Outcome:
        """Read every row of the loaded database. Raises NotProven if it differs from the copy."""
        row, side = await self._row(run), await self._side(run)
        copied = run.state.found
        loaded: Figures = {}
        changed: list[dict[str, str]] = []
        async with connect(side.address, user=ADMIN) as server:
            if not await objects.database_exists(server, _loaded_name(row)):
                return Next("dump")  # the side cluster had to be restored again
        async with (
            _reading(run, side, row, row.database_name) as before,
            _reading(run, side, row, _loaded_name(row)) as after,
        ):
            there = await fingerprints.tables(after)
            views = await tables.materialized_views(after)
            for number, table in enumerate(there):
                await run.report(number / len(there))
                loaded[str(table)] = await fingerprints.fingerprint(after, table)
                if loaded[str(table)] == copied.get(str(table), loaded[str(table)]):
                    continue
                if str(table) in views:
                    changed.append(_changed("MATERIALIZED VIEW DATA", table, "It was refreshed."))
                elif (but := await fingerprints.generated(before, table)) and (
                    await fingerprints.fingerprint(before, table, but=but)
                    == await fingerprints.fingerprint(after, table, but=but)
                ):
                    reason = f"Computed again, {', '.join(but)} differ."
                    changed.append(_changed("GENERATED COLUMN", table, reason))
                else:
                    continue
                loaded[str(table)] = copied[str(table)]
        if wrong := fingerprints.differing(copied, loaded):
            raise NotProven(
                f"{len(wrong)} of {len(copied)} tables differ once they are loaded: "
                f"{', '.join(wrong[:_MOST_REPORTED])}.",
                hint="Please report it.",
            )
        run.state.compared["changed"] = [*run.state.compared["changed"], *changed]
        return Next()

    # ── the structure of the copy ────────────────────────────────────────────

    async def _check(self, run: DrillRun) -> Outcome:
        """Check the structure of the copy's tables and indexes. Raises NotProven."""
        row, side = await self._row(run), await self._side(run)
        name = row.database_name
        async with visitors.visitor(
            side.address, run.row.id.hex, [row.username], database=name, folder=side.folder
        ) as visitor:
            await fingerprints.allow_amcheck(
                side.address, admin=ADMIN, database=name, visitor=visitor
            )
            done = await commands.run(
                [side.bindir / "pg_amcheck", "--no-password", name],
                env=visitor.environment(name),
                deadline=_HOURS * 6,
                check=False,
            )
        if done.returncode == _CORRUPT:
            raise NotProven(f"pg_amcheck has found damage: {_first_line(done.stdout)}")
        if done.returncode != 0:
            raise commands.CommandFailed(f"pg_amcheck failed: {_first_line(done.stderr)}")
        run.state.compared["amcheck"] = "passed"
        return Next()

    # ── the proof ────────────────────────────────────────────────────────────

    async def _prove(self, run: DrillRun) -> Outcome:
        proof = self._proof(run, None)
        async with self.store.transaction(audit.PLATFORM) as tx:
            await proofs.insert(tx, proof)
            row = await rows.find(tx, proof.database_id, customer_id=None)
            if row is not None:
                await audit.record_on(tx, run.actor, DRILL.name, row, details=proof.compared)
        await self.sides.remove(run.row.id)
        return Done(
            {
                "passed": True,
                "moment": required(run.state.moment).isoformat(),
                "seconds": round(proof.seconds, 1),
                **proof.compared,
            }
        )

    async def _undo(self, run: DrillRun) -> None:
        await self.sides.remove(run.row.id)
        if run.row.error is None:
            return  # it was cancelled
        error = f"{run.row.error.get('detail')}"
        emit(DrillFailed(str(run.row.resource_id), error))
        async with self.store.transaction(audit.PLATFORM) as tx:
            await proofs.insert(tx, self._proof(run, error))

    def _proof(self, run: DrillRun, error: str | None) -> ProofRow:
        now = dt.datetime.now(dt.UTC)
        return ProofRow(
            id=run.row.id,
            database_id=run.row.resource_id,
            at=now,
            moment=run.state.moment,
            seconds=(now - (run.row.started_at or now)).total_seconds(),
            passed=error is None,
            compared=run.state.compared,
            error=error,
        )


@asynccontextmanager
async def _inside(
    run: DrillRun, address: Address, row: DatabaseRow, folder: Path
) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Open a session in the database, with the rights of all its roles."""
    async with connect(address, user=ADMIN) as server:
        roles = await catalog.roles_of(server, row.username)
    settings = await settings_of(address, row.username, row.database_name)
    async with (
        visitors.visitor(address, run.row.id.hex, roles, folder=folder) as visitor,
        fingerprints.reading(visitor, row.database_name, settings) as inside,
    ):
        yield inside


@asynccontextmanager
async def _reading(
    run: DrillRun, side: SideCluster, row: DatabaseRow, database: str
) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Open a session in a database of the side cluster, with the rights of the owner role."""
    purpose = f"{run.row.id.hex}_{'loaded' if database == _loaded_name(row) else 'copied'}"
    settings = await settings_of(side.address, row.username, row.database_name)
    async with (
        visitors.visitor(
            side.address, purpose, [row.username], database=database, folder=side.folder
        ) as visitor,
        fingerprints.reading(visitor, database, settings) as inside,
    ):
        yield inside


async def _readable(inside: AsyncConnection[TupleRow], tables: list[Table]) -> Figures:
    """Return the fingerprints of the readable tables: some are locked, or were just dropped."""
    found: Figures = {}
    for table in tables:
        try:
            found[str(table)] = await fingerprints.fingerprint(inside, table)
        except psycopg.Error:
            if inside.broken:
                raise
    return found


def _loaded_name(row: DatabaseRow) -> str:
    return names.beside(row.database_name, "loaded")


def _changed(kind: str, table: Table, reason: str) -> dict[str, str]:
    return {"object": f"{kind} {table}", "reason": reason}


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "it printed nothing")
