"""The verbs on a database's past: look at it, compare it with now, and bring rows back."""

import asyncio
import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import structlog

from tenantry.base.errors import Conflict, InvalidInput, NotFound, TenantryError, TooManyAtOnce
from tenantry.base.ids import new_id
from tenantry.base.shares import Shares
from tenantry.control import audit, past_sessions
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.past_sessions import PastSession
from tenantry.control.store import Tx, as_platform
from tenantry.host import files
from tenantry.pg import past_program
from tenantry.pg.lost_rows import Kind, RowsRejected, ThenAndNow
from tenantry.pg.sql_runs import Ran
from tenantry.services.databases.service import Databases
from tenantry.services.lost_rows.flow import PastFlow
from tenantry.services.lost_rows.model import (
    MOST,
    MOST_OF_CUSTOMER,
    PAST,
    RESTORE_TABLES,
    Comparison,
    NewTables,
    PastParams,
    TablesParams,
)
from tenantry.services.operations.service import Operations
from tenantry.services.requests.limits import having
from tenantry.services.requests.service import Caller
from tenantry.services.side_clusters.model import OutsideWindow
from tenantry.services.sql_runs.service import SqlRuns, Wanted

log = structlog.get_logger()

SECONDS = 60.0  # for counting, comparing, and bringing back
_EACH, _TOTAL = 1, 3  # tasks at once, of a database and in all: each is a process
_WAIT_SECONDS = 10.0
_MOST_COMPARISONS = 20  # of a past session; the oldest are deleted
_MOST_BYTES = 256 * 1024 * 1024  # of their files
_MOST_CHANGED = 50_000  # rows that are brought back one by one, for which SECONDS are enough
_NO_KEY = "It has no primary key, or had another one then: which row is which cannot be known."
_TOO_MANY = (
    "More rows differ, or with longer keys, than are brought back one by one: restore the whole"
    ' table, with "tables" and "as": "new".'
)


@dataclass(frozen=True, slots=True)
class _Open:
    """A past session that can be read."""

    row: DatabaseRow
    session: PastSession
    sides: ThenAndNow
    folder: Path


class LostRows:
    """The verbs on what a database was."""

    def __init__(
        self, flow: PastFlow, databases: Databases, operations: Operations, sql_runs: SqlRuns
    ) -> None:
        self._store = flow.store
        self._clusters = flow.clusters
        self._repositories = flow.repositories
        self._sides = flow.sides
        self._databases = databases
        self._operations = operations
        self._sql_runs = sql_runs
        self._places = Shares(each=_EACH, total=_TOTAL)
        operations.register(flow.past, flow.tables)

    # ── operations ───────────────────────────────────────────────────────────

    async def begin(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, to: dt.datetime
    ) -> OperationRow:
        """Begin to make a database readable as it was; one that is readable already is ended.

        Raises NotFound, Conflict, OutsideWindow, RepositoryError, TooManyAtOnce.
        """
        row = await self._databases.lock_active(tx, actor, database_id)
        await self._require_reachable(row, to)
        await past_sessions.lock(tx)
        if await past_sessions.is_made(tx, row.id):
            raise Conflict(
                "The past of this database is being made already.",
                hint="Wait until that operation has ended, or cancel it.",
            )
        async with as_platform(tx):
            total, of_customer = await past_sessions.count_others(tx, row.id)
        if total >= MOST or of_customer >= MOST_OF_CUSTOMER:
            raise TooManyAtOnce(
                f"At most {MOST_OF_CUSTOMER} databases of a customer, and {MOST} in all, are kept"
                " as they were at once.",
                seconds=60,
                hint="End one with DELETE /api/databases/{id}/past/{id}, or wait until it expires.",
            )
        await past_sessions.end(tx, row.id)
        operation = await self._operations.begin(
            tx,
            actor,
            PAST,
            PastParams(to=to),
            resource_kind="database",
            resource_id=row.id,
            customer_id=row.customer_id,
            exclusive=False,  # it changes nothing of the database
        )
        await past_sessions.insert(tx, operation.id, row.id, to)
        details: dict[str, object] = {"operation_id": str(operation.id), "to": to.isoformat()}
        await audit.record_on(tx, actor, PAST.name, row, result="accepted", details=details)
        return operation

    async def restore_tables(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: NewTables
    ) -> OperationRow:
        """Begin to bring tables back. Raises NotFound, Conflict, OutsideWindow, RepositoryError."""
        row = await self._databases.lock_active(tx, actor, database_id)
        await self._require_reachable(row, wanted.to)
        if wanted.into == "new" and len({name for _, name in wanted.tables}) < len(wanted.tables):
            raise InvalidInput.of("tables", "names of two would be the same in the new schema")
        operation = await self._operations.begin(
            tx,
            actor,
            RESTORE_TABLES,
            TablesParams(to=wanted.to, tables=[*wanted.tables], into=wanted.into),
            resource_kind="database",
            resource_id=row.id,
            customer_id=row.customer_id,
        )
        details: dict[str, object] = {
            "operation_id": str(operation.id),
            "tables": len(wanted.tables),
            "as": wanted.into,
        }
        await audit.record_on(
            tx, actor, RESTORE_TABLES.name, row, result="accepted", details=details
        )
        return operation

    async def _require_reachable(self, row: DatabaseRow, to: dt.datetime) -> None:
        self._repositories.require_enabled()
        if to < row.created_at:
            raise OutsideWindow(
                f"The database was made at {row.created_at:%F %T} UTC only.",
                hint="Ask for a moment after that.",
            )
        cluster = await self._clusters.name_at(row.id, row.cluster_id, to)
        await self._sides.check(cluster, to)

    # ── past sessions ────────────────────────────────────────────────────────

    async def sessions(self, actor: Actor, database_id: uuid.UUID) -> list[PastSession]:
        """Return those that are made or can be read, newest first. Raises NotFound."""
        async with self._store.transaction(actor) as tx:
            row = await self._databases.find(tx, actor, database_id)
            return await past_sessions.of_database(tx, row.id)

    async def end(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, past_id: uuid.UUID
    ) -> PastSession:
        """End a past session, and return it. Raises NotFound."""
        row = await self._databases.find(tx, actor, database_id)
        ended = await past_sessions.end(tx, row.id, past_id)
        if not ended:
            raise _gone()
        details: dict[str, object] = {"past_id": str(past_id)}
        await audit.record_on(tx, actor, "database.past_ended", row, details=details)
        return ended[0]

    async def reconcile(self) -> None:
        """Remove the side clusters of sessions that are over, or that have stopped."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            over = await past_sessions.over(tx)
            stopped = {
                each
                for each in await past_sessions.open_ids(tx)
                if self._sides.running(each) is None
            }
        for past_id in over | stopped:
            try:
                await self._sides.remove(past_id)
                async with self._store.transaction(audit.PLATFORM) as tx:
                    await past_sessions.remove(tx, past_id)
            except (TenantryError, psycopg.Error, OSError) as error:
                log.warning("past.not_removed", past=str(past_id), error=str(error))

    async def _open(self, actor: Actor, database_id: uuid.UUID, past_id: uuid.UUID) -> _Open:
        row = await self._databases.active(actor, database_id)
        found = [each for each in await self.sessions(actor, row.id) if each.id == past_id]
        if not found:
            raise _gone()
        then = self._sides.running(past_id)
        if found[0].expires_at is None:
            raise Conflict(
                "It cannot be read yet.", hint=f"GET /api/operations/{past_id} shows how far it is."
            )
        if then is None:
            raise _gone()
        cluster = await self._clusters.cluster(row.cluster_id)
        purpose = f"{past_id.hex}_rows"
        sides = ThenAndNow(then, cluster.address, row.database_name, row.username, purpose)
        return _Open(row, found[0], sides, self._sides.folder(past_id) / "comparisons")

    @asynccontextmanager
    async def _at_work(
        self, caller: Caller, database_id: uuid.UUID, past_id: uuid.UUID
    ) -> AsyncIterator[_Open]:
        """Hold a place for a task in an open session."""
        here = await self._open(caller.actor, database_id, past_id)
        place = self._places.place(here.row.id, within=_WAIT_SECONDS)
        refusal = "Something is being compared or brought back in this database already."
        async with (
            caller.visiting(),
            having(place, refusal, hint="Ask again when that is answered."),
        ):
            yield here

    # ── looking ──────────────────────────────────────────────────────────────

    async def tables(
        self, caller: Caller, database_id: uuid.UUID, past_id: uuid.UUID
    ) -> list[dict[str, Any]]:
        """Return what ``ThenAndNow.tables`` returns. Raises NotFound, TooManyAtOnce, and as it."""
        async with self._at_work(caller, database_id, past_id) as here:
            return await here.sides.tables(seconds=SECONDS)

    async def sql(
        self, caller: Caller, database_id: uuid.UUID, past_id: uuid.UUID, wanted: Wanted
    ) -> Ran:
        """Run statements in the past, read-only. Raises NotFound, and as ``SqlRuns.run``."""
        here = await self._open(caller.actor, database_id, past_id)
        return await self._sql_runs.run_past(
            caller, here.row, here.sides.then, wanted, here.session.moment
        )

    async def compare(
        self, caller: Caller, database_id: uuid.UUID, past_id: uuid.UUID, schema: str, table: str
    ) -> Comparison:
        """Compare a table then and now.

        Raises NotFound, TooManyAtOnce, CannotCompare, StatementTooLong, Conflict, Unavailable.
        """
        comparison_id = new_id()
        async with self._at_work(caller, database_id, past_id) as here:
            file = _file(here, comparison_id)
            await asyncio.to_thread(_make_room, here.folder)
            try:
                found = await here.sides.compare(schema, table, file=file, seconds=SECONDS)
            except BaseException:
                file.unlink(missing_ok=True)
                raise
            files.write_atomically(file.with_suffix(".json"), json.dumps(found))
            about = _read(here, comparison_id)
            details: dict[str, object] = {"past_id": str(past_id), **about.counts}
            async with self._store.transaction(caller.actor) as tx:
                await audit.record_on(
                    tx, caller.actor, "database.compare", here.row, details=details
                )
        return about

    async def comparison(
        self, caller: Caller, database_id: uuid.UUID, past_id: uuid.UUID, comparison_id: uuid.UUID
    ) -> Comparison:
        """Return what a comparison found. Raises NotFound."""
        return _read(await self._open(caller.actor, database_id, past_id), comparison_id)

    async def page(
        self,
        caller: Caller,
        database_id: uuid.UUID,
        past_id: uuid.UUID,
        *,
        comparison_id: uuid.UUID,
        kinds: Sequence[Kind],
        after: int,
        limit: int,
    ) -> dict[str, Any]:
        """Return rows of a comparison, as ``ThenAndNow.page``. Raises as ``compare``."""
        async with self._at_work(caller, database_id, past_id) as here:
            _read(here, comparison_id)
            return await here.sides.page(
                _file(here, comparison_id), kinds, after=after, limit=limit, seconds=SECONDS
            )

    # ── bringing back ────────────────────────────────────────────────────────

    async def bring_back(
        self,
        caller: Caller,
        database_id: uuid.UUID,
        past_id: uuid.UUID,
        *,
        comparison_id: uuid.UUID,
        kinds: Sequence[Kind],
        places: Sequence[int] | None,
    ) -> dict[str, Any]:
        """Bring rows of a comparison back, as ``ThenAndNow.bring_back`` in one transaction.

        Repeated, it leaves what is as it was then. Raises as ``compare``, and RowsRejected.
        """
        async with self._at_work(caller, database_id, past_id) as here:
            found = _read(here, comparison_id)
            if found.blocked is not None and (places is None or not found.key):
                raise Conflict(found.blocked, hint="Nothing was changed.")
            if places is None and "changed" in kinds and found.counts["changed"] > _MOST_CHANGED:
                raise Conflict(
                    f"At most {_MOST_CHANGED:,} changed rows are brought back at once.",
                    hint="Choose some of them, bring the deleted ones back only, or restore the"
                    ' whole table, with "tables" and "as": "new".',
                )
            details: dict[str, object] = {
                "past_id": str(past_id),
                "table": f"{found.schema}.{found.table}",
                "moment": here.session.moment.isoformat(),
            }
            async with caller.recorded("database.bring_back", here.row, details):
                try:
                    done = await here.sides.bring_back(
                        [_file(here, comparison_id)], kinds, places=places, seconds=SECONDS
                    )
                except RowsRejected as error:
                    details["error"] = error.sqlstate
                    raise
                details |= {name: each for name, each in done.items() if name != "rows"}
        return done


def _gone() -> NotFound:
    return NotFound(
        "This database has no such past session, or not any more.",
        hint="Begin another with POST /api/databases/{id}/past.",
    )


def _file(here: _Open, comparison_id: uuid.UUID) -> Path:
    return here.folder / f"{comparison_id}.jsonl"


def _read(here: _Open, comparison_id: uuid.UUID) -> Comparison:
    try:
        found = json.loads(_file(here, comparison_id).with_suffix(".json").read_text())
    except FileNotFoundError:
        raise NotFound("This past session has no such comparison.") from None
    blocked = _TOO_MANY if found["truncated"] else None if found["key"] else _NO_KEY
    return Comparison(id=comparison_id, blocked=blocked, **{"moved": 0, **found})


def _make_room(folder: Path) -> None:
    """Create the folder of comparisons, and delete the oldest if there are too many."""
    files.ensure_folder(folder)
    found = sorted(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime, reverse=True)
    size = past_program.MOST_BYTES  # for the next one
    for nth, old in enumerate(found, 2):
        size += old.stat().st_size
        if nth > _MOST_COMPARISONS or size > _MOST_BYTES:
            old.with_suffix(".json").unlink(missing_ok=True)
            old.unlink(missing_ok=True)
