"""SQLAlchemy 2: ``Connection`` and ``Session``, and their asynchronous ones.

A session keeps objects by primary key and answers ``get`` from them, without a query. So it begins
without any (they are expired, to be read again), and cannot change the customer in the middle of a
transaction.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from tenantry_rls.adapters import statements
from tenantry_rls.adapters.statements import Settings
from tenantry_rls.context import NestedContext, TenantContext

_READ = text(statements.READ)
_PSYCOPG = "psycopg"


def _write(settings: Settings) -> TextClause:
    customer, role = settings
    return text(statements.write(":customer", ":role")).bindparams(customer=customer, role=role)


def _pair(row: Sequence[Any]) -> Settings:
    return row[0], row[1]


def _begin(conn: Connection, settings: Settings) -> None:
    """Set the context as the first statement of the transaction that ``conn`` is about to begin."""
    if _by_psycopg(conn):
        driver: Any = conn.connection.driver_connection
        if not driver.autocommit:
            import_module("tenantry_rls.adapters.psycopg").begin(driver, settings)
            return
    conn.execute(_write(settings))


async def _async_begin(conn: AsyncConnection, settings: Settings) -> None:
    if _by_psycopg(conn):
        driver: Any = (await conn.get_raw_connection()).driver_connection
        if not driver.autocommit:
            await import_module("tenantry_rls.adapters.psycopg").async_begin(driver, settings)
            return
    await conn.execute(_write(settings))


def _by_psycopg(conn: Connection | AsyncConnection) -> bool:
    """Whether BEGIN and the settings can go in one message; asyncpg needs BEGIN by itself."""
    return conn.dialect.driver == _PSYCOPG


def transaction(conn: Any, context: TenantContext) -> Any:
    """See ``tenant_transaction``."""
    match conn:
        case Session():
            return _session(conn, context)
        case AsyncSession():
            return _async_session(conn, context)
        case Connection():
            return _connection(conn, context)
        case AsyncConnection():
            return _async_connection(conn, context)
    raise TypeError(
        f"tenant_transaction takes a connection or a session, not a {type(conn).__name__}."
    )


@contextmanager
def _connection(conn: Connection, context: TenantContext) -> Iterator[Connection]:
    if not conn.in_transaction():
        with conn.begin():
            _begin(conn, context.settings)
            yield conn
        return
    before = _pair(conn.execute(_READ).one())
    with conn.begin_nested():
        conn.execute(_write(context.settings))
        yield conn
    conn.execute(_write(before))


@asynccontextmanager
async def _async_connection(
    conn: AsyncConnection, context: TenantContext
) -> AsyncIterator[AsyncConnection]:
    if not conn.in_transaction():
        async with conn.begin():
            await _async_begin(conn, context.settings)
            yield conn
        return
    before = _pair((await conn.execute(_READ)).one())
    async with conn.begin_nested():
        await conn.execute(_write(context.settings))
        yield conn
    await conn.execute(_write(before))


@contextmanager
def _session(session: Session, context: TenantContext) -> Iterator[Session]:
    if session.in_transaction():
        with session.no_autoflush:
            _refuse_another(_pair(session.execute(_READ).one()), context)
        with session.begin_nested():
            yield session
        return
    session.expire_all()
    with session.begin():
        _begin(session.connection(), context.settings)
        yield session


@asynccontextmanager
async def _async_session(
    session: AsyncSession, context: TenantContext
) -> AsyncIterator[AsyncSession]:
    if session.in_transaction():
        with session.no_autoflush:
            _refuse_another(_pair((await session.execute(_READ)).one()), context)
        async with session.begin_nested():
            yield session
        return
    session.expire_all()
    async with session.begin():
        await _async_begin(await session.connection(), context.settings)
        yield session


def _refuse_another(present: Settings, context: TenantContext) -> None:
    if present != context.settings:
        raise NestedContext(
            "The session is in a transaction of another context, or of none. "
            "Commit it first, or use another session: this one would hand on what it has read."
        )
