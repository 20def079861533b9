"""A program that brings rows back: ``python -m tenantry.pg.bringing_back_program``.

The invariant: one transaction of the live database has all of it, or nothing; and no row of it is
changed that is not what it was when it was compared. A row that has changed since, or is there
again, is left as it is, and reported. Nothing is ever deleted.

Triggers fire, and constraints hold, as for any statement of the owner role. A row that refers to
one which is not there, or has a unique value of another one, waits for the others.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql

from tenantry.pg import table_rows
from tenantry.pg.past_program import Difference, compared, differences
from tenantry.pg.table_rows import Both, Refused, Server, TookTooLong, cut, fingerprint, listed

_MOST_REPORTED = 100  # rows that were left as they are
_A_BATCH = 100  # rows of a statement
_A_BATCH_BYTES = 4 * 1024 * 1024
_MOST_PARAMETERS = 30_000  # of a statement; PostgreSQL's limit is 65,535

_DEFERRABLE = """
    SELECT s.nspname::text, k.conname::text, k.contype::text
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace s ON s.oid = k.connamespace
        JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE k.condeferrable AND k.contype IN ('p', 'u', 'x', 'f')
      AND n.nspname = $1 AND c.relname = $2
"""

_LONGEST_DETAIL = 300


@dataclass(frozen=True, slots=True)
class _Lost:
    """A row to bring back, by the values that it had."""

    here: Both
    difference: Difference
    values: tuple[str | None, ...]


class _Report:
    """What became of the rows."""

    def __init__(self) -> None:
        self.counts = {"inserted": 0, "updated": 0, "altered": 0, "already": 0, "skipped": 0}
        self.skipped: list[dict[str, Any]] = []

    def skip(self, row: _Lost, reason: str) -> None:
        self.counts["skipped"] += 1
        if len(self.skipped) < _MOST_REPORTED:
            now = row.here.now
            where_ = {"schema": now.schema, "table": now.name, "key": cut(row.difference[1])}
            self.skipped.append({**where_, "reason": reason})

    def done(self, what: str, row: _Lost, hashed: str) -> None:
        self.counts[what] += 1
        if hashed != row.difference[2]:  # by a trigger, or what no statement may set
            self.counts["altered"] += 1


def bring_back(
    then: Server,
    now: Server,
    *,
    files: list[str],
    kinds: list[str],
    places: list[int] | None,
    seconds: float,
) -> dict[str, Any]:
    """Bring deleted and changed rows of comparisons back, in one transaction.

    ``places`` are those of the only comparison that are wanted; None are all of these kinds.
    """
    ends = time.monotonic() + seconds
    report = _Report()
    waiting: list[_Lost] = []
    with then.transaction(), now.transaction():
        then.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        tables = [(file, _table_of(then, now, file)) for file in files]
        # A violation is noticed with the row that has it, and not at the end.
        _set_constraints(now, tables, "pux", "IMMEDIATE")
        # First those that others may refer to.
        for kind in [each for each in ("deleted", "changed") if each in kinds]:
            for file, here in tables:
                for rows in _batches(_lost(then, here, file, kind, places), here):
                    _require_time(ends)
                    if kind == "changed" or not _insert_all(now, rows, report):
                        waiting += [row for row in rows if _bring(now, row, report) is not None]
        _bring_in_turn(now, tables, waiting, report, ends)
    return {**report.counts, "rows": report.skipped}


def _require_time(ends: float) -> None:
    if time.monotonic() > ends:
        raise TookTooLong


def _table_of(then: Server, now: Server, file: str) -> Both:
    here = compared(then, now, file)
    if not here.key:
        raise Refused(
            f"{here.now.schema}.{here.now.name} has no primary key, or had another one then: which"
            " row is which cannot be known"
        )
    return here


def _set_constraints(
    now: Server,
    tables: Sequence[tuple[str, Both]],
    kinds: str,
    mode: Literal["IMMEDIATE", "DEFERRED"],
) -> None:
    """Set when the deferrable constraints of these kinds are checked, in this transaction."""
    found = [
        sql.Identifier(schema, name)
        for _, here in tables
        for schema, name, kind in now.execute(_DEFERRABLE, (here.now.schema, here.now.name))
        if kind in kinds
    ]
    if found:
        names = sql.SQL(", ").join(found)
        now.execute(sql.SQL("SET CONSTRAINTS {} {}").format(names, sql.SQL(mode)))


def _lost(
    then: Server, here: Both, file: str, kind: str, places: Sequence[int] | None
) -> Iterator[_Lost]:
    """Yield the rows that are wanted, as they were."""
    chosen = None if places is None else frozenset(places)
    wanted = (
        difference
        for place, difference in differences(file)
        if difference[0] == kind and (chosen is None or place in chosen)
    )
    width = len(here.key)
    columns = sql.SQL(", ").join(
        (fingerprint(here.columns), listed(here.key), listed(here.columns))
    )
    while batch := list(itertools.islice(wanted, min(_A_BATCH, _MOST_PARAMETERS // width))):
        left = {tuple(each[1]): each for each in batch}
        query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            columns, here.then.source, here.then.where_any(len(batch))
        )
        keys = [value for difference in batch for value in difference[1]]
        with then.cursor() as cursor:
            for hashed, *values in cursor.stream(query, keys):
                difference = left.pop(tuple(values[:width]), None)
                if difference is None or hashed != difference[2]:
                    raise Refused("the past is not what was compared")  # changed there
                yield _Lost(here, difference, tuple(values[width:]))
        if left:
            raise Refused("the past is not what was compared")


def _batches(rows: Iterator[_Lost], here: Both) -> Iterator[list[_Lost]]:
    """Yield rows of a table in groups that one statement may insert."""
    most = max(1, min(_A_BATCH, _MOST_PARAMETERS // len(here.columns)))
    batch: list[_Lost] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(each) for each in row.values if each is not None)
        if len(batch) == most or size > _A_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _bring(now: Server, row: _Lost, report: _Report) -> str | None:
    """Bring a row back. Return None if that is done; if it has to wait, what a foreign key of it
    finds missing, or "" where another row has one of its unique values.
    """
    here, (kind, key, hashed_then, hashed_now) = row.here, row.difference
    passed_on = [
        each.name for each in here.now.columns if each.passed_on and each.name in here.columns
    ]
    columns = sql.SQL(", ").join(
        (fingerprint(here.columns), *([listed(passed_on)] if passed_on else []))
    )
    query = sql.SQL("SELECT {} FROM {} WHERE {} FOR UPDATE").format(
        columns, here.now.source, here.now.where()
    )
    found = now.execute(query, key).fetchone()
    values = dict(zip(here.columns, row.values, strict=True))
    if found is not None and found[0] == hashed_then:
        report.counts["already"] += 1
    elif kind == "deleted" and found is not None:
        report.skip(row, "exists_again")
    elif found is None and kind == "changed":
        report.skip(row, "deleted_since")
    elif found is not None and found[0] != hashed_now:
        report.skip(row, "changed_since")
    elif found is not None and [*found[1:]] != [values[each] for each in passed_on]:
        report.skip(row, "others_refer")
    else:
        try:
            with now.transaction():
                if kind == "deleted":
                    _insert(now, row, report)
                else:
                    _update(now, row, report, leave=passed_on)
        except psycopg.errors.ForeignKeyViolation as error:
            return _missing(error)
        except (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation):
            return ""
    return None


def _update(now: Server, row: _Lost, report: _Report, *, leave: Sequence[str]) -> None:
    here = row.here
    fixed = {each.name for each in here.now.columns if each.fixed}
    columns = [each for each in here.columns if each not in {*here.key, *fixed, *leave}]
    if not columns:
        report.skip(row, "cannot_be_set")
        return
    values = dict(zip(here.columns, row.values, strict=True))
    given = sql.SQL(", ").join(
        sql.SQL(f"{{}} = ${nth}").format(sql.Identifier(each))
        for nth, each in enumerate(columns, 1)
    )
    condition = here.now.where(first=len(columns) + 1)
    query = sql.SQL("UPDATE {} SET {} WHERE {} RETURNING {}").format(
        here.now.source, given, condition, fingerprint(here.columns)
    )
    found = now.execute(query, [*(values[each] for each in columns), *row.difference[1]]).fetchone()
    if found is None:
        report.skip(row, "refused_by_trigger")
    else:
        report.done("updated", row, found[0])


def _inserted(now: Server, rows: Sequence[_Lost]) -> list[str]:
    """Insert rows of a table. Return the fingerprints of those that no trigger has left out."""
    here = rows[0].here
    numbers = itertools.count(1)
    one = [[sql.SQL(f"${next(numbers)}") for _ in here.columns] for _ in rows]
    query = sql.SQL(
        "INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE VALUES {} RETURNING {}"
    ).format(
        here.now.target,
        listed(here.columns, "{}"),
        sql.SQL(", ").join(sql.SQL("({})").format(sql.SQL(", ").join(each)) for each in one),
        fingerprint(here.columns),
    )
    values = [value for row in rows for value in row.values]
    return [hashed for (hashed,) in now.execute(query, values)]


def _insert(now: Server, row: _Lost, report: _Report) -> None:
    found = _inserted(now, [row])
    if found:
        report.done("inserted", row, found[0])
    else:
        report.skip(row, "unique_or_trigger")


def _insert_all(now: Server, rows: Sequence[_Lost], report: _Report) -> bool:
    """Insert rows at once. Return whether that is done: if not, one by one shows which it is."""
    found: list[str] = []
    try:
        with now.transaction() as together:
            found = _inserted(now, rows)
            if len(found) < len(rows):
                raise psycopg.Rollback(together)
    except (
        psycopg.errors.ForeignKeyViolation,
        psycopg.errors.UniqueViolation,
        psycopg.errors.ExclusionViolation,
    ):
        return False
    if len(found) < len(rows):
        return False
    for row, hashed in zip(rows, found, strict=True):
        report.done("inserted", row, hashed)
    return True


def _bring_in_turn(
    now: Server,
    tables: Sequence[tuple[str, Both]],
    waiting: list[_Lost],
    report: _Report,
    ends: float,
) -> None:
    """Bring rows back that wait for others of them, in rounds, until a round has brought none.

    Foreign keys that can be deferred are checked last, then. Rows with unique values of other rows
    are left out. Raises Refused if rows are left that refer to some which are not there.
    """
    deferred = False
    while waiting:
        left: list[tuple[_Lost, str]] = []
        for row in waiting:
            _require_time(ends)
            missing = _bring(now, row, report)
            if missing is not None:
                left.append((row, missing))
        if len(left) == len(waiting):
            referring = [each for each in left if each[1]]
            if deferred and referring:
                row, missing = referring[0]
                raise _refers(row.here, missing)
            if not referring:
                for row, _ in left:
                    report.skip(row, "unique_or_trigger")
                break
            _set_constraints(now, tables, "f", "DEFERRED")
            deferred = True
        waiting = [row for row, _ in left]
    if deferred:
        try:
            _set_constraints(now, tables, "f", "IMMEDIATE")
        except psycopg.errors.ForeignKeyViolation as error:
            raise _refers(tables[0][1], _missing(error)) from error


def _missing(error: psycopg.errors.ForeignKeyViolation) -> str:
    said = error.diag
    return f"{said.constraint_name}: {(said.message_detail or '')[:_LONGEST_DETAIL]}"


def _refers(here: Both, missing: str) -> Refused:
    return Refused(
        f"rows of {here.now.schema}.{here.now.name} refer to rows that are not there, by {missing}"
        " Bring those back first. Tables that refer to each other come back beside themselves only,"
        ' with "tables" and "as": "new", unless their foreign keys can be deferred'
    )


# ── whole tables ─────────────────────────────────────────────────────────────


def copy(then: Server, now: Server, *, tables: list[list[str]], into: str) -> dict[str, Any]:
    """Copy whole tables, as they were, into a new schema, in one transaction.

    Columns, rows and the primary key; and nothing else of them: no defaults, no other constraints
    or indexes, no triggers. If the schema is there, an earlier try has committed it.
    """
    found = now.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1", (into,))
    if found.rowcount:
        return _counted(now, tables, into)
    with then.transaction(), now.transaction():
        then.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        now.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(into)))
        for schema, name in tables:
            _copy_table(then, now, schema, name, into)
    return _counted(now, tables, into)


def _copy_table(then: Server, now: Server, schema: str, name: str, into: str) -> None:
    was = table_rows.table(then, schema, name)
    if was is None:
        raise Refused(f"there is no table {schema}.{name} then")
    columns: list[sql.Composable] = [
        sql.SQL("{} {}").format(sql.Identifier(each.name), sql.SQL(each.type))
        for each in was.columns
    ]
    if was.key:
        columns.append(sql.SQL("PRIMARY KEY ({})").format(listed(was.key, "{}")))
    target = sql.Identifier(into, name)
    now.execute(sql.SQL("CREATE TABLE {} ({})").format(target, sql.SQL(", ").join(columns)))
    if not was.columns:
        return
    out = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(listed(was.names), was.source)
    into_ = sql.SQL("COPY {} FROM STDIN").format(target)
    with then.cursor().copy(out) as source, now.cursor().copy(into_) as sink:
        for chunk in source:
            sink.write(chunk)


def _counted(now: Server, tables: list[list[str]], into: str) -> dict[str, Any]:
    counts = []
    for schema, name in tables:
        [[rows]] = now.execute(
            sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(sql.Identifier(into, name))
        )
        counts.append({"schema": schema, "table": name, "rows": int(rows)})
    return {"schema": into, "tables": counts}


if __name__ == "__main__":
    table_rows.carry_out({"bring_back": bring_back, "copy": copy})
