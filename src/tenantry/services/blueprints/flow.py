"""The steps that bring a database to a version of a blueprint, with its tenant's rights.

Each migration file is applied completely or not at all, and the database itself records its
version. Seeds are one transaction, whose ID is recorded before it is committed: a second try asks
PostgreSQL whether the first one was committed.
"""

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from pydantic import Field

from tenantry.base.events import StepDone, emit
from tenantry.control import audit, blueprints, migration_runs
from tenantry.control.databases import DatabaseRow
from tenantry.pg import statements
from tenantry.pg.connections import fetch_value
from tenantry.pg.discarding import execute_discarding
from tenantry.services.blueprints import model, plan
from tenantry.services.blueprints.model import Blueprint, SeedsFailed
from tenantry.services.migrations import service as runner
from tenantry.services.migrations.ledger import Connection
from tenantry.services.migrations.model import Limits, Script
from tenantry.services.operations.model import (
    AnyRun,
    Done,
    Flow,
    Kind,
    Next,
    Outcome,
    Params,
    Run,
    State,
    Step,
)
from tenantry.services.tenant_migrations.flow import result
from tenantry.services.tenant_migrations.model import STATEMENT_SECONDS
from tenantry.services.tenant_migrations.visits import Visits, in_words

_DEADLINE = dt.timedelta(hours=24)


class ApplyParams(Params):
    """The version to reach, and the seeds to load after it.

    ``own`` is whether the blueprint is the customer's own, ``statement_seconds`` how long each
    statement may run.
    """

    blueprint: str
    version: int
    seeds: str | None = None
    own: bool = False
    statement_seconds: float = STATEMENT_SECONDS


class ApplyState(State):
    """The progress; ``seeding`` is the transaction (``xid8``) that loads the seeds."""

    started: bool = False
    seeding: str | None = None
    result: dict[str, Any] = Field(default_factory=dict)


APPLY = Kind("database.blueprint", ApplyParams, ApplyState)
ApplyRun = Run[ApplyParams, ApplyState]


@dataclass(frozen=True, slots=True)
class BlueprintFlow:
    """The operation that applies a blueprint, with what its steps need."""

    visits: Visits

    @property
    def flow(self) -> Flow[ApplyParams, ApplyState]:
        steps = [Step("migrate", self._migrate, share=3), Step("seed", self._seed)]
        # Run by the API itself: a caller who creates a database with a blueprint waits for it.
        return Flow(APPLY, steps, undo=self._undo, deadline=_DEADLINE, part="api", lane="scripts")

    async def _migrate(self, run: ApplyRun) -> Outcome:
        database = await self.visits.database(run.row.resource_id)
        blueprint = await self._blueprint(run)
        version = plan.version(blueprint, run.params.version)
        clients = self.visits.clients(database.database_name)
        if run.state.started:  # a process that died may have paused clients
            await clients.refresh()
        run.state.started = True
        await run.save()
        try:
            async with (
                self.visits.with_scratch(run.row.id),
                self.visits.inside(run.row.id, database, run.params.statement_seconds) as conn,
                clients,
            ):
                taken = await runner.goto(
                    conn,
                    blueprint.scripts,
                    version.migration,
                    limits=Limits(statement_timeout=run.params.statement_seconds),
                    around=clients.around,
                )
                state = await runner.version(conn)
        except psycopg.OperationalError:
            raise  # the server is away: the step is retried
        except psycopg.Error as error:
            raise in_words(error) from error
        emit(StepDone(APPLY.name, "migrated", database.database_name))
        async with self.visits.store.transaction(audit.PLATFORM) as tx:
            files = blueprint.files if blueprint.own else None
            await blueprints.record(tx, database.id, blueprint.name, version.number, files)
        run.state.result = {
            "blueprint": blueprint.name,
            "version": version.number,
            "migration": state.version,
            "steps": result(state, taken)["steps"],
            "seeds": run.params.seeds,
        }
        return Next()

    async def _seed(self, run: ApplyRun) -> Outcome:
        name = run.params.seeds
        if name is not None:
            database = await self.visits.database(run.row.resource_id)
            script = (await self._blueprint(run)).seeds[name]
            async with (
                self.visits.with_scratch(run.row.id),
                self.visits.inside(run.row.id, database, run.params.statement_seconds) as conn,
            ):
                if not await _is_committed(conn, run.state.seeding):
                    await self._put_in(run, conn, database, script)
        return Done(run.state.result)

    @staticmethod
    async def _put_in(
        run: ApplyRun, conn: Connection, database: DatabaseRow, script: Script
    ) -> None:
        await conn.execute(
            "SELECT set_config('statement_timeout', %s, false)",
            (f"{run.params.statement_seconds}s",),
        )
        async with conn.transaction():
            transaction = await fetch_value(conn, "SELECT pg_current_xact_id()::text")
            run.state.seeding = str(transaction)
            await run.save()
            for part in await statements.aside(partial(statements.split, script.sql)):
                try:
                    await execute_discarding(conn, part.text.encode())
                except psycopg.Error as error:
                    away = isinstance(error, psycopg.OperationalError)
                    if away and not isinstance(error, psycopg.errors.QueryCanceled):
                        raise
                    raise SeedsFailed(
                        f"{script.name}, line {part.line}: "
                        f"{error.diag.message_primary or str(error).strip()}.",
                        hint="Nothing of them was put in; the schema is there.",
                    ) from error
        emit(StepDone(APPLY.name, "seeded", database.database_name))

    async def _undo(self, run: AnyRun) -> None:
        """Release paused clients. Applied files stay, each of them complete."""
        await self.visits.let_go(run.row.resource_id)

    async def _blueprint(self, run: ApplyRun) -> Blueprint:
        """Return the blueprint as it was requested, even if the catalogue has changed since."""
        async with self.visits.store.transaction(audit.PLATFORM) as tx:
            files = await migration_runs.files(tx, run.row.id)
        name, own = run.params.blueprint, run.params.own
        return await statements.aside(partial(model.parse, name, files, own=own))


async def _is_committed(conn: Connection, transaction: str | None) -> bool:
    if transaction is None:
        return False
    status = await fetch_value(conn, "SELECT pg_xact_status(%s::text::xid8)", (transaction,))
    return status == "committed"
