"""The plan of a statement of a tenant's, made with the tenant's rights and rolled back."""

import json
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from pglast import ast
from psycopg import sql

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.pg import logins, statements, tenant_settings
from tenantry.pg.connections import Address, fetch_value
from tenantry.pg.logins import Connection
from tenantry.pg.long_statements import StatementTooLong, bounded
from tenantry.pg.statements import Unreadable

_EXPLAINED = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
_GENERIC_FROM = 160_000  # of PostgreSQL

# The statement and its plan are passed as settings, so that the plan is measured before it is sent:
# it quotes constants that the planner has computed, and libpq holds a whole answer in memory.
# An assignment, unlike PERFORM, is not counted as a statement of the tenant's.
_EXPLAIN: LiteralString = """
    DO $$
    DECLARE found pg_catalog.text;
    BEGIN
        EXECUTE pg_catalog.current_setting('tenantry.explain') INTO found;
        IF pg_catalog.octet_length(found) OPERATOR(pg_catalog.>) 4194304 THEN
            RAISE program_limit_exceeded USING MESSAGE = 'the plan is too large to be shown';
        END IF;
        found := pg_catalog.set_config('tenantry.plan', found, true);
    END $$
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A statement to explain. With ``analyze`` it is executed, within ``timeout_ms``.

    If it is ``read_only`` it cannot change anything, even until it is rolled back.
    """

    sql: str
    analyze: bool
    read_only: bool
    timeout_ms: int


async def explain(address: Address, database: str, role: str, wanted: Wanted) -> Any:
    """Return the plan of one statement, as EXPLAIN (FORMAT JSON) writes it.

    Raises InvalidInput for what PostgreSQL does not explain, and for an error that the statement
    causes; Conflict as ``logins.inside``, and if it takes too long.
    """
    await _require_one(wanted.sql)
    settings = await tenant_settings.settings_of(address, role, database)
    seconds = wanted.timeout_ms / 1000
    found = None
    try:
        async with (
            logins.inside(address, database, [role]) as inside,
            # Code of the tenant may catch the cancellation by the timeout.
            bounded(address, inside.info.user, seconds),
        ):
            try:
                found = await _explain(inside, role, settings, wanted)
            except psycopg.errors.LockNotAvailable:
                raise logins.busy(database) from None
            except psycopg.errors.QueryCanceled as error:
                raise _too_long(seconds) from error
            except psycopg.Error as error:
                if inside.closed or inside.broken:
                    raise
                raise _refusal(error) from error
            raise psycopg.Rollback
    except StatementTooLong as error:
        raise _too_long(seconds) from error
    return found


async def _explain(
    inside: Connection, role: str, settings: tenant_settings.Settings, wanted: Wanted
) -> Any:
    options = ["FORMAT JSON"]
    if wanted.analyze:
        options += ["ANALYZE", "BUFFERS"]
    elif inside.info.server_version >= _GENERIC_FROM:
        options += ["GENERIC_PLAN"]  # so that a statement from the statistics can have its $1
    text = f"EXPLAIN ({', '.join(options)}) {wanted.sql}"
    await inside.execute(
        "SELECT pg_catalog.set_config('tenantry.explain', %s, true),"
        " pg_catalog.set_config('row_security', 'on', true),"
        " pg_catalog.set_config('lock_timeout', %s, true),"
        " pg_catalog.set_config('statement_timeout', %s, true)",
        (text, str(wanted.timeout_ms), str(wanted.timeout_ms)),
    )
    for name, value in settings.items():
        await inside.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
    if wanted.read_only:
        await inside.execute("SET TRANSACTION READ ONLY")
    # Only the statement itself, so that no other is counted as one of the tenant's.
    await inside.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
    await inside.execute(_EXPLAIN)
    await inside.execute("RESET ROLE")
    found = await fetch_value(inside, "SELECT pg_catalog.current_setting('tenantry.plan')")
    return json.loads(str(found))


async def _require_one(text: str) -> None:
    try:
        found = await statements.aside(lambda: statements.split(text))
    except Unreadable as error:
        raise InvalidInput.of("sql", f"line {error.line}: {error}") from None
    if len(found) != 1:
        raise InvalidInput.of("sql", "must be one statement")
    node = found[0].node
    # EXPLAIN ANALYZE of the others creates a table even in a read-only transaction.
    if not isinstance(node, _EXPLAINED) or getattr(node, "intoClause", None) is not None:
        raise InvalidInput.of("sql", "must be SELECT, VALUES, INSERT, UPDATE, DELETE or MERGE")


def _too_long(seconds: float) -> Conflict:
    return Conflict(
        f"The statement took longer than {seconds:g} s, and was cancelled.",
        hint="Send a longer timeout_ms, or leave analyze out: then it is not executed.",
    )


def _refusal(error: psycopg.Error) -> InvalidInput:
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return InvalidInput.of(
            "sql", 'it changes something; send "read_only": false, and it is rolled back'
        )
    if isinstance(error, psycopg.errors.UndefinedParameter):
        return InvalidInput.of("sql", f"{error.diag.message_primary}: put a value in its place")
    return InvalidInput.of("sql", error.diag.message_primary or "PostgreSQL does not explain it")
