"""psycopg 3: ``Connection`` and ``AsyncConnection``."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

from psycopg import AsyncConnection, Connection, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

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


@contextmanager
def _synchronous(conn: Connection[Any], context: TenantContext) -> Iterator[Connection[Any]]:
    nested = conn.info.transaction_status != TransactionStatus.IDLE
    before: Settings | None = None
    if nested:
        before = cast("Settings", conn.cursor(row_factory=tuple_row).execute(_READ).fetchone())
    with conn.transaction():
        conn.execute(_WRITE, context.settings)
        yield conn
    if before is not None:
        conn.execute(_WRITE, before)


@asynccontextmanager
async def _asynchronous(
    conn: AsyncConnection[Any], context: TenantContext
) -> AsyncIterator[AsyncConnection[Any]]:
    nested = conn.info.transaction_status != TransactionStatus.IDLE
    before: Settings | None = None
    if nested:
        cursor = await conn.cursor(row_factory=tuple_row).execute(_READ)
        before = cast("Settings", await cursor.fetchone())
    async with conn.transaction():
        await conn.execute(_WRITE, context.settings)
        yield conn
    if before is not None:
        await conn.execute(_WRITE, before)
