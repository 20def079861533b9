"""Fingerprints of the tables of one database: the number of rows, and a sum of their hashes.

Two databases whose tables have the same fingerprints hold the same data, in any order. Everything
runs as the role of the session, and names resolve in pg_catalog first: reading a tenant's rows may
run its functions.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg import tenant_settings
from tenantry.pg.connections import Address, connect, fetch_bounded
from tenantry.pg.tenant_settings import Settings
from tenantry.pg.visitors import Visitor

# Both sides write the same value the same way, whatever their settings are.
_SPELLING = """
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
    SET extra_float_digits = 1; SET bytea_output = 'hex'; SET row_security = off;
    SET lock_timeout = '2s'; SET statement_timeout = '1h'
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that has rows of its own, with its size on disk, in bytes."""

    schema: str
    name: str
    size: int

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The number of rows, and the sum of the hashes of all of them, as text."""

    rows: int
    sum: str


@asynccontextmanager
async def reading(
    visitor: Visitor, database: str, settings: Settings
) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Open a session with the tenant's settings, whose fingerprints are comparable with others."""
    async with tenant_settings.reading(visitor, database, settings) as inside:
        await inside.execute(_SPELLING)
        yield inside


async def tables(inside: AsyncConnection[TupleRow]) -> list[Table]:
    """Return the readable tables, the smallest first; not those of extensions or unlogged ones."""
    found = await fetch_bounded(
        inside,
        """
        SELECT n.nspname, c.relname, pg_table_size(c.oid) AS size
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE (c.relkind = 'r' OR c.relkind = 'm' AND c.relispopulated)
          AND c.relpersistence = 'p'
          AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
          AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                          AND d.objid = c.oid AND d.deptype = 'e')
        ORDER BY 3, 1, 2
        """,
    )
    return [Table(*row) for row in found]


async def fingerprint(
    inside: AsyncConnection[TupleRow], table: Table, *, but: Sequence[str] = ()
) -> Fingerprint:
    """Return a table's fingerprint, ``but`` for some columns; every page of it is read.

    Raises psycopg.Error if it is gone, locked, or damaged.
    """
    # Not t::text, for which the tenant may have a cast of its own; nor t, which may be a column.
    values: sql.Composable = sql.SQL("textin(record_out(t.*))")
    if but:
        values = sql.SQL("(to_jsonb(t.*) - {}::text[])::text").format(list(but))
    cursor = await inside.execute(
        sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended({}, 0)), 0)::text FROM ONLY {} t"
        ).format(values, sql.Identifier(table.schema, table.name))
    )
    row = await cursor.fetchone()
    if row is None:
        raise psycopg.DataError("an aggregate has one row")
    return Fingerprint(*row)


async def generated(inside: AsyncConnection[TupleRow], table: Table) -> list[str]:
    """Return the columns of a table that are computed from others when a row is written."""
    cursor = await inside.execute(
        """
        SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s AND a.attgenerated = 's' AND NOT a.attisdropped
        """,
        (table.schema, table.name),
    )
    return [name for (name,) in await cursor.fetchall()]


async def allow_amcheck(address: Address, *, admin: str, database: str, visitor: Visitor) -> None:
    """Let a visitor check the structure of a database on a server that only the platform uses.

    Only a superuser can grant this; here it does nothing else, in a session that resolves names in
    pg_catalog.
    """
    async with connect(address, user=admin, dbname=database) as server:
        await server.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pg_catalog")
        cursor = await server.execute(
            """
            SELECT d.objid::regprocedure::text FROM pg_depend d
            JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'amcheck'
            WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass
            """
        )
        for (function,) in await cursor.fetchall():
            # regprocedure returns it in the form that SQL reads.
            await server.execute(
                sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(
                    sql.SQL(function), sql.Identifier(visitor.name)
                )
            )


def differing(expected: Mapping[str, Fingerprint], found: Mapping[str, Fingerprint]) -> list[str]:
    """Return the tables that are missing, or whose fingerprint is not the expected one."""
    return sorted(name for name, value in expected.items() if found.get(name) != value)
