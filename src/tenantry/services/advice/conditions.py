"""Which columns a statement looks for, by its text. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pglast
from pglast import ast
from pglast.enums import A_Expr_Kind, BoolExprType

_MOST_LENGTH = 10_000  # characters: a longer one was cut off
_MOST_DEPTH = 50
_RANGES = {"<", "<=", ">", ">="}


@dataclass(slots=True)
class Scan:
    """A table in a statement, and the columns that it compares with values, all of them true."""

    schema: str | None
    table: str
    equal: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)


def scans(query: str) -> list[Scan]:
    """Return the tables of a statement that have such columns; none if it cannot be read.

    A column without its table counts only where there is one table.
    """
    if len(query) >= _MOST_LENGTH:
        return []
    found: list[Scan] = []
    own_names: set[str] = set()  # of WITH
    try:
        for raw in pglast.parse_sql(query):
            _statement(raw.stmt, found, own_names, 0)
    except (pglast.Error, RecursionError):
        return []
    return [
        each
        for each in found
        if (each.equal or each.ranges) and (each.schema or each.table not in own_names)
    ]


def _statement(node: Any, found: list[Scan], own_names: set[str], depth: int) -> None:
    """Add the scans of a statement, or of those inside any node."""
    if depth > _MOST_DEPTH or node is None:
        return
    if isinstance(node, tuple | list):
        for each in node:
            _statement(each, found, own_names, depth + 1)
        return
    if not isinstance(node, ast.Node):
        return
    match node:
        case ast.SelectStmt():
            _level(node.fromClause, node.whereClause, found)
        case ast.UpdateStmt():
            _level((node.relation, *(node.fromClause or ())), node.whereClause, found)
        case ast.DeleteStmt():
            _level((node.relation, *(node.usingClause or ())), node.whereClause, found)
        case ast.CommonTableExpr():
            own_names.add(str(node.ctename))
        case _:
            pass
    for name in node:
        _statement(getattr(node, name), found, own_names, depth + 1)


def _level(sources: Any, where: Any, found: list[Scan]) -> None:
    """Add the scans of one FROM and its WHERE."""
    tables: dict[str, Scan] = {}
    conditions = [where]
    others = 0
    ahead = list(sources or ())
    while ahead:
        source = ahead.pop()
        if isinstance(source, ast.JoinExpr):
            ahead += [source.larg, source.rarg]
            conditions.append(source.quals)
        elif isinstance(source, ast.RangeVar):
            name = source.alias.aliasname if source.alias else source.relname
            tables[str(name)] = Scan(source.schemaname, str(source.relname))
        else:
            others += 1
    only = next(iter(tables.values())) if len(tables) == 1 and not others else None
    for condition in conditions:
        for column, is_range in _compared(condition):
            scan = tables.get(column[-2]) if len(column) > 1 else only
            if scan is not None:
                into = scan.ranges if is_range else scan.equal
                if column[-1] not in into:
                    into.append(column[-1])
    found.extend(tables.values())


def _compared(node: Any) -> Iterator[tuple[list[str], bool]]:
    """Yield the columns that a condition compares with a value, and whether with a range."""
    if isinstance(node, ast.BoolExpr):
        if node.boolop == BoolExprType.AND_EXPR:
            for each in node.args or ():
                yield from _compared(each)
        return
    if not isinstance(node, ast.A_Expr):
        return
    operator = (node.name or ())[-1].sval
    kind = node.kind
    between = kind == A_Expr_Kind.AEXPR_BETWEEN
    known = kind in {A_Expr_Kind.AEXPR_OP, A_Expr_Kind.AEXPR_OP_ANY, A_Expr_Kind.AEXPR_IN}
    if not between and not (known and operator in {"=", *_RANGES}):
        return
    sides: list[tuple[Any, Any]] = [(node.lexpr, node.rexpr)]
    if kind == A_Expr_Kind.AEXPR_OP:
        sides.append((node.rexpr, node.lexpr))
    for side, other in sides:
        if isinstance(side, ast.ColumnRef) and not _has_columns(other):
            fields = side.fields or ()
            names = [str(each.sval) for each in fields if isinstance(each, ast.String)]
            if len(names) == len(fields):
                yield names, between or operator in _RANGES


def _has_columns(node: Any, depth: int = 0) -> bool:
    if depth > _MOST_DEPTH or isinstance(node, ast.ColumnRef | ast.SubLink):
        return True
    if isinstance(node, tuple | list):
        return any(_has_columns(each, depth + 1) for each in node)
    if isinstance(node, ast.Node):
        return any(_has_columns(getattr(node, name), depth + 1) for name in node)
    return False
