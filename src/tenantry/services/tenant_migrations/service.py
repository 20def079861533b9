"""The verbs: migrate one database or many, and report a database's status or a run's results."""

import dataclasses
import uuid
from collections.abc import Sequence

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import Conflict, InvalidInput, NotFound
from tenantry.base.ids import new_id
from tenantry.control import audit, database_lists, migration_runs, pages
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.migration_runs import TargetRow, TargetStatus
from tenantry.control.operations import Filter, OperationRow
from tenantry.control.pages import Page
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import logins
from tenantry.services.databases.plan import statement_seconds
from tenantry.services.databases.service import Databases
from tenantry.services.migrations import service as migrations
from tenantry.services.migrations.ledger import Ledger
from tenantry.services.migrations.model import Limits, Status
from tenantry.services.operations.service import Operations
from tenantry.services.tenant_migrations import flow, folders, plan
from tenantry.services.tenant_migrations.flow import MigrationFlow
from tenantry.services.tenant_migrations.model import (
    STATEMENT_SECONDS,
    Files,
    Fleet,
    FleetSummary,
    Selection,
    Wanted,
)

_PAGE = 500
_MOST_WAITING = 4 * folders.MOST_BYTES  # of a customer, whose quotas do not count them


class TenantMigrations:
    """The verbs on migrations of tenants' databases."""

    def __init__(
        self,
        store: ControlStore,
        migrating: MigrationFlow,
        databases: Databases,
        operations: Operations,
    ) -> None:
        self._store = store
        self._clusters = migrating.visits.clusters
        self._databases = databases
        self._operations = operations
        operations.register(*migrating.flows)

    async def begin(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: Wanted
    ) -> OperationRow:
        """Begin to migrate a database. Raises NotFound, Conflict, InvalidInput."""
        database = await self._databases.lock_active(tx, actor, database_id)
        operation = await self._operations.begin(
            tx,
            actor,
            flow.MIGRATE,
            flow.MigrateParams(
                action=wanted.action,
                n=wanted.n,
                version=wanted.version,
                limits=_limits(wanted.files, [database]),
                accept=wanted.files.accept,
                beside=wanted.files.beside,
            ),
            resource_kind="database",
            resource_id=database.id,
            customer_id=database.customer_id,
        )
        await _keep(tx, actor, operation, wanted.files)
        await audit.record_on(
            tx,
            actor,
            flow.MIGRATE.name,
            database,
            result="accepted",
            details={
                "action": wanted.action,
                "n": wanted.n,
                "version": wanted.version,
                "operation_id": str(operation.id),
            },
        )
        return operation

    async def begin_fleet(self, tx: Tx, actor: Actor, wanted: Fleet) -> OperationRow:
        """Begin to migrate many databases to the last file. Raises NotFound, InvalidInput."""
        chosen = await _choose(tx, actor, wanted.selection)
        operation = await self._operations.begin(
            tx,
            actor,
            flow.FLEET,
            flow.FleetParams(
                parallel=wanted.parallel,
                canary=wanted.canary,
                max_failures=wanted.max_failures,
                limits=_limits(wanted.files, chosen),
                accept=wanted.files.accept,
                beside=wanted.files.beside,
                last_file=plan.last_file(wanted.files.texts),
                selection=plan.described(wanted.selection),
            ),
            resource_kind="fleet",
            resource_id=new_id(),
            customer_id=actor.customer_id,
            exclusive=False,
        )
        await _keep(tx, actor, operation, wanted.files)
        await migration_runs.insert_targets(tx, operation.id, chosen)
        await audit.record(
            tx,
            actor,
            flow.FLEET.name,
            resource_kind="operation",
            resource_id=operation.id,
            result="accepted",
            details={
                "databases": len(chosen),
                "environment": wanted.selection.environment,
                "owner": wanted.selection.owner,
                "blueprint": wanted.selection.blueprint,
                "tags": [*wanted.selection.tags],
                "selection": plan.described(wanted.selection),
            },
        )
        return operation

    async def chosen(self, actor: Actor, selection: Selection) -> list[DatabaseRow]:
        """Return the databases of a run to be, in its order. Raises as ``begin_fleet``."""
        async with self._store.transaction(actor) as tx:
            return await _choose(tx, actor, selection)

    async def runs(self, actor: Actor, *, cursor: str | None, limit: int) -> Page[FleetSummary]:
        """Return runs over many databases, newest first. Raises InvalidInput for a bad cursor."""
        page = await self._operations.page(
            actor, Filter(kind=flow.FLEET.name), cursor=cursor, limit=limit
        )
        async with self._store.transaction(actor) as tx:
            counts = await migration_runs.counts(tx, [each.id for each in page.rows])
        return Page([plan.summed_up(each, counts) for each in page.rows], page.next_cursor)

    async def run(self, actor: Actor, operation_id: uuid.UUID) -> FleetSummary:
        """Return one run over many databases. Raises NotFound."""
        operation = await self._fleet(actor, operation_id)
        async with self._store.transaction(actor) as tx:
            return plan.summed_up(operation, await migration_runs.counts(tx, [operation_id]))

    async def in_database(
        self, actor: Actor, database_id: uuid.UUID, operations: Sequence[OperationRow]
    ) -> dict[uuid.UUID, TargetStatus]:
        """Return the status of one database in those of these operations that are over many."""
        runs = [each.id for each in operations if each.kind == flow.FLEET.name]
        if not runs:
            return {}
        async with self._store.transaction(actor) as tx:
            return await migration_runs.in_database(tx, database_id, runs)

    async def _fleet(self, actor: Actor, operation_id: uuid.UUID) -> OperationRow:
        operation = await self._operations.show(actor, operation_id)
        if operation.kind != flow.FLEET.name:
            raise NotFound("There is no such run over many databases.")
        return operation

    async def report(
        self,
        actor: Actor,
        operation_id: uuid.UUID,
        *,
        status: TargetStatus | None,
        cursor: str | None,
        limit: int,
    ) -> Page[TargetRow]:
        """Return a run's result by database. Raises NotFound, InvalidInput for a bad cursor."""
        await self._fleet(actor, operation_id)
        after = -1 if cursor is None else pages.read_number(cursor)
        async with self._store.transaction(actor) as tx:
            found = await migration_runs.targets(
                tx, operation_id, status=status, after=min(after, 2**31 - 1), limit=limit + 1
            )
        return pages.cut(found, limit, lambda row: (row.position,))

    async def status(self, actor: Actor, database_id: uuid.UUID) -> Status:
        """Return a database's version, and what was applied. Raises NotFound, Conflict."""
        database = await self._databases.show(actor, database_id)
        cluster = await self._clusters.cluster(database.cluster_id)
        try:
            async with logins.inside(
                cluster.address, database.database_name, [database.username]
            ) as session:
                ledger = await Ledger.at(
                    session, database.database_name, await _schema(session, database)
                )
                return await migrations.status_of(ledger)
        except psycopg.Error as error:
            raise Conflict(
                "The database's tables of migrations cannot be read: "
                f"{error.diag.message_primary or error}",
                hint="Has somebody changed schema_migrations or tenantry_migrations?",
            ) from error


async def _schema(session: AsyncConnection[TupleRow], database: DatabaseRow) -> str:
    """Return the schema of the tenant's new tables, and so of the migrations' own."""
    cursor = await session.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname = %s", (database.username,)
    )
    return database.username if await cursor.fetchone() else "public"


async def _choose(tx: Tx, actor: Actor, wanted: Selection) -> list[DatabaseRow]:
    chosen: list[DatabaseRow] = []
    after = pages.FIRST
    while True:
        found = await database_lists.page(
            tx,
            database_lists.Filter(
                environment=wanted.environment,
                owner=wanted.owner,
                blueprint=wanted.blueprint,
                without_blueprint=wanted.without_blueprint,
                status="active",
                tags=wanted.tags,
            ),
            customer_id=actor.customer_id,
            after=after,
            limit=_PAGE,
        )
        chosen += found
        if len(found) < _PAGE:
            break
        after = (found[-1].created_at, found[-1].id)
    if wanted.databases is not None:
        if missing := wanted.databases - {each.id for each in chosen}:
            raise InvalidInput.of(
                "database_ids",
                f"has {min(missing)}, which is not in use, or which the other fields do not fit",
            )
        chosen = [each for each in chosen if each.id in wanted.databases]
    chosen = [each for each in chosen if each.id not in wanted.excluded]
    if not chosen:
        raise NotFound("No database fits.", hint="GET /api/databases lists yours.")
    return sorted(chosen, key=lambda row: plan.rank(row.environment, row.database_name))


async def _keep(tx: Tx, actor: Actor, operation: OperationRow, files: Files) -> None:
    """Store a run's files until it has ended. Raises Conflict if too many bytes wait."""
    await migration_runs.insert(tx, operation.id, files.texts)
    if actor.customer_id is not None and await migration_runs.waiting_bytes(tx) > _MOST_WAITING:
        raise Conflict(
            f"Migrations with more than {_MOST_WAITING:,} bytes of files wait to be run.",
            hint="Wait until one of them is over.",
        )


def _limits(files: Files, databases: Sequence[DatabaseRow]) -> Limits:
    seconds = statement_seconds(databases, files.limits.statement_timeout, usual=STATEMENT_SECONDS)
    return dataclasses.replace(files.limits, statement_timeout=seconds)
