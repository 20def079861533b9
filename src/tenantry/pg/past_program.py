"""A program that compares a database with what it was: ``python -m tenantry.pg.past_program``.

It reads two databases, a row at a time, and changes neither. A comparison is written to a file of
JSON lines: what is common to all, and then each difference, of which pages are shown later, and
which ``bringing_back_program`` carries out.
"""

import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, LiteralString, TextIO

import psycopg
from psycopg import sql

from tenantry.pg import table_rows
from tenantry.pg.table_rows import Both, Server, Table, cut, fingerprint, shown

MOST_LISTED = 100_000  # differences of a comparison
MOST_BYTES = 64 * 1024 * 1024  # of its file: keys may be long
_A_PAGE_BYTES = 4 * 1024 * 1024  # of the values that a page shows
_MOST_TABLES = 1000
_A_BATCH = 1000
_C = sql.SQL('COLLATE "C"')

_TABLES = """
    SELECT n.nspname::text, c.relname::text, c.relpersistence::text,
        pg_catalog.has_table_privilege(c.oid, 'SELECT')::text, c.relkind::text
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname::text, 'pg_')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                        AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1, 2 LIMIT $1
"""

_WHOLE = {"smallint", "integer", "bigint"}
# Twenty digits, as the least is -2^63.
_IN_ORDER: LiteralString = (
    "pg_catalog.to_char(t.{}::pg_catalog.numeric + 9223372036854775808, 'FM00000000000000000000')"
)

Difference = list[Any]  # kind, key, fingerprint then, fingerprint now


# ── counting ─────────────────────────────────────────────────────────────────


def tables(then: Server, now: Server, *, seconds: float) -> dict[str, Any]:
    """Count the rows of each table then and now, as far as there is time."""
    ends = time.monotonic() + seconds
    known: list[dict[tuple[str, str], list[str]]] = []
    for server in (then, now):
        found = server.execute(_TABLES, (_MOST_TABLES + 1,)).fetchall()
        known.append({(schema, name): list(more) for schema, name, *more in found[:_MOST_TABLES]})
    rows = []
    for schema, name in sorted(known[0].keys() | known[1].keys()):
        counts = [
            _count(server, (schema, name), have[schema, name], ends=ends)
            if (schema, name) in have
            else [None, "missing"]
            for server, have in zip((then, now), known, strict=True)
        ]
        rows.append([schema, name, *itertools.chain(*counts)])
    return {"tables": rows}


def _count(server: Server, named: tuple[str, str], found: list[str], *, ends: float) -> list[Any]:
    """Return the number of rows, and "" or why there is none."""
    persistence, may_read, kind = found
    if persistence == "u":
        return [None, "unlogged"]
    if may_read != "true":
        return [None, "forbidden"]
    left = int((ends - time.monotonic()) * 1000)
    if left <= 0:
        return [None, "no_time"]
    server.execute(
        "SELECT pg_catalog.set_config('statement_timeout', $1::pg_catalog.text, false)",
        (str(left),),
    )
    source = Table(*named, (), (), kind == "p").source
    try:
        [[rows]] = server.execute(sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(source))
    except psycopg.errors.QueryCanceled:
        return [None, "no_time"]
    except psycopg.errors.InsufficientPrivilege:  # row-level security would hide some
        return [None, "forbidden"]
    return [int(rows), ""]


# ── comparing ────────────────────────────────────────────────────────────────


def compare(then: Server, now: Server, *, schema: str, name: str, file: str) -> dict[str, Any]:
    """Compare a table by its key, or by whole rows, and write the differences to a file.

    ``moved`` are deleted rows that may be among the added ones, with other keys.
    """
    here = table_rows.both(then, now, schema, name)
    counts = {"deleted": 0, "changed": 0, "added": 0, "same": 0}
    about = _about(here)
    listed = _Listed()
    with ExitStack() as stack:
        for server in (then, now):
            stack.enter_context(server.transaction())
            server.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        lines = stack.enter_context(Path(file).open("w", encoding="utf-8"))
        listed.write(lines, about)
        was, is_ = (
            iter(_ordered(server, side, here))
            for server, side in ((then, here.then), (now, here.now))
        )
        for kind, *difference in _merged(was, is_):
            counts[kind] += 1
            if kind != "same":
                listed.add(lines, kind, difference)
        lines.flush()
        os.fsync(lines.fileno())
    found = {"counts": counts, "truncated": listed.is_full, "moved": listed.moved}
    return {**about, **found}


class _Listed:
    """The differences that are written to a file, as far as there is room."""

    def __init__(self) -> None:
        self.is_full = False
        self._rows = self._bytes = 0
        self._others: dict[str, set[str]] = {"deleted": set(), "added": set()}

    @property
    def moved(self) -> int:
        return len(self._others["deleted"] & self._others["added"])

    def write(self, lines: TextIO, value: object) -> None:
        line = json.dumps(value) + "\n"
        self._bytes += len(line)
        if self._bytes > MOST_BYTES:
            self.is_full = True
        else:
            lines.write(line)

    def add(self, lines: TextIO, kind: str, difference: Difference) -> None:
        """Write a difference, the last part of which is the fingerprint of the other columns."""
        *difference, others = difference
        self._rows += 1
        self.is_full = self.is_full or self._rows > MOST_LISTED
        if self.is_full:
            return
        self.write(lines, [kind, *difference])
        if others is not None and kind in self._others:
            self._others[kind].add(others)


def _about(here: Both) -> dict[str, Any]:
    types = {each.name: each.type for each in here.now.columns}
    return {
        "schema": here.now.schema,
        "table": here.now.name,
        "key": list(here.key),
        "columns": [{"name": each, "type": types[each]} for each in here.columns],
        "only_then": [each for each in here.then.names if each not in here.now.names],
        "only_now": [each for each in here.now.names if each not in here.then.names],
    }


def _ordered(server: Server, side: Table, here: Both) -> Iterator[tuple[str, ...]]:
    """Yield what identifies each row, its fingerprint, that of the columns outside of the key (None
    if there is none), and its key, in the order of the first.
    """
    value = fingerprint(here.columns)
    identity = _identity(here) if here.key else value
    others = [each for each in here.columns if here.key and each not in here.key]
    outside = fingerprint(others) if others else sql.SQL("NULL")
    parts: list[sql.Composable] = [sql.SQL("{} {}").format(identity, _C), value, outside]
    if here.key:
        parts.append(table_rows.listed(here.key))
    query = sql.SQL("SELECT {} FROM {} ORDER BY 1").format(sql.SQL(", ").join(parts), side.source)
    with server.cursor("tenantry_rows") as cursor:
        cursor.itersize = _A_BATCH
        yield from cursor.execute(query)


def _identity(here: Both) -> sql.Composed:
    """Return the text of a row's key, in the order of which whole numbers are in theirs."""
    parts = [
        sql.SQL(_IN_ORDER if _is_whole(name, here) else "t.{}").format(sql.Identifier(name))
        for name in here.key
    ]
    return sql.SQL("ROW({})::pg_catalog.text").format(sql.SQL(", ").join(parts))


def _is_whole(name: str, here: Both) -> bool:
    sides = (*here.then.columns, *here.now.columns)
    return {each.type for each in sides if each.name == name} <= _WHOLE


def _merged(was: Iterator[tuple[str, ...]], is_: Iterator[tuple[str, ...]]) -> Iterator[Difference]:
    """Yield each row of either side. Both are in the order of their first text."""
    left, right = next(was, None), next(is_, None)
    while left is not None and right is not None:
        if left[0] < right[0]:
            yield _deleted(left)
            left = next(was, None)
        elif right[0] < left[0]:
            yield _added(right)
            right = next(is_, None)
        else:
            kind = "same" if left[1] == right[1] else "changed"
            yield [kind, [*left[3:]], left[1], right[1], None]
            left, right = next(was, None), next(is_, None)
    if left is not None:
        yield from map(_deleted, itertools.chain([left], was))
    if right is not None:
        yield from map(_added, itertools.chain([right], is_))


def _deleted(row: tuple[str, ...]) -> Difference:
    return ["deleted", [*row[3:]], row[1], None, row[2]]


def _added(row: tuple[str, ...]) -> Difference:
    return ["added", [*row[3:]], None, row[1], row[2]]


def compared(then: Server, now: Server, file: str) -> Both:
    """Return the table of a comparison. Raises Refused if it has other columns since."""
    with Path(file).open(encoding="utf-8") as lines:
        about = json.loads(next(lines))
    here = table_rows.both(then, now, about["schema"], about["table"])
    if _about(here) != about:
        raise table_rows.Refused("the table has other columns since it was compared")
    return here


def differences(file: str) -> Iterator[tuple[int, Difference]]:
    """Yield the differences of a comparison with their places, from 1."""
    with Path(file).open(encoding="utf-8") as lines:
        next(lines)
        for place, line in enumerate(lines, 1):
            yield place, json.loads(line)


# ── showing ──────────────────────────────────────────────────────────────────


def page(
    then: Server, now: Server, *, file: str, kinds: list[str], after: int, limit: int
) -> dict[str, Any]:
    """Return differences of some kinds after a place, with the values then and now, cut.

    A row is ``restored`` if it is now as it was then: it was brought back since the comparison.
    There are fewer than ``limit`` if their values are long.
    """
    here = compared(then, now, file)
    rows: list[dict[str, Any]] = []
    size = 0
    for place, (kind, key, hashed_then, hashed_now) in differences(file):
        if place <= after or kind not in kinds:
            continue
        if len(rows) == limit or size > _A_PAGE_BYTES:
            return {"rows": rows, "next": rows[-1]["place"]}
        _, was = _found(then, here.then, here, key, hashed_then)
        hashed, is_ = _found(now, here.now, here, key, hashed_now)
        restored = hashed is not None and hashed == hashed_then
        one = {"place": place, "kind": kind, "key": cut(key), "then": was, "now": is_}
        rows.append({**one, "restored": restored})
        size += sum(len(each) for each in (*(was or ()), *(is_ or ())) if each is not None)
    return {"rows": rows, "next": None}


def _found(
    server: Server, side: Table, here: Both, key: list[str], hashed: str | None
) -> tuple[str | None, list[str | None] | None]:
    """Return the fingerprint of a row, and its values, cut; None of both if there is none."""
    if here.key:
        condition, parameters = side.where(), key
    elif hashed is None:
        return None, None
    else:
        condition = sql.SQL("{} = $1").format(fingerprint(here.columns))
        parameters = [hashed]
    query = sql.SQL("SELECT {}, {} FROM {} WHERE {} LIMIT 1").format(
        fingerprint(here.columns), shown(here.columns), side.source, condition
    )
    found = server.execute(query, parameters).fetchone()
    return (None, None) if found is None else (found[0], [*found[1:]])


if __name__ == "__main__":
    table_rows.carry_out({"tables": tables, "compare": compare, "page": page})
