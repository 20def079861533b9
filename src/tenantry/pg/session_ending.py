"""End sessions of roles and databases, from outside: from the platform's own connection."""

import datetime as dt
from collections.abc import Sequence

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg.catalog import Session
from tenantry.pg.connections import PLATFORM
from tenantry.pg.names import sql_tenants_role, sql_visitor


async def end_sessions(connection: AsyncConnection[TupleRow], *usernames: str) -> None:
    """End every session of these roles."""
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = ANY (%s) AND pid <> pg_backend_pid()",
        (list(usernames),),
    )


async def end_these_sessions(
    connection: AsyncConnection[TupleRow], sessions: Sequence[Session]
) -> None:
    """End these sessions, unless they have ended by themselves."""
    await connection.execute(
        """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        JOIN unnest(%s::int[], %s::timestamptz[]) AS ended (pid, began) USING (pid)
        WHERE backend_start = began
        """,
        ([each.pid for each in sessions], [each.began for each in sessions]),
    )


async def end_sessions_in(
    connection: AsyncConnection[TupleRow], names: Sequence[str], *, before: dt.datetime | None
) -> int:
    """End the sessions of all tenants' roles in databases; only those begun ``before``.

    Returns how many were ended.
    """
    cursor = await connection.execute(
        """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = ANY (%s) AND backend_type = 'client backend' AND usename <> %s
          AND (%s::timestamptz IS NULL OR backend_start < %s)
        """,
        (list(names), PLATFORM, before, before),
    )
    return cursor.rowcount


async def end_oldest_transaction(
    connection: AsyncConnection[TupleRow], *, before: dt.datetime
) -> str | None:
    """End the tenants' session whose transaction is oldest, of those that began ``before``.

    Returns the name of its database, None if there is no such session.
    """
    cursor = await connection.execute(
        sql.SQL("""
        SELECT datname, pg_terminate_backend(pid) FROM (
            SELECT pid, datname FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND xact_start < %s
              AND ({is_tenants} OR {is_visitor})
            ORDER BY xact_start LIMIT 1) AS oldest
        """).format(is_tenants=sql_tenants_role("usename"), is_visitor=sql_visitor("usename")),
        (before,),
    )
    row = await cursor.fetchone()
    return row[0] if row else None
