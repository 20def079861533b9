"""What each database of a cluster does now, read from outside of it."""

from dataclasses import dataclass

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg import names


@dataclass(frozen=True, slots=True)
class DatabaseActivity:
    """A database's counters since their reset, and its tenant's sessions and transactions now."""

    committed: int
    rolled_back: int
    deadlocks: int
    sessions: int
    longest_transaction_seconds: float


async def read(connection: AsyncConnection[TupleRow]) -> dict[str, DatabaseActivity]:
    """Return the activity of every database, by name."""
    cursor = await connection.execute(
        sql.SQL("""
        SELECT d.datname, d.xact_commit, d.xact_rollback, d.deadlocks,
               coalesce(a.sessions, 0), coalesce(a.seconds, 0)
        FROM pg_stat_database d LEFT JOIN (
            SELECT datid, count(*) AS sessions,
                   max(extract(epoch FROM clock_timestamp() - xact_start))::float8 AS seconds
            FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND {is_tenants} GROUP BY datid
        ) a ON a.datid = d.datid WHERE d.datname IS NOT NULL
        """).format(is_tenants=names.sql_tenants_role("usename"))
    )
    return {name: DatabaseActivity(*rest) for name, *rest in await cursor.fetchall()}
