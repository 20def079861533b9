"""A database to which ``tenantry migrate`` connects itself, by a connection string."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg
import typer

from tenantry.base.errors import InvalidInput, Unavailable
from tenantry.cli import output
from tenantry.cli.client import Row
from tenantry.cli.migrating import Order, state_row, status_row
from tenantry.services.migrations import service
from tenantry.services.migrations.ledger import Connection
from tenantry.services.migrations.model import Limits

_CONNECT_SECONDS = 10
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, repr=False)
class ByUrl:
    """Any database, by a connection string that leads to PostgreSQL without a pooler."""

    url: str

    def run(self, order: Order, folder: Path, limits: Limits) -> Row:
        async def work(conn: Connection) -> Row:
            asked: service.How = {
                "limits": limits,
                "accept": order.accept,
                "beside": order.beside,
            }
            if order.verb == "up":
                steps = await service.up(conn, folder, order.n, **asked)
            elif order.verb == "down":
                steps = await service.down(conn, folder, order.n, **asked)
            else:
                steps = await service.goto(conn, folder, order.version or 0, **asked)
            return {
                **state_row(await service.version(conn)),
                "steps": [each.row() for each in steps],
            }

        return self._do(work, changes=True)

    def force(self, version: int, *, beside: bool) -> Row:
        async def work(conn: Connection) -> Row:
            return state_row(await service.force(conn, version, beside=beside))

        return self._do(work, changes=True)

    def status(self, folder: Path | None) -> Row:
        async def work(conn: Connection) -> Row:
            return status_row(await service.status(conn, {} if folder is None else folder))

        return self._do(work)

    def _do(
        self, work: Callable[[Connection], Awaitable[_Result]], *, changes: bool = False
    ) -> _Result:
        async def connected() -> _Result:
            async with await self._connect() as conn:
                if changes:
                    await self._require_session(conn)
                return await work(conn)

        try:
            return asyncio.run(connected())
        except psycopg.Error as error:
            raise InvalidInput(
                f"PostgreSQL says: {str(error).strip()}",
                hint="Migrations need a role that may make tables, and a direct connection.",
            ) from error

    async def _connect(self) -> Connection:
        try:
            return await self._open()
        except psycopg.OperationalError as error:
            if "no password supplied" not in str(error) or not sys.stdin.isatty():
                raise Unavailable(f"The database cannot be reached: {error}".strip()) from error
        except psycopg.ProgrammingError as error:
            raise InvalidInput(
                f"This is no connection string: {error}".strip(),
                hint="It looks like postgresql://user@host:5432/database?sslmode=require.",
            ) from error
        return await self._open(typer.prompt("Password", hide_input=True, err=True))

    async def _require_session(self, conn: Connection) -> None:
        """Require that a session persists from one transaction to the next.

        Raises InvalidInput if a pooler gives each transaction another session.
        """
        first = await _process(conn)
        if first == conn.info.backend_pid:  # a pooler reports a made-up process id
            return
        with suppress(psycopg.OperationalError):  # a lack of connections proves nothing
            async with await self._open(conn.info.password or None) as other, other.transaction():
                # Such a pooler gives it the idle one's server session, and the idle one another.
                if first == await _process(other) or first != await _process(conn):
                    raise InvalidInput(
                        "This connection string leads to a pooler that gives each transaction"
                        " another session: the lock that keeps other runs away, and SET, would be"
                        " lost.",
                        hint="Use the direct one (tenantry db url NAME), or a Tenantry database by"
                        " its name: --database NAME.",
                    )
        output.note(
            "There is a pooler in between. Unless a client of it has a session to itself, use the"
            " direct connection string: the lock that keeps other runs away would be lost.",
            style="yellow",
        )

    async def _open(self, password: str | None = None) -> Connection:
        return await psycopg.AsyncConnection.connect(
            self.url,
            autocommit=True,
            password=password,
            connect_timeout=_CONNECT_SECONDS,
            application_name="tenantry migrate",
        )


async def _process(conn: Connection) -> int:
    """Return the process id of the server session that answers."""
    cursor = await conn.execute("SELECT pg_catalog.pg_backend_pid()")
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
