"""Rows of a table as text, for programs of ours that read them in two databases at once.

Both sessions have the same settings, so that equal values are equal text. A row's fingerprint is
the MD5 of its text, computed by the server. Used in a child process (``host.children``) only.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, RawCursor, RawServerCursor, sql
from psycopg.rows import TupleRow
from psycopg.types.string import TextLoader

from tenantry.pg.sql_program import end_with_parent

MOST_SHOWN = 1000  # characters of a value that is shown

Names = Sequence[str]
Server = Connection[TupleRow]

_COLUMNS = """
    SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
        a.attgenerated::text <> '', a.attidentity::text = 'a',
        pg_catalog.array_position(
            (pg_catalog.string_to_array(i.indkey::text, ' ')::int2[])[:i.indnkeyatts], a.attnum
        ), c.relkind::text, c.relpersistence::text, pg_catalog.format_type(a.atttypid, -1),
        EXISTS (SELECT FROM pg_catalog.pg_constraint k
                WHERE k.confrelid = c.oid AND k.contype = 'f'
                  AND k.confupdtype IN ('c', 'n', 'd') AND a.attnum = ANY (k.confkey))
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_attribute a
            ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary
    WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')
    ORDER BY a.attnum
"""


class Refused(Exception):
    """What is asked for is not possible, for a reason that is the caller's to know."""


class TookTooLong(Exception):
    """There is no time left."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``computed`` ones are generated; ``fixed`` ones GENERATED ALWAYS AS IDENTITY.

    ``plain_type`` is the type without its modifier. A change of a ``passed_on`` one changes rows
    that refer to it: by a foreign key with ON UPDATE CASCADE, SET NULL or SET DEFAULT.
    """

    name: str
    type: str
    computed: bool
    fixed: bool
    plain_type: str
    passed_on: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its columns, and those of its primary key; () if it has none."""

    schema: str
    name: str
    columns: Sequence[Column]
    key: tuple[str, ...]
    partitioned: bool

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.columns]

    @property
    def source(self) -> sql.Composable:
        """Return it for FROM as ``t``: without tables that inherit, but with partitions."""
        name = sql.Identifier(self.schema, self.name)
        return sql.SQL("{} t" if self.partitioned else "ONLY {} t").format(name)

    @property
    def target(self) -> sql.Composable:
        """Return it for INSERT."""
        return sql.Identifier(self.schema, self.name)

    def where(self, *, first: int = 1) -> sql.Composed:
        """Return the condition for one row by its key, whose first parameter is ``$first``.

        With the type: PostgreSQL reads no text as a composite value otherwise.
        """
        types = {each.name: each.plain_type for each in self.columns}
        return sql.SQL(" AND ").join(
            sql.SQL(f"t.{{}} = CAST(${nth} AS {{}})").format(
                sql.Identifier(each), sql.SQL(types[each])
            )
            for nth, each in enumerate(self.key, first)
        )

    def where_any(self, rows: int) -> sql.Composed:
        """Return the condition for some rows by their keys."""
        return sql.SQL(" OR ").join(
            sql.SQL("({})").format(self.where(first=1 + nth * len(self.key))) for nth in range(rows)
        )


@dataclass(frozen=True, slots=True)
class Both:
    """A table then and now. ``columns`` are compared: those that both have, but for generated ones.

    ``key`` is () unless both have the same primary key.
    """

    then: Table
    now: Table
    columns: tuple[str, ...]
    key: tuple[str, ...]


def connected(conninfo: str) -> Server:
    """Return a session whose values are text as PostgreSQL writes it. Raises OperationalError.

    Parameters are $1, $2 and so on: a column's name may have a percent sign.
    """
    server = psycopg.connect(conninfo, autocommit=True, cursor_factory=RawCursor)
    server.server_cursor_factory = RawServerCursor
    for kind in server.adapters.types:
        server.adapters.register_loader(kind.oid, TextLoader)
        if kind.array_oid:
            server.adapters.register_loader(kind.array_oid, TextLoader)
    server.adapters.register_loader(0, TextLoader)
    return server


def table(server: Server, schema: str, name: str) -> Table | None:
    """Return a table, None if there is none of that name. Raises Refused for an unlogged one."""
    found = server.execute(_COLUMNS, (schema, name)).fetchall()
    if not found:
        return None
    if found[0][6] == "u":
        raise Refused(f"{schema}.{name} is unlogged: no backup has its rows")
    here = [row for row in found if row[0] is not None]
    columns = [
        Column(name_, type_, computed == "t", fixed == "t", plain, passed_on == "t")
        for name_, type_, computed, fixed, _, _, _, plain, passed_on in here
    ]
    key = sorted((int(row[4]), row[0]) for row in here if row[4] is not None)
    return Table(schema, name, columns, tuple(each for _, each in key), found[0][5] == "p")


def both(then: Server, now: Server, schema: str, name: str) -> Both:
    """Return a table then and now. Raises Refused unless it is there in both."""
    was, is_ = _there(then, schema, name, "then"), _there(now, schema, name, "now")
    computed = {each.name for each in (*was.columns, *is_.columns) if each.computed}
    common = tuple(name for name in is_.names if name in was.names and name not in computed)
    if not common:
        raise Refused(f"{schema}.{name} has no column that it had then")
    return Both(was, is_, common, is_.key if was.key == is_.key else ())


def _there(server: Server, schema: str, name: str, when: str) -> Table:
    found = table(server, schema, name)
    if found is None:
        raise Refused(f"there is no table {schema}.{name} {when}")
    return found


def listed(names: Names, form: str = "t.{}") -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL(form).format(sql.Identifier(each)) for each in names)


def row_text(names: Names) -> sql.Composed:
    """Return the text of these columns of ``t``, as one value."""
    return sql.SQL("ROW({})::pg_catalog.text").format(listed(names))


def fingerprint(names: Names) -> sql.Composed:
    """Return the fingerprint of these columns of ``t``."""
    return sql.SQL("pg_catalog.md5({})").format(row_text(names))


def shown(names: Names) -> sql.Composed:
    """Return these columns of ``t`` as text that is cut."""
    return listed(
        names,
        "CASE WHEN pg_catalog.num_nonnulls(t.{0}) > 0"
        f" THEN pg_catalog.left(pg_catalog.format('%s', t.{{0}}), {MOST_SHOWN}) END",
    )


def cut(key: Names) -> list[str]:
    """Return a key as it is shown: a place names the row, so that it need not be all of it."""
    return [each[:MOST_SHOWN] for each in key]


def carry_out(tasks: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Carry out the task of standard input with its arguments, and print what it returns.

    ``{"failure": {…}}`` if it fails: ``kind``, ``message``, and what PostgreSQL says.
    """
    end_with_parent()
    asked = json.load(sys.stdin)
    try:
        with closing(connected(asked["then"])) as then, closing(connected(asked["now"])) as now:
            found = tasks[asked["task"]](then, now, **asked["arguments"])
    except Refused as error:
        found = {"failure": {"kind": "refused", "message": str(error)}}
    except TookTooLong:
        found = {"failure": {"kind": "time", "message": ""}}
    except MemoryError:
        found = {"failure": {"kind": "memory", "message": ""}}
    except psycopg.Error as error:
        found = {"failure": _failure(error)}
    json.dump(found, sys.stdout)


def _failure(error: psycopg.Error) -> dict[str, Any]:
    said = error.diag
    if said.message_primary is None and "memory" in str(error):
        return {"kind": "memory", "message": ""}
    state = error.sqlstate
    kind = "connection" if state is None or state.startswith("57P") else "sql"
    return {
        "kind": {"57014": "time", "55P03": "locked", "53400": "room"}.get(state or "", kind),
        "message": (said.message_primary or str(error))[:1000],
        "sqlstate": state,
        "detail": said.message_detail and said.message_detail[:1000],
    }
