"""Creating an index while its table is used (CREATE INDEX CONCURRENTLY).

For a session inside a tenant's database, with the tenant's rights.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg.connections import fetch_bounded
from tenantry.pg.reindexing import Index

Method = Literal["btree", "hash", "gin", "gist", "spgist", "brin"]

_LONGEST = 63  # bytes of an identifier


@dataclass(frozen=True, slots=True)
class NewIndex:
    """An index that is to be there. ``size_bytes`` is that of its whole table: it takes less."""

    schema: str
    name: str
    table: str
    columns: Sequence[str]
    method: Method
    is_unique: bool
    size_bytes: int

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def of_table(self) -> str:
        return f"{self.schema}.{self.table}"

    def is_there(self, found: Collection[Index]) -> bool:
        """Whether one of these, valid, has its name and its table."""
        return any(
            each.title == self.title and each.table == self.of_table and each.is_valid
            for each in found
        )


def free_name(table: str, columns: Sequence[str], taken: Collection[str]) -> str:
    """Return the name that PostgreSQL gives such an index, with a number if it is taken."""
    wanted = f"{table}_{'_'.join(columns)}".encode()
    for number in count():
        end = f"_idx{number or ''}"
        name = wanted[: _LONGEST - len(end)].decode(errors="ignore") + end
        if name not in taken:
            return name
    raise AssertionError  # there is always another number


async def taken(inside: AsyncConnection[TupleRow], schema: str) -> set[str]:
    """Return the names that an index in a schema cannot have: tables and sequences have them, too.

    Raises Conflict if there are too many.
    """
    query = """
        SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s
    """
    return {str(name) for (name,) in await fetch_bounded(inside, query, (schema,))}


async def create(inside: AsyncConnection[TupleRow], index: NewIndex) -> None:
    """Create an index. In no transaction. If interrupted, it is left there, invalid."""
    await inside.execute(
        sql.SQL("CREATE {} CONCURRENTLY {} ON {} USING {} ({})").format(
            sql.SQL("UNIQUE INDEX" if index.is_unique else "INDEX"),
            sql.Identifier(index.name),
            sql.Identifier(index.schema, index.table),
            sql.Identifier(index.method),
            sql.SQL(", ").join(map(sql.Identifier, index.columns)),
        )
    )
