"""psycopg 3: ``Connection`` and ``AsyncConnection``."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any

from psycopg import AsyncConnection, AsyncTransaction, Connection, Transaction, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from tenantry_rls.adapters import statements
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


@contextmanager
def _synchronous(conn: Connection[Any], context: TenantContext) -> Iterator[Connection[Any]]:
    if conn.info.transaction_status == TransactionStatus.IDLE:
        with ExitStack() as stack:
            with conn.pipeline():  # BEGIN and the settings in one round trip
                stack.enter_context(Transaction(conn))
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
    if conn.info.transaction_status == TransactionStatus.IDLE:
        async with AsyncExitStack() as stack:
            async with conn.pipeline():
                await stack.enter_async_context(AsyncTransaction(conn))
                await conn.execute(_WRITE, context.settings)
            yield conn
        return
    cursor = await conn.cursor(row_factory=tuple_row).execute(_READ)
    before = await cursor.fetchone()
    async with conn.transaction():
        await conn.execute(_WRITE, context.settings)
        yield conn
    await conn.execute(_WRITE, before)
