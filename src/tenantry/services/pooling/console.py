"""PgBouncer's console: its own command language over the PostgreSQL protocol."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow, dict_row

from tenantry.base.errors import Unavailable
from tenantry.pg.connections import CONNECT_SECONDS, answering_within

_ANSWER_SECONDS = 5


class Console:
    """An open console.

    Every method raises psycopg.OperationalError once it is lost, and TimeoutError if PgBouncer does
    not answer in time, which loses it.
    """

    def __init__(self, connection: AsyncConnection[DictRow]) -> None:
        self._connection = connection

    async def show(self, what: LiteralString) -> list[DictRow]:
        """Return the rows of ``SHOW what``, by column."""
        with answering_within(self._connection, _ANSWER_SECONDS):
            return await (await self._connection.execute(f"SHOW {what}")).fetchall()

    async def run(
        self, command: LiteralString | sql.Composed, *, within: float = _ANSWER_SECONDS
    ) -> None:
        """Run a command. Raises psycopg.DatabaseError if PgBouncer refuses it."""
        with answering_within(self._connection, within):
            await self._connection.execute(command)


@contextlib.asynccontextmanager
async def open_console(socket_dir: Path, port: int) -> AsyncIterator[Console]:
    """Open the console of the PgBouncer that listens there.

    PgBouncer lets the user that it runs as connect without a password through the Unix socket under
    this name (pgbouncer.ini(5)).

    Raises Unavailable, also in the block, if PgBouncer does not answer any more.
    """
    try:
        connection = await AsyncConnection.connect(
            host=str(socket_dir),
            port=port,
            user="pgbouncer",
            dbname="pgbouncer",
            connect_timeout=CONNECT_SECONDS,
            autocommit=True,
            prepare_threshold=None,
            row_factory=dict_row,
        )
    except psycopg.OperationalError as error:
        raise _unavailable("does not answer", error) from error
    try:
        async with connection:
            yield Console(connection)
    except (psycopg.OperationalError, TimeoutError) as error:
        raise _unavailable("has stopped answering", error) from error


def _unavailable(what: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"The pooler {what}: {error}".strip(), hint="It is being started again; see its log."
    )
