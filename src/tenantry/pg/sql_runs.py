"""Run statements of a tenant's with the rights of its owner role, in a process of their own."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from psycopg.conninfo import make_conninfo

from tenantry.base.errors import Conflict, InvalidInput, TenantryError, Unavailable
from tenantry.base.secrets import Secret
from tenantry.host import children
from tenantry.host.commands import CommandFailed
from tenantry.pg import logins, sql_program, tenant_settings, visitors
from tenantry.pg.connections import CONNECT_SECONDS, Address, startup_options
from tenantry.pg.long_statements import StatementTooLong
from tenantry.pg.sql_program import Failure, Outcome, Task

MEMORY_BYTES = 256 * 1024 * 1024  # of the process: a value of some 50 MB can be cut, but not 300 MB
MOST_BYTES = 8 * 1024 * 1024  # of the rows of all results, as JSON
START_SECONDS = 15.0  # for the process to begin
READ_ONLY = "25006"  # SQLSTATE of what changes something in a read-only transaction


@dataclass(frozen=True, slots=True)
class Wanted:
    """Statements to run in one transaction, or one that is ``alone``, without a transaction.

    ``seconds`` is for all of them, ``rows`` the most of each result, ``exactly`` how many rows each
    statement has to return or change, if that matters; ``application`` names where they come from
    in the database's log and its list of sessions. ``exact_values``: as for ``as_owner``.
    """

    statements: Sequence[str]
    read_only: bool
    alone: bool
    seconds: float
    rows: int
    application: str
    exactly: int | None = None
    exact_values: bool = False


@dataclass(frozen=True, slots=True)
class Ran:
    """What was run: a JSON document, ``{"results": […]}``, and how many rows it is about."""

    document: str
    rows: int


class StatementFailed(InvalidInput):
    """PostgreSQL rejects a statement, of which ``failure`` says more; it is the nth, from 0."""

    code = "statement_failed"
    title = "PostgreSQL rejects the statement"

    def __init__(self, failure: Failure, nth: int, *, hint: str | None) -> None:
        super().__init__(failure.message, hint=hint)
        self.failure = failure
        self.nth = nth


class RowChanged(Conflict):
    """A statement is not about the rows that it should be about: nothing lasts."""

    code = "row_changed"
    title = "The row is not what it was"

    @classmethod
    def nth(cls, number: int) -> "RowChanged":
        """Return the error for one of several statements, by its number from 0."""
        return cls(
            f"Change {number + 1}: the row has been changed or deleted meanwhile, or a trigger or a"
            " policy of the table lets it not be changed. Nothing was changed.",
            hint="Read the row again, and change what it is now.",
        )


async def run(address: Address, database: str, role: str, wanted: Wanted) -> Ran:
    """Run statements in a tenant's database as its owner role; if one fails, nothing lasts.

    Names resolve by the settings that the role has of its own; values are shown by these, too,
    unless they are wanted exactly.

    Raises StatementFailed, StatementTooLong, RowChanged, Unavailable; Conflict if a value has no
    room in memory, if there are too many results, or if the database's connections are all taken.
    """
    login = as_owner(
        address,
        database,
        role,
        read_only=wanted.read_only,
        seconds=wanted.seconds,
        application=wanted.application,
        exact_values=wanted.exact_values,
    )
    async with login as conninfo:
        task = Task(
            conninfo=conninfo.reveal(),
            statements=list(wanted.statements),
            read_only=wanted.read_only,
            alone=wanted.alone,
            seconds=wanted.seconds,
            rows=wanted.rows,
            bytes=MOST_BYTES,
            exactly=wanted.exactly,
        )
        outcome, document = await _in_a_process(task, database)
    if outcome.failure is not None and outcome.failure.kind == "count":
        raise RowChanged.nth(outcome.statements)
    if outcome.failure is not None:
        error = _error(outcome.failure, outcome.statements, database, wanted)
        error.may_be_done |= wanted.alone  # it may have committed some of it itself
        raise error
    return Ran(document, outcome.rows)


@asynccontextmanager
async def as_owner(
    address: Address,
    database: str,
    role: str,
    *,
    read_only: bool,
    seconds: float,
    application: str,
    exact_values: bool = False,
) -> AsyncIterator[Secret]:
    """Yield what a program needs to connect, once, as a login with the rights of an owner role.

    The login exists in the block only. A statement takes little more than ``seconds``, unless the
    session changes that. ``exact_values``: values that are read can be written again, whatever
    settings the role or the database has for dates and the like. Raises Unavailable.
    """
    settings = await tenant_settings.settings_of(address, role, database)
    if exact_values:
        settings |= tenant_settings.EXACT
    settings["role"] = role
    # A session may set this to anything; it ends one whose process was killed.
    settings["statement_timeout"] = str(int((seconds + START_SECONDS) * 1000))
    if read_only:
        settings["default_transaction_read_only"] = "on"
    login = visitors.short_login(address, database, [role], runs_statements=True)
    async with login as (name, password):
        yield Secret(
            make_conninfo(
                address.conninfo(user=name, dbname=database),
                password=password.reveal(),
                application_name=application,
                options=startup_options(settings),
            )
        )


async def _in_a_process(task: Task, database: str) -> tuple[Outcome, str]:
    try:
        printed = await children.output(
            sql_program,
            env={},
            memory=MEMORY_BYTES,
            deadline=task.seconds + CONNECT_SECONDS + START_SECONDS,
            stdin=json.dumps(asdict(task)),
        )
        first, _, document = printed.partition("\n")
        outcome = children.read(sql_program, first)
    except CommandFailed as error:
        raise Unavailable(
            f"The process that runs statements in {database} ended too early.",
            hint="Look whether they have changed anything before you run them again.",
        ) from error
    failure = outcome.pop("failure")
    return Outcome(**outcome, failure=failure and Failure(**failure)), document


def _error(failure: Failure, nth: int, database: str, wanted: Wanted) -> TenantryError:
    match failure.kind:
        case "time":
            return StatementTooLong(
                f"It took longer than {wanted.seconds:g} s, and was cancelled.",
                hint="Make it smaller, or run it with psql, which has no such limit.",
            )
        case "memory":
            return Conflict(
                "A value of the result is too large to be read.",
                hint="Select a part of it, such as left(column, 1000) or octet_length(column).",
            )
        case "size":
            return Conflict(
                "The columns and notices of the results are too many."
                + ("" if wanted.alone else " Nothing was changed."),
                hint="Run fewer statements at once.",
            )
        case "connection":
            return logins.refusal(database, failure.message) or Unavailable(
                f"{database} ended the session, or does not let one in.",
                hint="Look whether anything has changed before you run it again.",
            )
    hint = failure.hint
    if failure.sqlstate == READ_ONLY and wanted.read_only:
        hint = 'Nothing can be changed read-only. Send "read_only": false to change something.'
    return StatementFailed(failure, nth, hint=hint)
