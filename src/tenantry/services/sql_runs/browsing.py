"""The statement that reads a page of a table's rows. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from tenantry.base.errors import InvalidInput
from tenantry.pg.tables import Shape

Test = Literal["is", "contains", "empty", "filled"]
MOST_SKIPPED = 100_000


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of a table: those after a key, or if it has none, after so many.

    With ``column`` those whose value passes ``test``.
    """

    column: str | None = None
    test: Test = "is"
    value: str = ""
    after: Sequence[str] = ()
    skip: int = 0


def statement(schema: str, table: str, shape: Shape, page: Page, *, limit: int | None) -> str:
    """Return the statement. Raises InvalidInput for a column or a key that the table lacks."""
    conditions = []
    if page.column is not None:
        if page.column not in shape.columns:
            raise InvalidInput.of("column", "is none of the table's")
        conditions.append(_condition(page.column, page.test, page.value))
    if page.after:
        if len(page.after) != len(shape.key):
            raise InvalidInput.of("after", "is no key of the table")
        conditions.append(
            sql.SQL("({}) > ({})").format(_names(shape.key), _listed(map(sql.Literal, page.after)))
        )
    parts: list[sql.Composable] = [
        sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table))
    ]
    if conditions:
        parts.append(sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions)))
    if shape.key:
        parts.append(sql.SQL("ORDER BY {}").format(_names(shape.key)))
    if limit is not None:
        parts.append(sql.SQL("LIMIT {}").format(sql.Literal(limit)))
        if page.skip and not shape.key:
            parts.append(sql.SQL("OFFSET {}").format(sql.Literal(page.skip)))
    return sql.SQL("\n").join(parts).as_string()


def _condition(column: str, test: Test, value: str) -> sql.Composed:
    name = sql.Identifier(column)
    match test:
        case "is":
            return sql.SQL("{} = {}").format(name, sql.Literal(value))
        case "contains":
            return sql.SQL("strpos(lower({}::text), lower({})) > 0").format(
                name, sql.Literal(value)
            )
        case "empty":
            return sql.SQL("{} IS NULL").format(name)
        case "filled":
            return sql.SQL("{} IS NOT NULL").format(name)


def _names(names: Sequence[str]) -> sql.Composed:
    return _listed(map(sql.Identifier, names))


def _listed(parts: "map[sql.Identifier] | map[sql.Literal]") -> sql.Composed:
    return sql.SQL(", ").join(parts)
