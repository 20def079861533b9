"""A database's own record of its migrations: golang-migrate's table, and a journal beside it."""

from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row

from tenantry.base.errors import Conflict
from tenantry.pg.connections import fetch_bounded
from tenantry.pg.sql_program import OWN
from tenantry.services.migrations import plan
from tenantry.services.migrations.model import NO_VERSION, Applied, ForeignLedger, Script, State

Connection = psycopg.AsyncConnection[Any]
_OWN = sql.SQL(OWN)


async def send(
    conn: Connection, query: LiteralString, **values: sql.Composable
) -> psycopg.AsyncCursor[TupleRow]:
    # A cursor of our own, as the connection's may use another cursor class or row factory.
    # Values are written into the text, because only a query without parameters uses the
    # simple protocol, which allows several statements.
    cursor = psycopg.AsyncCursor(conn, row_factory=tuple_row)
    return await cursor.execute(sql.SQL(query).format(**values) + _OWN, prepare=False)


_LEDGER = {"version": ("bigint", "integer", "smallint"), "dirty": ("boolean",)}
_COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    plan.TABLE: _LEDGER,
    plan.BESIDE: _LEDGER,
    plan.JOURNAL: {
        "version": ("bigint",),
        "file": ("text",),
        "sha256": ("text",),
        "applied_at": ("timestamp with time zone",),
    },
}
_OF_RAILS = "ar_internal_metadata"


def _not_a_ledger(schema: str, table: str, why: str) -> Conflict:
    return Conflict(
        f"The table {schema}.{table} {why}, so it is not read as the record of migrations.",
        hint="Rename it, if it is somebody else's; or drop it, and what it recorded is forgotten.",
    )


class Ledger:
    """The table ``schema_migrations``: no row, or one with version and dirty.

    If another tool has that table, it is ``tenantry_schema_migrations``. Beside it,
    ``tenantry_migrations`` records what was applied, and when: golang-migrate has no place for
    that.
    """

    def __init__(
        self, conn: Connection, database: str, schema: str, table: str, there: "_Tables"
    ) -> None:
        self.conn = conn
        self.database = database
        self.schema = schema
        self.table = table
        self._exists = table in there
        self._has_journal = plan.JOURNAL in there
        self._table = sql.Identifier(schema, table)
        self._journal = sql.Identifier(schema, plan.JOURNAL)

    @classmethod
    async def find(cls, conn: Connection, *, beside: bool = False) -> "Ledger":
        """Return the ledger in the schema of new tables, which is where golang-migrate looks.

        Raises ForeignLedger if another tool has the table, unless a ledger was begun ``beside`` it
        or is to be now.
        """
        if not conn.autocommit or conn.info.transaction_status != TransactionStatus.IDLE:
            raise ValueError("migrations need a connection in autocommit mode, and idle")
        cursor = await send(conn, "SELECT current_database(), current_schema()")
        [(database, schema)] = await cursor.fetchall()
        if schema is None:
            raise Conflict(
                f"Database {database} has no schema in which to keep {plan.TABLE}.",
                hint="Create the schema that the role's search_path names.",
            )
        there = await _tables(conn, schema)
        table = await _table(conn, schema, there, beside=beside)
        _require_ours(schema, table, there)
        return cls(conn, database, schema, table, there)

    @classmethod
    async def at(cls, conn: Connection, database: str, schema: str) -> "Ledger":
        """Return the ledger in this schema, for reading; names need not be looked up in it.

        A tenant can change these tables in any way. They are read only if they are plain tables
        whose columns have PostgreSQL's own types: reading them would otherwise execute a cast,
        domain or operator of the tenant's.

        Raises Conflict if they are something else.
        """
        there = await _tables(conn, schema)
        table = await _table(conn, schema, there, beside=False)
        _require_ours(schema, table, there)
        return cls(conn, database, schema, table, there)

    async def ensure(self) -> None:
        """Create the table if it is missing."""
        # A role that may not create tables needs none where there is nothing to do.
        if not self._exists:
            await send(
                self.conn,
                "CREATE TABLE IF NOT EXISTS {table} "
                "(version bigint not null primary key, dirty boolean not null)",
                table=self._table,
            )
            self._exists = True

    async def read(self) -> State:
        if not self._exists:
            return State()
        cursor = await send(
            self.conn,
            "SELECT version::bigint, dirty::boolean FROM {table} LIMIT 1",
            table=self._table,
        )
        rows = await cursor.fetchall()
        if not rows:
            return State()
        [(version, dirty)] = rows
        return State(None if version == NO_VERSION else version, dirty)

    async def is_locked(self) -> bool:
        """Whether another run holds the lock of runs. Does not wait for it."""
        keys = plan.lock_keys(self.database, self.schema, self.table)
        free = sql.SQL(" AND ").join(
            # Shared, and only for a moment, so that a run that begins hardly waits for it.
            sql.SQL("pg_catalog.pg_try_advisory_xact_lock_shared({})").format(key)
            for key in keys
        )
        cursor = await send(self.conn, "SELECT NOT ({free})", free=free)
        [(is_locked,)] = await cursor.fetchall()
        return bool(is_locked)

    async def write(self, version: int | None, *, dirty: bool) -> None:
        """Record the database's state."""
        await self.send(self.writing(version, dirty=dirty))

    async def send(self, *queries: sql.Composable) -> None:
        """Send these as one message, and so as one transaction where none is open."""
        await send(self.conn, "{queries}", queries=sql.SQL(f"{OWN}; ").join(queries))

    def writing(self, version: int | None, *, dirty: bool) -> sql.Composed:
        """Return the statements that record the database's state."""
        # DELETE where golang-migrate truncates: after a TRUNCATE others cannot read the version
        # while a file runs.
        if version is None and not dirty:
            return sql.SQL("DELETE FROM {}").format(self._table)
        return sql.SQL(
            "DELETE FROM {table}{own}; INSERT INTO {table} (version, dirty) VALUES ({v}, {dirty})"
        ).format(
            own=_OWN,
            table=self._table,
            v=sql.Literal(NO_VERSION if version is None else version),
            dirty=sql.Literal(dirty),
        )

    async def journal(self) -> dict[int, Applied]:
        """Return what this runner has applied, by version."""
        if not self._has_journal:
            return {}
        rows = await fetch_bounded(
            self.conn,
            sql.SQL(
                "SELECT version::bigint, file::text, sha256::text, applied_at::timestamptz"
                " FROM {journal}"
            ).format(journal=self._journal),
        )
        return {row[0]: Applied(*row) for row in rows}

    async def ensure_journal(self) -> None:
        """Create the journal if it is missing."""
        if not self._has_journal:
            await send(
                self.conn,
                "CREATE TABLE IF NOT EXISTS {journal} (version bigint PRIMARY KEY, "
                "file text NOT NULL, sha256 text NOT NULL, "
                "applied_at timestamptz NOT NULL DEFAULT now())",
                journal=self._journal,
            )
            self._has_journal = True

    def noting(self, version: int, script: Script) -> sql.Composed:
        """Return the statement that records the file that brought the database to ``version``."""
        return sql.SQL(
            "INSERT INTO {journal} (version, file, sha256) VALUES ({version}, {file}, {sha256}) "
            "ON CONFLICT (version) DO UPDATE SET file = excluded.file, sha256 = excluded.sha256, "
            "applied_at = excluded.applied_at"
        ).format(
            journal=self._journal,
            version=sql.Literal(version),
            file=sql.Literal(script.name),
            sha256=sql.Literal(script.sha256),
        )

    def forgetting_after(self, version: int) -> sql.Composed:
        """Return the statement that deletes the journal's rows after ``version``."""
        return sql.SQL("DELETE FROM {journal} WHERE version > {version}").format(
            journal=self._journal, version=sql.Literal(version)
        )

    async def forget_after(self, version: int) -> None:
        """Delete the journal's rows after ``version``, if there is a journal."""
        if self._has_journal:
            await self.send(self.forgetting_after(version))


@dataclass(frozen=True, slots=True)
class _Found:
    """A relation with a name of interest, and the types of its columns by their names."""

    kind: str  # pg_class.relkind
    columns: dict[str, str]

    def is_not(self, wanted: dict[str, tuple[str, ...]]) -> str:
        """Return why it is no plain table with these columns; empty if it is one."""
        if self.kind != "r":
            return f"is {_KINDS.get(self.kind, 'no plain table')}"
        for column, types in wanted.items():
            if (type_ := self.columns.get(column, "missing")) not in types:
                return f"has a column {column} that is {type_}"
        return ""


_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "p": "a partitioned table",
    "S": "a sequence",
    "i": "an index",
    "c": "a type",
}
_Tables = dict[str, _Found]


async def _tables(conn: Connection, schema: str) -> _Tables:
    """Return the relations of interest in a schema, from the catalog alone."""
    cursor = await send(
        conn,
        "SELECT c.relname, c.relkind, a.attname, a.atttypid::pg_catalog.regtype::text"
        " FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_catalog.pg_attribute a"
        " ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE n.nspname = {schema} AND c.relname = ANY ({names}::pg_catalog.text[])",
        schema=sql.Literal(schema),
        names=sql.Literal([*_COLUMNS, _OF_RAILS]),
    )
    found: _Tables = {}
    for name, kind, column, type_ in await cursor.fetchall():
        columns = found.setdefault(name, _Found(kind, {})).columns
        if column is not None:
            columns[column] = type_
    return found


def _require_ours(schema: str, table: str, there: _Tables) -> None:
    """Raise Conflict if the relation named as the ledger or the journal is something else."""
    for name in (table, plan.JOURNAL):
        if name in there and (why := there[name].is_not(_COLUMNS[name])):
            raise _not_a_ledger(schema, name, why)


async def _table(conn: Connection, schema: str, there: _Tables, *, beside: bool) -> str:
    """Return which table is the ledger. Raises ForeignLedger."""
    known = there.get(plan.TABLE)
    if plan.BESIDE in there:
        return plan.BESIDE
    if known is None:
        return plan.TABLE
    why = known.is_not(_LEDGER) or await _has_more_rows(conn, schema)
    if not why:
        return plan.TABLE
    if beside:
        return plan.BESIDE
    keeper = _keeper(there)
    says = f"is {keeper} record of migrations" if keeper else why
    raise ForeignLedger(
        f"The table {schema}.{plan.TABLE} {says}.",
        hint=f"Start beside it (beside, --beside): the record of these files is then in"
        f" {plan.BESIDE}, and the other tool's stays as it is. golang-migrate finds it with"
        f" x-migrations-table={plan.BESIDE}.",
    )


async def _has_more_rows(conn: Connection, schema: str) -> str:
    """Return why a table is not golang-migrate's, although its columns are; empty if it is.

    Others have a row for each migration, which writing the version would replace.
    """
    cursor = await send(
        conn,
        "SELECT pg_catalog.count(*) FROM (SELECT FROM {table} LIMIT 2) rows",
        table=sql.Identifier(schema, plan.TABLE),
    )
    [(rows,)] = await cursor.fetchall()
    return "has more than the one row of golang-migrate's" if rows > 1 else ""


# Other tools' tables named schema_migrations, by their columns and the types of the first one.
_TEXT, _NUMBER = ("text", "character varying"), ("integer", "bigint")
_KEEPERS = (
    (("version",), _TEXT, "dbmate's or Rails'"),
    (("version",), _NUMBER, "an old golang-migrate's (mattes/migrate's)"),
    (("version", "inserted_at"), _NUMBER, "Ecto's"),
    (("filename",), _TEXT, "Sequel's"),
    (("id", "applied", "description"), _NUMBER, "Migratus'"),
)


def _keeper(there: _Tables) -> str:
    """Return the tool whose table it is, as a possessive; empty if only the name suggests one."""
    found = there[plan.TABLE]
    columns = set(found.columns)
    if found.kind != "r" or columns == set(_LEDGER):
        return ""
    if _OF_RAILS in there:
        return "Rails'"
    if {"version", "statements"} <= columns:
        return "Supabase's"
    known = [
        keeper
        for names, types, keeper in _KEEPERS
        if set(names) == columns and found.columns[names[0]] in types
    ]
    return known[0] if known else "another tool's"
