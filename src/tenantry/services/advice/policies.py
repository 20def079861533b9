"""Advice on row-level security: tables without it, policies that are slow. Pure."""

from collections.abc import Collection, Iterator
from typing import Any

import pglast
from pglast import ast
from pglast.stream import RawStream

from tenantry.pg.advice_catalog import Policy
from tenantry.services.advice.model import MOST_TEXT, Evidence, Finding, Schema, quoted

_SETTING = "current_setting"
_MOST_LENGTH = 10_000
_BEGINNING = "SELECT "


def row_security_disabled(_: Schema, evidence: Evidence) -> Iterator[Finding]:
    for each in evidence.catalog.relations:
        if each.kind == "m" or each.has_row_security or not each.open_for:
            continue
        if each.schema not in evidence.exposed:
            continue
        yield Finding(
            "row_security_disabled",
            "info" if each.open_for == ["SELECT"] else "warning",
            each.title,
            f"Whoever reaches the data API may {', '.join(each.open_for)} every row of it: it is"
            " granted to anon, authenticated or PUBLIC, and has no row-level security.",
            f"ALTER TABLE {quoted(each.schema, each.name)} ENABLE ROW LEVEL SECURITY;",
            "Requests find no rows from then on until a policy admits some, and nor do additional"
            " roles. The owner role finds all.",
        )


def policies_per_row(_: Schema, evidence: Evidence) -> Iterator[Finding]:
    left = MOST_TEXT
    for policy in evidence.catalog.policies:
        left -= len(policy.using or "") + len(policy.check or "")
        if left < 0:
            break
        parts = {}
        called: set[str] = set()
        for clause, expression in (("USING", policy.using), ("WITH CHECK", policy.check)):
            wrapped = None if expression is None else wrap(expression, policy.functions)
            if wrapped is not None:
                parts[clause], names = wrapped
                called |= names
        if parts:
            yield _finding(policy, parts, called)


def _finding(policy: Policy, parts: dict[str, str], called: Collection[str]) -> Finding:
    table = quoted(policy.schema, policy.table)
    clauses = " ".join(f"{clause} ({text})" for clause, text in parts.items())
    return Finding(
        "policy_per_row",
        "warning",
        f"{policy.schema}.{policy.table}.{policy.name}",
        f"It calls {', '.join(sorted(called))} for each row that is read or written, though the"
        " result is the same for all. In a sub-select it is called once for a statement.",
        f"ALTER POLICY {quoted(policy.name)} ON {table} {clauses};",
        "Locks the table for a moment. A function whose result changes within a statement would"
        " keep its first one.",
    )


def wrap(expression: str, functions: Collection[str]) -> tuple[str, set[str]] | None:
    """Return an expression with each such call in a sub-select, and the names of what it calls.

    ``functions`` are those that may return something else for each call, beside current_setting. A
    call that depends on a column is not one of them. None if there are none, or if it cannot be
    read, or written so that it means the same.
    """
    if len(expression) > _MOST_LENGTH:
        return None
    try:
        (raw,) = pglast.parse_sql(f"{_BEGINNING}{expression}")
        called: set[str] = set()
        select: Any = raw.stmt
        target = select.targetList[0]
        target.val = _wrapped(target.val, functions, called)
        text = RawStream()(select)
        (again,) = pglast.parse_sql(text)
    except (pglast.Error, NotImplementedError, RecursionError):
        return None
    if not called or not text.startswith(_BEGINNING) or again.stmt != select:
        return None
    return text.removeprefix(_BEGINNING), called


def _wrapped(node: Any, functions: Collection[str], called: set[str]) -> Any:
    """Return a node with its calls wrapped; what is in a sub-select already stays as it is."""
    if isinstance(node, tuple):
        return tuple(_wrapped(each, functions, called) for each in node)
    if not isinstance(node, ast.Node) or isinstance(node, ast.SubLink):
        return node
    if isinstance(node, ast.FuncCall):
        name = ".".join(each.sval for each in node.funcname or ())
        own = name.removeprefix("pg_catalog.")
        if (own == _SETTING or name in functions) and not _has_columns(node.args):
            called.add(own)
            (raw,) = pglast.parse_sql("SELECT (SELECT 1)")
            outside: Any = raw.stmt
            wrapped = outside.targetList[0].val
            wrapped.subselect.targetList[0].val = node
            return wrapped
    for attribute in node:
        value = getattr(node, attribute)
        if isinstance(value, ast.Node | tuple):
            setattr(node, attribute, _wrapped(value, functions, called))
    return node


def _has_columns(node: Any) -> bool:
    if isinstance(node, tuple):
        return any(map(_has_columns, node))
    if isinstance(node, ast.ColumnRef | ast.SubLink):
        return True
    return isinstance(node, ast.Node) and any(_has_columns(getattr(node, name)) for name in node)
