"""Maintains a database's tables or indexes, one after the other, as an operation.

Each is a transaction of its own, or what PostgreSQL makes of it: at any moment every table is
usable. One that is rewritten exists twice, for which the quota makes an allowance. Its write-ahead
log counts as the database's own: the operation waits until it may write that much.

An interrupted REINDEX or CREATE INDEX CONCURRENTLY leaves an invalid index. It is dropped at the
next try, or when the operation is undone. Invariant: an index is dropped only if it is invalid, is
of the table that was being worked on, and was not there before: it has a name that REINDEX gives
and is none of the invalid ones that were noted, or the name of the index that is being created,
which none had when that was noted. One that somebody else builds under that name is not dropped:
whoever builds an index holds a lock of its table, and it is looked at again under that lock.
"""

import asyncio
import datetime as dt
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import psycopg
import structlog

from tenantry.base.errors import Conflict, NotFound, TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.control import audit, usage
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.host import files
from tenantry.pg import index_creation, logins, reindexing, vacuuming, visitors
from tenantry.pg.index_creation import NewIndex
from tenantry.pg.long_statements import bounded, too_long
from tenantry.pg.reindexing import Index
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.operations.model import Done, Flow, Outcome, Run, Step, Wait
from tenantry.services.overuse.service import Overuse
from tenantry.services.quotas import plan as quotas
from tenantry.services.vacuuming import plan
from tenantry.services.vacuuming.model import (
    KINDS,
    Creating,
    Definition,
    Maintained,
    Maintenance,
    Progress,
    Rebuilding,
    Skipped,
    Target,
    Verb,
)

log = structlog.get_logger()

_DEADLINE = dt.timedelta(hours=24)
_RESERVE = 0.08  # of the disk: below 5 % the platform reports that it is not ready
_TRIES = 3
_PAUSE_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_WAIT_SECONDS = 30.0
_STEPS: dict[Verb, str] = {
    "vacuum_full": "rewrite",
    "vacuum": "vacuum",
    "analyze": "analyze",
    "reindex": "reindex",
    "create_index": "create",
}

_Run = Run[Maintenance, Progress]


class MaintenanceFlow:
    """The steps of the operations, one kind for each verb."""

    def __init__(
        self, store: ControlStore, clusters: ClusterPools, overuse: Overuse, *, home: Home
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._overuse = overuse
        self._home = home

    def flows(self) -> list[Flow[Maintenance, Progress]]:
        return [
            Flow(
                KINDS[verb],
                [Step(step, partial(self._maintain_all, verb))],
                undo=self._undo,
                deadline=_DEADLINE,
            )
            for verb, step in _STEPS.items()
        ]

    async def _database(self, run: _Run) -> DatabaseRow:
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, run.row.resource_id, customer_id=None)
        if row is None or row.status != "active":
            raise NotFound("The database is gone.")
        if row.quota_state == "stopped":
            raise quotas.refusal(row)
        return row

    async def _maintain_all(self, verb: Verb, run: _Run) -> Outcome:
        row = await self._database(run)
        done, skipped = run.state.done, run.state.skipped
        if row.paused_until is not None:
            return Wait(_WAIT_SECONDS)
        async with self._session(run, row) as inside:
            await _drop_leftovers(run, inside)
            seen = {each.table for each in done} | {each.table for each in skipped}
            try:
                found = await _targets(verb, run, inside)
            except psycopg.errors.LockNotAvailable:  # to measure a table takes a lock, too
                raise logins.busy(row.database_name) from None
            left = [each for each in found if each.title not in seen]
            total = sum(each.size_bytes for each in left)
            so_far = 0
            for target in left:
                await run.report(so_far / max(1, total), done_bytes=so_far, total_bytes=total)
                if plan.written_bytes(verb, target) > self._overuse.wal_left(row):
                    return Wait(_WAIT_SECONDS)
                async with self._reporting(run, row, inside, target, so_far=so_far, total=total):
                    await self._maintain(verb, run, row, inside, target)
                so_far += target.size_bytes
            await _drop_leftovers(run, inside)
        await self._remove_scratch(run)
        return _outcome(verb, done, skipped)

    @asynccontextmanager
    async def _session(self, run: _Run, row: DatabaseRow) -> AsyncIterator[visitors.Connection]:
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
            emit(StepDone(run.row.kind, "visiting", row.database_name))
            for name, value in (
                ("lock_timeout", f"{run.params.lock_seconds * 1000:.0f}"),
                ("statement_timeout", f"{seconds * 1000:.0f}"),
                # A database that is over its quota is read-only by default.
                ("default_transaction_read_only", "off"),
            ):
                await inside.execute("SELECT set_config(%s, %s, false)", (name, value))
            try:
                yield inside
            except psycopg.errors.QueryCanceled as error:  # a look at the tables, before or after
                raise too_long(seconds) from error

    @asynccontextmanager
    async def _reporting(
        self,
        run: _Run,
        row: DatabaseRow,
        inside: visitors.Connection,
        target: Target,
        *,
        so_far: int,
        total: int,
    ) -> AsyncIterator[None]:
        """Report meanwhile how far the session's command is, as the server has it."""
        pid = inside.info.backend_pid

        async def watch() -> None:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                with suppress(TenantryError, psycopg.Error):
                    async with self._clusters.connection(row.cluster_id) as server:
                        found = await vacuuming.progress(server, pid)
                    done = so_far + int(target.size_bytes * plan.fraction(found))
                    await run.report(done / max(1, total), done_bytes=done, total_bytes=total)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _maintain(
        self,
        verb: Verb,
        run: _Run,
        row: DatabaseRow,
        inside: visitors.Connection,
        target: Target,
    ) -> None:
        try:
            if copied := plan.copied_bytes(verb, target):
                self._require_room(copied)
                await self._allow(run, row, copied)
            # PostgreSQL may complete the table of a killed worker, and the next one finds it
            # smaller.
            run.state.before.setdefault(target.title, target.size_bytes)
            await run.save()
            await _act(verb, run, inside, target)
        except (TenantryError, psycopg.Error) as error:
            if inside.broken or inside.closed:
                raise
            reason = _reason(verb, error)
            for index in await _drop_leftovers(run, inside):
                reason += f" {index.title} is left of it, invalid: drop it."
            run.state.skipped.append(Skipped(table=target.title, reason=reason))
        else:
            run.state.done.append(
                Maintained(
                    table=target.title,
                    before_bytes=run.state.before[target.title],
                    after_bytes=await _size(inside, target),
                )
            )
            run.state.rebuilding = None
            await run.save()
            emit(StepDone(run.row.kind, "maintained", target.title))

    def _require_room(self, copied: int) -> None:
        """Raise NotEnoughDisk unless there is room for a copy, and for its write-ahead log."""
        files.require_room(
            self._home.clusters,
            2 * copied,
            what="Its copy, and the write-ahead log of it,",
            hint="Give the server a larger disk, or delete what nobody needs.",
            spare=_RESERVE,
        )

    async def _allow(self, run: _Run, row: DatabaseRow, copied: int) -> None:
        async with self._store.transaction(audit.PLATFORM) as tx:
            await usage.allow(tx, row.id, run.row.id, copied)

    async def _undo(self, run: _Run) -> None:
        # What was maintained needs no undo, and the allowance ends with the operation.
        if run.state.rebuilding is not None or run.state.creating is not None:
            # In a database that is gone or closed there is nothing to drop, or nobody can.
            with suppress(NotFound, Conflict):
                row = await self._database(run)
                async with self._session(run, row) as inside:
                    await _drop_leftovers(run, inside)
        await self._remove_scratch(run)

    async def _remove_scratch(self, run: _Run) -> None:
        await asyncio.to_thread(
            shutil.rmtree, self._home.scratch / str(run.row.id), ignore_errors=True
        )


async def _targets(verb: Verb, run: _Run, inside: visitors.Connection) -> Sequence[Target]:
    if verb == "reindex":
        return plan.chosen_indexes(await reindexing.indexes(inside), run.params)
    if run.params.index is not None:
        return [await _new_index(run, inside, run.params.index)]
    return plan.chosen_tables(verb, await vacuuming.tables(inside), run.params.tables)


async def _new_index(run: _Run, inside: visitors.Connection, wanted: Definition) -> NewIndex:
    table = plan.one_table(await vacuuming.tables(inside), run.params.tables[0])
    taken = await index_creation.taken(inside, table.schema)
    return plan.new_index(table, taken, wanted, run.state.creating)


async def _act(verb: Verb, run: _Run, inside: visitors.Connection, target: Target) -> None:
    if isinstance(target, Index):
        return await _rebuild(run, inside, target)
    if isinstance(target, NewIndex):
        return await _create(run, inside, target)
    for attempt in range(_TRIES):
        try:
            match verb:
                case "vacuum_full":
                    return await vacuuming.rewrite(inside, target)
                case "analyze":
                    return await vacuuming.analyze(inside, target)
                case _:  # vacuum: indexes are above
                    return await vacuuming.vacuum(inside, target, analyze=run.params.analyze)
        except psycopg.errors.LockNotAvailable:
            if attempt == _TRIES - 1:
                raise
        # Sessions that waited behind the lock request go first.
        await asyncio.sleep(_PAUSE_SECONDS)
    return None


async def _size(inside: visitors.Connection, target: Target) -> int:
    """Return the size of what was maintained; what it was before if it cannot be measured now."""
    try:
        return await vacuuming.size(inside, target)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        return target.size_bytes


async def _rebuild(run: _Run, inside: visitors.Connection, index: Index) -> None:
    await _drop_leftovers(run, inside)  # a lock may have been in the way until now
    invalid = [
        each.oid
        for each in await reindexing.indexes(inside)
        if each.table_oid == index.table_oid and not each.is_valid
    ]
    run.state.rebuilding = Rebuilding(table_oid=index.table_oid, invalid=invalid)
    await run.save()
    await reindexing.rebuild(inside, index)


async def _create(run: _Run, inside: visitors.Connection, index: NewIndex) -> None:
    if await _drop_leftovers(run, inside):
        raise Conflict("Open transactions kept what an earlier try has left from being dropped.")
    if run.state.creating is None:
        run.state.creating = Creating(index=index.title, table=index.of_table)
        await run.save()
    elif index.is_there(await reindexing.indexes(inside)):
        return  # PostgreSQL has completed what a killed worker began
    await index_creation.create(inside, index)
    emit(StepDone(run.row.kind, "created", index.title))


async def _drop_leftovers(run: _Run, inside: visitors.Connection) -> list[Index]:
    """Drop what was interrupted has left. Return what cannot be dropped at present."""
    rebuilding, creating = run.state.rebuilding, run.state.creating
    if rebuilding is None and creating is None:
        return []
    try:
        found = await reindexing.indexes(inside)
    except psycopg.errors.LockNotAvailable:  # to measure one takes a lock, too
        return []
    leftovers = []
    if rebuilding is not None:
        leftovers += reindexing.leftovers(found, rebuilding.table_oid, rebuilding.invalid)
    if creating is not None:
        leftovers += plan.created_leftovers(found, creating)
    left = []
    for index in leftovers:
        try:
            await reindexing.drop(inside, index)
        except psycopg.Error:
            if inside.broken or inside.closed:
                raise
            log.warning("maintenance.index_left", index=index.title, operation=str(run.row.id))
            left.append(index)
    run.state.rebuilding = None
    await run.save()
    return left


def _outcome(verb: Verb, done: Sequence[Maintained], skipped: Sequence[Skipped]) -> Done:
    if skipped and not done:
        first = skipped[0]
        raise Conflict(
            f"Nothing was {_DONE[verb]}. {first.table}: {first.reason}",
            hint="Remove what is in the way, and try again.",
        )
    if verb == "create_index":
        (index,) = done
        return Done({"index": index.table, "size_bytes": index.after_bytes})
    what, one = ("indexes", "index") if verb == "reindex" else ("tables", "table")
    return Done(
        {
            what: [{one: each.table, **each.model_dump(exclude={"table"})} for each in done],
            "skipped": [{one: each.table, "reason": each.reason} for each in skipped],
            "returned_bytes": sum(each.before_bytes - each.after_bytes for each in done),
        }
    )


_DONE: dict[Verb, str] = {
    "vacuum_full": "rewritten",
    "vacuum": "vacuumed",
    "analyze": "analyzed",
    "reindex": "rebuilt",
    "create_index": "created",
}


def _reason(verb: Verb, error: Exception) -> str:
    if isinstance(error, psycopg.errors.LockNotAvailable):
        if verb in {"reindex", "create_index"}:
            return "Open transactions were in its way all the time, and it was given up."
        return "Somebody uses it all the time: it could not be locked in time, three times."
    if isinstance(error, TenantryError):
        return error.detail
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return str(error)
