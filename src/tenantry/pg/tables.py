"""The tables of one database that the session's role may see."""

from dataclasses import dataclass

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg.connections import fetch_bounded


async def materialized_views(connection: AsyncConnection[TupleRow]) -> set[str]:
    """Return the populated materialized views, by their names with their schemas."""
    found = await fetch_bounded(
        connection,
        """
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'm' AND c.relispopulated
        """,
    )
    return {f"{schema}.{view}" for schema, view in found}


async def row_counts(
    connection: AsyncConnection[TupleRow], *, unlogged: bool = False
) -> dict[str, int]:
    """Return the number of rows of each table and materialized view, by qualified name.

    Without those of extensions and foreign tables. ``unlogged`` tables are empty after a crash and
    in physical backups, and so counted only where requested.
    """
    tables = await fetch_bounded(
        connection,
        """
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm') AND c.relpersistence = ANY (%s::"char"[])
          AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
          AND (c.relkind = 'r' OR c.relispopulated)
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                          AND d.objid = c.oid AND d.deptype = 'e')
        ORDER BY 1, 2
        """,
        (["p", "u"] if unlogged else ["p"],),
    )
    counts: dict[str, int] = {}
    for schema, table in tables:
        name = sql.Identifier(schema, table)
        found = await (
            await connection.execute(sql.SQL("SELECT count(*) FROM ONLY {}").format(name))
        ).fetchone()
        counts[f"{schema}.{table}"] = int(found[0]) if found else 0
    return counts


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of a table or view, by name with their types, and those of its primary key."""

    columns: dict[str, str]
    key: tuple[str, ...]


async def shape(connection: AsyncConnection[TupleRow], schema: str, table: str) -> Shape | None:
    """Return the columns of a table or view; None if there is none of that name."""
    found = await fetch_bounded(
        connection,
        """
        SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) AS type,
            array_position(i.indkey::int2[], a.attnum) AS place
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
        WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        ORDER BY a.attnum
        """,
        (schema, table),
    )
    if not found:
        return None
    key = sorted((place, name) for name, _, place in found if place is not None)
    return Shape({name: type_ for name, type_, _ in found}, tuple(name for _, name in key))
