"""The statements that read, change and copy rows of a table. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, LiteralString

from psycopg import sql

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.pg.tables import Shape

Test = Literal["is", "is_not", "less", "greater", "contains", "empty", "filled"]
Action = Literal["insert", "update", "delete"]
MOST_SKIPPED = 100_000
VERSION = "xmin"  # the system column that changes with each change of a row

_COMPARED: dict[Test, LiteralString] = {
    "is": "{} = {}",
    "is_not": "{} IS DISTINCT FROM {}",
    "less": "{} < {}",
    "greater": "{} > {}",
    "contains": "strpos(lower({}::text), lower({})) > 0",
    "empty": "{} IS NULL",
    "filled": "{} IS NOT NULL",
}
_FIXED = {
    "v": "It is a view: change the rows of its tables.",
    "m": "It is a materialized view: REFRESH MATERIALIZED VIEW makes its rows.",
    "f": "It is a foreign table: change its rows where they are stored.",
}
_KEYLESS = (
    "The table has no primary key, by which a single row could be found again: add one, or change"
    " rows by SQL."
)


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of a table: those after a key, or in another order, after so many.

    With ``column`` those whose value passes ``test``. They are in the order of ``sort``, and then
    of the table's key.
    """

    column: str | None = None
    test: Test = "is"
    value: str = ""
    after: Sequence[str] = ()
    skip: int = 0
    sort: str | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One row to insert, update or delete; ``values`` are texts as PostgreSQL reads them, or None.

    ``key`` has a value for each column of the primary key. With ``version``, its ``xmin``, a row
    that has been changed since is left alone.
    """

    action: Action
    key: Mapping[str, str | None] = field(default_factory=dict)
    version: str | None = None
    values: Mapping[str, str | None] = field(default_factory=dict)


# ── reading ──────────────────────────────────────────────────────────────────


def statement(schema: str, table: str, shape: Shape, page: Page, *, limit: int | None) -> str:
    """Return the statement that reads a page; without ``limit`` all rows.

    With it, rows that can be changed have their version first. Raises InvalidInput for a column or
    a key that the table lacks.
    """
    versioned = limit is not None and shape.is_changeable
    columns = sql.SQL(f"{VERSION}, *" if versioned else "*")
    return _reading(schema, table, shape, page, columns, limit=limit)


def _reading(
    schema: str,
    table: str,
    shape: Shape,
    page: Page,
    columns: sql.Composable,
    *,
    limit: int | None = None,
) -> str:
    conditions = []
    if page.column is not None:
        _require_column(shape, "column", page.column)
        name, value = sql.Identifier(page.column), sql.Literal(page.value)
        conditions.append(sql.SQL(_COMPARED[page.test]).format(name, value))
    if page.after and page.sort is None:
        if len(page.after) != len(shape.key):
            raise InvalidInput.of("after", "is no key of the table")
        conditions.append(
            sql.SQL("({}) > ({})").format(_names(shape.key), _listed(map(sql.Literal, page.after)))
        )
    parts: list[sql.Composable] = [
        sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier(schema, table))
    ]
    if conditions:
        parts.append(sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions)))
    order: list[sql.Composable] = list(map(sql.Identifier, shape.key))
    if page.sort is not None:
        _require_column(shape, "sort", page.sort)
        how = sql.SQL("{} DESC NULLS LAST" if page.descending else "{}")
        order.insert(0, how.format(sql.Identifier(page.sort)))
    if order:
        parts.append(sql.SQL("ORDER BY {}").format(_listed(order)))
    if limit is not None:
        parts.append(sql.SQL("LIMIT {}").format(sql.Literal(limit)))
        if page.skip and (page.sort is not None or not shape.key):
            parts.append(sql.SQL("OFFSET {}").format(sql.Literal(page.skip)))
    return sql.SQL("\n").join(parts).as_string()


def rows_of_keys(schema: str, table: str, shape: Shape, keys: Sequence[Sequence[str]]) -> str:
    """Return the statement that reads the rows with these keys, and their versions."""
    found = sql.SQL(" OR ").join(
        sql.SQL("({})").format(_is_row(shape, dict(zip(shape.key, key, strict=False))))
        for key in keys
    )
    return (
        sql.SQL("SELECT {}, * FROM {} WHERE {} ORDER BY {}")
        .format(sql.SQL(VERSION), sql.Identifier(schema, table), found, _names(shape.key))
        .as_string()
    )


def as_text(value: object) -> str | None:
    """Return a value of a result as PostgreSQL writes it; None for NULL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


# ── changing ─────────────────────────────────────────────────────────────────


def fixed_because(shape: Shape) -> str | None:
    """Return why the rows of a table cannot be changed one by one; None if they can."""
    return None if shape.is_changeable else _FIXED.get(shape.kind, _KEYLESS)


def changing(schema: str, table: str, shape: Shape, change: Change) -> str:
    """Return the statement that makes a change, of exactly one row.

    Raises InvalidInput for columns that it cannot be about; Conflict for a table without a key.
    """
    where = sql.Identifier(schema, table)
    names = sql.SQL(", ").join(map(sql.Identifier, change.values))
    values = _listed(map(sql.Literal, change.values.values()))
    for name in change.values:
        _require_column(shape, "values", name)
        if shape.columns[name].generated:
            raise InvalidInput.of("values", f"{name} has no other value than PostgreSQL gives it")
    if change.action == "insert":
        if shape.kind in _FIXED:
            raise Conflict(_FIXED[shape.kind])
        template = "INSERT INTO {} ({})\nVALUES ({})" if change.values else None
        if template is None:
            return sql.SQL("INSERT INTO {} DEFAULT VALUES").format(where).as_string()
        return sql.SQL(template).format(where, names, values).as_string()
    reason = fixed_because(shape)
    if reason is not None:
        raise Conflict(reason)
    row = _is_row(shape, change.key)
    if change.version is not None:
        row += sql.SQL(" AND {} = {}").format(sql.SQL(VERSION), sql.Literal(change.version))
    if change.action == "delete":
        return sql.SQL("DELETE FROM {}\nWHERE {}").format(where, row).as_string()
    if not change.values:
        raise InvalidInput.of("values", "has nothing to change")
    settings = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in change.values.items()
    )
    return sql.SQL("UPDATE {}\nSET {}\nWHERE {}").format(where, settings, row).as_string()


def _is_row(shape: Shape, key: Mapping[str, str | None]) -> sql.Composed:
    if key.keys() != set(shape.key) or None in key.values():
        raise InvalidInput.of("key", f"must have a value for each of {', '.join(shape.key)}")
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(key[name]))
        for name in shape.key
    )


# ── copying ──────────────────────────────────────────────────────────────────


def copied_out(schema: str, table: str, shape: Shape, page: Page) -> str:
    """Return the COPY that writes rows as CSV: NULL is an empty field, an empty text is ``""``.

    Columns that are computed from others are left out, as by ``COPY table``: none can be loaded.
    """
    names = [name for name, each in shape.columns.items() if not each.computed]
    columns = _names(names or list(shape.columns))
    query = sql.SQL(_reading(schema, table, shape, page, columns))
    how = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER, ENCODING 'UTF8')")
    return how.format(query).as_string()


def loaded(names: Sequence[str], shape: Shape) -> Sequence[str]:
    """Return the columns that the first line of a CSV file names.

    Whether others may be left out is for PostgreSQL to say: triggers and domains may fill them.
    Raises InvalidInput unless they are different columns of the table that take values.
    """
    for name in names:
        _require_column(shape, "line 1", name)
        if shape.columns[name].computed:
            raise InvalidInput.of("line 1", f"{name} has no other value than PostgreSQL gives it")
    if len(set(names)) < len(names):
        raise InvalidInput.of("line 1", "names a column twice")
    return names


def copied_in(schema: str, table: str, names: Iterable[str]) -> str:
    """Return the COPY that reads CSV, of which the first line is skipped."""
    how = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER, ENCODING 'UTF8')")
    return how.format(
        sql.Identifier(schema, table), _listed(map(sql.Identifier, names))
    ).as_string()


def _require_column(shape: Shape, field_: str, name: str) -> None:
    if name not in shape.columns:
        raise InvalidInput.of(field_, f"“{name}” is no column of the table")


def _names(names: Sequence[str]) -> sql.Composed:
    return _listed(map(sql.Identifier, names))


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
