"""Rows of catalogs, read so that only PostgreSQL's own functions and operators are called."""

from collections.abc import Iterable
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor

Connection = AsyncConnection[Any]
_START = "SELECT pg_catalog.set_config('search_path', '', true), 'tenantry'"
OWN = " /* tenantry */"  # so that statistics show which statements are not an application's


async def fetch(
    connection: Connection, wanted: Iterable[tuple[str, list[object]]]
) -> list[list[Any]]:
    """Read the rows of statements, with their parameters, in one transaction.

    Raises:
        psycopg.Error: the database does not answer, or forbids it.
    """
    cursors = []
    async with connection.transaction(), connection.pipeline():
        start = AsyncRawCursor(connection)
        await start.execute(_START + OWN)
        for statement, parameters in wanted:
            cursor = AsyncRawCursor(connection)
            await cursor.execute((statement + OWN).encode(), parameters)
            cursors.append(cursor)
        return [await cursor.fetchall() for cursor in cursors]
