"""What of a text is run, and what of it destroys more than somebody may mean."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pglast import ast
from pglast.enums import DropBehavior, ObjectType

from tenantry.base.errors import InvalidInput
from tenantry.pg import statements
from tenantry.pg.statements import Statement

MOST_STATEMENTS = 1000

Verb = Literal["DELETE", "UPDATE", "DROP", "TRUNCATE"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One statement of a text, which begins at the character ``offset`` of it, from 0."""

    statement: Statement
    offset: int


@dataclass(frozen=True, slots=True)
class Danger:
    """A statement that changes all rows of tables, or drops something.

    ``tables`` are the schema, None if the search path decides, and the name of each table.
    """

    line: int
    verb: Verb
    what: str
    tables: tuple[tuple[str | None, str], ...]
    cascades: bool = False


def pieces(text: str) -> list[Piece]:
    """Return the statements of a text.

    Raises InvalidInput if there are none or too many, or one that a run cannot have; Unreadable.
    """
    found, after = [], 0
    for each in statements.split(text):
        offset = text.index(each.text, after)
        after = offset + len(each.text)
        found.append(Piece(each, offset))
    if not found:
        raise InvalidInput.of("sql", "has no statement")
    if len(found) > MOST_STATEMENTS:
        raise InvalidInput.of("sql", f"has more than {MOST_STATEMENTS:,} statements")
    for piece in found:
        _require_possible(piece.statement)
    return found


def _require_possible(statement: Statement) -> None:
    if statements.controls_transaction(statement):
        raise InvalidInput.of(
            "sql",
            f"line {statement.line}: all statements of a run are one transaction already: leave"
            " BEGIN, COMMIT, ROLLBACK and SAVEPOINT out",
        )
    node = statement.node
    if isinstance(node, ast.CopyStmt) and node.filename is None:
        raise InvalidInput.of(
            "sql", f"line {statement.line}: COPY from or to the client is possible in psql only"
        )


def is_alone(found: Sequence[Piece]) -> bool:
    """Whether it is one statement that has to run outside of a transaction, or may end it."""
    if len(found) != 1:
        return False
    statement = found[0].statement
    return statements.refuses_transaction(statement) or isinstance(
        statement.node, ast.CallStmt | ast.DoStmt
    )


def place(text: str, position: int) -> tuple[int, int]:
    """Return line and column, both from 1, of the character at ``position``, from 1."""
    before = text[: position - 1]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def dangers(found: Sequence[Piece]) -> list[Danger]:
    """Return the statements that somebody should confirm, by their trees, in order."""
    return [danger for piece in found for danger in _of(piece.statement)]


def rows_of(danger: Danger, known: Mapping[tuple[str, str], int]) -> int | None:
    """Return the rows of a statement's tables, as far as they are known by schema and name.

    A name without its schema may be that of several tables: the largest one counts.
    """
    found = [
        max((rows for (has, of), rows in known.items() if of == name and schema in {None, has}),
            default=None)
        for schema, name in danger.tables
    ]  # fmt: skip
    return sum(each or 0 for each in found) if any(each is not None for each in found) else None


def _of(statement: Statement) -> Iterator[Danger]:
    node, line = statement.node, statement.line
    if isinstance(node, ast.ExplainStmt):
        node = node.query
    for each in _changes(node):
        if each.whereClause is None:
            verb: Verb = "DELETE" if isinstance(each, ast.DeleteStmt) else "UPDATE"
            yield Danger(line, verb, each.relation.relname, (_named(each.relation),))
    if isinstance(node, ast.TruncateStmt):
        tables = tuple(_named(each) for each in node.relations or ())
        cascades = node.behavior == DropBehavior.DROP_CASCADE
        yield Danger(line, "TRUNCATE", _listed(tables), tables, cascades)
    elif isinstance(node, ast.DropStmt | ast.DropOwnedStmt | ast.DropRoleStmt):
        yield _drop(line, node)


def _changes(node: Any) -> Iterator[Any]:
    """Yield the UPDATE and DELETE of a statement, those in its WITH among them."""
    with_clause = getattr(node, "withClause", None)
    for each in with_clause.ctes if with_clause is not None else ():
        yield from _changes(each.ctequery)
    if isinstance(node, ast.UpdateStmt | ast.DeleteStmt):
        yield node


def _drop(line: int, node: Any) -> Danger:
    cascades = getattr(node, "behavior", None) == DropBehavior.DROP_CASCADE
    if not isinstance(node, ast.DropStmt):
        return Danger(line, "DROP", "what roles own", (), cascades)
    what: Any = node.removeType
    kind = ObjectType(what).name.removeprefix("OBJECT_").lower().replace("_", " ")
    names = [_name(each) for each in node.objects or ()]
    tables = tuple(names) if what in _WITH_ROWS else ()
    return Danger(line, "DROP", f"{kind} {_listed(names)}", tables, cascades)


_WITH_ROWS = {ObjectType.OBJECT_TABLE, ObjectType.OBJECT_MATVIEW}


def _named(relation: Any) -> tuple[str | None, str]:
    return relation.schemaname, relation.relname


def _name(dropped: Any) -> tuple[str | None, str]:
    """Return schema and name of what is dropped, of which pglast makes many forms."""
    if isinstance(dropped, ast.ObjectWithArgs):
        dropped = dropped.objname
    elif isinstance(dropped, ast.TypeName):
        dropped = dropped.names
    parts = dropped if isinstance(dropped, tuple | list) else (dropped,)
    texts = [str(each.sval) for each in parts if isinstance(each, ast.String)]
    *before, last = texts or [""]
    return (before[-1] if before else None), last


def _listed(names: Sequence[tuple[str | None, str]]) -> str:
    return ", ".join(name if schema is None else f"{schema}.{name}" for schema, name in names)
