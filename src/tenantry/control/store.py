"""The way to the control database: a pool, and transactions on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tenantry.base.errors import Unavailable
from tenantry.pg import connections
from tenantry.pg.connections import PLATFORM, Address

DATABASE = "tenantry_control"
MIGRATIONS = "tenantry.control.migrations"

Tx = AsyncConnection[TupleRow]


class ControlStore:
    """Open with ``async with``. Every use is one short transaction."""

    def __init__(self, address: Address, *, largest: int = 10) -> None:
        self._address = address
        self._pool: AsyncConnectionPool[Tx] = connections.pool(
            address,
            user=PLATFORM,
            dbname=DATABASE,
            search_path="public",
            smallest=2,
            largest=largest,
        )

    @property
    def conninfo(self) -> str:
        """For libraries that keep their own connections to the control database."""
        return self._address.conninfo(user=PLATFORM, dbname=DATABASE, search_path="public")

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """A transaction: committed at the end of the block, undone by an exception.

        Raises Unavailable if the control database does not answer.
        """
        try:
            async with self._pool.connection() as connection, connection.transaction():
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            if isinstance(error, psycopg.errors.LockNotAvailable):
                raise
            raise Unavailable(
                "The control database does not answer.",
                hint="See ./tenantry status; nothing was changed.",
            ) from error
