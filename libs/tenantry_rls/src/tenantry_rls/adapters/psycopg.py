"""psycopg 3: ``Connection`` and ``AsyncConnection``."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from psycopg import AsyncConnection, AsyncTransaction, Connection, Transaction, generators, sql
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row
from psycopg.transaction import BaseTransaction

from tenantry_rls.adapters import statements
from tenantry_rls.adapters.statements import Settings
from tenantry_rls.context import TenantContext

_READ = sql.SQL(statements.READ)
_WRITE = sql.SQL(statements.write("%s", "%s"))


def transaction(conn: Any, context: TenantContext) -> Any:
    """See ``tenant_transaction``."""
    if isinstance(conn, AsyncConnection):
        return _asynchronous(conn, context)
    if isinstance(conn, Connection):
        return _synchronous(conn, context)
    raise TypeError(f"tenant_transaction takes a psycopg connection, not a {type(conn).__name__}.")


def begin(conn: Connection[Any], settings: Settings) -> None:
    """Begin a transaction in a context, in one round trip; the caller ends it."""
    with conn.lock:
        conn.wait(_beginning(conn, settings))


async def async_begin(conn: AsyncConnection[Any], settings: Settings) -> None:
    """Begin such a transaction on an asynchronous connection."""
    async with conn.lock:
        await conn.wait(_beginning(conn, settings))


def _beginning(conn: Any, settings: Settings) -> PQGen[None]:
    """Send one message of the simple protocol: psycopg itself sends one for each statement."""
    # The connection's own BEGIN, with its isolation level and other options.
    own = conn._get_tx_start_command()  # noqa: SLF001
    conn.pgconn.send_query(own + b"; " + statements.set_local(settings).encode())
    for result in (yield from generators.execute(conn.pgconn)):
        if result.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(result, encoding=conn.info.encoding)


class _Started(BaseTransaction[Any]):
    """A transaction of psycopg's that begins in a context; the rest is psycopg's."""

    def __init__(self, conn: Any, settings: Settings) -> None:
        super().__init__(conn)
        self._settings = settings

    def _get_enter_commands(self) -> Iterator[bytes]:
        return iter(())

    def _enter_gen(self) -> PQGen[None]:
        yield from super()._enter_gen()
        yield from _beginning(self._conn, self._settings)


class _Transaction(_Started, Transaction):
    pass


class _AsyncTransaction(_Started, AsyncTransaction):
    pass


def _idle(conn: Connection[Any] | AsyncConnection[Any]) -> bool:
    return conn.pgconn.transaction_status == TransactionStatus.IDLE


def _in_pipeline(conn: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Whether the connection is in pipeline mode.

    All statements are sent together then, and the simple protocol is not allowed.
    """
    return conn.pgconn.pipeline_status != PipelineStatus.OFF


@contextmanager
def _synchronous(conn: Connection[Any], context: TenantContext) -> Iterator[Connection[Any]]:
    if _idle(conn) and not _in_pipeline(conn):
        with _Transaction(conn, context.settings):
            yield conn
        return
    if _idle(conn):
        with conn.transaction():
            conn.execute(_WRITE, context.settings)
            yield conn
        return
    before = conn.cursor(row_factory=tuple_row).execute(_READ).fetchone()
    with conn.transaction():
        conn.execute(_WRITE, context.settings)
        yield conn
    conn.execute(_WRITE, before)


@asynccontextmanager
async def _asynchronous(
    conn: AsyncConnection[Any], context: TenantContext
) -> AsyncIterator[AsyncConnection[Any]]:
    if _idle(conn) and not _in_pipeline(conn):
        async with _AsyncTransaction(conn, context.settings):
            yield conn
        return
    if _idle(conn):
        async with conn.transaction():
            await conn.execute(_WRITE, context.settings)
            yield conn
        return
    cursor = await conn.cursor(row_factory=tuple_row).execute(_READ)
    before = await cursor.fetchone()
    async with conn.transaction():
        await conn.execute(_WRITE, context.settings)
        yield conn
    await conn.execute(_WRITE, before)
