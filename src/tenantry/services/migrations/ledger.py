"""What a database itself keeps of its migrations: golang-migrate's table, and a journal beside."""

from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row

from tenantry.base.errors import Conflict
from tenantry.pg.connections import fetch_bounded
from tenantry.services.migrations import plan
from tenantry.services.migrations.model import NO_VERSION, Applied, Script, State

Connection = psycopg.AsyncConnection[Any]


async def send(
    conn: Connection, query: LiteralString, **values: sql.Composable
) -> psycopg.AsyncCursor[TupleRow]:
    # A cursor of our own, as the connection's may speak another dialect or make other rows.
    # Values are written into the text, because only a query without parameters goes by the
    # simple protocol, which takes several statements.
    cursor = psycopg.AsyncCursor(conn, row_factory=tuple_row)
    return await cursor.execute(sql.SQL(query).format(**values), prepare=False)


_COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    plan.TABLE: {"version": ("bigint", "integer", "smallint"), "dirty": ("boolean",)},
    plan.JOURNAL: {
        "version": ("bigint",),
        "file": ("text",),
        "sha256": ("text",),
        "applied_at": ("timestamp with time zone",),
    },
}


def _not_a_ledger(schema: str, table: str, why: str) -> Conflict:
    return Conflict(
        f"The table {schema}.{table} {why}, so it is not read as the record of migrations.",
        hint=f"golang-migrate's {plan.TABLE} has version bigint and dirty boolean. Rename the "
        "table if another tool keeps it.",
    )


class Ledger:
    """The table ``schema_migrations``: no row, or the one that tells version and dirty.

    Beside it, in ``tenantry_migrations``, is what was applied, and when: golang-migrate has
    no place for that.
    """

    def __init__(
        self, conn: Connection, database: str, schema: str, *, exists: bool, has_journal: bool
    ) -> None:
        self.conn = conn
        self.database = database
        self.schema = schema
        self._exists = exists
        self._has_journal = has_journal
        self._table = sql.Identifier(schema, plan.TABLE)
        self._journal = sql.Identifier(schema, plan.JOURNAL)

    @classmethod
    async def find(cls, conn: Connection) -> "Ledger":
        """The ledger in the schema that new tables go to, which is where golang-migrate looks."""
        if not conn.autocommit or conn.info.transaction_status != TransactionStatus.IDLE:
            raise ValueError("migrations need a connection in autocommit mode, and idle")
        cursor = await send(
            conn,
            "SELECT current_database(), current_schema(), "
            "to_regclass(quote_ident(current_schema()) || '.' || {table}) IS NOT NULL, "
            "to_regclass(quote_ident(current_schema()) || '.' || {journal}) IS NOT NULL",
            table=sql.Literal(plan.TABLE),
            journal=sql.Literal(plan.JOURNAL),
        )
        [(database, schema, exists, has_journal)] = await cursor.fetchall()
        if schema is None:
            raise Conflict(
                f"Database {database} has no schema in which to keep {plan.TABLE}.",
                hint="Create the schema that the role's search_path names.",
            )
        return cls(conn, database, schema, exists=exists, has_journal=has_journal)

    @classmethod
    async def at(cls, conn: Connection, database: str, schema: str) -> "Ledger":
        """The ledger in this schema, to be read; names need not be looked up in it.

        A tenant can make these tables what it likes. They are read only if they are plain tables
        whose columns have PostgreSQL's own types: a cast, domain or operator of the tenant's would
        be run by reading them.

        Raises Conflict if they are something else.
        """
        cursor = await send(
            conn,
            "SELECT c.relname, c.relkind = 'r', a.attname, a.atttypid::pg_catalog.regtype::text"
            " FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " LEFT JOIN pg_catalog.pg_attribute a"
            " ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE n.nspname = {schema} AND c.relname IN ({table}, {journal})"
            " AND c.relkind NOT IN ('i', 'I', 'c')",
            schema=sql.Literal(schema),
            table=sql.Literal(plan.TABLE),
            journal=sql.Literal(plan.JOURNAL),
        )
        found: dict[str, dict[str, str]] = {}
        for name, is_table, column, type_ in await cursor.fetchall():
            if not is_table:
                raise _not_a_ledger(schema, name, "is no plain table")
            found.setdefault(name, {})[column] = type_
        for name, columns in found.items():
            for column, types in _COLUMNS[name].items():
                if (type_ := columns.get(column, "missing")) not in types:
                    raise _not_a_ledger(schema, name, f"has a column {column} that is {type_}")
        return cls(
            conn, database, schema, exists=plan.TABLE in found, has_journal=plan.JOURNAL in found
        )

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
