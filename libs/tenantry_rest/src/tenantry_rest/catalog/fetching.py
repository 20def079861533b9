"""Rows of catalogs, read so that only PostgreSQL's own functions and operators are called."""

from collections.abc import Iterable
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor

Connection = AsyncConnection[Any]


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
        await start.execute("SELECT pg_catalog.set_config('search_path', '', true)")
        for statement, parameters in wanted:
            cursor = AsyncRawCursor(connection)
            await cursor.execute(statement.encode(), parameters)
            cursors.append(cursor)
        return [await cursor.fetchall() for cursor in cursors]
