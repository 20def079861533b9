"""The verbs: migrate a database up, down, or to a version; force a version; report its status.

They work on an open connection in autocommit mode, directly to PostgreSQL: the lock of a run
belongs to the session, which a transaction pooler would share. Each file begins with the role and
the settings that the run began with, and a run resets the connection to them, as far as files
usually change those; it closes one that a file left unusable. PostgreSQL's errors outside the
files, such as for a role that may not create the table, are raised as psycopg.Error.

**The dirty mark.** A file runs in one transaction with both of its marks: dirty before it, clean
after it. A failure or a crash rolls the marks back too, so the database stays clean at the previous
version. The dirty mark outlives a transaction only where the file's work may: when the file ends
the transaction by itself, or cannot run in one at all.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypedDict, Unpack

import psycopg
from psycopg import errors as pg
from psycopg import sql

from tenantry.base.errors import InvalidInput
from tenantry.pg import statements
from tenantry.services.migrations import plan
from tenantry.services.migrations.failures import failure
from tenantry.services.migrations.folder import Folder, load
from tenantry.services.migrations.ledger import Connection, Ledger, send
from tenantry.services.migrations.model import (
    DEFAULT_LIMITS,
    HIGHEST_VERSION,
    NO_VERSION,
    Acceptance,
    Direction,
    EditedMigrations,
    Limits,
    LimitShort,
    Migration,
    MigrationFailed,
    MigrationsLocked,
    Script,
    SkippedMigrations,
    State,
    Status,
    Step,
)
from tenantry.services.migrations.work import Work


class How(TypedDict, total=False):
    """Options of a run.

    ``beside`` begins a separate ledger if another tool has the table; ``around`` surrounds each try
    of a file.
    """

    limits: Limits
    accept: Acceptance
    beside: bool
    around: "Around"


# Returns the steps to take; called while no other run is in progress.
Choose = Callable[[tuple[Migration, ...], State], Awaitable[list[Step]]]
# A context for each try of a file.
Around = Callable[[Script], AbstractAsyncContextManager[None]]
NOTHING = Acceptance()


def _alone_with_it(_: Script) -> AbstractAsyncContextManager[None]:
    return nullcontext()


async def up(
    conn: Connection,
    folder: Folder,
    n: int | None = None,
    **how: Unpack[How],
) -> list[Step]:
    """Run the next ``n`` migrations, or all. Return the steps taken, none if all were applied.

    Raises BadMigrations, DirtyDatabase, EditedMigrations and SkippedMigrations (unless such files
    are accepted), ForeignLedger, MigrationFailed, MigrationNotFound, MigrationsLocked; LimitShort
    after having run the fewer than ``n`` that exist.
    """

    async def choose(migrations: tuple[Migration, ...], state: State) -> list[Step]:
        return plan.up(migrations, state, n)

    return _require(n, *await run(conn, folder, choose, **how))


async def down(conn: Connection, folder: Folder, n: int | None, **how: Unpack[How]) -> list[Step]:
    """Undo the last ``n`` migrations, or with None all of them; otherwise as ``up``."""

    async def choose(migrations: tuple[Migration, ...], state: State) -> list[Step]:
        return plan.down(migrations, state, n)

    return _require(n, *await run(conn, folder, choose, **how))


async def goto(
    conn: Connection, folder: Folder, version: int | None, **how: Unpack[How]
) -> list[Step]:
    """Migrate up or down to ``version``, which the folder must have; otherwise as ``up``.

    None is before the first version.
    """

    async def choose(migrations: tuple[Migration, ...], state: State) -> list[Step]:
        return plan.goto(migrations, state, version)

    return (await run(conn, folder, choose, **how))[0]


def _require(n: int | None, steps: list[Step], state: State) -> list[Step]:
    """Raise LimitShort if fewer than ``n`` steps were taken."""
    if n is not None and len(steps) < n:
        raise LimitShort(n - len(steps), state)
    return steps


async def force(
    conn: Connection, version: int, *, limits: Limits = DEFAULT_LIMITS, beside: bool = False
) -> State:
    """Record that the database is clean at ``version``, or with -1 before the first.

    No file is run or required. Raises InvalidInput and MigrationsLocked.
    """
    if not NO_VERSION <= version <= HIGHEST_VERSION:
        raise InvalidInput.of("version", f"must be from -1 to {HIGHEST_VERSION}, and is {version}")
    async with _alone(conn, limits, beside=beside) as (ledger, _):
        await ledger.forget_after(version)
        await ledger.write(None if version == NO_VERSION else version, dirty=False)
        return await ledger.read()


async def version(conn: Connection) -> State:
    """Return the state of the database. Changes nothing, and does not wait for a run."""
    return await (await Ledger.find(conn)).read()


async def status(conn: Connection, folder: Folder) -> Status:
    """Return which of the folder's migrations are in force. Raises BadMigrations."""
    migrations = await statements.aside(partial(load, folder))
    return await status_of(await Ledger.find(conn), migrations)


async def status_of(ledger: Ledger, migrations: Sequence[Migration] = ()) -> Status:
    """Return which of these migrations are in force."""
    state = await ledger.read()
    running = state.dirty and await ledger.is_locked()
    if state.dirty and not running:
        state = await ledger.read()  # the run may have ended between the two
    return replace(plan.status(migrations, state, await ledger.journal()), running=running)


async def run(
    conn: Connection, folder: Folder, choose: Choose, **how: Unpack[How]
) -> tuple[list[Step], State]:
    """Take the steps that ``choose`` returns, which is called while no other run is in progress.

    Return them, and the database's state afterwards. Raises as ``up``, except LimitShort.
    """
    limits, accept = how.get("limits", DEFAULT_LIMITS), how.get("accept", NOTHING)
    migrations = await statements.aside(partial(load, folder))
    async with _alone(conn, limits, beside=how.get("beside", False)) as (ledger, preserved):
        state = await ledger.read()
        steps = await choose(migrations, state)
        found = plan.status(migrations, state, await ledger.journal())
        if found.edited and not accept.edited:
            raise EditedMigrations(found.edited)
        if found.skipped and not accept.skipped:
            raise SkippedMigrations(found.skipped)
        if steps or found.edited or found.skipped:
            await _note(ledger, [*found.edited, *found.skipped, *found.unnoted])
        manner = _Manner(limits, _beginning(preserved, limits), how.get("around", _alone_with_it))
        for step in steps:
            await _take(ledger, state, step, manner)
            state = State(step.target)
        return steps, state


async def _note(ledger: Ledger, migrations: Sequence[Migration]) -> None:
    """Record in the journal that these files, in their present form, were applied."""
    await ledger.ensure_journal()
    for migration in migrations:
        if migration.up is not None:
            await ledger.send(ledger.noting(migration.version, migration.up))


def _setting(settings: dict[str, str]) -> sql.Composed:
    return sql.SQL("SELECT {}").format(
        sql.SQL(", ").join(
            sql.SQL("pg_catalog.set_config({}, {}, false)").format(name, value)
            for name, value in settings.items()
        )
    )


# Settings that files SET for themselves, often unintentionally (the head of a pg_dump), and with
# which the next file might do something else than in a run of its own.
_PRESERVED = (
    "role",
    "search_path",
    "row_security",
    "check_function_bodies",
    "default_transaction_read_only",
    "default_tablespace",
    "standard_conforming_strings",
    "client_min_messages",
)
_OURS = (
    "lock_timeout",
    "statement_timeout",
    "client_connection_check_interval",
    "client_encoding",
)


@asynccontextmanager
async def _alone(
    conn: Connection, limits: Limits, *, beside: bool
) -> AsyncIterator[tuple[Ledger, dict[str, str]]]:
    """Exclude all other runs, golang-migrate's too. Yield the ledger and the settings of files.

    Raises MigrationsLocked, ForeignLedger.
    """
    ledger = await Ledger.find(conn, beside=beside)
    cursor = await send(
        conn,
        "SELECT name, pg_catalog.current_setting(name)"
        " FROM pg_catalog.unnest({names}::text[]) name",
        names=sql.Literal([*_PRESERVED, *_OURS]),
    )
    before: dict[str, str] = dict(await cursor.fetchall())
    cursor = await send(
        conn, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'"
    )
    # A session that waits for an advisory lock holds a snapshot, for which a CREATE INDEX
    # CONCURRENTLY of the run that has the lock waits: a deadlock, unless each wait ends before
    # the server looks for one. Between two waits the index build continues.
    [(deadlock_timeout,)] = await cursor.fetchall()
    longest_wait = int(deadlock_timeout) / 2000
    deadline = asyncio.get_running_loop().time() + limits.patience
    held: list[int] = []
    try:
        await ledger.send(
            _setting(
                {
                    "lock_timeout": _ms(min(limits.lock_timeout, longest_wait)),
                    "statement_timeout": "0",
                    # Else the server would finish a killed runner's statement, and hold its lock.
                    "client_connection_check_interval": "1s",
                    "client_encoding": "UTF8",
                }
            )
        )
        for key in plan.lock_keys(ledger.database, ledger.schema, ledger.table):
            held.append(key)  # before, as a cancelled wait may have been granted
            try:
                await _lock(ledger, key, deadline, limits)
            except MigrationsLocked:
                held.remove(key)
                raise
        ledger = await Ledger.find(conn, beside=beside)  # others may have created it meanwhile
        await ledger.ensure()
        yield ledger, {name: before[name] for name in _PRESERVED}
    finally:
        # A lost connection has lost its locks too.
        if not conn.closed:
            with suppress(psycopg.OperationalError):
                unlock = sql.SQL("SELECT pg_catalog.pg_advisory_unlock({}), 'tenantry'")
                await ledger.send(*map(unlock.format, held), _setting(before))


async def _lock(ledger: Ledger, key: int, deadline: float, limits: Limits) -> None:
    while True:
        try:
            query = sql.SQL("SELECT pg_advisory_lock({}), 'tenantry'").format(key)
            await ledger.send(query)
        except pg.LockNotAvailable:
            if asyncio.get_running_loop().time() >= deadline:
                raise MigrationsLocked(
                    f"Another run migrates database {ledger.database}, and was not done "
                    f"in {limits.patience:g} s.",
                    hint="Try again when it is.",
                ) from None
        else:
            return


# Failures that other sessions cause: a file that was rolled back whole may be tried again.
_PASSING = (pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure)


@dataclass(frozen=True, slots=True)
class _Manner:
    """The way in which each file is run; it begins with ``settings``."""

    limits: Limits
    settings: sql.Composed
    around: Around


def _beginning(preserved: dict[str, str], limits: Limits) -> sql.Composed:
    return _setting(
        {
            **preserved,
            "lock_timeout": _ms(limits.lock_timeout),
            "statement_timeout": _ms(limits.statement_timeout) if limits.statement_timeout else "0",
            "client_encoding": "UTF8",
        }
    )


async def _take(ledger: Ledger, before: State, step: Step, manner: _Manner) -> None:
    """Run one file and record it. Raises MigrationFailed."""
    script, limits = step.script, manner.limits
    if script is None:
        await ledger.write(step.target, dirty=False)
        return
    if step.direction is Direction.UP:
        journal = ledger.noting(step.version, script)
    else:
        journal = ledger.forgetting_after(step.version - 1)
    run = await statements.aside(partial(Work, ledger, script))
    retries, pause = limits.retries, limits.back_off
    while True:
        try:
            async with manner.around(script):
                await run.begin(manner.settings, ledger.writing(step.target, dirty=True))
                await run.do()
                if not run.is_whole:
                    await ledger.send(manner.settings)
                    await _refuse_rollback(ledger, script, step.target)
                # Settings again: the marks are written by the role that the run began with.
                await run.end(manner.settings, ledger.writing(step.target, dirty=False), journal)
        except BaseException as error:
            state = await _abandon(ledger)
            if not isinstance(error, psycopg.Error):
                raise
            if state is not None and state.dirty and await run.left_nothing():
                await ledger.write(before.version, dirty=before.dirty)
                state = before
            untouched = state is not None and not state.dirty
            if not (isinstance(error, _PASSING) and untouched and retries):
                raise failure(script, error, run.at(error), state, limits) from error
            retries -= 1
            await asyncio.sleep(pause)  # lets sessions proceed that queue behind our lock request
            pause *= 2
        else:
            return


async def _refuse_rollback(ledger: Ledger, script: Script, target: int | None) -> None:
    """Raise MigrationFailed for a file that rolled back its transaction, and so our dirty mark."""
    if await ledger.read() == State(target, dirty=True):
        return
    # What it did after its ROLLBACK may have been committed; there is no way to know.
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


async def _abandon(ledger: Ledger) -> State | None:
    """Roll back, and return the database's state, or None if the server does not answer."""
    try:
        await ledger.conn.rollback()
        return await ledger.read()
    except psycopg.Error:
        # Lost, or inside a COPY: once it is closed, the server rolls back the rest.
        await ledger.conn.close()
        return None


def _ms(seconds: float) -> str:
    # Never 0, which means "no limit" to PostgreSQL.
    return f"{max(1, round(seconds * 1000))}ms"
