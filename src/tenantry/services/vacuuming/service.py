"""Rewrites a database's tables, one after the other, as an operation.

Each table is a transaction of its own: at any moment every table is either unchanged or rewritten.
While one is rewritten it exists twice, for which the quota makes an allowance. Its write-ahead log
counts as the database's own: the operation waits until it may write that much.
"""

import asyncio
import datetime as dt
import shutil
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from pydantic import BaseModel, Field

from tenantry.base.errors import Conflict, NotFound, TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.base.suggestions import did_you_mean
from tenantry.control import audit, usage
from tenantry.control import databases as rows
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx
from tenantry.host import files
from tenantry.pg import logins, vacuuming, visitors
from tenantry.pg.long_statements import bounded
from tenantry.pg.vacuuming import Table
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import plan as database_plan
from tenantry.services.databases.service import Databases
from tenantry.services.operations.model import (
    Done,
    Flow,
    Kind,
    Outcome,
    Params,
    Run,
    State,
    Step,
    Wait,
)
from tenantry.services.operations.service import Operations
from tenantry.services.overuse.service import Overuse

_DEADLINE = dt.timedelta(hours=24)
_USUAL_SECONDS = 4 * 3600.0  # for one table, by default
_RESERVE = 0.08  # of the disk: below 5 % the platform reports that it is not ready
_TRIES = 3
_PAUSE_SECONDS = 1.0
_WAIT_SECONDS = 30.0
_MOST_TABLES = 1000  # of one operation, as its result lists them


class Rewritten(BaseModel):
    """A table that was rewritten, and its size before and after."""

    table: str
    before_bytes: int
    after_bytes: int


class Skipped(BaseModel):
    """A table that was not rewritten, and why."""

    table: str
    reason: str


class Rewriting(Params):
    """Which tables to rewrite (none: those that are worth it), and the timeouts in seconds."""

    tables: tuple[str, ...]
    lock_seconds: float
    statement_seconds: float


class Progress(State):
    """The tables that are done. ``before`` has their sizes in bytes, stored for a second try."""

    done: list[Rewritten] = Field(default_factory=list)
    skipped: list[Skipped] = Field(default_factory=list)
    before: dict[str, int] = Field(default_factory=dict)


VACUUM_FULL = Kind("database.vacuum_full", Rewriting, Progress)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tables to rewrite (``schema.table``; none: those that are worth it), and the timeouts.

    ``lock_seconds`` is how long each table's lock is waited for, and how long others wait with it.
    """

    tables: Sequence[str]
    lock_seconds: float
    statement_seconds: float | None


class Vacuuming:
    """The estimate of the space that rewriting tables returns, and the operation that does it."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        databases: Databases,
        operations: Operations,
        overuse: Overuse,
        *,
        home: Home,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._databases = databases
        self._operations = operations
        self._overuse = overuse
        self._home = home
        operations.register(
            Flow(
                VACUUM_FULL,
                [Step("rewrite", self._rewrite_all)],
                undo=self._clean_up,
                deadline=_DEADLINE,
            )
        )

    async def estimate(self, actor: Actor, database_id: uuid.UUID) -> list[Table]:
        """Return the tables of a database, those first that would return most space.

        Raises NotFound, Conflict, Unavailable.
        """
        row = await self._databases.active(actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        async with logins.inside(cluster.address, row.database_name, [row.username]) as inside:
            found = await vacuuming.tables(inside)
        return sorted(found, key=lambda each: each.returned_bytes or 0, reverse=True)

    async def begin(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: Wanted
    ) -> OperationRow:
        """Begin to rewrite tables. Raises NotFound, InvalidInput, Conflict."""
        row = await self._databases.lock_there(tx, actor, database_id)
        seconds = database_plan.statement_seconds(
            [row], wanted.statement_seconds, usual=_USUAL_SECONDS
        )
        await audit.record_on(
            tx, actor, VACUUM_FULL.name, row, details={"tables": list(wanted.tables)}
        )
        return await self._operations.begin(
            tx,
            actor,
            VACUUM_FULL,
            Rewriting(
                tables=tuple(wanted.tables),
                lock_seconds=wanted.lock_seconds,
                statement_seconds=seconds,
            ),
            resource_kind="database",
            resource_id=row.id,
            customer_id=row.customer_id,
        )

    # ── the operation ────────────────────────────────────────────────────────

    async def _database(self, run: Run[Rewriting, Progress]) -> DatabaseRow:
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, run.row.resource_id, customer_id=None)
        if row is None or row.status != "active":
            raise NotFound("The database is gone.")
        if row.quota_state == "stopped":
            raise Conflict(
                "Nobody can connect to the database, since it is far beyond its disk quota.",
                hint="Raise its quota, and try again.",
            )
        return row

    async def _rewrite_all(self, run: Run[Rewriting, Progress]) -> Outcome:
        row = await self._database(run)
        done, skipped = run.state.done, run.state.skipped
        if row.paused_until is not None:
            return Wait(_WAIT_SECONDS)
        async with self._session(run, row) as inside:
            seen = {each.table for each in done} | {each.table for each in skipped}
            left = [
                each
                for each in chosen(await vacuuming.tables(inside), run.params.tables)
                if each.title not in seen
            ]
            total = sum(each.size_bytes for each in left)
            so_far = 0
            for table in left:
                await run.report(so_far / max(1, total), done_bytes=so_far, total_bytes=total)
                if table.size_bytes > self._overuse.wal_left(row):
                    return Wait(_WAIT_SECONDS)
                await self._rewrite(run, row, inside, table)
                so_far += table.size_bytes
        await self._clean_up(run)
        if skipped and not done:
            first = skipped[0]
            raise Conflict(
                f"Nothing was rewritten. {first.table}: {first.reason}",
                hint="Remove what is in the way, and try again.",
            )
        return Done(
            {
                "tables": [each.model_dump() for each in done],
                "skipped": [each.model_dump() for each in skipped],
                "returned_bytes": sum(each.before_bytes - each.after_bytes for each in done),
            }
        )

    @asynccontextmanager
    async def _session(
        self, run: Run[Rewriting, Progress], row: DatabaseRow
    ) -> AsyncIterator[visitors.Connection]:
        """Open a session in the database, with the rights of its owner role."""
        cluster = await self._clusters.cluster(row.cluster_id)
        seconds = run.params.statement_seconds
        folder = self._home.scratch / str(run.row.id)
        files.ensure_folder(folder)
        async with (
            visitors.visitor(
                cluster.address,
                run.row.id.hex,
                [row.username],
                folder=folder,
                bypass_rls=False,
            ) as visitor,
            bounded(cluster.address, visitor.name, seconds),
            visitors.connect_as(visitor, row.database_name) as inside,
        ):
            emit(StepDone(VACUUM_FULL.name, "visiting", row.database_name))
            for name, value in (
                ("lock_timeout", f"{run.params.lock_seconds * 1000:.0f}"),
                ("statement_timeout", f"{seconds * 1000:.0f}"),
                # A database that is over its quota is read-only by default.
                ("default_transaction_read_only", "off"),
            ):
                await inside.execute("SELECT set_config(%s, %s, false)", (name, value))
            yield inside

    async def _rewrite(
        self,
        run: Run[Rewriting, Progress],
        row: DatabaseRow,
        inside: visitors.Connection,
        table: Table,
    ) -> None:
        try:
            self._require_room(table)
            await self._allow(run, row, table)
            # PostgreSQL may complete the table of a killed worker, and the next one finds it
            # smaller.
            run.state.before.setdefault(table.title, table.size_bytes)
            await run.save()
            await _rewrite(inside, table)
        except (TenantryError, psycopg.Error) as error:
            if inside.broken or inside.closed:
                raise
            run.state.skipped.append(Skipped(table=table.title, reason=_reason(error)))
        else:
            run.state.done.append(
                Rewritten(
                    table=table.title,
                    before_bytes=run.state.before[table.title],
                    after_bytes=await vacuuming.size(inside, table),
                )
            )
            await run.save()
            emit(StepDone(VACUUM_FULL.name, "rewritten", table.title))

    def _require_room(self, table: Table) -> None:
        """Raise NotEnoughDisk unless there is room for a copy, and for its write-ahead log."""
        files.require_room(
            self._home.clusters,
            2 * table.size_bytes,
            what="Its copy, and the write-ahead log of it,",
            hint="Give the server a larger disk, or delete what nobody needs.",
            spare=_RESERVE,
        )

    async def _allow(self, run: Run[Rewriting, Progress], row: DatabaseRow, table: Table) -> None:
        async with self._store.transaction(audit.PLATFORM) as tx:
            await usage.allow(tx, row.id, run.row.id, table.size_bytes)

    async def _clean_up(self, run: Run[Rewriting, Progress]) -> None:
        # Rewritten tables need no undo, and the allowance ends with the operation.
        await asyncio.to_thread(
            shutil.rmtree, self._home.scratch / str(run.row.id), ignore_errors=True
        )


def chosen(tables: Sequence[Table], names: Sequence[str]) -> list[Table]:
    """Return the tables to rewrite, the smallest first: each makes room for the next.

    Raises NotFound for a name that no table has, Conflict for too many tables.
    """
    for name in names:
        if not any(each.is_named([name]) for each in tables):
            raise NotFound(
                f"The database's owner has no table {name}.",
                hint=did_you_mean(name, [table.title for table in tables])
                or "Name it as schema.table: GET /api/databases/{id}/vacuum-full lists them.",
            )
    found = [each for each in tables if (each.is_named(names) if names else each.is_worth_it())]
    if len(found) > _MOST_TABLES:
        raise Conflict(
            f"These are {len(found):,} tables, and one operation rewrites {_MOST_TABLES:,}.",
            hint="Name some of them.",
        )
    return found


async def _rewrite(inside: visitors.Connection, table: Table) -> None:
    for attempt in range(_TRIES):
        try:
            return await vacuuming.rewrite(inside, table)
        except psycopg.errors.LockNotAvailable:
            if attempt == _TRIES - 1:
                raise
        # Sessions that waited behind the lock request go first.
        await asyncio.sleep(_PAUSE_SECONDS)
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return "Somebody uses it all the time: it could not be locked in time, three times."
    if isinstance(error, TenantryError):
        return error.detail
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return str(error)
