"""Access to the control database: a connection pool, and transactions on it.

Every transaction has an actor. A customer's runs as a role to which row-level security shows only
that customer's rows, whatever is queried (migration 000007): a query that lacks a condition finds
too little, never another customer's rows. Those of the platform and of administrators see all.

A transaction carries what has to follow its commit (``Tx.after_commit``, ``Tx.in_background``).
Follow-ups only bring forward what reconciliation does as well, since a crash may lose them.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Protocol, Self

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tenantry.base.errors import Busy, TenantryError, Unavailable
from tenantry.control.background import Background
from tenantry.pg import connections
from tenantry.pg.connections import CUSTOMER, PLATFORM, Address, PersistentConnection
from tenantry_rls import TenantContext, tenant_transaction

DATABASE = "tenantry_control"
MIGRATIONS = "tenantry.control.migrations"

FollowUp = Callable[[], Awaitable[object]]


class Tx(AsyncConnection[TupleRow]):
    """A transaction with follow-ups of its commit. After a rollback nothing follows.

    A follow-up that is requested several times, as the same bound method, is done once.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._awaited: dict[FollowUp, None] = {}
        self._background: dict[FollowUp, None] = {}

    def after_commit(self, work: FollowUp) -> None:
        """Do this after the commit, before the block that opened the transaction ends.

        For what has to be done when the caller is answered. The block raises its errors, although
        the change is committed.
        """
        self._awaited[work] = None

    def in_background(self, work: FollowUp) -> None:
        """Start this after the commit, without waiting for it; a failure is logged."""
        self._background[work] = None

    def take_follow_ups(self) -> tuple[list[FollowUp], list[FollowUp]]:
        """Return and clear the follow-ups requested so far, awaited ones and background ones."""
        found = list(self._awaited), list(self._background)
        self._awaited.clear()
        self._background.clear()
        return found


class _PooledTx(Tx, PersistentConnection):
    """A transaction on a pooled connection."""


_BECOME_CUSTOMER = sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(CUSTOMER))

_MOST_INNER = 4
_LOCK_SECONDS = 2  # in a transaction on a pooled connection
_LONG_LOCK_SECONDS = 15  # in one on a connection of its own
_inside: ContextVar[bool] = ContextVar("inside a transaction", default=False)


class Asker(Protocol):
    """The actor of a transaction: a customer's, or (None) the platform or an administrator."""

    @property
    def customer_id(self) -> uuid.UUID | None: ...


class ControlStore:
    """Open with ``async with``. Every use is one transaction, and nearly all are short.

    Inside one transaction another may be opened, for what has to be committed whatever the outcome
    of the first. It uses a separate pool; in the same pool holders of a connection would wait for
    each other.

    ``background`` runs the follow-ups that are not awaited.
    """

    def __init__(self, address: Address, *, largest: int = 10) -> None:
        self._address = address
        self.background = Background()
        self._pool = self._connections(smallest=2, largest=largest)
        self._inner = self._connections(smallest=1, largest=_MOST_INNER)

    def _connections(self, *, smallest: int, largest: int) -> AsyncConnectionPool[_PooledTx]:
        return connections.pool(
            self._address,
            user=PLATFORM,
            dbname=DATABASE,
            search_path="public",
            smallest=smallest,
            largest=largest,
            lock_seconds=_LOCK_SECONDS,
            kind=_PooledTx,
        )

    @property
    def conninfo(self) -> str:
        """The connection string, for libraries with their own connections."""
        return self._address.conninfo(user=PLATFORM, dbname=DATABASE, search_path="public")

    async def __aenter__(self) -> Self:
        await self._pool.open()
        await self._inner.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.background.finish()
        await self._inner.close()
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self, asker: Asker) -> AsyncIterator[Tx]:
        """Run a transaction of ``asker``: committed after the block, rolled back on an exception.

        Afterwards its follow-ups are done, or started. Raises Unavailable if the control database
        does not answer, and the errors of follow-ups.
        """
        pool = self._inner if _inside.get() else self._pool
        try:
            async with pool.connection() as connection:
                async with _as_customer(connection, asker.customer_id):
                    outside = _inside.set(True)
                    try:
                        yield connection
                    finally:
                        _inside.reset(outside)
                follow_ups = connection.take_follow_ups()
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise _as_unavailable(error) from error
        await self._follow(*follow_ups)

    @asynccontextmanager
    async def long_transaction(self, asker: Asker) -> AsyncIterator[Tx]:
        """Run a transaction as ``transaction`` does, on a connection of its own.

        For work that waits for others while it holds the transaction: for a tenant's locks, for
        another server, for a swap. Callers bound how many of them there are.
        """
        try:
            async with connected(self._address, lock_seconds=_LONG_LOCK_SECONDS) as connection:
                async with _as_customer(connection, asker.customer_id):
                    yield connection
                follow_ups = connection.take_follow_ups()
        except psycopg.OperationalError as error:
            raise _as_unavailable(error) from error
        await self._follow(*follow_ups)

    async def _follow(self, awaited: list[FollowUp], background: list[FollowUp]) -> None:
        for work in background:
            self.background.start(work)
        for work in awaited:
            await work()


@asynccontextmanager
async def connected(
    address: Address, *, user: str = PLATFORM, lock_seconds: int = 0
) -> AsyncIterator[Tx]:
    """Open one connection to a control database without a store. Raises Unavailable."""
    conninfo = address.conninfo(
        user=user, dbname=DATABASE, search_path="public", lock_seconds=lock_seconds
    )
    try:
        connection = await Tx.connect(conninfo, autocommit=True)
    except psycopg.OperationalError as error:
        raise _as_unavailable(error) from error
    async with connection:
        yield connection


def _as_unavailable(error: PoolTimeout | psycopg.OperationalError) -> TenantryError:
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return Busy(
            "Something else is changing the same thing, and was not done in time.",
            hint="Try again in a moment; nothing was changed.",
        )
    return Unavailable(
        "The control database does not answer.",
        hint="See ./tenantry status; nothing was changed.",
    )


@asynccontextmanager
async def as_platform(tx: Tx) -> AsyncIterator[None]:
    """See all customers' rows for the time of the block, in a customer's transaction.

    For what is computed from all rows, including the one just changed.
    """
    row = await (await tx.execute("SELECT current_user")).fetchone()
    if row is None or row[0] != CUSTOMER:
        yield
        return
    await tx.execute("SET LOCAL ROLE NONE")
    yield
    await tx.execute(_BECOME_CUSTOMER)


@asynccontextmanager
async def _as_customer(connection: Tx, customer_id: uuid.UUID | None) -> AsyncIterator[None]:
    """Run a transaction of the platform, or in the context and as the role of a customer."""
    connection.take_follow_ups()  # discard those of a transaction that was rolled back
    if customer_id is None:
        async with connection.transaction():
            yield
        return
    async with tenant_transaction(connection, TenantContext(customer_id)):
        await connection.execute(_BECOME_CUSTOMER)
        yield
