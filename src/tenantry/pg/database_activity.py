"""The sessions and counters of all tenants' databases of a cluster, in one query.

It is read from the maintenance database. Counters (pg_stat_database) are of everybody who works in
a database, autovacuum too; sessions are those of tenants' roles only.
"""

from dataclasses import dataclass
from typing import NamedTuple

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row

from tenantry.pg import names


class Counters(NamedTuple):
    """What pg_stat_database counts of a database."""

    commits: int
    rollbacks: int
    rows_read: int
    rows_fetched: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    blocks_hit: int
    blocks_read: int
    temporary_bytes: int
    deadlocks: int


class Connections(NamedTuple):
    """The open sessions of tenants' roles, direct ones and the pooler's, by state."""

    direct_active: int
    direct_idle: int
    direct_in_transaction: int
    pooled_active: int
    pooled_idle: int
    pooled_in_transaction: int


@dataclass(frozen=True, slots=True)
class DatabaseActivity:
    """The sessions and counters of one database.

    ``epoch`` is different once the counters have been reset: by a restart or a crash of the
    server, a reset, or in another database of the same name. ``sessions`` is how many sessions of
    clients began, the platform's too. ``pids`` are the processes of the open sessions of tenants
    and of their parallel workers.
    """

    epoch: tuple[object, ...]
    sessions: int
    counters: Counters
    connections: Connections
    longest_transaction_seconds: float
    pids: tuple[int, ...]


_NO_SESSIONS = (Connections(0, 0, 0, 0, 0, 0), 0.0, ())

# The pooler logs tenants' roles in by the Unix socket, nobody else does.
_QUERY = sql.SQL("""
    WITH own AS (
        SELECT datid, pid, backend_type = 'client backend' AS is_client, xact_start,
            client_addr IS NOT NULL AS is_direct,
            CASE WHEN state = 'idle' THEN 'idle'
                WHEN starts_with(state, 'idle in transaction') THEN 'in transaction'
                ELSE 'active' END AS state
        FROM pg_stat_activity WHERE datid IS NOT NULL AND {is_tenants}
    ), sessions AS (
        SELECT datid, array_agg(pid) AS pids, {counts},
            coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::float8 AS seconds
        FROM own GROUP BY datid
    )
    SELECT d.datname::text, d.datid::int8, d.stats_reset, d.sessions,
        d.xact_commit, d.xact_rollback, d.tup_returned, d.tup_fetched, d.tup_inserted,
        d.tup_updated, d.tup_deleted, d.blks_hit, d.blks_read, d.temp_bytes, d.deadlocks,
        {names}, s.seconds, s.pids
    FROM pg_stat_database d LEFT JOIN sessions s ON s.datid = d.datid
    WHERE {is_database}
""").format(
    is_tenants=names.sql_tenants_role("usename"),
    is_database=names.sql_tenants_database("d.datname"),
    counts=sql.SQL(", ").join(
        sql.SQL(
            "count(*) FILTER (WHERE is_client AND {port} AND state = {state}) AS {name}"
        ).format(
            port=sql.SQL("is_direct" if name.startswith("direct") else "NOT is_direct"),
            state=sql.Literal(name.partition("_")[2].replace("_", " ")),
            name=sql.Identifier(name),
        )
        for name in Connections._fields
    ),
    names=sql.SQL(", ").join(sql.Identifier("s", name) for name in Connections._fields),
)
# After a crash all statistics are lost: those of the write-ahead log began at another time then.
_SERVER = "SELECT pg_postmaster_start_time(), stats_reset FROM pg_stat_wal"


@dataclass(frozen=True, slots=True)
class Blocked:
    """The sessions of a database that have waited for a lock for long.

    ``blockers`` are the process IDs for which the one waits that has waited longest.
    """

    database: str
    sessions: int
    longest_seconds: float
    blockers: list[int]


_BLOCKED = sql.SQL("""
    WITH waiting AS MATERIALIZED (
        SELECT datname::text AS database, pid FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'
            AND query_start < clock_timestamp() - make_interval(secs => %(seconds)s)
            AND {is_tenants} AND {is_database}
    ), lasting AS MATERIALIZED (
        SELECT w.database, w.pid,
            extract(epoch FROM clock_timestamp() - l.waitstart)::float8 AS seconds
        FROM waiting w JOIN pg_locks l ON l.pid = w.pid AND NOT l.granted
        WHERE l.waitstart < clock_timestamp() - make_interval(secs => %(seconds)s)
    ), longest AS MATERIALIZED (
        SELECT DISTINCT ON (database) database, pid, seconds,
            count(*) OVER (PARTITION BY database) AS sessions
        FROM lasting ORDER BY database, seconds DESC, pid
    )
    SELECT database, sessions, seconds AS longest_seconds, pg_blocking_pids(pid) AS blockers
    FROM longest
""").format(
    is_tenants=names.sql_tenants_role("usename"),
    is_database=names.sql_tenants_database("datname"),
)


async def blocked(connection: AsyncConnection[TupleRow], *, seconds: float) -> dict[str, Blocked]:
    """Return the sessions that have waited for a lock for so many seconds, by database."""
    async with connection.cursor(row_factory=class_row(Blocked)) as cursor:
        await cursor.execute(_BLOCKED, {"seconds": seconds})
        return {row.database: row for row in await cursor.fetchall()}


async def of_cluster(connection: AsyncConnection[TupleRow]) -> dict[str, DatabaseActivity]:
    """Return the activity of every tenant's database, by name, without connecting to any."""
    server = await (await connection.execute(_SERVER)).fetchone()
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_QUERY)
        return {row[0]: _activity(row, server or ()) for row in await cursor.fetchall()}


_FIRST = 4
_SESSIONS = _FIRST + len(Counters._fields)
_LAST = _SESSIONS + len(Connections._fields)


def _activity(row: TupleRow, server: TupleRow) -> DatabaseActivity:
    connections, seconds, pids = _NO_SESSIONS
    if row[-1] is not None:
        connections = Connections._make(row[_SESSIONS:_LAST])
        seconds, pids = row[_LAST], tuple(row[-1])
    return DatabaseActivity(
        epoch=(*server, row[1], row[2]),
        sessions=row[3],
        counters=Counters._make(row[_FIRST:_SESSIONS]),
        connections=connections,
        longest_transaction_seconds=seconds,
        pids=pids,
    )
