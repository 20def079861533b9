"""Building indexes again without a long lock (REINDEX CONCURRENTLY), and what that leaves behind.

For a session inside a tenant's database, with the tenant's rights. Expressions of an index run as
the owner of its table, in a security-restricted operation; the session has no rights but its
tenant's.
"""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg.connections import fetch_bounded, fetch_value

Connection = AsyncConnection[TupleRow]

# PostgreSQL's names for the new index, until it takes the old one's name, and for the old one.
LEFTOVER = re.compile(r"_cc(?:new|old)\d*\Z")


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table, which ``table`` and ``root``, what that is a part of, name."""

    oid: int
    table_oid: int
    schema: str
    name: str
    table: str
    root: str | None
    size_bytes: int
    is_valid: bool

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def is_leftover(self) -> bool:
        """Whether an interrupted REINDEX CONCURRENTLY has left it, by its name and its state."""
        return not self.is_valid and LEFTOVER.search(self.name) is not None

    def is_of(self, tables: Collection[str]) -> bool:
        """Whether its table, or what that is a part of, is among these (``schema.table``)."""
        return self.table in tables or self.root in tables


# Those of TOAST tables are not there: their schema is nobody's to use.
_INDEXES = """
    SELECT i.indexrelid::int8 AS oid, i.indrelid::int8 AS table_oid, n.nspname::text,
        c.relname::text, tn.nspname || '.' || t.relname AS of_table,
        CASE WHEN t.relispartition THEN (SELECT rn.nspname || '.' || r.relname FROM pg_class r
            JOIN pg_namespace rn ON rn.oid = r.relnamespace
            WHERE r.oid = pg_partition_root(t.oid)) END AS root,
        coalesce(pg_relation_size(c.oid), 0) AS size, i.indisvalid AND i.indisready AS valid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
    WHERE c.relkind = 'i' AND c.relpersistence <> 't'
      AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
      AND pg_has_role(c.relowner, 'USAGE')
    ORDER BY size, n.nspname, c.relname
"""


async def indexes(inside: Connection) -> list[Index]:
    """Return the indexes of a database that the session's role owns, the smallest first.

    Raises Conflict if there are too many.
    """
    return [Index(*row) for row in await fetch_bounded(inside, _INDEXES)]


async def rebuild(inside: Connection, index: Index) -> None:
    """Build an index again beside the old one, and exchange them. In no transaction.

    If interrupted, the old index stays as it was, and the new one is left, invalid (``leftovers``).
    """
    name = sql.Identifier(index.schema, index.name)
    await inside.execute(sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(name))


def leftovers(found: Sequence[Index], table_oid: int, before: Collection[int]) -> list[Index]:
    """Return what an interrupted rebuild has left of a table's indexes.

    ``before`` are the oids of its invalid indexes before the rebuild: they are not of it.
    """
    return [
        each
        for each in found
        if each.table_oid == table_oid and each.is_leftover and each.oid not in before
    ]


async def drop(inside: Connection, index: Index) -> None:
    """Drop an invalid index while its table is used. In no transaction."""
    if await _is_valid_now(inside, index):
        return
    name = sql.Identifier(index.schema, index.name)
    await inside.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(name))


async def _is_valid_now(inside: Connection, index: Index) -> bool:
    """Whether an index has become valid, once nobody builds one of its table."""
    with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.WrongObjectType):
        async with inside.transaction():
            cursor = await inside.execute(
                "SELECT n.nspname, c.relname FROM pg_class c"
                " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s",
                (index.table_oid,),
            )
            table = await cursor.fetchone()
            if table is None:
                return False
            # Whoever builds an index has this lock until that is valid. A table's owner may have
            # taken the right to lock it from itself, and nobody locks a materialized view.
            await inside.execute(
                sql.SQL("LOCK TABLE ONLY {} IN SHARE UPDATE EXCLUSIVE MODE").format(
                    sql.Identifier(*table)
                )
            )
            found = await fetch_value(
                inside,
                "SELECT indisvalid AND indisready FROM pg_index WHERE indexrelid = %s",
                (index.oid,),
            )
            return found is True
    return False
