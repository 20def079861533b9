"""The verbs on rows of tables."""

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.secrets import SecretSource
from tenantry.base.shares import Shares
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import copies, logins, tables
from tenantry.pg.sql_runs import Ran
from tenantry.pg.tables import Shape
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.service import Databases
from tenantry.services.imports.uploads import paced
from tenantry.services.quotas import plan as quotas
from tenantry.services.requests.limits import having
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs.service import WRITES, SqlRuns, Wanted
from tenantry.services.table_rows import csv_files, plan
from tenantry.services.table_rows.plan import Change, Page

A_PAGE = 50  # rows
MOST_CSV_BYTES = 1024**3
_SECONDS = 30_000  # ms, for a page or for changes
_COPIES = 1, 4  # at the same time, of a database and in all: each is a process


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a database, by schema and name, as it is now."""

    schema: str
    name: str
    shape: Shape

    def statements(self, changes: Sequence[Change]) -> str:
        """Return what makes these changes. Raises as ``plan.changing``."""
        return ";\n".join(
            plan.changing(self.schema, self.name, self.shape, each) for each in changes
        )


@dataclass(frozen=True, slots=True)
class Changed:
    """How many rows were changed."""

    rows: int


@dataclass(frozen=True, slots=True)
class Browsed:
    """Rows, at most one more than a page has, as ``SqlRuns.run``; and how to read all."""

    table: Table
    document: str
    sql: str

    @property
    def result(self) -> Any:
        """The rows with their columns, parsed."""
        [found] = json.loads(self.document)["results"]
        return found


class TableRows:
    """Rows that callers read and change, with the rights of the database's owner role."""

    def __init__(
        self, store: ControlStore, clusters: ClusterPools, databases: Databases, sql_runs: SqlRuns
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._databases = databases
        self._sql_runs = sql_runs
        each, total = _COPIES
        self._places = Shares(each=each, total=total)

    async def table(self, caller: Caller, database_id: uuid.UUID, schema: str, name: str) -> Table:
        """Return a table or view. Raises NotFound, Conflict, Unavailable, TooManyAtOnce."""
        row = await self._databases.active(caller.actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        async with (
            caller.visiting(),
            logins.inside(cluster.address, row.database_name, [row.username]) as inside,
        ):
            shape = await tables.shape(inside, schema, name)
        if shape is None:
            raise NotFound(f"There is no table {schema}.{name}.")
        return Table(schema, name, shape)

    async def browse(
        self, caller: Caller, database_id: uuid.UUID, schema: str, name: str, page: Page
    ) -> Browsed:
        """Read a page of a table's or view's rows. Raises as ``table`` and ``SqlRuns.run``."""
        table = await self.table(caller, database_id, schema, name)
        text = plan.statement(schema, name, table.shape, page, limit=A_PAGE + 1)
        ran = await self._run(caller, database_id, _reading(text, A_PAGE + 1))
        whole = plan.statement(schema, name, table.shape, page, limit=None)
        return Browsed(table, ran.document, whole)

    async def find(
        self, caller: Caller, database_id: uuid.UUID, table: Table, keys: Sequence[Sequence[str]]
    ) -> list[dict[str, str | None]]:
        """Return the rows with these keys, as texts, with ``plan.VERSION``.

        Values of more than 64 KiB are left out. Raises as ``SqlRuns.run``.
        """
        text = plan.rows_of_keys(table.schema, table.name, table.shape, keys)
        ran = await self._run(caller, database_id, _reading(text, len(keys)))
        [found] = json.loads(ran.document)["results"]
        names = [each["name"] for each in found["columns"]]
        cut = {(row, column) for row, column, _ in found["cut"]}
        return [
            {
                name: plan.as_text(value)
                for column, (name, value) in enumerate(zip(names, values, strict=True))
                if (nth, column) not in cut
            }
            for nth, values in enumerate(found["rows"])
        ]

    async def change(
        self, caller: Caller, database_id: uuid.UUID, table: Table, changes: Sequence[Change]
    ) -> Changed:
        """Make changes as one transaction, each of exactly one row, once per idempotency key.

        Raises RowChanged, as ``Table.statements``, ``SqlRuns.run`` and ``Caller.idempotent``.
        """
        text = table.statements(changes)
        wanted = Wanted(text, False, _SECONDS, 1, exactly=1, exact_values=True)

        async def work(_tx: Tx, _secrets: SecretSource) -> Changed:
            await self._run(caller, database_id, wanted)
            return Changed(len(changes))

        return await caller.idempotent(Changed, work)

    async def _run(self, caller: Caller, database_id: uuid.UUID, wanted: Wanted) -> Ran:
        return await self._sql_runs.run(caller, database_id, wanted, application="tenantry rows")

    # ── copying ──────────────────────────────────────────────────────────────

    async def export(
        self, caller: Caller, database_id: uuid.UUID, schema: str, name: str, page: Page
    ) -> AsyncIterator[bytes]:
        """Return rows as CSV, in pieces; the first is there already.

        Raises as ``table``, and Conflict, Unavailable, also later: then that is not all.
        """
        table = await self.table(caller, database_id, schema, name)
        statement = plan.copied_out(schema, name, table.shape, page)
        pieces = self._exported(caller, database_id, table, statement)
        # Also if the client goes away, its process ends with the request.
        await caller.call.held.enter_async_context(aclosing(pieces))
        first = await anext(pieces, b"")
        return _with(first, pieces)

    async def _exported(
        self, caller: Caller, database_id: uuid.UUID, table: Table, statement: str
    ) -> AsyncGenerator[bytes, None]:
        async with (
            self._copying(caller, database_id, "rows.export", table) as (place, _),
            aclosing(copies.out(place, statement)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    async def load(
        self,
        caller: Caller,
        database_id: uuid.UUID,
        schema: str,
        name: str,
        chunks: AsyncIterator[bytes],
    ) -> int:
        """Insert the rows of a CSV file, of which the first line names the columns.

        All are one transaction; returns their number. Raises InvalidInput with the line, Forbidden,
        UploadTooSlow, and as ``table`` and ``Caller.at_most_once``.
        """
        await caller.require(WRITES)
        table = await self.table(caller, database_id, schema, name)
        async with self._copying(caller, database_id, "rows.import", table) as (place, row):
            if row.quota_state in {"read_only", "stopped"}:
                raise quotas.refusal(row)
            room = max(0, row.disk_quota_bytes - (row.used_bytes or 0))
            bounded = _bounded(paced(chunks), most=min(MOST_CSV_BYTES, room))
            read = csv_files.whole(bounded)
            line, first = await csv_files.header(read)
            names = plan.loaded(csv_files.names_of(line), table.shape)
            statement = plan.copied_in(schema, name, names)
            work = partial(copies.into, place, statement, _with(first, read))
            return await caller.at_most_once(work)

    @asynccontextmanager
    async def _copying(
        self, caller: Caller, database_id: uuid.UUID, action: str, table: Table
    ) -> AsyncIterator[tuple[copies.Table, DatabaseRow]]:
        """Hold a place, and record that it begins and what came of it."""
        row = await self._databases.active(caller.actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        details: dict[str, object] = {"table": f"{table.schema}.{table.name}"}
        place = self._places.place(row.id, within=0)
        refusal = "Other rows are being copied."
        async with (
            caller.visiting(),
            having(place, refusal, seconds=5, hint="Wait for the end of that."),
            caller.recorded(action, row, details),
        ):
            yield copies.Table(cluster.address, row.database_name, row.username), row


def _reading(text: str, rows: int) -> Wanted:
    is_own = text.startswith(f"SELECT {plan.VERSION}")  # of a view, applications may have the same
    return Wanted(text, True, _SECONDS, rows, exact_values=True, own=is_own)


async def _with(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for each in others:
        yield each


async def _bounded(chunks: AsyncIterator[bytes], *, most: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise Conflict(
                f"The file has more than the {most:,} bytes that there is room for.",
                hint="Raise disk_quota_bytes, or split the file. Nothing of it was copied.",
            )
        yield chunk
