"""Tables that take more of the disk than their rows need; VACUUM, ANALYZE, and their progress."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row

from tenantry.pg.connections import fetch_bounded, fetch_value

_WORTH = 0.1  # of a table's size: less does not justify its lock


@dataclass(frozen=True, slots=True)
class Table:
    """A table or materialized view, with its indexes and TOAST.

    ``live_bytes`` is an estimate of its size after a rewrite, and None where the server has no
    statistics to estimate it by. ``root`` is the partitioned table that it is a part of.
    """

    schema: str
    name: str
    root: str | None
    size_bytes: int
    live_bytes: int | None

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def returned_bytes(self) -> int | None:
        """Return an estimate of the bytes that rewriting it frees."""
        return None if self.live_bytes is None else max(0, self.size_bytes - self.live_bytes)

    def is_named(self, names: Collection[str]) -> bool:
        """Whether it, or what it is a part of, is among these names (``schema.table``)."""
        return self.title in names or self.root in names

    def is_worth_it(self) -> bool:
        """Whether rewriting it frees a good part of it, as far as that is known."""
        returned = self.returned_bytes
        return returned is not None and returned > 0 and returned >= self.size_bytes * _WORTH


# A row takes a header of 24 bytes and a pointer of 4 beside its data, which is aligned to 8; a page
# has 8,168 bytes for rows. A table's width is known from ANALYZE, its number of live rows from the
# server's counters. Indexes are assumed to shrink as their table does.
_TABLES = """
    WITH widths AS (
        SELECT schemaname, tablename, sum((1 - null_frac) * avg_width) AS width
        FROM pg_stats WHERE NOT inherited GROUP BY schemaname, tablename
    ), counted AS (
        SELECT c.oid, n.nspname, c.relname, c.reltoastrelid, w.width,
            coalesce(pg_relation_size(c.oid), 0) AS heap,
            coalesce(pg_indexes_size(c.oid), 0) AS indexes,
            coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) AS toast,
            coalesce(pg_total_relation_size(c.oid), 0) AS whole,
            CASE WHEN pg_stat_get_live_tuples(c.oid) + pg_stat_get_dead_tuples(c.oid) > 0
                THEN pg_stat_get_live_tuples(c.oid)::float8
                WHEN c.reltuples >= 0 THEN c.reltuples::float8 END AS alive,
            coalesce((SELECT option_value::float8 FROM pg_options_to_table(c.reloptions)
                WHERE option_name = 'fillfactor'), 100) / 100 AS filled,
            CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid END AS root
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN widths w ON w.schemaname = n.nspname AND w.tablename = c.relname
        WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
          AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
          AND pg_has_role(c.relowner, 'USAGE')
    ), estimated AS (
        SELECT *, CASE
            WHEN heap = 0 OR alive = 0 THEN 0
            WHEN width IS NOT NULL
                THEN least(heap, ceil(alive * (28 + ceil(width / 8) * 8) / 8168 / filled) * 8192)
            END AS needed
        FROM counted
    )
    SELECT e.nspname::text, e.relname::text,
        (SELECT rn.nspname || '.' || r.relname FROM pg_class r
            JOIN pg_namespace rn ON rn.oid = r.relnamespace WHERE r.oid = e.root) AS root,
        e.whole, (e.needed
            + e.indexes * CASE WHEN e.heap > 0 THEN e.needed / e.heap ELSE 1 END
            + CASE WHEN e.toast > 0
                AND pg_stat_get_live_tuples(e.reltoastrelid)
                    + pg_stat_get_dead_tuples(e.reltoastrelid) > 0
                THEN least(e.toast, pg_stat_get_live_tuples(e.reltoastrelid) * 2100.0)
                ELSE e.toast END)::bigint AS live
    FROM estimated e
    ORDER BY e.whole, e.nspname, e.relname
"""


async def tables(inside: AsyncConnection[TupleRow]) -> list[Table]:
    """Return the tables of a database that the session's role owns, the smallest first.

    Raises Conflict if there are too many.
    """
    return [Table(*row) for row in await fetch_bounded(inside, _TABLES)]


class Named(Protocol):
    """A table or index: what is ``name`` in ``schema``."""

    @property
    def schema(self) -> str: ...

    @property
    def name(self) -> str: ...


async def size(inside: AsyncConnection[TupleRow], named: Named) -> int:
    """Return the size of a table with its indexes, or of an index, now; 0 if it is gone."""
    found = await fetch_value(
        inside,
        """
        SELECT pg_total_relation_size(c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s
        """,
        (named.schema, named.name),
    )
    return int(str(found or 0))


async def rewrite(inside: AsyncConnection[TupleRow], table: Table) -> None:
    """Rewrite a table without the space of deleted rows, and analyze it.

    In no transaction. The table cannot be read or written meanwhile. If interrupted, it stays
    unchanged.
    """
    name = sql.Identifier(table.schema, table.name)
    await inside.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(name))


async def vacuum(inside: AsyncConnection[TupleRow], table: Table, *, analyze: bool) -> None:
    """Make the space of a table's deleted rows available to new ones, and analyze it if wanted.

    In no transaction. The table can be read and written meanwhile.
    """
    name = sql.Identifier(table.schema, table.name)
    options = sql.SQL("ANALYZE" if analyze else "ANALYZE false")
    await inside.execute(sql.SQL("VACUUM ({}) {}").format(options, name))


async def analyze(inside: AsyncConnection[TupleRow], table: Table) -> None:
    """Have the planner's statistics of a table collected again."""
    name = sql.Identifier(table.schema, table.name)
    await inside.execute(sql.SQL("ANALYZE {}").format(name))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a session's command is, as a view pg_stat_progress_* has it.

    ``done`` of ``total`` is of the present phase, in its own units; 0 of 0 if it counts none.
    """

    command: str
    phase: str
    done: int
    total: int


# ANALYZE comes first, as it is a part of VACUUM and of VACUUM FULL.
_PROGRESS = """
    SELECT 'ANALYZE' AS command, phase, coalesce(sample_blks_scanned, 0)::int8 AS done,
        coalesce(sample_blks_total, 0)::int8 AS total
    FROM pg_stat_progress_analyze WHERE pid = %(pid)s
    UNION ALL
    SELECT 'VACUUM', phase, coalesce(
            CASE phase WHEN 'vacuuming heap' THEN heap_blks_vacuumed ELSE heap_blks_scanned END, 0),
        coalesce(heap_blks_total, 0)
    FROM pg_stat_progress_vacuum WHERE pid = %(pid)s
    UNION ALL
    SELECT 'VACUUM FULL', phase, coalesce(heap_blks_scanned, 0), coalesce(heap_blks_total, 0)
    FROM pg_stat_progress_cluster WHERE pid = %(pid)s
    UNION ALL
    SELECT 'REINDEX', phase, coalesce(CASE WHEN blocks_total > 0 THEN blocks_done
            WHEN tuples_total > 0 THEN tuples_done ELSE lockers_done END, 0),
        coalesce(CASE WHEN blocks_total > 0 THEN blocks_total
            WHEN tuples_total > 0 THEN tuples_total ELSE lockers_total END, 0)
    FROM pg_stat_progress_create_index WHERE pid = %(pid)s
    LIMIT 1
"""


async def progress(server: AsyncConnection[TupleRow], pid: int) -> Progress | None:
    """Return how far the command of a session is; None if it has none that reports that."""
    async with server.cursor(row_factory=class_row(Progress)) as cursor:
        await cursor.execute(_PROGRESS, {"pid": pid})
        return await cursor.fetchone()
