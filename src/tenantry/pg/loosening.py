"""Load definitions that PostgreSQL would reject now, as they were once accepted, or reduced."""

from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg.archives import Item

Connection = AsyncConnection[TupleRow]

_IGNORES_SEARCH_PATH = 170_000  # from this version on, building indexes and views ignores it
_NOT_IMMUTABLE = "42P17"  # invalid_object_definition
_NOT_FOUND = {"42883", "42P01", "42704", "3F000"}  # function, table, object, schema
_OTHER_PARTITION = "violates partition constraint"
_FUNCTIONS: LiteralString = """
    SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
        CASE p.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END,
        EXISTS (SELECT FROM unnest(p.proconfig) c WHERE starts_with(c, 'search_path='))
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.prokind = 'f' AND pg_has_role(p.proowner, 'USAGE')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
                      AND d.classid = 'pg_proc'::regclass AND d.objid = p.oid)
"""


def helps(error: psycopg.Error, *, version: int) -> bool:
    """Whether ``execute_as_once`` may succeed where this error was raised."""
    ignored = version >= _IGNORES_SEARCH_PATH and error.sqlstate in _NOT_FOUND
    return error.sqlstate == _NOT_IMMUTABLE or ignored


async def execute_as_once(plain: Connection, tenant: Connection, statements: str) -> None:
    """Run statements as if all functions were IMMUTABLE, as those that they call once were.

    The session's search path also applies where PostgreSQL would ignore it. All of it is one
    transaction, after which the functions are as before. Raises psycopg.Error.
    """
    ignored = tenant.info.server_version >= _IGNORES_SEARCH_PATH
    cursor = await plain.execute(_FUNCTIONS)
    functions = [
        (sql.SQL("ALTER FUNCTION " + name), volatility, ignored and not has_path)
        for name, volatility, has_path in await cursor.fetchall()
        if volatility != "IMMUTABLE" or (ignored and not has_path)
    ]
    async with tenant.transaction():
        for alter, _, lacks_path in functions:
            path = sql.SQL(" SET search_path FROM CURRENT" if lacks_path else "")
            await tenant.execute(alter + sql.SQL(" IMMUTABLE") + path)
        await tenant.execute(statements.encode())
        for alter, volatility, lacks_path in functions:
            path = sql.SQL(" RESET search_path" if lacks_path else "")
            await tenant.execute(alter + sql.SQL(f" {volatility}") + path)


async def loosen(plain: Connection, item: Item, reason: str) -> tuple[str, str] | None:
    """Make the table of a TABLE DATA item accept more rows. Returns what of it is lost.

    That is an object and what was changed about it; None if nothing more can be done.
    """
    found = await _table_of(plain, item)
    if found is None:
        return None
    schema, name, columns, partitioned = found
    table = sql.Identifier(schema, name)
    if _OTHER_PARTITION in reason and partitioned is not None:
        await plain.execute(
            sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(
                sql.Identifier(*partitioned), table
            )
        )
        return f"TABLE ATTACH {schema}.{name}", f"It is a table of its own: {reason}"
    if not columns:
        return None
    for column in columns:
        for less in ("EXPRESSION", "NOT NULL"):
            await plain.execute(
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP {}").format(
                    table, sql.Identifier(column), sql.SQL(less)
                )
            )
    return (
        f"GENERATED COLUMN {schema}.{name} {', '.join(columns)}",
        f"It is an ordinary column, and empty: {reason}",
    )


async def _table_of(
    plain: Connection, item: Item
) -> tuple[str, str, list[str], tuple[str, str] | None] | None:
    """Return schema, name, generated columns and parent of an item's table."""
    cursor = await plain.execute(
        """
        SELECT n.nspname, c.relname,
            ARRAY(SELECT a.attname::text FROM pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attgenerated = 's' AND NOT a.attisdropped),
            (SELECT ARRAY[pn.nspname, p.relname]::text[] FROM pg_inherits i
                 JOIN pg_class p ON p.oid = i.inhparent
                 JOIN pg_namespace pn ON pn.oid = p.relnamespace
             WHERE i.inhrelid = c.oid AND c.relispartition)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname || ' ' || c.relname = %s AND c.relkind IN ('r', 'p')
        """,
        (item.name,),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    schema, name, columns, parent = row
    return schema, name, columns, parent and (parent[0], parent[1])
