"""The counters of all statements of a cluster, to be compared with those of another moment."""

from collections.abc import Collection
from dataclasses import astuple, dataclass
from operator import add, lt, sub

from psycopg import sql

from tenantry.pg.statement_statistics import IS_OWN, SCHEMA, Connection, loaded

Key = tuple[int, int, int]  # the database's OID, the role's, and the query ID


@dataclass(frozen=True, slots=True)
class Counters:
    """What statements did; as in ``StatementStatistics``."""

    calls: int
    total_ms: float
    rows: int
    blocks_hit: int
    blocks_read: int
    temp_bytes: int
    wal_bytes: int

    def plus(self, other: "Counters") -> "Counters":
        """Return both together."""
        return Counters(*map(add, astuple(self), astuple(other)))

    def since(self, before: "Counters | None") -> "Counters":
        """Return what was counted since ``before``.

        That is all of it if there was no entry, or if a counter went down: then the entry was
        reset, or evicted and created again.
        """
        if before is None or any(map(lt, astuple(self), astuple(before))):
            return self
        return Counters(*map(sub, astuple(self), astuple(before)))


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of pg_stat_statements: a statement of a role in a database."""

    key: Key
    database_name: str
    role: str
    counters: Counters


async def entries(connection: Connection) -> list[Entry]:
    """Return all entries of a cluster, without their texts. Raises Unavailable."""
    query = sql.SQL(
        """
        SELECT s.dbid::int8, s.userid::int8, s.queryid, d.datname::text, r.rolname::text,
            s.calls, s.total_exec_time, s.rows, s.shared_blks_hit, s.shared_blks_read,
            s.temp_blks_written * current_setting('block_size')::int8, s.wal_bytes::int8
        FROM {}.pg_stat_statements(false) s
            JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.userid
        WHERE s.queryid IS NOT NULL AND s.toplevel
        """
    ).format(sql.Identifier(SCHEMA))
    with loaded():
        cursor = await connection.execute(query)
        return [
            Entry((database, role, query_id), name, role_name, Counters(*counters))
            for database, role, query_id, name, role_name, *counters in await cursor.fetchall()
        ]


async def texts(
    connection: Connection, wanted: Collection[tuple[int, int]], *, most: int
) -> dict[tuple[int, int], tuple[str, bool]]:
    """Return texts by database OID and query ID, and whether they are the platform's own.

    At most ``most`` characters of each. Those that have been evicted are not there. Raises
    Unavailable.
    """
    query = sql.SQL(
        """
        SELECT s.dbid::int8, s.queryid, left(min(s.query), %s), {}
        FROM {}.pg_stat_statements s
            JOIN unnest(%s::oid[], %s::int8[]) w (dbid, queryid) USING (dbid, queryid)
        GROUP BY s.dbid, s.queryid
        """
    ).format(IS_OWN, sql.Identifier(SCHEMA))
    databases, query_ids = [each[0] for each in wanted], [each[1] for each in wanted]
    with loaded():
        cursor = await connection.execute(query, (most, databases, query_ids))
        found = await cursor.fetchall()
    return {(oid, query_id): (text, own) for oid, query_id, text, own in found if text}
