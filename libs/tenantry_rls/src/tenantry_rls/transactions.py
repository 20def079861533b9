"""``tenant_transaction``: one transaction, in one context, on any supported connection.

Its settings are local to the transaction, and are sent with BEGIN: PostgreSQL itself resets them at
COMMIT and ROLLBACK, so that a pooler in transaction mode passes nothing on.

Within an open transaction it is a savepoint, and the previous context is restored afterwards.
"""

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, overload

from tenantry_rls.context import TenantContext

if TYPE_CHECKING:
    import asyncpg
    import asyncpg.pool
    import psycopg
    import sqlalchemy
    import sqlalchemy.ext.asyncio
    import sqlalchemy.orm

    Sync = TypeVar(
        "Sync", bound=psycopg.Connection[Any] | sqlalchemy.Connection | sqlalchemy.orm.Session
    )
    Async = TypeVar(
        "Async",
        bound=psycopg.AsyncConnection[Any]
        | asyncpg.Connection[Any]
        | asyncpg.pool.PoolConnectionProxy[Any]
        | sqlalchemy.ext.asyncio.AsyncConnection
        | sqlalchemy.ext.asyncio.AsyncSession,
    )

_ADAPTERS = ("psycopg", "asyncpg", "sqlalchemy")


@overload
def tenant_transaction(conn: "Sync", context: TenantContext) -> AbstractContextManager["Sync"]: ...


@overload
def tenant_transaction(
    conn: "Async", context: TenantContext
) -> AbstractAsyncContextManager["Async"]: ...


def tenant_transaction(conn: Any, context: TenantContext) -> Any:
    """Open a transaction on ``conn`` in ``context``, committed at the end of the block.

    For connections of psycopg 3 and asyncpg, and connections and sessions of SQLAlchemy; ``with``
    for the synchronous ones, ``async with`` for the others. An exception rolls it back. Raises
    TypeError for any other object, NestedContext where SQLAlchemy's session is in another context's
    transaction.
    """
    if not isinstance(context, TenantContext):
        raise TypeError(f"context is a {type(context).__name__}; it must be a TenantContext.")
    kind: Any = type(conn)
    return _adapter(kind).transaction(conn, context)


@cache
def _adapter(connection: Any) -> Any:
    # By name, so that a driver that is not installed is not imported.
    packages = {kind.__module__.partition(".")[0] for kind in connection.__mro__}
    for name in _ADAPTERS:
        if name in packages:
            return import_module(f"tenantry_rls.adapters.{name}")
    raise TypeError(
        f"tenant_transaction takes a connection of psycopg 3, asyncpg or SQLAlchemy, "
        f"not a {connection.__module__}.{connection.__qualname__}."
    )
