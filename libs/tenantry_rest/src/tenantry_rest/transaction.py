"""A request's transaction, in one round trip if it commits."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection

from tenantry_rest.auth import Caller
from tenantry_rest.config import Config
from tenantry_rest.errors import (
    ApiError,
    exceeds_max_affected,
    headers_too_large,
    not_singular,
    too_large,
)
from tenantry_rest.exchange import Statement, exchange
from tenantry_rest.plan.model import Plan
from tenantry_rest.request.model import ApiRequest
from tenantry_rest.schema.model import Function, RoleSettings, Schema
from tenantry_rest.sql import statements
from tenantry_rest.sql.fragments import Rendered, Sql
from tenantry_rest.sqlstates import from_database

ISOLATIONS = ("read uncommitted", "read committed", "repeatable read", "serializable")
NO_NUMBER = "22P02"  # invalid_text_representation
NO_STATEMENT = "26000"  # invalid_sql_statement_name
JSONB = 3802  # the type's oid


@dataclass(frozen=True)
class Outcome:
    """What the main statement returned; ``total`` is None where rows were not counted."""

    rows: int
    body: bytes
    total: int | None = None
    location: tuple[str, ...] = ()
    headers: str | None = None
    status: str | None = None
    inserted: int = 0


def settings(
    request: ApiRequest,
    caller: Caller,
    config: Config,
    role: RoleSettings,
    function: Function | None,
) -> list[tuple[str, str]]:
    """The settings of a transaction; those of the role need the rights of before it."""
    path = statements.search_path([request.schema, *config.db_extra_search_path])
    headers, cookies = dict[str, str](), dict[str, str]()
    for name, value in request.http.headers:
        if name != "cookie":
            headers[name] = value
            continue
        for each in value.split(";"):
            cookie, _, content = each.partition("=")
            cookies[cookie.strip()] = content
    found = [("search_path", path), *role.settings, ("role", caller.role)]
    found += [
        ("request.jwt.claims", caller.claims_text),
        ("request.method", request.http.method),
        ("request.path", request.http.path),
        ("request.headers", statements.json_setting(headers)),
        ("request.cookies", statements.json_setting(cookies)),
    ]
    if request.preferences.timezone is not None:
        found.append(("timezone", request.preferences.timezone))
    if function is not None:
        found += function.settings
    return [*found, *config.app_settings]


class Transaction:
    """One request's transaction on a connection that commits by itself."""

    def __init__(
        self,
        connection: AsyncConnection[Any],
        request: ApiRequest,
        caller: Caller,
        config: Config,
        schema: Schema,
    ) -> None:
        self._connection = connection
        self._request, self._caller, self._config = request, caller, config
        self._role = schema.roles.get(caller.role, RoleSettings())

    async def run(self, plan: Plan, main: Sequence[Rendered]) -> Outcome:
        """Execute a plan by its statements.

        Raises:
            ApiError: PostgreSQL refuses, or the number of rows is not what was asked for.
        """
        function = plan.call.function if plan.call is not None else None
        checked = self._decides_on_rows(plan)
        results = await self._execute(
            main, read_only=plan.read_only, function=function, ends=not checked
        )
        if plan.media.plan_of is not None:
            lines = [_bytes(results[0], row, 0) for row in range(results[0].ntuples)]
            outcome = Outcome(1, b"".join(line + b"\n" for line in lines))
        else:
            outcome = _outcome(results[0], is_write=plan.write is not None)
            if statements.estimates_rows(plan, self._request):
                outcome = self._estimated(outcome, results[1])
        if checked:
            await self._end(plan, outcome)
        return outcome

    async def rows(self, wanted: Sequence[Sql]) -> list[list[tuple[Any, ...]]]:
        """The rows of read-only statements."""
        results = await self._execute(
            [each.render() for each in wanted], read_only=True, function=None, ends=True
        )
        return [
            [
                tuple(
                    None if value is None else value.decode()
                    for value in (result.get_value(row, column) for column in range(result.nfields))
                )
                for row in range(result.ntuples)
            ]
            for result in results
        ]

    def _decides_on_rows(self, plan: Plan) -> bool:
        """Whether the number of rows decides on the end of the transaction."""
        preferences = self._request.preferences
        if plan.media.plan_of is not None:
            return False
        limited = preferences.strict and preferences.max_affected is not None
        return plan.media.is_singular or limited or self._request.write == "upsert"

    async def _end(self, plan: Plan, outcome: Outcome) -> None:
        error = self._refusal(plan, outcome)
        if error is not None:
            await self._connection.rollback()
            raise error
        try:
            if self._rolls_back():
                await self._connection.rollback()
            else:
                await exchange(self._connection, [Statement(b"COMMIT")])
        except psycopg.Error as failed:
            raise await self._translated(failed) from failed

    def _refusal(self, plan: Plan, outcome: Outcome) -> ApiError | None:
        preferences, rows = self._request.preferences, outcome.rows
        if self._request.write == "upsert" and rows != 1:
            message = "Payload values do not match URL in primary key column(s)"
            return ApiError(400, "PGRST115", message)
        if plan.media.is_singular and rows != 1:
            return not_singular(rows)
        limit = preferences.max_affected
        affects = self._request.write in {"update", "delete"} or plan.call is not None
        if affects and preferences.strict and limit is not None and rows > limit:
            return exceeds_max_affected(rows)
        return None

    def _rolls_back(self) -> bool:
        wanted = self._request.preferences.tx
        return wanted == "rollback" or (self._config.rolls_back and wanted != "commit")

    async def _execute(
        self, main: Sequence[Rendered], *, read_only: bool, function: Function | None, ends: bool
    ) -> list[Any]:
        """All statements in one round trip, and the end with them if nothing decides on it."""
        isolation = (function.isolation if function else None) or self._role.isolation
        level = isolation.upper() if isolation in ISOLATIONS else "READ COMMITTED"
        mode = "READ ONLY" if read_only else "READ WRITE"
        given = settings(self._request, self._caller, self._config, self._role, function)
        sent = [
            Statement(f"BEGIN ISOLATION LEVEL {level} {mode}".encode()),
            Statement(*statements.settings_statement(given)),
        ]
        if self._config.db_pre_request:
            called = statements.call_without_arguments(self._config.db_pre_request)
            sent.append(Statement(*called.render()))
        before = len(sent)
        sent += [Statement(*each, binary=True) for each in main]
        if self._rolls_back():
            sent.append(Statement(b"SET CONSTRAINTS ALL IMMEDIATE"))
        elif ends:
            sent.append(Statement(b"COMMIT"))
        try:
            results = await exchange(self._connection, sent)
            if ends and self._rolls_back():
                # Not in the pipeline: at a ROLLBACK the driver deallocates its prepared
                # statements, and there it would do so behind the first of the next ones.
                await self._connection.rollback()
        except psycopg.Error as error:
            raise await self._translated(error) from error
        return results[before : before + len(main)]

    async def _translated(self, error: psycopg.Error) -> ApiError:
        """The answer to an error; the connection is usable again, or closed."""
        if error.sqlstate == NO_STATEMENT:
            # A function has deallocated what the driver takes for prepared.
            await self._connection.close()
        if not self._connection.closed:
            await self._connection.rollback()
        return translated(error, anonymous=self._caller.role == self._config.db_anon_role)

    def _estimated(self, outcome: Outcome, result: Any) -> Outcome:
        planned = int(json.loads(_bytes(result, 0, 0))[0]["Plan"]["Plan Rows"])
        total, most = outcome.total, self._config.db_max_rows
        if self._request.preferences.count == "estimated":
            exceeds = total is not None and (most is None or total > most)
            planned = max(planned, total or 0) if exceeds else (total or 0)
        return Outcome(**{**vars(outcome), "total": planned})


def translated(error: psycopg.Error, *, anonymous: bool) -> ApiError:
    """The answer to an error of the driver or of PostgreSQL."""
    diag, primary = error.diag, error.diag.message_primary
    # What a pooler says of its servers, and with a class that functions may raise, but no FATAL.
    is_pooler = diag.severity == "FATAL" and (error.sqlstate or "").startswith("08")
    if error.sqlstate is None or primary is None or is_pooler:
        message = "Database client error. Retrying the connection."
        return ApiError(503, "PGRST001", message)
    if error.sqlstate == NO_NUMBER and f'"{statements.TOO_LARGE}' in primary:
        return too_large()
    if error.sqlstate == NO_NUMBER and f'"{statements.LARGE_HEADERS}' in primary:
        return headers_too_large()
    return from_database(
        error.sqlstate,
        primary,
        diag.message_detail,
        diag.message_hint,
        anonymous=anonymous,
    )


def _bytes(result: Any, row: int, column: int) -> bytes:
    value: bytes | None = result.get_value(row, column)
    if value is None:
        return b""
    # The binary format of jsonb is its text after a version.
    return value[1:] if result.ftype(column) == JSONB else value


def _integer(result: Any, column: int) -> int | None:
    value: bytes | None = result.get_value(0, column)
    return None if value is None else int.from_bytes(value, "big", signed=True)


def _texts(value: bytes | None) -> tuple[str, ...]:
    """A one-dimensional array of texts in PostgreSQL's binary format."""
    if value is None or len(value) <= 12:  # noqa: PLR2004 (without dimensions)
        return ()
    found, position = [], 20  # after the header and the dimension
    while position < len(value):
        size = int.from_bytes(value[position : position + 4], "big")
        found.append(value[position + 4 : position + 4 + size].decode())
        position += 4 + size
    return tuple(found)


def _outcome(result: Any, *, is_write: bool) -> Outcome:
    if not result.ntuples:
        return Outcome(0, b"")  # a value that is not aggregated, beyond the limit
    body = 3 if is_write else 2  # only writes have a location before it
    headers, status = result.get_value(0, body + 1), result.get_value(0, body + 2)
    return Outcome(
        _integer(result, 1) or 0,
        _bytes(result, 0, body),
        _integer(result, 0),
        _texts(result.get_value(0, 2)) if is_write else (),
        headers.decode() if headers is not None else None,
        status.decode() if status is not None else None,
        _integer(result, body + 3) or 0,
    )
