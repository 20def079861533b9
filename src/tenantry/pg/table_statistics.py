"""Size and use of the tables and indexes of one database, as the server counts them.

For a session inside it that resolves names in pg_catalog: no table is read, and nothing of the
tenant's is called.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg.connections import fetch_bounded

MOST_TABLES = 1000
_LAST_SCANS_FROM = 160_000  # of PostgreSQL


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """A table or materialized view. ``size_bytes`` is with its indexes and TOAST.

    ``root`` is the partitioned table that it is a part of. ``rows`` is an estimate, None before the
    server has any. The ratio is of heap blocks found in shared buffers, None if none was wanted.
    """

    oid: int
    schema: str
    name: str
    is_materialized_view: bool
    root: str | None
    size_bytes: int
    heap_bytes: int
    index_bytes: int
    rows: int | None
    dead_rows: int
    modified_since_analyze: int
    last_vacuum_at: dt.datetime | None
    last_analyze_at: dt.datetime | None
    sequential_scans: int
    sequential_rows_read: int
    cache_hit_ratio: float | None

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class IndexStatistics:
    """An index of a table (an oid). ``last_scan_at`` is known from PostgreSQL 16 on."""

    table: int
    schema: str
    name: str
    definition: str
    is_unique: bool
    is_primary_key: bool
    is_valid: bool
    size_bytes: int
    scans: int
    last_scan_at: dt.datetime | None
    cache_hit_ratio: float | None

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"


async def tables(inside: AsyncConnection[TupleRow]) -> list[TableStatistics]:
    """Return the largest 1,000 tables of a database, the largest first."""
    query = sql.SQL(
        """
        SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind = 'm' AS materialized,
            CASE WHEN c.relispartition THEN (SELECT rn.nspname || '.' || r.relname FROM pg_class r
                JOIN pg_namespace rn ON rn.oid = r.relnamespace
                WHERE r.oid = pg_partition_root(c.oid)) END AS root,
            coalesce(pg_total_relation_size(c.oid), 0) AS size,
            coalesce(pg_relation_size(c.oid), 0) AS heap,
            coalesce(pg_indexes_size(c.oid), 0) AS indexes,
            CASE WHEN pg_stat_get_live_tuples(c.oid) + pg_stat_get_dead_tuples(c.oid) > 0
                THEN pg_stat_get_live_tuples(c.oid)
                WHEN c.reltuples >= 0 THEN c.reltuples::int8 END AS alive,
            pg_stat_get_dead_tuples(c.oid) AS dead,
            pg_stat_get_mod_since_analyze(c.oid) AS modified,
            greatest(pg_stat_get_last_vacuum_time(c.oid),
                pg_stat_get_last_autovacuum_time(c.oid)) AS vacuumed,
            greatest(pg_stat_get_last_analyze_time(c.oid),
                pg_stat_get_last_autoanalyze_time(c.oid)) AS analyzed,
            pg_stat_get_numscans(c.oid) AS scans, pg_stat_get_tuples_returned(c.oid) AS read,
            pg_stat_get_blocks_hit(c.oid)::float8
                / nullif(pg_stat_get_blocks_fetched(c.oid), 0) AS hits
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
          AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
        ORDER BY size DESC, n.nspname, c.relname LIMIT {most}
        """
    ).format(most=sql.Literal(MOST_TABLES))
    return [TableStatistics(*row) for row in await fetch_bounded(inside, query)]


async def indexes(
    inside: AsyncConnection[TupleRow], tables: Sequence[TableStatistics]
) -> list[IndexStatistics]:
    """Return the indexes of these tables, the largest first.

    Raises Conflict if their definitions are too large.
    """
    knows_scans = inside.info.server_version >= _LAST_SCANS_FROM
    query = sql.SQL(
        """
        SELECT i.indrelid::int8, n.nspname::text, c.relname::text,
            pg_get_indexdef(c.oid) AS definition, i.indisunique, i.indisprimary, i.indisvalid,
            coalesce(pg_relation_size(c.oid), 0) AS size, pg_stat_get_numscans(c.oid) AS scans,
            {last_scan} AS scanned,
            pg_stat_get_blocks_hit(c.oid)::float8
                / nullif(pg_stat_get_blocks_fetched(c.oid), 0) AS hits
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE i.indrelid = ANY (%s::oid[])
        ORDER BY size DESC, n.nspname, c.relname
        """
    ).format(
        last_scan=sql.SQL("pg_stat_get_lastscan(c.oid)" if knows_scans else "NULL::timestamptz")
    )
    found = await fetch_bounded(inside, query, ([each.oid for each in tables],))
    return [IndexStatistics(*row) for row in found]


async def estimated_rows(
    inside: AsyncConnection[TupleRow], names: Sequence[str]
) -> dict[tuple[str, str], int]:
    """Return about how many rows the tables of these names have, by schema and name.

    Those of which the server has no estimate yet are left out.
    """
    query = """
        SELECT n.nspname::text, c.relname::text,
            greatest(c.reltuples::int8, pg_stat_get_live_tuples(c.oid)) AS alive
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm', 'p') AND c.relname = ANY (%s::text[])
          AND greatest(c.reltuples::int8, pg_stat_get_live_tuples(c.oid)) >= 0
    """
    found = await fetch_bounded(inside, query, (list(names),))
    return {(schema, name): rows for schema, name, rows in found}
