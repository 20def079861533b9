"""The verbs on SQL that callers send."""

import datetime as dt
import hashlib
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tenantry.base.errors import FieldError, InvalidInput
from tenantry.base.shares import Shares
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.pg import logins, sql_runs, statements, table_statistics, tables
from tenantry.pg.connections import Address
from tenantry.pg.sql_program import OWN
from tenantry.pg.sql_runs import Ran, StatementFailed
from tenantry.pg.statements import Unreadable
from tenantry.pg.tables import Catalog
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.service import Databases
from tenantry.services.requests.limits import having
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs import plan
from tenantry.services.sql_runs.plan import Danger, Piece
from tenantry.services.sql_runs.texts import SqlTexts

Application = Literal["tenantry console", "tenantry rows", "tenantry sql"]
READS, WRITES = "data:read", "data:write"  # scopes
_EACH, _TOTAL = 2, 6  # runs at the same time, of a database and in all: each is a process
_WAIT_SECONDS = 10.0
_MOST_COLUMNS, _MOST_FUNCTIONS = 20_000, 2_000  # names for completion


@dataclass(frozen=True, slots=True)
class Wanted:
    """A text to run. ``read_only`` None means: unless the caller may write, and not production.

    ``exactly`` is how many rows each statement has to be about, if that matters. With
    ``exact_values`` values can be written as they are read, whatever the owner role has set. With
    ``remember`` the text is added to the caller's history once it has succeeded. ``own`` is whether
    its statements are the platform's own, of forms that no application has.
    """

    sql: str
    read_only: bool | None
    timeout_ms: int
    max_rows: int
    exactly: int | None = None
    exact_values: bool = False
    remember: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class Estimated:
    """A statement to confirm; ``rows`` is about how many it is about, None if that is unknown."""

    danger: Danger
    rows: int | None


class SqlRuns:
    """SQL that callers send, run with the rights of a database's owner role."""

    def __init__(
        self, store: ControlStore, clusters: ClusterPools, databases: Databases, texts: SqlTexts
    ) -> None:
        self.texts = texts
        self._store = store
        self._clusters = clusters
        self._databases = databases
        self._places = Shares(each=_EACH, total=_TOTAL)

    async def run(
        self, caller: Caller, database_id: uuid.UUID, wanted: Wanted, *, application: Application
    ) -> Ran:
        """Run statements as one transaction, which the audit has before and after.

        Raises NotFound, Forbidden, InvalidInput, TooManyAtOnce, and as ``sql_runs.run``.
        """
        row = await self._databases.active(caller.actor, database_id)
        read_only = is_read_only(caller, row, wanted.read_only)
        if not read_only:
            await caller.require(WRITES)
        cluster = await self._clusters.cluster(row.cluster_id)
        about: dict[str, object] = {"read_only": read_only}
        return await self._run(caller, row, cluster.address, wanted, about, application=application)

    async def run_once(
        self, caller: Caller, database_id: uuid.UUID, wanted: Wanted, *, application: Application
    ) -> Ran:
        """Run statements as ``run``; under an idempotency key at most once, if they may write.

        Raises as ``run`` and ``Caller.at_most_once``.
        """
        row = await self._databases.active(caller.actor, database_id)
        work = partial(self.run, caller, database_id, wanted, application=application)
        if is_read_only(caller, row, wanted.read_only):
            return await work()
        return await caller.at_most_once(work)

    async def run_past(
        self, caller: Caller, row: DatabaseRow, then: Address, wanted: Wanted, moment: dt.datetime
    ) -> Ran:
        """Run statements read-only in a database as it was, on the side cluster ``then``.

        Raises as ``run``.
        """
        about: dict[str, object] = {"read_only": True, "past": moment.isoformat()}
        try:
            return await self._run(caller, row, then, wanted, about, application="tenantry sql")
        except StatementFailed as error:
            if error.failure.sqlstate == sql_runs.READ_ONLY:
                error.hint = "The past can only be read. Bring rows back from a comparison."
            raise

    async def _run(
        self,
        caller: Caller,
        row: DatabaseRow,
        address: Address,
        wanted: Wanted,
        about: dict[str, object],
        *,
        application: Application,
    ) -> Ran:
        read_only = bool(about["read_only"])
        place = self._places.place(row.id, within=_WAIT_SECONDS)
        refusal = f"Already {_EACH} runs are at work in this database, or {_TOTAL} in all."
        async with caller.visiting(), having(place, refusal):
            found = await _pieces(wanted.sql)
            own = OWN if wanted.own else ""
            asked = sql_runs.Wanted(
                statements=[each.statement.text + own for each in found],
                read_only=read_only,
                alone=not read_only and plan.is_alone(found),
                seconds=wanted.timeout_ms / 1000,
                rows=wanted.max_rows,
                application=application,
                exactly=wanted.exactly,
                exact_values=wanted.exact_values,
            )
            details: dict[str, object] = {
                "sha256": hashlib.sha256(wanted.sql.encode()).hexdigest(),  # never the text
                "statements": len(asked.statements),
                **about,
            }
            async with caller.recorded("database.sql", row, details):
                began = time.monotonic()
                try:
                    ran = await sql_runs.run(address, row.database_name, row.username, asked)
                    details["rows"] = ran.rows
                except StatementFailed as error:
                    details["error"] = error.failure.sqlstate or error.code
                    raise _placed(wanted.sql, found, error) from error
                finally:
                    details["milliseconds"] = round((time.monotonic() - began) * 1000)
        if wanted.remember:
            await self.texts.remember(caller.actor, row.id, wanted.sql)
        return ran

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

    async def names(self, caller: Caller, database_id: uuid.UUID) -> Catalog:
        """Return the names of a database's tables, columns and functions, for completion.

        Raises NotFound, Conflict, Unavailable, TooManyAtOnce.
        """
        row = await self._databases.active(caller.actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        async with (
            caller.visiting(),
            logins.inside(cluster.address, row.database_name, [row.username]) as inside,
        ):
            return await tables.catalog(
                inside, most_columns=_MOST_COLUMNS, most_functions=_MOST_FUNCTIONS
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
