"""The API of one database: its connections, its schema cache, and what protects others from it."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from tenantry.base.shares import NoPlace, Shares
from tenantry.pg.api_roles import SHARED
from tenantry.pg.connections import Address, login_pool
from tenantry.rest.breaker import Breaker
from tenantry.rest.budget import size_of
from tenantry.rest.callers import Callers, Keys, config_of
from tenantry.rest.threads import Threads
from tenantry.services.data_api.model import ServedDatabase, request_seconds
from tenantry_rest import (
    Answer,
    ApiError,
    Caller,
    HttpRequest,
    Prepared,
    Schema,
    Shapes,
    State,
    load_fingerprint,
    load_schema,
    measure_schema,
    refuse,
    respond,
)

FRESH_SECONDS = 1.0  # for which a check of the schema cache is valid
EACH_DATABASE = 128  # requests at once, those that wait for a connection among them
EACH_ADDRESS = 64
TRANSIT_EACH_DATABASE = 64  # bodies that are being sent, with a token, and as many without
TRANSIT_EACH_ADDRESS = 16
CONNECTIONS = 10  # of a database, of all processes together
MOST_QUEUED = 512  # requests of a database, with those that wait for such a place
MOST_SCHEMA_BYTES = 32 * 1024 * 1024  # read for one schema cache
_SHAPES = 50
_CHECK_SECONDS = 6.0  # more than a connection is awaited
_PLACE_SECONDS = 1.0
_ACQUIRE_SECONDS = 5.0
_IDLE_SECONDS = 15.0
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_CONNECTION_EXCEPTION = "08"  # the class of PgBouncer's own errors
# What is not there may be new: unknown to the schema cache, or to PostgreSQL.
_UNKNOWN = re.compile(r"PGRST20[0245]|42P01|42703|42883")
# Threads take turns with the event loop, so that more of them would delay it more.
_LOADS = Threads(8, "schema cache")
_PLANS = Threads(4, "large request")


class DatabaseApi:
    """Answers requests for one database, until its settings change."""

    def __init__(
        self,
        served: ServedDatabase,
        pooler: Address,
        url: str,
        keys: Keys = (),
        *,
        connections: int = CONNECTIONS,
    ) -> None:
        self.served = served
        self.keys = keys
        self.expires = math.inf  # from when on its keys have to be fetched again
        self.config = config_of(served, url, keys)
        self.cache_bytes = 0
        self.noted_bytes = 0  # that the budget knows of
        self.active = 0  # requests now
        self.last_used = time.monotonic()
        self._callers = Callers(served, self.config)
        self._places = Shares(each=EACH_ADDRESS, total=EACH_DATABASE)
        self._transit = {
            has_token: Shares(each=TRANSIT_EACH_ADDRESS, total=TRANSIT_EACH_DATABASE)
            for has_token in (False, True)
        }
        self._breaker = Breaker()
        self._pool = login_pool(
            pooler,
            user=served.authenticator,
            password=served.password,
            dbname=served.database_name,
            application="tenantry data api",
            largest=min(connections, served.max_connections),
            wait_seconds=_ACQUIRE_SECONDS,
            idle_seconds=_IDLE_SECONDS,
        )
        self._seconds = request_seconds(served.statement_timeout_ms)
        self._state: State | None = None
        self._fingerprint = ""
        self._checked = -math.inf  # when the last check that succeeded began
        self._began = -math.inf  # when the present check began
        self._checking: asyncio.Task[State] | None = None

    async def open(self) -> None:
        """Prepare for requests; connections are made for them."""
        await self._pool.open()

    async def close(self) -> None:
        """Close its connections."""
        if self._checking is not None:
            self._checking.cancel()
        await self._pool.close()

    def check_head(self, http: HttpRequest) -> bool:
        """Return whether a request that may have a body has a token, by its head.

        Raises ApiError if it is refused whatever its body is. Functions may be called by whoever
        may not write: which of them only read is known later.
        """
        if http.method not in _WITH_BODY:
            return False
        caller = self.caller(http.header("authorization"))
        if caller.write_refusal is not None and not http.path.startswith("/rpc/"):
            raise caller.write_refusal
        return caller.has_token

    def caller(self, authorization: str | None) -> Caller:
        """Return the caller by the header ``Authorization``. Raises ApiError."""
        return self._callers.caller(authorization)

    def place(self, client: str) -> AbstractAsyncContextManager[None]:
        """Be one of the requests at once. Raises ApiError if there is no place in a second."""
        return self._among(self._places, client)

    def transit(self, client: str, *, has_token: bool) -> AbstractAsyncContextManager[None]:
        """Be one of the requests whose bodies are being sent. Raises ApiError as ``place`` does.

        They have none of the places of others, and those without a token none of those with one:
        a body may be sent slowly.
        """
        return self._among(self._transit[has_token], client)

    @asynccontextmanager
    async def _among(self, places: Shares, client: str) -> AsyncIterator[None]:
        too_many = later(429, "too_many_at_once", "Too many requests at the same time", 1)
        if self.active >= MOST_QUEUED:
            raise too_many
        self.active += 1
        self.last_used = time.monotonic()
        try:
            async with places.place(client, within=_PLACE_SECONDS):
                yield
        except NoPlace:
            raise too_many from None
        finally:
            self.active -= 1

    async def respond(self, http: HttpRequest) -> Answer:
        """Answer a request that has a place."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._respond(http)
        except ApiError as refusal:
            return refuse(http, refusal, self.config)
        except TimeoutError:
            seconds = f"{self._seconds:.0f}"
            error = ApiError(
                504, "request_timeout", f"The request took longer than {seconds} seconds"
            )
            return refuse(http, error, self.config)

    async def _respond(self, http: HttpRequest) -> Answer:
        state = await self._current(time.monotonic() - FRESH_SECONDS)
        found = await respond(http, state, self.connection)
        if _is_unknown(found):
            now = await self._current(time.monotonic())
            if now is not state:
                return await respond(http, now, self.connection)
        return found

    # ── the schema cache ─────────────────────────────────────────────────────

    async def _current(self, since: float) -> State:
        """Return the state by a check that began no earlier than ``since``.

        Requests share a check; one that gives up does not end it for others. Raises ApiError.
        """
        while self._state is None or self._checked < since:
            if self._checking is None:
                self._began = time.monotonic()
                self._checking = asyncio.create_task(self._check(self._began))
                self._checking.add_done_callback(self._check_ended)
            left = self._began + _CHECK_SECONDS - time.monotonic()
            try:
                # The check itself may take longer to end than it may take to succeed.
                async with asyncio.timeout(max(left, 0)):
                    await asyncio.shield(self._checking)
            except TimeoutError:
                raise _unreadable(f"No answer within {_CHECK_SECONDS:.0f} seconds") from None
        return self._state

    def _check_ended(self, check: asyncio.Task[State]) -> None:
        self._checking = None
        if not check.cancelled():
            check.exception()  # if all who waited have given up

    async def _check(self, began: float) -> State:
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await _LOADS.idle(self.served.database_name)  # of one that was given up
                async with self.connection() as connection:
                    fingerprint = await load_fingerprint(connection, SHARED)
                    if self._state is None or fingerprint != self._fingerprint:
                        self._state = await self._load(connection)
                        self._fingerprint = fingerprint
        except TimeoutError as error:
            self._breaker.failed()
            raise _unreadable(f"No answer within {_CHECK_SECONDS:.0f} seconds") from error
        except psycopg.Error as error:
            raise _unreadable(_details(error)) from error
        self._checked = began
        return self._state

    async def _load(self, connection: AsyncConnection[Any]) -> State:
        # Other tenants' code can set parameters for the roles that all databases share.
        size = await measure_schema(connection, SHARED)
        if size > MOST_SCHEMA_BYTES:
            message = "The schema is too large to be served"
            details = f"Its definitions and comments have about {size:,} bytes"
            raise ApiError(503, "PGRST002", message, details)
        schema = await load_schema(connection, self.config, SHARED, aside=self._measured)
        return State(self.config, schema, self._callers, Shapes(_SHAPES), self._planned)

    async def _measured(self, compute: Callable[[], Schema]) -> Schema:
        """Compute a schema cache, and note its size."""

        def computed() -> tuple[Schema, int]:
            schema = compute()
            return schema, size_of(schema)

        schema, self.cache_bytes = await _LOADS.run(self.served.database_name, computed)
        return schema

    async def _planned(self, plan: Callable[[], Prepared]) -> Prepared:
        return await _PLANS.run(self.served.database_name, plan)

    # ── connections ──────────────────────────────────────────────────────────

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection. Raises ApiError if there was none several times, without waiting.

        The pool rolls back what a request has left, or closes the connection.
        """
        if wait := self._breaker.wait():
            raise _no_connection(math.ceil(wait))
        try:
            connection = await self._pool.getconn()
        except psycopg.OperationalError as error:
            self._breaker.failed()
            if isinstance(error, PoolTimeout):
                raise
            raise _no_connection(1) from error
        self._breaker.succeeded()
        try:
            yield connection
        finally:
            await self._pool.putconn(connection)


def later(
    status: int, code: str, message: str, seconds: int, details: str | None = None
) -> ApiError:
    """Return an answer to a request that may succeed after some seconds."""
    return ApiError(status, code, message, details, headers=[("Retry-After", str(seconds))])


def _unreadable(details: str) -> ApiError:
    """Return the answer without a schema cache: the client sees why, and no log is flooded."""
    message = "Could not query the database for the schema cache. Retrying."
    return later(503, "PGRST002", message, 1, details)


def _no_connection(seconds: int) -> ApiError:
    message = "The database does not answer. Retrying the connection."
    return later(503, "PGRST000", message, seconds)


def _details(error: psycopg.Error) -> str:
    """Return what PostgreSQL says of a statement; what PgBouncer says is not for clients."""
    if error.sqlstate is None or error.sqlstate.startswith(_CONNECTION_EXCEPTION):
        return "The database does not answer"
    return str(error).strip()


def _is_unknown(answer: Answer) -> bool:
    return any(name == "Proxy-Status" and _UNKNOWN.search(value) for name, value in answer.headers)
