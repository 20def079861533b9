"""Connections to the platform's own servers: by Unix socket, as an operating-system user (peer)."""

import asyncio
import os
import re
import select
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, pq, sql
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import AsyncConnectionPool

from tenantry.base.errors import Conflict, Unavailable
from tenantry.base.secrets import Secret
from tenantry.pg.sql_program import ENDED, OWN

ADMIN = "tenantry_admin"  # the bootstrap superuser
PLATFORM = "tenantry_platform"  # the control plane's role; not a superuser
CUSTOMER = "tenantry_customer"  # the control plane's role for a customer; cannot log in
POOLER = "tenantry_pooler"  # may look up verifiers, nothing else
OWNER = "tenantry_owner"  # owns every tenant's database; cannot log in, nor connect to one

LOCAL_ROLES = (ADMIN, PLATFORM, POOLER)  # log in by the Unix socket, as an operating-system user
PLATFORM_ROLES = (*LOCAL_ROLES, OWNER)  # no network port admits them

CONNECT_SECONDS = 5
MOST_BYTES = 16 * 1024 * 1024  # of the result of one query about what a tenant made
_RESTART_SECONDS = 2.0
_RETRY_SECONDS = 0.1


_Result = TypeVar("_Result")
_Connection = TypeVar("_Connection", bound="PersistentConnection")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens on this machine."""

    socket_dir: Path
    port: int

    @property
    def socket(self) -> Path:
        """Return the Unix socket, which is there while the server runs."""
        return self.socket_dir / f".s.PGSQL.{self.port}"

    def conninfo(
        self,
        *,
        user: str,
        dbname: str = "postgres",
        search_path: str = "pg_catalog",
        lock_seconds: int = 0,
    ) -> str:
        """Return a libpq connection string. The search path is in force from the start.

        Statements wait at most ``lock_seconds`` for a lock; with 0, the database's default applies.
        Nothing is compiled: joins of tables that the planner takes to be larger than they are cost
        half a second of the processor each, for a few rows.
        """
        return make_conninfo(
            host=str(self.socket_dir),
            port=self.port,
            user=user,
            dbname=dbname,
            application_name="tenantry",
            connect_timeout=CONNECT_SECONDS,
            options=f"-csearch_path={search_path} -cclient_min_messages=warning -cjit=off"
            + (f" -clock_timeout={lock_seconds}s" if lock_seconds else ""),
        )


def startup_options(settings: Mapping[str, str]) -> str:
    """Return settings as libpq's ``options`` (manual, section 34.1.2), in force from the start.

    RESET restores these values.
    """
    return " ".join(
        f"-c{name}=" + re.sub(r"([\s\\])", r"\\\1", value) for name, value in settings.items()
    )


@asynccontextmanager
async def connect(
    address: Address,
    *,
    user: str,
    dbname: str = "postgres",
    search_path: str = "pg_catalog",
    lock_seconds: int = 0,
    password: Secret | None = None,
) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Open one connection in autocommit mode, and close it at the end.

    Raises Unavailable if the server does not answer, or does not admit the user.
    """
    conninfo = address.conninfo(
        user=user, dbname=dbname, search_path=search_path, lock_seconds=lock_seconds
    )
    try:
        connection = await QuietConnection.connect(
            conninfo,
            autocommit=True,
            password=None if password is None else password.reveal(),
        )
    except psycopg.OperationalError as error:
        raise Unavailable(
            f"PostgreSQL at {address.socket_dir} does not let {user} in: {error}".strip(),
            hint="See ./tenantry status and the server's log.",
        ) from error
    async with connection:
        yield connection


def is_lost(error: BaseException) -> bool:
    """Whether a server has ended the session, or does not answer: it may be restarted."""
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate.startswith(ENDED)
    )


def cut(connection: AsyncConnection[Any]) -> None:
    """Shut the socket of a connection down: code that waits on it gets OperationalError.

    A server that is stopped or hostile never answers; and psycopg has no deadline, and waits for
    the answer once more when it is cancelled.
    """
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as it:
        it.shutdown(socket.SHUT_RDWR)


@contextmanager
def answering_within(connection: AsyncConnection[Any], seconds: float) -> Iterator[None]:
    """Cut a connection if the block takes longer than ``seconds``. Raises TimeoutError then."""
    late = False

    def end() -> None:
        nonlocal late
        late = True
        cut(connection)

    timer = asyncio.get_running_loop().call_later(seconds, end)
    try:
        yield
    except psycopg.OperationalError as error:
        if late:
            raise TimeoutError(f"there was no answer within {seconds:g} s") from error
        raise
    finally:
        timer.cancel()


class QuietConnection(AsyncConnection[TupleRow]):
    """A connection that discards notifications as they come.

    libpq and psycopg hold each until somebody asks for it, and code of a tenant can LISTEN and
    NOTIFY without end. Notices are discarded by psycopg.
    """

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        made = await super().connect(conninfo, **options)
        made.add_notify_handler(lambda _: None)
        return made

    async def wait(self, gen: PQGen[_Result], *limits: Any, **more: Any) -> _Result:
        """Run one of psycopg's generators, and discard notifications each time it waits."""
        return await super().wait(_discarding(self.pgconn, gen), *limits, **more)


def _discarding(pgconn: pq.abc.PGconn, gen: PQGen[_Result]) -> PQGen[_Result]:
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            wanted = gen.send(ready)
            while pgconn.notifies() is not None:
                pass
    except StopIteration as ended:
        found: _Result = ended.value
        return found


class PersistentConnection(QuietConnection):
    """A connection that retries for less than a second while a server restarts.

    The pool itself waits for one, two, four seconds between its attempts.
    """

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        clock = asyncio.get_running_loop().time
        deadline = clock() + _RESTART_SECONDS
        while True:
            try:
                return await super().connect(conninfo, **options)
            except psycopg.OperationalError:
                if clock() > deadline:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)


async def _check(connection: AsyncConnection[TupleRow]) -> None:
    """Raise psycopg.OperationalError if the server has ended the connection.

    A server that did so, or died, leaves the end of the stream in the socket, and one that waits
    for a query sends nothing: so a query is needed only where there is something to read.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        await AsyncConnectionPool.check_connection(connection)


def pool(
    address: Address,
    *,
    user: str,
    dbname: str = "postgres",
    search_path: str = "pg_catalog",
    smallest: int = 1,
    largest: int = 8,
    lock_seconds: int = 0,
    kind: type[_Connection],
) -> AsyncConnectionPool[_Connection]:
    """Create a pool of such connections, not yet open. A dead one is replaced when requested."""

    conninfo = address.conninfo(
        user=user, dbname=dbname, search_path=search_path, lock_seconds=lock_seconds
    )
    return _checked_pool(
        conninfo,
        connection_class=kind,
        kwargs={"autocommit": True},
        min_size=smallest,
        max_size=largest,
        timeout=10,
        name=f"{dbname}@{address.socket_dir.name}",
    )


def login_pool(
    pooler: Address,
    *,
    user: str,
    password: Secret,
    dbname: str,
    application: str,
    largest: int,
    wait_seconds: float,
    idle_seconds: float,
) -> AsyncConnectionPool[PersistentConnection]:
    """Create a pool of a role's connections through the pooler, not yet open, and empty at first.

    A connection is awaited ``wait_seconds`` at most, and closed when idle. Nothing is prepared: the
    pooler discards it after each transaction.
    """
    conninfo = make_conninfo(
        host=str(pooler.socket_dir),
        port=pooler.port,
        user=user,
        dbname=dbname,
        application_name=application,
        connect_timeout=CONNECT_SECONDS,
        client_encoding="utf8",
    )
    return _checked_pool(
        conninfo,
        connection_class=PersistentConnection,
        kwargs={"autocommit": True, "prepare_threshold": None, "password": password.reveal()},
        min_size=0,
        max_size=largest,
        timeout=wait_seconds,
        max_idle=idle_seconds,
        reconnect_timeout=wait_seconds,  # else attempts after an outage would be minutes apart
        num_workers=1,
        name=f"{user}@{dbname}",
    )


def _checked_pool(
    conninfo: str, *, connection_class: type[_Connection], **options: Any
) -> AsyncConnectionPool[_Connection]:
    async def check(connection: _Connection) -> None:
        try:
            await _check(connection)
        except psycopg.OperationalError:
            # A restarted server has ended all connections; found one by one, each would double the
            # wait of the client that asks for a connection.
            await made.drain()
            raise

    made: AsyncConnectionPool[_Connection] = AsyncConnectionPool(
        conninfo, connection_class=connection_class, open=False, check=check, **options
    )
    return made


async def fetch_value(
    connection: AsyncConnection[TupleRow], query: LiteralString, parameters: tuple[object, ...] = ()
) -> object:
    """Return the first column of the first row, or None."""
    row = await (await connection.execute(query, parameters)).fetchone()
    return row[0] if row else None


async def fetch_bounded(
    connection: AsyncConnection[TupleRow],
    query: LiteralString | sql.Composed,
    parameters: tuple[object, ...] = (),
    *,
    most_bytes: int = MOST_BYTES,
) -> list[TupleRow]:
    """Return all rows of a query about what a tenant made, if they are not over ``most_bytes``.

    The server measures them, as text, before it sends the first: libpq holds a whole answer in
    memory, and a function's body alone may have a gigabyte. The columns of the query need names.

    Raises Conflict if they are larger.
    """
    text = sql.SQL(query) if isinstance(query, str) else query
    cursor = AsyncCursor(connection, row_factory=tuple_row)
    await cursor.execute(
        sql.SQL(
            """
            WITH found AS MATERIALIZED (
                SELECT q.*, pg_catalog.row_number() OVER () AS nth,
                    pg_catalog.octet_length(q::pg_catalog.text) AS bytes
                FROM ({query}) q)
            SELECT f.*, total.bytes
            FROM (
                SELECT coalesce(pg_catalog.sum(bytes), 0)::pg_catalog.int8 AS bytes FROM found
            ) total
                LEFT JOIN found f ON total.bytes <= {most}
            ORDER BY f.nth{own}
            """
        ).format(query=text, most=sql.Literal(most_bytes), own=sql.SQL(OWN)),
        parameters or None,
        prepare=False,
    )
    rows = await cursor.fetchall()
    if rows[0][-1] > most_bytes:
        raise Conflict(
            f"What is asked for has {rows[0][-1]:,} bytes, and at most {most_bytes:,} are read.",
            hint="The database has too many or too large definitions or rows for this.",
        )
    return [row[:-3] for row in rows if row[-3] is not None]
