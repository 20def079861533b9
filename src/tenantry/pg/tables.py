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
    connection: AsyncConnection[TupleRow], *, imported: bool = False
) -> dict[str, int]:
    """Return the number of rows of each table and materialized view, by qualified name.

    Without those of extensions and foreign tables. Unlogged ones are empty after a crash and in
    physical backups, and so counted only if ``imported``: then, those of the session's role count.
    """
    tables = await fetch_bounded(
        connection,
        """
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm') AND c.relpersistence = ANY (%s::"char"[])
          AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
          AND (c.relkind = 'r' OR c.relispopulated)
          AND (NOT %s OR pg_has_role(c.relowner, 'USAGE'))
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                          AND d.objid = c.oid AND d.deptype = 'e')
        ORDER BY 1, 2
        """,
        (["p", "u"] if imported else ["p"], imported),
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
class Column:
    """A column. One that is ``generated`` has no other value than PostgreSQL gives it.

    ``required``: NULL is refused, and it has no default, unless its domain or a trigger gives one.
    ``computed``: it is generated from other columns, and a COPY does not take it either.
    """

    type: str
    generated: bool = False
    required: bool = False
    computed: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of a table or view by name, and the names of those of its primary key.

    ``kind`` is its ``relkind`` in pg_class.
    """

    columns: dict[str, Column]
    key: tuple[str, ...]
    kind: str = "r"

    @property
    def is_table(self) -> bool:
        """Whether it or its partitions have rows of their own, to which others can be added."""
        return self.kind in {"r", "p"}

    @property
    def is_changeable(self) -> bool:
        """Whether each row can be found again and changed: by its key, if it has not changed."""
        return self.is_table and bool(self.key)


async def shape(connection: AsyncConnection[TupleRow], schema: str, table: str) -> Shape | None:
    """Return the columns of a table or view; None if there is none of that name."""
    found = await fetch_bounded(
        connection,
        """
        SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) AS type,
            array_position(
                (string_to_array(i.indkey::text, ' ')::int2[])[:i.indnkeyatts], a.attnum
            ) AS place,
            a.attgenerated <> '' OR a.attidentity = 'a' AS generated,
            a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS required,
            a.attgenerated <> '' AS computed, c.relkind::text
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
    key = sorted((place, name) for name, _, place, *_ in found if place is not None)
    columns = {
        name: Column(type_, generated, required, computed)
        for name, type_, _, generated, required, computed, _ in found
    }
    return Shape(columns, tuple(name for _, name in key), found[0][-1])


@dataclass(frozen=True, slots=True)
class Catalog:
    """Names for the completion of SQL: the columns of each table by schema, and the functions.

    ``complete`` is whether these are all.
    """

    tables: dict[str, dict[str, list[str]]]
    functions: list[str]
    complete: bool


async def catalog(
    connection: AsyncConnection[TupleRow], *, most_columns: int, most_functions: int
) -> Catalog:
    """Return the names of tables, views, their columns, and functions, but for the system's."""
    columns = await fetch_bounded(
        connection,
        """
        SELECT n.nspname::text, c.relname::text, a.attname::text
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema'
            AND NOT starts_with(n.nspname, 'pg_')
        ORDER BY c.oid, a.attnum LIMIT %s
        """,
        (most_columns,),
    )
    functions = await fetch_bounded(
        connection,
        """
        SELECT DISTINCT p.proname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
        ORDER BY 1 LIMIT %s
        """,
        (most_functions,),
    )
    found: dict[str, dict[str, list[str]]] = {}
    for schema, table, column in columns:
        found.setdefault(schema, {}).setdefault(table, []).append(column)
    complete = len(columns) < most_columns and len(functions) < most_functions
    return Catalog(found, [name for (name,) in functions], complete)
