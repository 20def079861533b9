"""Migrates databases: inside each as a visitor, with its tenant's rights alone.

A file is all or nothing (``services.migrations``), and the database itself records its version:
after any crash the next try continues from there.
"""

import asyncio
import datetime as dt
from dataclasses import dataclass, replace
from functools import partial
from typing import TypedDict

import psycopg

from tenantry.base.errors import NotFound, TenantryError, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, migration_runs
from tenantry.control.databases import DatabaseRow
from tenantry.control.migration_runs import TargetRow, TargetStatus
from tenantry.services.migrations import plan as steps
from tenantry.services.migrations import service as runner
from tenantry.services.migrations.model import (
    Acceptance,
    Limits,
    LimitShort,
    Migration,
    State,
    Step,
)
from tenantry.services.operations.model import AnyRun, Done, Flow, Kind, Outcome, Params, Run
from tenantry.services.operations.model import State as FlowState
from tenantry.services.operations.model import Step as FlowStep
from tenantry.services.operations.runner import error_payload
from tenantry.services.tenant_migrations import plan
from tenantry.services.tenant_migrations.model import STATEMENT_SECONDS, Action, FleetStopped
from tenantry.services.tenant_migrations.visits import Visits, in_words

_DEADLINE = dt.timedelta(hours=24)


class HowParams(Params):
    """The options of a run: see ``Files``."""

    limits: Limits
    accept: Acceptance
    beside: bool = False


class MigrateParams(HowParams):
    """``n`` steps, or to ``version``; the files are rows of their own."""

    action: Action
    n: int | None = None
    version: int | None = None


class MigrateState(FlowState):
    """The target version (None: before the first), once ``is_chosen``.

    ``short`` is for how many of ``n`` steps there were no files.
    """

    is_chosen: bool = False
    target: int | None = None
    short: int = 0


class FleetParams(HowParams):
    """See ``Fleet``; ``last_file`` and ``selection`` are what users know a run by."""

    parallel: int
    canary: int
    max_failures: int
    last_file: str | None = None
    selection: str | None = None


MIGRATE = Kind("database.migrate", MigrateParams, MigrateState)
FLEET = Kind("fleet.migrate", FleetParams, FlowState)
MigrateRun = Run[MigrateParams, MigrateState]
FleetRun = Run[FleetParams, FlowState]


@dataclass(frozen=True, slots=True)
class MigrationFlow:
    """The flows that migrate one database, and many."""

    visits: Visits

    @property
    def flows(
        self,
    ) -> tuple[Flow[MigrateParams, MigrateState], Flow[FleetParams, FlowState]]:
        return (
            Flow(
                MIGRATE,
                [FlowStep("migrate", self._one)],
                undo=self._undo_one,
                deadline=_DEADLINE,
                lane="scripts",
            ),
            Flow(
                FLEET,
                [FlowStep("migrate", self._many)],
                undo=self._undo_many,
                deadline=_DEADLINE,
                lane="scripts",
            ),
        )

    # ── one database ─────────────────────────────────────────────────────────

    async def _one(self, run: MigrateRun) -> Outcome:
        try:
            return await self._migrate(run, await self.visits.database(run.row.resource_id))
        except psycopg.OperationalError:
            raise  # the server is down: it is tried again
        except psycopg.Error as error:
            raise in_words(error) from error

    async def _migrate(self, run: MigrateRun, database: DatabaseRow) -> Outcome:
        clients = self.visits.clients(database.database_name)
        if run.state.is_chosen:  # a crash may have left clients paused, or with outdated plans
            await clients.refresh()
        files = await self._files(run)
        how = _how(run.params)
        async with (
            self.visits.with_scratch(run.row.id),
            self.visits.inside(run.row.id, database, _seconds(how["limits"])) as conn,
        ):
            version = run.params.version
            if run.params.action == "force" and version is not None:
                state = await runner.force(
                    conn, version, limits=how["limits"], beside=how["beside"]
                )
                return Done(result(state, []))
            async with clients:
                taken, state = await runner.run(
                    conn, files, partial(self._choose, run), **how, around=clients.around
                )
            emit(StepDone(MIGRATE.name, "migrated", database.database_name))
            if short := run.state.short:
                raise LimitShort(short, state)
            return Done(result(state, taken))

    async def _choose(
        self, run: MigrateRun, migrations: tuple[Migration, ...], state: State
    ) -> list[Step]:
        """Return the steps to take. The target is computed once: a retry must not go further."""
        if run.state.is_chosen:
            return steps.goto(migrations, state, run.state.target)
        n = run.params.n
        match run.params.action:
            case "up":
                ahead = steps.up(migrations, state, n)
            case "down":
                ahead = steps.down(migrations, state, n)
            case _:
                ahead = steps.goto(migrations, state, run.params.version)
        run.state.is_chosen = True
        run.state.target = ahead[-1].target if ahead else state.version
        run.state.short = 0 if n is None else n - len(ahead)
        await run.save()
        return ahead

    async def _undo_one(self, run: MigrateRun) -> None:
        """Resume clients, which must not wait for ever. Applied files stay, each complete."""
        await self.visits.let_go(run.row.resource_id)

    # ── many ─────────────────────────────────────────────────────────────────

    async def _many(self, run: FleetRun) -> Outcome:
        fleet = _Course(await self._targets(run))
        for target in fleet.targets:
            if target.status == "running":
                await self.visits.clients(target.database_name).refresh()
                fleet.set(target.position, "pending")
        async with self.visits.with_scratch(run.row.id):
            await self._course(run, fleet)
        targets = await self._targets(run)
        if (
            any(each.status == "pending" for each in targets)
            or plan.failed(targets) > run.params.max_failures
        ):
            raise FleetStopped(
                plan.summary(targets),
                hint=f"GET /api/migrations/{run.row.id} lists each. Fix what failed and begin "
                "again: those that are migrated have nothing more to do.",
            )
        return Done(plan.counts(targets))

    async def _course(self, run: FleetRun, fleet: "_Course") -> None:
        """Migrate the databases in order, as long as the run may continue."""
        files = await self._files(run)
        running: dict[asyncio.Task[TargetStatus], int] = {}
        canary, budget = run.params.canary, run.params.max_failures
        try:
            while True:
                ready = plan.startable(fleet.targets, canary=canary, max_failures=budget)
                for position in ready[: run.params.parallel - len(running)]:
                    fleet.set(position, "running")
                    work = self._target(run, fleet.targets[position], files)
                    running[asyncio.create_task(work)] = position
                if not running:
                    break
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    fleet.set(running.pop(task), task.result())
                await run.report(fleet.settled)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _target(
        self, run: FleetRun, target: TargetRow, files: dict[str, bytes]
    ) -> TargetStatus:
        async with self.visits.store.transaction(audit.PLATFORM) as tx:
            await migration_runs.begin(tx, run.row.id, target.position)
        try:
            database = await self.visits.database(target.database_id)
        except NotFound:
            return await self._ended(run, target, "skipped")
        state: State | None = None
        try:
            how = _how(run.params)
            async with self.visits.inside(run.row.id, database, _seconds(how["limits"])) as conn:
                async with self.visits.clients(database.database_name) as clients:
                    taken = await runner.up(conn, files, **how, around=clients.around)
                state = await runner.version(conn)
        except Unavailable:
            raise  # a failure of the server, not of this database: the whole run is tried again
        except (TenantryError, psycopg.Error) as error:
            explained = plan.explained(in_words(error), database.blueprint)
            return await self._ended(run, target, "failed", error=explained)
        emit(StepDone(FLEET.name, "migrated", database.database_name))
        if taken:
            async with self.visits.store.transaction(audit.PLATFORM) as tx:
                await audit.record_on(
                    tx,
                    run.actor,
                    MIGRATE.name,
                    database,
                    details={"operation_id": str(run.row.id), "steps": len(taken)},
                )
        return await self._ended(run, target, "succeeded", state=state, taken=taken)

    async def _ended(
        self,
        run: AnyRun,
        target: TargetRow,
        status: TargetStatus,
        *,
        state: State | None = None,
        taken: list[Step] | None = None,
        error: TenantryError | None = None,
    ) -> TargetStatus:
        left = getattr(error, "state", None) or state
        async with self.visits.store.transaction(audit.PLATFORM) as tx:
            await migration_runs.finish(
                tx,
                run.row.id,
                target.position,
                status,
                version=left.version if left else None,
                dirty=left.dirty if left else None,
                steps=None if taken is None else len(taken),
                error=None if error is None else error_payload(error),
            )
        return status

    async def _targets(self, run: AnyRun) -> list[TargetRow]:
        async with self.visits.store.transaction(audit.PLATFORM) as tx:
            return await migration_runs.targets(tx, run.row.id)

    async def _undo_many(self, run: AnyRun) -> None:
        for target in await self._targets(run):
            if target.status == "running":
                await self.visits.clients(target.database_name).refresh()
                await self._ended(run, target, "pending")

    # ── shared by both ───────────────────────────────────────────────────────

    async def _files(self, run: AnyRun) -> dict[str, bytes]:
        async with self.visits.store.transaction(audit.PLATFORM) as tx:
            found = await migration_runs.files(tx, run.row.id)
        return {name: text.encode() for name, text in found.items()}


class _Course:
    """The databases of a run, with their present status."""

    def __init__(self, targets: list[TargetRow]) -> None:
        self.targets = targets

    def set(self, position: int, status: TargetStatus) -> None:
        self.targets[position] = replace(self.targets[position], status=status)

    @property
    def settled(self) -> float:
        """The part of the databases that are done, from 0 to 1."""
        over = sum(each.status not in {"pending", "running"} for each in self.targets)
        return over / max(1, len(self.targets))


class _How(TypedDict):
    limits: Limits
    accept: Acceptance
    beside: bool


def _how(params: HowParams) -> _How:
    return {"limits": params.limits, "accept": params.accept, "beside": params.beside}


def _seconds(limits: Limits) -> float:
    return limits.statement_timeout or STATEMENT_SECONDS


def result(state: State, taken: list[Step]) -> dict[str, object]:
    """Return the result of a run."""
    return {
        "version": state.version,
        "dirty": state.dirty,
        "steps": [step.row() for step in taken],
    }
