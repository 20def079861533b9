"""Describes a file's failure to users: where it was, PostgreSQL's message, and what to do next."""

import re
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg

from tenantry.services.migrations.model import Limits, MigrationFailed, Script, State

_LONGEST_QUOTE = 120
_ALONE = (
    "Give the statement a file of its own, without BEGIN and COMMIT, and with the comment "
    "-- tenantry: no-transaction above it."
)
_CURES: dict[type[psycopg.Error], str] = {
    pg.DeadlockDetected: "The file and others waited for each other. Try when fewer are at work.",
    pg.UnsafeNewEnumValueUsage: "A new value of an enum can be used once it is committed: use it in"
    " the next file.",
}
_FOR_PSQL = (
    "Files go straight to the server, which knows neither psql's own commands nor data after "
    "COPY … FROM stdin. Leave the command out; write the rows as INSERT."
)


@dataclass(frozen=True, slots=True)
class Place:
    """The place in a file where something failed, as far as that is known."""

    line: int | None = None
    statement: str | None = None


def quoted(text: str) -> str:
    """Return a statement on one line, shortened if it is long."""
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST_QUOTE else f"{words[:_LONGEST_QUOTE]}…"


def failure(
    script: Script, error: psycopg.Error, at: Place, state: State | None, limits: Limits
) -> MigrationFailed:
    """Return the exception for ``error``; ``state`` is the database's present one, if known."""
    place = script.name if at.line is None else f"{script.name}, line {at.line}"
    sentences = [f"{place}: {_said(error).rstrip('.')}."]
    if error.diag.message_detail:
        sentences.append(f"{error.diag.message_detail.rstrip('.')}.")
    if error.diag.context:  # the innermost function first, and the line in it
        sentences.append(f"In {error.diag.context.splitlines()[0]}.")
    if at.statement:
        sentences.append(f"The statement is: {at.statement}.")
    sentences.append(
        f"The database is {state}." if state else "The connection is closed, the state not known."
    )
    hint = _cure(script, error, at, limits) or _next(state)
    if error.diag.message_hint:
        hint = f"{error.diag.message_hint.rstrip('.')}. {hint}"
    return MigrationFailed(
        " ".join(sentences), file=script.name, line=at.line, state=state, hint=hint
    )


def _said(error: psycopg.Error) -> str:
    if _is_copy(error):
        return "COPY from or to the client has nobody to talk to"
    return error.diag.message_primary or str(error)


def _cure(script: Script, error: psycopg.Error, at: Place, limits: Limits) -> str | None:
    """Return what to do about this error, if it is one with a known remedy."""
    match error:
        case pg.ActiveSqlTransaction() | pg.InvalidTransactionTermination():
            return _ALONE
        case pg.LockNotAvailable() | pg.QueryCanceled():
            return _out_of_time(error, limits)
        case pg.DeadlockDetected() | pg.UnsafeNewEnumValueUsage():
            return _CURES[type(error)]
        case pg.SyntaxError() if _is_for_psql(script, at.line):
            return _FOR_PSQL
        case _ if _is_copy(error):
            return "Write the rows as INSERT. Look at the status before you go on."
    return None


def _out_of_time(error: psycopg.Error, limits: Limits) -> str | None:
    if isinstance(error, pg.LockNotAvailable):
        return f"Others kept the lock for {limits.lock_timeout:g} s. Try when fewer are at work."
    if limits.statement_timeout is None:
        return None
    return (
        f"A statement may run for {limits.statement_timeout:g} s. Split it, or allow it more"
        " (statement_timeout_seconds, --statement-timeout)."
    )


def _next(state: State | None) -> str:
    if state is None:
        return "Look at the status before you go on."
    if state.dirty:
        return "See what the file left, and force the version that the schema then really has."
    return "Correct the file and run it again."


def _is_copy(error: psycopg.Error) -> bool:
    """Whether psycopg itself raised the error, of a COPY that waits for us, and not the server."""
    return isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None


def _is_for_psql(script: Script, line: int | None) -> bool:
    """Whether the server fails at syntax that only psql has."""
    until = script.sql.splitlines()[:line]
    return bool(until) and (
        until[-1].lstrip().startswith("\\")
        or any(re.search(r"\bCOPY\b.*\bFROM\s+STDIN\b", each, re.IGNORECASE) for each in until)
    )
