"""The verbs: bring a database up, down, or to a version; force a version; tell where it stands.

They work on an open connection in autocommit mode, straight to PostgreSQL: the lock of a
run belongs to the session, which a transaction pooler would hand to others. A run leaves
the connection as it found it, but for what the files themselves SET; it closes one that
a file left unusable. What PostgreSQL objects to outside the files, such as a role that may
not create the table, comes through as psycopg.Error.

**What dirty means.** A file runs in one transaction with both of its marks: dirty before
it, clean after it. A failure or a crash takes the marks back too, so the database stays
clean at the version before. The dirty mark outlives a transaction only where the file's
work may: when the file ends the transaction by itself, or cannot run in one at all.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.services.migrations import plan
from tenantry.services.migrations.model import (
    HIGHEST_VERSION,
    NO_VERSION,
    BadMigrations,
    Limits,
    LimitShort,
    Migration,
    MigrationFailed,
    MigrationsLocked,
    Script,
    State,
    Status,
    Step,
)

Connection = psycopg.AsyncConnection[Any]
Folder = Path | Traversable
DEFAULT_LIMITS = Limits()


async def up(
    conn: Connection, folder: Folder, n: int | None = None, *, limits: Limits = DEFAULT_LIMITS
) -> list[Step]:
    """Run the next ``n`` migrations, or all; the steps taken, none if there was nothing to do.

    Raises BadMigrations, DirtyDatabase, MigrationFailed, MigrationNotFound, MigrationsLocked;
    LimitShort after having run the fewer than ``n`` that there were.
    """
    return await _run(conn, folder, lambda ms, state: plan.up(ms, state, n), n, limits)


async def down(
    conn: Connection, folder: Folder, n: int | None, *, limits: Limits = DEFAULT_LIMITS
) -> list[Step]:
    """Undo the last ``n`` migrations, or with None all of them; otherwise as ``up``."""
    return await _run(conn, folder, lambda ms, state: plan.down(ms, state, n), n, limits)


async def goto(
    conn: Connection, folder: Folder, version: int, *, limits: Limits = DEFAULT_LIMITS
) -> list[Step]:
    """Go up or down to ``version``, which the folder must have; otherwise as ``up``."""
    return await _run(conn, folder, lambda ms, state: plan.goto(ms, state, version), None, limits)


async def force(conn: Connection, version: int, *, limits: Limits = DEFAULT_LIMITS) -> State:
    """Record that the database is clean at ``version``, or with -1 before the first.

    No file is run or looked for. Raises InvalidInput and MigrationsLocked.
    """
    if not NO_VERSION <= version <= HIGHEST_VERSION:
        raise InvalidInput.of("version", f"must be from -1 to {HIGHEST_VERSION}, and is {version}")
    async with _alone(conn, limits) as ledger:
        await ledger.write(None if version == NO_VERSION else version, dirty=False)
        return await ledger.read()


async def version(conn: Connection) -> State:
    """Where the database stands. Changes nothing, and waits for no run."""
    return await (await _Ledger.find(conn)).read()


async def status(conn: Connection, folder: Folder) -> Status:
    """Which of the folder's migrations are in force. Raises BadMigrations."""
    migrations = await asyncio.to_thread(_load, folder)
    return plan.status(migrations, await version(conn))


def _load(folder: Folder) -> tuple[Migration, ...]:
    try:
        return plan.collect(
            {
                entry.name: entry.read_bytes()
                for entry in folder.iterdir()
                if entry.is_file() and plan.parse_name(entry.name)
            }
        )
    except OSError as error:
        raise BadMigrations(
            f"{error.filename or folder} cannot be read: {error.strerror or error}.",
            hint="Name a folder of migration files that can be.",
        ) from None


async def _run(
    conn: Connection,
    folder: Folder,
    planned: Callable[[tuple[Migration, ...], State], list[Step]],
    n: int | None,
    limits: Limits,
) -> list[Step]:
    migrations = await asyncio.to_thread(_load, folder)
    async with _alone(conn, limits) as ledger:
        steps = planned(migrations, await ledger.read())
        for step in steps:
            await _take(ledger, step, limits)
        if n is not None and len(steps) < n:
            raise LimitShort(n - len(steps), await ledger.read())
        return steps


async def _send(
    conn: Connection, query: LiteralString, **values: sql.Composable
) -> psycopg.AsyncCursor[TupleRow]:
    # A cursor of our own, as the connection's may speak another dialect or make other rows.
    # Values are written into the text, because only a query without parameters goes by the
    # simple protocol, which takes several statements.
    cursor = psycopg.AsyncCursor(conn, row_factory=tuple_row)
    return await cursor.execute(sql.SQL(query).format(**values), prepare=False)


class _Ledger:
    """The table ``schema_migrations``: no row, or the one that tells version and dirty."""

    def __init__(self, conn: Connection, database: str, schema: str, *, exists: bool) -> None:
        self.conn = conn
        self.database = database
        self.schema = schema
        self._exists = exists
        self._table = sql.Identifier(schema, plan.TABLE)

    @classmethod
    async def find(cls, conn: Connection) -> "_Ledger":
        """The ledger in the schema that new tables go to, which is where golang-migrate looks."""
        if not conn.autocommit or conn.info.transaction_status != TransactionStatus.IDLE:
            raise ValueError("migrations need a connection in autocommit mode, and idle")
        cursor = await _send(
            conn,
            "SELECT current_database(), current_schema(), "
            "to_regclass(quote_ident(current_schema()) || '.' || {table}) IS NOT NULL",
            table=sql.Literal(plan.TABLE),
        )
        [(database, schema, exists)] = await cursor.fetchall()
        if schema is None:
            raise Conflict(
                f"Database {database} has no schema in which to keep {plan.TABLE}.",
                hint="Create the schema that the role's search_path names.",
            )
        return cls(conn, database, schema, exists=exists)

    async def ensure(self) -> None:
        """Create the table if it is missing."""
        # A role that may not create tables can still be told that there is nothing to do.
        if not self._exists:
            await _send(
                self.conn,
                "CREATE TABLE IF NOT EXISTS {table} "
                "(version bigint not null primary key, dirty boolean not null)",
                table=self._table,
            )
            self._exists = True

    async def read(self) -> State:
        if not self._exists:
            return State()
        cursor = await _send(
            self.conn, "SELECT version, dirty FROM {table} LIMIT 1", table=self._table
        )
        rows = await cursor.fetchall()
        if not rows:
            return State()
        [(version, dirty)] = rows
        return State(None if version == NO_VERSION else version, dirty)

    async def write(self, version: int | None, *, dirty: bool) -> None:
        """Record where the database stands."""
        # One message, and so one transaction where none is open. DELETE where golang-migrate
        # truncates: a TRUNCATE keeps others from reading the version while a file runs.
        if version is None and not dirty:
            await _send(self.conn, "DELETE FROM {table}", table=self._table)
        else:
            await _send(
                self.conn,
                "DELETE FROM {table}; INSERT INTO {table} (version, dirty) VALUES ({v}, {dirty})",
                table=self._table,
                v=sql.Literal(NO_VERSION if version is None else version),
                dirty=sql.Literal(dirty),
            )


async def _configure(conn: Connection, settings: dict[str, str]) -> None:
    await _send(
        conn,
        "SELECT {settings}",
        settings=sql.SQL(", ").join(
            sql.SQL("set_config({}, {}, false)").format(name, value)
            for name, value in settings.items()
        ),
    )


@asynccontextmanager
async def _alone(conn: Connection, limits: Limits) -> AsyncIterator[_Ledger]:
    """Keep every other run away, golang-migrate's too. Raises MigrationsLocked."""
    ledger = await _Ledger.find(conn)
    cursor = await _send(
        conn,
        "SELECT name, setting FROM pg_settings WHERE name IN ('lock_timeout', "
        "'statement_timeout', 'client_connection_check_interval', 'client_encoding', "
        "'deadlock_timeout')",
    )
    before: dict[str, str] = dict(await cursor.fetchall())
    # Who waits for an advisory lock holds a snapshot, for which a CREATE INDEX CONCURRENTLY
    # of the run that has the lock waits: a deadlock, unless each wait ends before the
    # server looks for one. Between two waits the index goes on.
    longest_wait = int(before.pop("deadlock_timeout")) / 2000
    deadline = asyncio.get_running_loop().time() + limits.patience
    held: list[int] = []
    try:
        await _configure(
            conn,
            {
                "lock_timeout": _ms(min(limits.lock_timeout, longest_wait)),
                "statement_timeout": "0",
                # Else the server would finish a killed runner's statement, and keep its lock.
                "client_connection_check_interval": "1s",
                "client_encoding": "UTF8",
            },
        )
        for key in plan.lock_keys(ledger.database, ledger.schema):
            held.append(key)  # first, as a wait that is cancelled may have been granted
            try:
                await _lock(ledger, key, deadline, limits)
            except MigrationsLocked:
                held.remove(key)
                raise
        await ledger.ensure()
        yield ledger
    finally:
        # A lost connection has lost its locks too.
        if not conn.closed:
            with suppress(psycopg.OperationalError):
                for key in held:
                    await _send(conn, "SELECT pg_advisory_unlock({key})", key=sql.Literal(key))
                await _configure(conn, before)


async def _lock(ledger: _Ledger, key: int, deadline: float, limits: Limits) -> None:
    while True:
        try:
            await _send(ledger.conn, "SELECT pg_advisory_lock({key})", key=sql.Literal(key))
        except pg.LockNotAvailable:
            if asyncio.get_running_loop().time() >= deadline:
                raise MigrationsLocked(
                    f"Another run migrates database {ledger.database}, and was not done "
                    f"in {limits.patience:g} s.",
                    hint="Try again when it is.",
                ) from None
        else:
            return


async def _take(ledger: _Ledger, step: Step, limits: Limits) -> None:
    """Run one file and record it. Raises MigrationFailed."""
    conn, script = ledger.conn, step.script
    if script is None:
        await ledger.write(step.target, dirty=False)
        return
    timeouts = {
        "lock_timeout": _ms(limits.lock_timeout),
        "statement_timeout": _ms(limits.statement_timeout) if limits.statement_timeout else "0",
    }
    retries, pause = limits.retries, limits.back_off
    while True:
        line = None
        try:
            await _configure(conn, timeouts)  # each time, as a file may SET them
            if script.transactional:
                await _send(conn, "BEGIN")
            await ledger.write(step.target, dirty=True)
            try:
                await psycopg.AsyncCursor(conn).execute(script.sql.encode(), prepare=False)
            except psycopg.Error as error:
                line = _line(script, error)
                raise
            await _refuse_rollback(ledger, script, step.target)
            await ledger.write(step.target, dirty=False)
            await conn.commit()
        except BaseException as error:
            state = await _abandon(ledger)
            if not isinstance(error, psycopg.Error):
                raise
            untouched = state is not None and not state.dirty
            if not (isinstance(error, pg.LockNotAvailable) and untouched and retries):
                raise _failure(script, error, line, state, limits) from error
            retries -= 1
            await asyncio.sleep(pause)  # lets those through who queue behind our lock request
            pause *= 2
        else:
            return


async def _refuse_rollback(ledger: _Ledger, script: Script, target: int | None) -> None:
    """A file that rolled its transaction back has taken our dirty mark away with its work."""
    if await ledger.read() == State(target, dirty=True):
        return
    # What it did after its ROLLBACK may be there; nobody can tell.
    await ledger.write(target, dirty=True)
    await ledger.conn.commit()
    raise MigrationFailed(
        f"{script.name} ends its own transaction with ROLLBACK. "
        f"The database is {State(target, dirty=True)}.",
        file=script.name,
        line=None,
        state=State(target, dirty=True),
        hint="Remove the ROLLBACK; see what the file left, and force the version that the "
        "schema then really has.",
    )


async def _abandon(ledger: _Ledger) -> State | None:
    """Take back what can be, and tell where the database stands, or None if it won't answer."""
    try:
        await ledger.conn.rollback()
        return await ledger.read()
    except psycopg.Error:
        # Lost, or inside a COPY: once it is closed, the server takes back the rest.
        await ledger.conn.close()
        return None


def _line(script: Script, error: psycopg.Error) -> int | None:
    position = error.diag.statement_position
    return plan.line_of(script.sql, int(position)) if position else None


def _failure(
    script: Script, error: psycopg.Error, line: int | None, state: State | None, limits: Limits
) -> MigrationFailed:
    place = script.name if line is None else f"{script.name}, line {line}"
    said = error.diag.message_primary or str(error)
    if isinstance(error, pg.ActiveSqlTransaction):
        hint = (
            "Give the statement a file of its own, with the comment "
            "-- tenantry: no-transaction above it."
        )
    elif isinstance(error, pg.LockNotAvailable):
        hint = f"Others kept the lock for {limits.lock_timeout:g} s. Try when fewer are at work."
    elif isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        # psycopg's own word, of a COPY that waits for us; the server had no objection.
        said = "COPY from or to the client has nobody to talk to"
        hint = "Write the rows as INSERT. Look at the status before you go on."
    elif state is None:
        hint = "Look at the status before you go on."
    elif state.dirty:
        hint = "See what the file left, and force the version that the schema then really has."
    else:
        hint = "Mend the file and run it again."
    sentences = [f"{place}: {said.rstrip('.')}."]
    if error.diag.message_detail:
        sentences.append(error.diag.message_detail)
    sentences.append(
        f"The database is {state}." if state else "The connection is closed, the state not known."
    )
    if error.diag.message_hint:
        hint = f"{error.diag.message_hint} {hint}"
    return MigrationFailed(" ".join(sentences), file=script.name, line=line, state=state, hint=hint)


def _ms(seconds: float) -> str:
    # Never 0, which PostgreSQL takes for "no limit".
    return f"{max(1, round(seconds * 1000))}ms"
