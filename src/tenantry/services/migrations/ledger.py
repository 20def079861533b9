"""What a database itself keeps of its migrations: golang-migrate's table, and a journal beside."""

from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row

from tenantry.base.errors import Conflict
from tenantry.pg.connections import fetch_bounded
from tenantry.services.migrations import plan
from tenantry.services.migrations.model import NO_VERSION, Applied, ForeignLedger, Script, State

Connection = psycopg.AsyncConnection[Any]


async def send(
    conn: Connection, query: LiteralString, **values: sql.Composable
) -> psycopg.AsyncCursor[TupleRow]:
    # A cursor of our own, as the connection's may speak another dialect or make other rows.
    # Values are written into the text, because only a query without parameters goes by the
    # simple protocol, which takes several statements.
    cursor = psycopg.AsyncCursor(conn, row_factory=tuple_row)
    return await cursor.execute(sql.SQL(query).format(**values), prepare=False)


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
        hint=f"golang-migrate's {plan.TABLE} has version bigint and dirty boolean. Rename the "
        "table if another tool keeps it.",
    )


class Ledger:
    """The table ``schema_migrations``: no row, or the one that tells version and dirty.

    Where that is the table of another tool, ``tenantry_schema_migrations`` is in its place.
    Beside it, in ``tenantry_migrations``, is what was applied, and when: golang-migrate has
    no place for that.
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
        """The ledger in the schema that new tables go to, which is where golang-migrate looks.

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
        return cls(conn, database, schema, _table(schema, there, beside=beside), there)

    @classmethod
    async def at(cls, conn: Connection, database: str, schema: str) -> "Ledger":
        """The ledger in this schema, to be read; names need not be looked up in it.

        A tenant can make these tables what it likes. They are read only if they are plain tables
        whose columns have PostgreSQL's own types: a cast, domain or operator of the tenant's would
        be run by reading them.

        Raises Conflict if they are something else.
        """
        there = await _tables(conn, schema)
        table = _table(schema, there, beside=False)
        for name in (table, plan.JOURNAL):
            if name not in there:
                continue
            found = there[name]
            if not found.is_plain:
                raise _not_a_ledger(schema, name, "is no plain table")
            for column, types in _COLUMNS[name].items():
                if (type_ := found.columns.get(column, "missing")) not in types:
                    raise _not_a_ledger(schema, name, f"has a column {column} that is {type_}")
        return cls(conn, database, schema, table, there)

    async def ensure(self) -> None:
        """Create the table if it is missing."""
        # A role that may not create tables can still be told that there is nothing to do.
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

    async def write(self, version: int | None, *, dirty: bool) -> None:
        """Record where the database stands."""
        await self.send(self.writing(version, dirty=dirty))

    async def send(self, *queries: sql.Composable) -> None:
        """Send these as one message, and so as one transaction where none is open."""
        await send(self.conn, "{queries}", queries=sql.SQL("; ").join(queries))

    def writing(self, version: int | None, *, dirty: bool) -> sql.Composed:
        """What records where the database stands."""
        # DELETE where golang-migrate truncates: a TRUNCATE keeps others from reading the version
        # while a file runs.
        if version is None and not dirty:
            return sql.SQL("DELETE FROM {}").format(self._table)
        return sql.SQL(
            "DELETE FROM {table}; INSERT INTO {table} (version, dirty) VALUES ({v}, {dirty})"
        ).format(
            table=self._table,
            v=sql.Literal(NO_VERSION if version is None else version),
            dirty=sql.Literal(dirty),
        )

    async def journal(self) -> dict[int, Applied]:
        """What was applied by this runner, by version."""
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
        """What remembers the file that brought the database to ``version``."""
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
        """What forgets what was applied after ``version``: it no longer is."""
        return sql.SQL("DELETE FROM {journal} WHERE version > {version}").format(
            journal=self._journal, version=sql.Literal(version)
        )

    async def forget_after(self, version: int) -> None:
        """Forget what was applied after ``version``, where there is a journal."""
        if self._has_journal:
            await self.send(self.forgetting_after(version))


@dataclass(frozen=True, slots=True)
class _Found:
    """A table, or whatever has the name of one, and the types of its columns by their names."""

    is_plain: bool
    columns: dict[str, str]


_Tables = dict[str, _Found]


async def _tables(conn: Connection, schema: str) -> _Tables:
    """What a schema has of the tables that may be of interest, by the catalog alone."""
    cursor = await send(
        conn,
        "SELECT c.relname, c.relkind = 'r', a.attname, a.atttypid::pg_catalog.regtype::text"
        " FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_catalog.pg_attribute a"
        " ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE n.nspname = {schema} AND c.relname = ANY ({names}::pg_catalog.text[])"
        " AND c.relkind NOT IN ('i', 'I', 'c')",
        schema=sql.Literal(schema),
        names=sql.Literal([*_COLUMNS, _OF_RAILS]),
    )
    found: _Tables = {}
    for name, is_plain, column, type_ in await cursor.fetchall():
        found.setdefault(name, _Found(is_plain, {})).columns[column] = type_
    return found


def _table(schema: str, there: _Tables, *, beside: bool) -> str:
    """Which table is the ledger. Raises ForeignLedger."""
    known = there.get(plan.TABLE)
    if plan.BESIDE in there:
        return plan.BESIDE
    if known is None or "dirty" in known.columns:
        return plan.TABLE
    if beside:
        return plan.BESIDE
    raise ForeignLedger(
        f"The table {schema}.{plan.TABLE} is {_keeper(there)} record of migrations.",
        hint=f"Start beside it (beside, --beside): the record of these files is then in"
        f" {plan.BESIDE}, and the other tool's stays as it is. golang-migrate finds it with"
        f" x-migrations-table={plan.BESIDE}.",
    )


def _keeper(there: _Tables) -> str:
    """Whose table it is, by its columns."""
    if _OF_RAILS in there:
        return "Rails'"
    match sorted(there[plan.TABLE].columns):
        case ["version"]:
            return "dbmate's or Rails'"
        case ["inserted_at", "version"]:
            return "Ecto's"
        case _:
            return "another tool's"
