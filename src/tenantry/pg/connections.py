"""Connecting to a server of ours: over its Unix socket, as an operating-system user (peer)."""

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString, Self

import psycopg
from psycopg import AsyncConnection, AsyncCursor, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import AsyncConnectionPool

from tenantry.base.errors import Conflict, Unavailable

ADMIN = "tenantry_admin"  # the bootstrap superuser
PLATFORM = "tenantry_platform"  # what the control plane works as; not a superuser
CUSTOMER = "tenantry_customer"  # what the control plane works as for a customer; cannot log in
POOLER = "tenantry_pooler"  # may look up verifiers, nothing else
OWNER = "tenantry_owner"  # owns every tenant's database; cannot log in
GUEST = "tenantry_guest"  # goes into tenants' databases; has the rights of that tenant alone
OPEN = "tenantry_open"  # its members may come from anywhere: they have no allowlist

CONNECT_SECONDS = 5
MOST_BYTES = 16 * 1024 * 1024  # of what one query may tell of what is a tenant's
_RESTART_SECONDS = 2.0
_RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens on this machine."""

    socket_dir: Path
    port: int

    def conninfo(
        self, *, user: str, dbname: str = "postgres", search_path: str = "pg_catalog"
    ) -> str:
        """A libpq connection string. The search path is in force from the first statement on."""
        return make_conninfo(
            host=str(self.socket_dir),
            port=self.port,
            user=user,
            dbname=dbname,
            application_name="tenantry",
            connect_timeout=CONNECT_SECONDS,
            options=f"-csearch_path={search_path} -cclient_min_messages=warning",
        )


@asynccontextmanager
async def connect(
    address: Address, *, user: str, dbname: str = "postgres", search_path: str = "pg_catalog"
) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """One connection in autocommit mode, closed at the end.

    Raises Unavailable if the server does not answer.
    """
    try:
        connection = await AsyncConnection.connect(
            address.conninfo(user=user, dbname=dbname, search_path=search_path), autocommit=True
        )
    except psycopg.OperationalError as error:
        raise Unavailable(
            f"PostgreSQL at {address.socket_dir} does not let {user} in: {error}".strip(),
            hint="See ./tenantry status and the server's log.",
        ) from error
    async with connection:
        yield connection


class _Persistent(AsyncConnection[TupleRow]):
    """Keeps trying while a server is being started again, which takes it less than a second.

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
    """Raises psycopg.OperationalError if the server has ended the connection.

    A server that did so, or died, leaves the end of the stream in the socket, and one that
    waits for a query says nothing: it need only be asked where there is something to read.
    """
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    if socket.poll(0):
        await AsyncConnectionPool.check_connection(connection)


def pool(
    address: Address,
    *,
    user: str,
    dbname: str = "postgres",
    search_path: str = "pg_catalog",
    smallest: int = 1,
    largest: int = 8,
) -> AsyncConnectionPool[AsyncConnection[TupleRow]]:
    """A pool of such connections, not yet open. A dead one is replaced when it is asked for."""

    async def check(connection: AsyncConnection[TupleRow]) -> None:
        try:
            await _check(connection)
        except psycopg.OperationalError:
            # A server that was restarted has ended them all; found one by one, each would
            # make who waits for a connection wait twice as long as the one before.
            await made.drain()
            raise

    made: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
        address.conninfo(user=user, dbname=dbname, search_path=search_path),
        connection_class=_Persistent,
        kwargs={"autocommit": True},
        min_size=smallest,
        max_size=largest,
        open=False,
        timeout=10,
        check=check,
        name=f"{dbname}@{address.socket_dir.name}",
    )
    return made


async def fetch_value(
    connection: AsyncConnection[TupleRow], query: LiteralString, parameters: tuple[object, ...] = ()
) -> object:
    """The first column of the first row, or None."""
    row = await (await connection.execute(query, parameters)).fetchone()
    return row[0] if row else None


async def fetch_bounded(
    connection: AsyncConnection[TupleRow],
    query: LiteralString | sql.Composed,
    parameters: tuple[object, ...] = (),
    *,
    most_bytes: int = MOST_BYTES,
) -> list[TupleRow]:
    """All rows of a query about what a tenant made, if they are not larger than ``most_bytes``.

    The server measures them, as text, before it sends the first: libpq keeps an answer whole, and
    a function's body alone may have a gigabyte. The columns of the query need names.

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
            ORDER BY f.nth
            """
        ).format(query=text, most=sql.Literal(most_bytes)),
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
