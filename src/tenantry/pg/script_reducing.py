"""Remove from statements what is of their server alone: owners and tablespaces."""

import re
from dataclasses import replace
from typing import Any

from pglast import ast, parser, visitors
from pglast.enums import AlterTableType

from tenantry.pg.script_statements import assigned, decoded, parsed, quoted, spliced
from tenantry.pg.scripts import Statement

_MENTIONS = re.compile(rb"\btablespace\b", re.IGNORECASE)
_SETTINGS = {"default_tablespace", "temp_tablespaces"}
_FEW = 100  # tablespaces in a statement, which is parsed again for each
_ELSEWHERE = {AlterTableType.AT_ChangeOwner, AlterTableType.AT_SetTableSpace}
_LAST_TOKENS = 3  # OWNER TO role, SET TABLESPACE name
_BETWEEN = {"ASCII_59", "SQL_COMMENT", "C_COMMENT"}  # the first is the semicolon
_OPEN, _CLOSE, _COMMA = {"ASCII_40", "ASCII_91"}, {"ASCII_41", "ASCII_93"}, "ASCII_44"


class _Names(visitors.Visitor):
    """The tablespaces in which a statement makes something."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def _take(self, name: Any) -> None:
        if name:
            self.found.append(name)

    def visit_CreateStmt(self, _: Any, node: Any) -> None:  # noqa: N802
        self._take(node.tablespacename)

    def visit_IndexStmt(self, _: Any, node: Any) -> None:  # noqa: N802
        self._take(node.tableSpace)

    def visit_IntoClause(self, _: Any, node: Any) -> None:  # noqa: N802
        self._take(node.tableSpaceName)

    def visit_Constraint(self, _: Any, node: Any) -> None:  # noqa: N802
        self._take(node.indexspace)


def _tablespaces(statement: Statement) -> list[str] | None:
    node = parsed(statement)
    if node is None:
        return None
    names = _Names()
    names(node)
    return names.found


def without_tablespaces(statement: Statement) -> tuple[Statement, list[str]]:
    """Return the statement for the default tablespace, and the names of the removed ones."""
    if _MENTIONS.search(statement.text) is None:
        return statement, []
    names = _tablespaces(statement) or []
    left = len(names)
    if not 0 < left <= _FEW:
        return statement, []
    text = decoded(statement.text)[0]
    tokens = parser.scan(text)
    # From the end, where the positions of earlier ones stay as they are. It may be the name of a
    # column too: then the statement has another meaning without it, or none.
    for i in reversed(range(len(tokens) - 1)):
        if tokens[i].name != "TABLESPACE":
            continue
        of_index = [each.name for each in tokens[max(0, i - 2) : i]] == ["USING", "INDEX"]
        start = tokens[i - 2 if of_index else i].start
        shorter = spliced(statement, start, tokens[i + 1].end + 1, "")
        others = _tablespaces(shorter)
        if others is not None and len(others) == left - 1:
            statement, left = shorter, left - 1
    return statement, names


def moves_to(node: Any) -> list[str] | None:
    """Return the tablespaces of a statement that is only about them (or owners); else None."""
    if isinstance(node, ast.AlterTableMoveAllStmt):
        return [each for each in (node.orig_tablespacename, node.new_tablespacename) if each]
    if isinstance(node, ast.VariableSetStmt) and node.name in _SETTINGS:
        return assigned(node) or []
    if isinstance(node, ast.AlterTableStmt):
        commands: Any = node.cmds
        if all(each.subtype in _ELSEWHERE for each in commands):
            return [each.name for each in commands if each.name is not None]
    return None


def without_changes_of_place(statement: Statement, node: Any) -> tuple[Statement, list[Any]]:
    """Return ``ALTER TABLE`` without changes of owners and tablespaces, and these changes.

    At least one other change must be left.
    """
    commands: Any = node.cmds
    taken = [each for each in commands if each.subtype in _ELSEWHERE]
    if not taken:
        return statement, []
    text, encoding = decoded(statement.text)
    parts = _parts(parser.scan(text))
    if len(parts) != len(commands):
        return statement, []
    left = [
        text[part[0].start : part[-1].end + 1]
        for part, command in zip(parts, commands, strict=True)
        if command not in taken
    ]
    if commands[0] in taken:
        first = parts[0]
        left[0] = text[first[0].start : first[-_LAST_TOKENS].start] + left[0]
    return replace(statement, text=f"{', '.join(left)};".encode(encoding)), taken


def _parts(tokens: list[Any]) -> list[list[Any]]:
    """Split tokens at the commas that are in no parentheses."""
    parts: list[list[Any]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.name in _OPEN) - (token.name in _CLOSE)
        if token.name == _COMMA and not depth:
            parts.append([])
        elif token.name not in _BETWEEN:
            parts[-1].append(token)
    return parts


def without_owner(statement: Statement, node: Any) -> Statement:
    """Return CREATE SCHEMA without AUTHORIZATION; a schema without a name is named by its owner."""
    if node.authrole is None:
        return statement
    name = quoted(node.schemaname or node.authrole.rolename)
    if not node.schemaElts:
        return replace(statement, text=f"CREATE SCHEMA IF NOT EXISTS {name};".encode())
    tokens = parser.scan(decoded(statement.text)[0])
    [owner] = [i for i, each in enumerate(tokens) if each.start == node.authrole.location]
    start = next(each.end + 1 for each in tokens if each.name == "SCHEMA")
    return spliced(statement, start, tokens[owner].end + 1, f" {name}")
