"""Constraints that are restored only after the rows, since not all rows satisfy them.

A row that satisfied a constraint when it was written need not satisfy it now: ``CHECK (ends >
now())``, or one that reads another table. Here such a constraint is dropped and restored as NOT
VALID: it applies to new rows, and becomes valid again if all rows satisfy it.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

Connection = AsyncConnection[TupleRow]
Failed = Callable[[object, psycopg.Error], None]

_THEIRS: LiteralString = """
    FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = k.conrelid
        LEFT JOIN pg_type t ON t.oid = k.contypid
        JOIN pg_namespace n ON n.oid = coalesce(c.relnamespace, t.typnamespace)
    WHERE pg_has_role(coalesce(c.relowner, t.typowner), 'USAGE')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND (d.classid, d.objid)
          IN (('pg_class'::regclass, c.oid), ('pg_type'::regclass, t.oid)))
"""
_IDENTITY: LiteralString = """
    SELECT CASE k.contype WHEN 'f' THEN 'FK CONSTRAINT' ELSE 'CHECK CONSTRAINT' END,
        k.contypid <> 0, n.nspname, coalesce(c.relname, t.typname), k.conname
"""


@dataclass(frozen=True, slots=True, order=True)
class Constraint:
    """A constraint of a table, or of a domain."""

    kind: str
    of_domain: bool
    schema: str
    relation: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.schema}.{self.relation} {self.name}"

    def of(self) -> sql.Composed:
        """Return the object that it constrains, as ALTER names it."""
        return _of(self.of_domain, self.schema, self.relation)


def _of(of_domain: bool, schema: str, relation: str) -> sql.Composed:
    return sql.SQL("DOMAIN {}" if of_domain else "TABLE {}").format(
        sql.Identifier(schema, relation)
    )


async def not_valid(inside: Connection) -> set[Constraint]:
    """Return the constraints that not all rows were checked for; none that only a partition has."""
    cursor = await inside.execute(
        _IDENTITY
        + _THEIRS
        + " AND k.contype IN ('c', 'f') AND NOT k.convalidated"
        + " AND k.conislocal AND k.conparentid = 0"
    )
    return {Constraint(*row) for row in await cursor.fetchall()}


async def validate(tenant: Connection, wanted: set[Constraint], failed: Failed) -> None:
    """Check all rows for these constraints; ``failed`` is called with those that stay NOT VALID.

    It runs the functions that the constraints call, so ``tenant`` is a session with the tenant's
    own rights and settings.
    """
    together: dict[tuple[bool, str, str], list[Constraint]] = defaultdict(list)
    for each in sorted(wanted):
        together[each.of_domain, each.schema, each.relation].append(each)
    for those in together.values():
        # One read of a table checks all of its constraints; a domain takes one at a time.
        if len(those) > 1 and not those[0].of_domain and await _do(tenant, _validation(those)):
            continue
        for each in those:
            await _do(tenant, _validation([each]), each, failed)


def _validation(those: list[Constraint]) -> sql.Composed:
    parts = [sql.SQL("VALIDATE CONSTRAINT {}").format(sql.Identifier(each.name)) for each in those]
    return sql.SQL("ALTER {} {}").format(those[0].of(), sql.SQL(", ").join(parts))


async def _do(
    session: Connection,
    statement: sql.Composed,
    what: object = None,
    failed: Failed | None = None,
) -> bool:
    try:
        await session.execute(statement)
    except psycopg.Error as error:
        if session.broken:
            raise
        if failed is not None:
            failed(what, error)
        return False
    return True


_Dropped = tuple[Constraint, str, str | None]  # with definition and comment
# The types of some tables' columns, and the types that they consist of.
_USED: LiteralString = """(
    WITH RECURSIVE used(type) AS (
        SELECT a.atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname || ' ' || c.relname = ANY (%s)
        UNION
        SELECT part FROM used JOIN pg_type t ON t.oid = used.type
            LEFT JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
            LEFT JOIN pg_range r ON r.rngtypid = t.oid
            CROSS JOIN LATERAL (
                VALUES (t.typbasetype), (t.typelem), (a.atttypid), (r.rngsubtype)) parts(part)
        WHERE part <> 0
    ) SELECT type FROM used)
"""
_NOT_NULL: LiteralString = """
    SELECT n.nspname, t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype = 'd' AND t.typnotnull AND pg_has_role(t.typowner, 'USAGE') AND t.oid IN
"""


class SetAside:
    """The checks that are dropped in a database with its tables, but not all of its rows yet."""

    def __init__(self) -> None:
        self._dropped: list[_Dropped] = []
        self._not_null: list[tuple[str, str]] = []

    async def drop_of_tables(self, inside: Connection) -> None:
        """Drop all checks of tables."""
        # A table's own check may also be one that it inherits: once the checks of the parents are
        # dropped, it is the next one.
        while found := await _checks(inside, "k.conrelid <> 0"):
            await self._drop(inside, found)

    async def drop_of_domains(self, inside: Connection, tables: Sequence[str]) -> None:
        """Drop all checks, and the NOT NULL, of the domains that columns of these tables have.

        Not of others: PostgreSQL validates no constraint of a domain that is in an array somewhere.
        ``tables`` are named ``schema table``.
        """
        await self._drop(inside, await _checks(inside, "k.contypid IN " + _USED, list(tables)))
        cursor = await inside.execute(_NOT_NULL + _USED, (list(tables),))
        for schema, name in await cursor.fetchall():
            domain = _of(True, schema, name)
            await inside.execute(sql.SQL("ALTER {} DROP NOT NULL").format(domain))
            self._not_null.append((schema, name))

    async def _drop(self, inside: Connection, found: list[_Dropped]) -> None:
        for each, *_ in found:
            drop = sql.SQL("ALTER {} DROP CONSTRAINT {}")
            await inside.execute(drop.format(each.of(), sql.Identifier(each.name)))
        self._dropped += found

    async def put_back(self, inside: Connection, failed: Failed) -> set[Constraint]:
        """Restore what was dropped, as NOT VALID; ``failed`` is called with what fails."""
        back = set()
        for each, definition, comment in self._dropped:
            add = sql.SQL("ALTER {} ADD CONSTRAINT {} {} NOT VALID").format(
                each.of(), sql.Identifier(each.name), sql.SQL(definition)
            )
            if await _do(inside, add, each, failed):
                back.add(each)
                await _comment_on(inside, each, comment)
        for schema, name in self._not_null:
            alter = sql.SQL("ALTER {} SET NOT NULL").format(_of(True, schema, name))
            await _do(inside, alter, f"NOT NULL of DOMAIN {schema}.{name}", failed)
        return back


async def _checks(inside: Connection, which: LiteralString, *parameters: object) -> list[_Dropped]:
    """Return the checks that are not inherited, with their definitions and comments."""
    cursor = await inside.execute(
        _IDENTITY
        + ", pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint')"
        + _THEIRS
        + " AND k.contype = 'c' AND k.convalidated AND k.coninhcount = 0 AND "
        + which
        + " ORDER BY k.oid",
        parameters or None,
    )
    return [
        (Constraint(*identity), definition, comment)
        for *identity, definition, comment in await cursor.fetchall()
    ]


async def _comment_on(inside: Connection, constraint: Constraint, comment: str | None) -> None:
    if comment is not None:
        await inside.execute(
            sql.SQL("COMMENT ON CONSTRAINT {} ON {}{} IS {}").format(
                sql.Identifier(constraint.name),
                sql.SQL("DOMAIN " if constraint.of_domain else ""),
                sql.Identifier(constraint.schema, constraint.relation),
                sql.Literal(comment),
            )
        )
