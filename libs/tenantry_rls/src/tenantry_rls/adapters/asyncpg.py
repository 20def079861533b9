"""asyncpg: ``Connection``, and what its pool lends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from asyncpg import Connection
from asyncpg.pool import PoolConnectionProxy

from tenantry_rls.adapters import statements
from tenantry_rls.adapters.statements import Settings
from tenantry_rls.context import TenantContext

_WRITE = statements.write("$1", "$2")


def transaction(conn: Any, context: TenantContext) -> Any:
    """See ``tenant_transaction``."""
    if isinstance(conn, Connection | PoolConnectionProxy):
        return _asynchronous(conn, context)
    raise TypeError(
        f"tenant_transaction takes a connection; acquire one from the {type(conn).__name__}."
    )


@asynccontextmanager
async def _asynchronous(
    conn: "Connection[Any] | PoolConnectionProxy[Any]", context: TenantContext
) -> "AsyncIterator[Connection[Any] | PoolConnectionProxy[Any]]":
    before: Settings | None = None
    if conn.is_in_transaction():
        before = cast("Settings", tuple(await conn.fetchrow(statements.READ) or ()))
    async with conn.transaction():
        await conn.execute(_WRITE, *context.settings)
        yield conn
    if before is not None:
        await conn.execute(_WRITE, *before)
