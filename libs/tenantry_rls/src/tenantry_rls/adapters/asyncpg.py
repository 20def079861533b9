"""asyncpg: ``Connection``, and the connections of its pool."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from asyncpg import Connection
from asyncpg.pool import PoolConnectionProxy
from asyncpg.transaction import Transaction, TransactionState

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


class _Started(Transaction):
    """A transaction of asyncpg's that begins in a context; the rest is asyncpg's."""

    def __init__(self, conn: Any, settings: Settings) -> None:
        self._conn = getattr(conn, "_con", conn)  # not the pool's proxy of it
        super().__init__(self._conn, None, readonly=False, deferrable=False)
        self._begin = f"BEGIN; {statements.set_local(settings)}"

    async def start(self) -> None:
        conn = self._conn
        conn._top_xact = self  # noqa: SLF001 (conn.transaction() is a savepoint within this one)
        try:
            await conn.execute(self._begin)
        except BaseException:  # also a cancelled task's: the context must not stay
            self._state = TransactionState.FAILED
            conn._top_xact = None  # noqa: SLF001
            if not conn.is_closed():  # it may not know yet that a transaction has begun
                await conn.execute("ROLLBACK")
            raise
        self._state = TransactionState.STARTED


@asynccontextmanager
async def _asynchronous(
    conn: "Connection[Any] | PoolConnectionProxy[Any]", context: TenantContext
) -> "AsyncIterator[Connection[Any] | PoolConnectionProxy[Any]]":
    if not conn.is_in_transaction():
        async with _Started(conn, context.settings):
            yield conn
        return
    before = cast("Settings", tuple(await conn.fetchrow(statements.READ) or ()))
    async with conn.transaction():
        await conn.execute(_WRITE, *context.settings)
        yield conn
    await conn.execute(_WRITE, *before)
