"""From a request to its answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from tenantry_rest import cors
from tenantry_rest.answer import (
    Answer,
    allowing,
    answer,
    error_answer,
    function_options,
    table_options,
)
from tenantry_rest.auth import Authenticator, Caller
from tenantry_rest.config import Config
from tenantry_rest.errors import ApiError
from tenantry_rest.openapi import describe
from tenantry_rest.plan.planning import find_table, make_plan, plan_function
from tenantry_rest.request.model import ApiRequest, HttpRequest, parse_request
from tenantry_rest.schema.model import Schema
from tenantry_rest.shapes import Planned, Shapes
from tenantry_rest.sql.statements import statements_of
from tenantry_rest.transaction import Transaction, translated

Connect = Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]
Prepared = Planned | ApiRequest | Answer
Aside = Callable[[Callable[[], Prepared]], Awaitable[Prepared]]
LARGE_BODY = 64 * 1024  # bytes, of a request that is planned aside
LARGE_QUERY = 2048
SHAPES = 500
PHASES = ("jwt", "parse", "plan", "transaction", "response")


@dataclass(frozen=True)
class State:
    """All that answers depend on besides the request; without a schema cache there are none.

    ``aside`` runs the parsing and planning of large requests: other requests go on meanwhile.
    """

    config: Config
    schema: Schema | None
    authenticator: Authenticator
    shapes: Shapes
    aside: Aside = asyncio.to_thread

    @classmethod
    def of(cls, config: Config, schema: Schema | None, *, shapes: int = SHAPES) -> "State":
        """``shapes`` is the number of shapes of requests whose plans are kept."""
        return cls(config, schema, Authenticator(config), Shapes(shapes))


@dataclass
class Timing:
    """How long the phases of a request take, in milliseconds."""

    last: float = field(default_factory=time.perf_counter)
    spent: dict[str, float] = field(default_factory=dict)

    def end(self, phase: str) -> None:
        now = time.perf_counter()
        self.spent[phase] = (now - self.last) * 1000
        self.last = now

    def end_failed(self) -> None:
        """End the phase in which an error occurred: the first that has not ended."""
        self.end(next(phase for phase in PHASES if phase not in self.spent))

    def header(self) -> tuple[str, str]:
        known = (phase for phase in PHASES if phase in self.spent)
        value = ", ".join(f"{phase};dur={self.spent[phase]:.1f}" for phase in known)
        return "Server-Timing", value


async def respond(http: HttpRequest, state: State, connect: Connect) -> Answer:
    """Answer a request; ``connect`` lends a connection that commits by itself."""
    config = state.config
    if (headers := cors.preflight(http, config.server_cors_allowed_origins)) is not None:
        return Answer(200, headers)
    timing = Timing()
    try:
        found = await _answer(http, state, connect, timing)
        timing.end("response")
        found.headers = _with(found.headers, [("Vary", "Accept, Prefer, Range")])
    except ApiError as error:
        timing.end_failed()
        found = error_answer(error, minimal=config.minimal_errors)
    if config.server_timing_enabled:
        found.headers.append(timing.header())
    return _finished(found, http, config)


def refuse(http: HttpRequest, error: ApiError, config: Config) -> Answer:
    """Answer a request with an error of the server's own; a browser's script can read it."""
    return _finished(error_answer(error, minimal=config.minimal_errors), http, config)


def _finished(found: Answer, http: HttpRequest, config: Config) -> Answer:
    exposed = cors.exposing(http, config.server_cors_allowed_origins)
    found.headers = _with(found.headers, exposed)
    trace = config.server_trace_header
    if trace and (value := http.header(trace.lower())) is not None:
        found.headers = _with(found.headers, [(trace, value)])
    return found


def _with(headers: list[tuple[str, str]], more: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers with those of others that are not among them."""
    names = {name.lower() for name, _ in headers}
    return headers + [each for each in more if each[0].lower() not in names]


async def _answer(http: HttpRequest, state: State, connect: Connect, timing: Timing) -> Answer:
    config = state.config
    if state.schema is None:
        message = "Could not query the database for the schema cache. Retrying."
        raise ApiError(503, "PGRST002", message)
    caller = state.authenticator.caller(http.header("authorization"))
    timing.end("jwt")
    prepared: Prepared | None
    if len(http.body) > LARGE_BODY or len(http.query) > LARGE_QUERY:
        prepared = await state.aside(partial(_prepared, http, state.schema, config, timing))
    elif (prepared := state.shapes.plan(http, state.schema, config)) is not None:
        timing.end("parse")
        timing.end("plan")
    else:
        prepared = _prepared(http, state.schema, config, timing)
    if isinstance(prepared, Planned):
        return await _execute(prepared, caller, state, connect, timing)
    if isinstance(prepared, Answer):
        return prepared
    return await _inspect(prepared, caller, state, connect, timing)


def _prepared(http: HttpRequest, schema: Schema, config: Config, timing: Timing) -> Prepared:
    """The request with its plan, if it has one, or the answer if that needs no database."""
    request = parse_request(http, config)
    timing.end("parse")
    if request.kind == "info":
        return _options(request, schema, config)
    if request.kind == "inspect":
        return request
    plan = make_plan(request, schema, config)
    statements = [each.render() for each in statements_of(plan, request, config)]
    timing.end("plan")
    return Planned(request, plan, statements)


def _options(request: ApiRequest, schema: Schema, config: Config) -> Answer:
    if request.resource == "schema":
        return allowing(["OPTIONS", "GET", "HEAD"])
    if request.resource == "function":
        return function_options(plan_function(request, schema, config)[0])
    return table_options(schema.tables[find_table(request, schema)])


async def _execute(
    planned: Planned, caller: Caller, state: State, connect: Connect, timing: Timing
) -> Answer:
    request, plan = planned.request, planned.plan
    if caller.write_refusal is not None and not plan.read_only:
        raise caller.write_refusal
    schema = state.schema or Schema()
    async with _connected(connect) as connection:
        transaction = Transaction(connection, request, caller, state.config, schema)
        outcome = await transaction.run(plan, planned.statements)
    timing.end("transaction")
    return answer(request, plan, outcome, minimal=state.config.minimal_errors)


async def _inspect(
    request: ApiRequest, caller: Caller, state: State, connect: Connect, timing: Timing
) -> Answer:
    timing.end("plan")
    schema = state.schema or Schema()
    async with _connected(connect) as connection:
        transaction = Transaction(connection, request, caller, state.config, schema)
        found = await describe(request, schema, state.config, transaction)
    timing.end("transaction")
    return found


class _connected:  # noqa: N801 (used as a function)
    """A connection, or the answer that there is none."""

    def __init__(self, connect: Connect) -> None:
        self._lent = connect()

    async def __aenter__(self) -> AsyncConnection[Any]:
        try:
            return await self._lent.__aenter__()
        except PoolTimeout as error:
            message = "Timed out acquiring connection from connection pool."
            raise ApiError(504, "PGRST003", message) from error
        except psycopg.OperationalError as error:
            message = "Database connection error."
            raise ApiError(503, "PGRST000", message, str(error)) from error

    async def __aexit__(self, *raised: Any) -> None:
        try:
            await self._lent.__aexit__(*raised)
        except psycopg.Error as error:
            raise translated(error, anonymous=False) from error
