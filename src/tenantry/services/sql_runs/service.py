"""The verbs on SQL that callers send."""

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tenantry.base.errors import FieldError, InvalidInput, NotFound, TenantryError, TooManyAtOnce
from tenantry.base.shares import NoPlace, Shares
from tenantry.control import audit
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.pg import logins, sql_runs, statements, table_statistics, tables
from tenantry.pg.sql_runs import Ran, StatementFailed
from tenantry.pg.statements import Unreadable
from tenantry.pg.tables import Shape
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.service import Databases
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs import browsing, plan
from tenantry.services.sql_runs.browsing import Page
from tenantry.services.sql_runs.plan import Danger, Piece

READS, WRITES = "data:read", "data:write"  # scopes
_EACH, _TOTAL = 2, 6  # runs at the same time, of a database and in all: each is a process
_WAIT_SECONDS = 10.0
A_PAGE = 50  # rows of a table


@dataclass(frozen=True, slots=True)
class Wanted:
    """A text to run. ``read_only`` None means: unless the caller may write, and not production."""

    sql: str
    read_only: bool | None
    timeout_ms: int
    max_rows: int


@dataclass(frozen=True, slots=True)
class Estimated:
    """A statement to confirm; ``rows`` is about how many it is about, None if that is unknown."""

    danger: Danger
    rows: int | None


@dataclass(frozen=True, slots=True)
class Browsed:
    """A table's columns; its rows, one more than a page has, as by ``run``; and how to read all."""

    shape: Shape
    document: str
    sql: str


class SqlRuns:
    """SQL that callers send, run with the rights of a database's owner role."""

    def __init__(self, store: ControlStore, clusters: ClusterPools, databases: Databases) -> None:
        self._store = store
        self._clusters = clusters
        self._databases = databases
        self._places = Shares(each=_EACH, total=_TOTAL)

    async def run(self, caller: Caller, database_id: uuid.UUID, wanted: Wanted) -> Ran:
        """Run statements as one transaction, which the audit has before and after.

        Raises NotFound, Forbidden, InvalidInput, TooManyAtOnce, and as ``sql_runs.run``.
        """
        row = await self._databases.active(caller.actor, database_id)
        read_only = is_read_only(caller, row, wanted.read_only)
        if not read_only:
            await caller.require(WRITES)
        async with self._place(caller, row):
            found = await _pieces(wanted.sql)
            cluster = await self._clusters.cluster(row.cluster_id)
            asked = sql_runs.Wanted(
                statements=[each.statement.text for each in found],
                read_only=read_only,
                alone=not read_only and plan.is_alone(found),
                seconds=wanted.timeout_ms / 1000,
                rows=wanted.max_rows,
            )
            working = sql_runs.run(cluster.address, row.database_name, row.username, asked)
            try:
                return await self._audited(caller, row, wanted.sql, asked, working)
            except StatementFailed as error:
                raise _placed(wanted.sql, found, error) from error

    async def dangers(self, caller: Caller, database_id: uuid.UUID, text: str) -> list[Estimated]:
        """Return the statements that somebody should confirm, with estimates of their rows.

        Raises NotFound, InvalidInput, TooManyAtOnce, Conflict, Unavailable.
        """
        row = await self._databases.active(caller.actor, database_id)
        found = plan.dangers(await _pieces(text))
        names = sorted({name for each in found for _, name in each.tables})
        if not names:
            return [Estimated(each, None) for each in found]
        cluster = await self._clusters.cluster(row.cluster_id)
        async with (
            caller.visiting(),
            logins.inside(cluster.address, row.database_name, [row.username]) as inside,
        ):
            known = await table_statistics.estimated_rows(inside, names)
        return [Estimated(each, plan.rows_of(each, known)) for each in found]

    async def browse(
        self, caller: Caller, database_id: uuid.UUID, schema: str, table: str, page: Page
    ) -> Browsed:
        """Read a page of a table's or view's rows, in the order of its key.

        Raises NotFound, and as ``run``.
        """
        row = await self._databases.active(caller.actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        async with (
            caller.visiting(),
            logins.inside(cluster.address, row.database_name, [row.username]) as inside,
        ):
            shape = await tables.shape(inside, schema, table)
        if shape is None:
            raise NotFound(f"There is no table {schema}.{table}.")
        text = browsing.statement(schema, table, shape, page, limit=A_PAGE + 1)
        ran = await self.run(caller, database_id, Wanted(text, True, 30_000, A_PAGE + 1))
        whole = browsing.statement(schema, table, shape, page, limit=None)
        return Browsed(shape, ran.document, whole)

    @asynccontextmanager
    async def _place(self, caller: Caller, row: DatabaseRow) -> AsyncIterator[None]:
        async with caller.visiting(), AsyncExitStack() as held:
            try:
                await held.enter_async_context(self._places.place(row.id, within=_WAIT_SECONDS))
            except NoPlace:
                raise TooManyAtOnce(
                    f"Already {_EACH} runs are at work in this database, or {_TOTAL} in all.",
                    seconds=1,
                    hint="Send the next one when one of them is answered.",
                ) from None
            yield

    async def _audited(
        self,
        caller: Caller,
        row: DatabaseRow,
        text: str,
        asked: sql_runs.Wanted,
        working: Coroutine[Any, Any, Ran],
    ) -> Ran:
        """Record that statements begin to run, and what became of it; never their text."""
        details: dict[str, object] = {
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "statements": len(asked.statements),
            "read_only": asked.read_only,
        }
        try:
            await self._record(caller, row, "accepted", details)
        except BaseException:
            working.close()
            raise
        began = time.monotonic()
        result: audit.Result = "failed"
        try:
            ran = await working
            result = "ok"
            details["rows"] = ran.rows
        except TenantryError as error:
            failed = error.failure.sqlstate if isinstance(error, StatementFailed) else None
            details["error"] = failed or error.code
            raise
        except asyncio.CancelledError:
            details["error"] = "cancelled"
            raise
        finally:
            details["milliseconds"] = round((time.monotonic() - began) * 1000)
            await self._record(caller, row, result, details)
        return ran

    async def _record(
        self, caller: Caller, row: DatabaseRow, result: audit.Result, details: dict[str, object]
    ) -> None:
        async with self._store.transaction(caller.actor) as tx:
            await audit.record_on(
                tx, caller.actor, "database.sql", row, result=result, details=details
            )


def is_read_only(caller: Caller, row: DatabaseRow, asked: bool | None) -> bool:
    """Whether a run of this caller's is read-only, if it asks so, or does not say (None)."""
    if asked is not None:
        return asked
    return row.environment == "production" or not caller.principal.may(WRITES)


async def _pieces(text: str) -> list[Piece]:
    try:
        return await statements.aside(lambda: plan.pieces(text))
    except Unreadable as error:
        refusal = InvalidInput.of("sql", f"line {error.line}: {error}")
        refusal.about = {"line": error.line}
        raise refusal from None


def _placed(text: str, found: list[Piece], error: StatementFailed) -> StatementFailed:
    """Add where in the text a statement failed."""
    failure, last = error.failure, len(found) - 1
    piece = found[min(error.nth, last)]  # after the last one, the transaction itself
    begin = piece.offset + 1
    position = begin + (failure.position or 1) - 1
    line, column = plan.place(text, position)
    error.about = {
        "sqlstate": failure.sqlstate,
        "statement": error.nth + 1,
        "line": line,
        "column": column,
        "position": position,
        "postgres_detail": failure.detail,
        "postgres_hint": failure.hint,
        "context": failure.context,
    }
    message = ". ".join(filter(None, (f"line {line}: {failure.message}", failure.detail)))
    error.fields = (FieldError("sql", message, failure.sqlstate or "invalid"),)
    error.detail = f"sql: {message}"
    return error
