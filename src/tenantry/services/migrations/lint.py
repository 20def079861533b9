"""Finds dangerous statements in migrations: they block others, rewrite tables, or lose data.

A comment above a statement, ``-- tenantry: allow RULE``, accepts it. Statements on tables that the
same file creates are not reported: nobody else uses them yet.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType, ConstrType, DropBehavior, ObjectType

from tenantry.pg import statements
from tenantry.pg.statements import Statement, Unreadable
from tenantry.services.migrations.lint_rules import RULES, Rule
from tenantry.services.migrations.model import Direction, Migration, Script

_ALLOW = re.compile(r"--\s*tenantry:\s*allow\s+([a-z0-9, -]+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a statement breaks; ``object`` is what the statement changes."""

    file: str
    line: int
    rule: Rule
    object: str


# In a down file these are intended.
_MEANT_DOWN = {
    "drops-column",
    "drops-dependents",
    "drops-table",
    "drop-index-blocks",
    "renames",
}

_REWRITES = {
    AlterTableType.AT_SetLogged,
    AlterTableType.AT_SetUnLogged,
    AlterTableType.AT_SetTableSpace,
    AlterTableType.AT_SetAccessMethod,
}
_CHECKED = {ConstrType.CONSTR_CHECK, ConstrType.CONSTR_FOREIGN, ConstrType.CONSTR_NOTNULL}
_INDEXED = {ConstrType.CONSTR_UNIQUE, ConstrType.CONSTR_PRIMARY, ConstrType.CONSTR_EXCLUSION}
_SERIALS = {"serial", "serial2", "serial4", "serial8", "smallserial", "bigserial"}
# Not volatile: evaluated once, for all rows (PostgreSQL 11 and later).
_STABLE = {"now", "transaction_timestamp", "statement_timestamp", "to_timestamp", "to_date"} | {
    "lower",
    "upper",
    "current_setting",
    "make_interval",
    "jsonb_build_object",
    "jsonb_build_array",
}
_Hit = tuple[str, str]  # a rule's id, and the object
# The grammar defines which fields a node has; in pglast's types each of them may be None.
Tree = Any


def check(migrations: Iterable[Migration]) -> list[Finding]:
    """Return the findings in these files, in the files' order."""
    scripts = chain.from_iterable(
        ((Direction.UP, migration.up), (Direction.DOWN, migration.down)) for migration in migrations
    )
    return [
        finding
        for direction, script in scripts
        if script is not None
        for finding in check_script(script, direction)
    ]


def check_script(script: Script, direction: Direction = Direction.UP) -> list[Finding]:
    """Return the findings in one file."""
    try:
        parts = statements.split(script.sql)
    except Unreadable as error:
        return [Finding(script.name, error.line, RULES["unreadable"], str(error))]
    transactional = script.transactional
    made: set[str] = set()
    altered: set[str] = set()
    found = []
    for part in parts:
        allowed = set(re.split(r"[,\s]+", " ".join(_ALLOW.findall(part.comments))))
        under_lock = _under(altered, part) if transactional else ()
        for rule, what in chain(_hits(part, made), under_lock, _of_file(part, parts)):
            if rule in allowed or (direction is Direction.DOWN and rule in _MEANT_DOWN):
                continue
            found.append(Finding(script.name, part.line, RULES[rule], what))
        made |= _makes(part.node)
        if statements.controls_transaction(part):
            altered.clear()
        altered |= _alters(part.node) - made
    return found


def _alters(node: Tree) -> set[str]:
    """Return the tables that others cannot use from this statement until the transaction ends."""
    kind = type(node)
    shuts_out = kind is ast.AlterTableStmt and any(map(_shuts_out, node.cmds))
    return {_name(node.relation)} if shuts_out else set()


def _shuts_out(command: Tree) -> bool:
    # During these others can read and write the table (PostgreSQL's manual, ALTER TABLE).
    return command.subtype not in {
        AlterTableType.AT_AttachPartition,
        AlterTableType.AT_SetStatistics,
        AlterTableType.AT_ValidateConstraint,
    }


def _under(altered: set[str], part: Statement) -> Iterator[_Hit]:
    """Yield findings if a statement may take long while others cannot use these tables."""
    node, kind = part.node, type(part.node)
    if (
        kind in {ast.UpdateStmt, ast.DeleteStmt}
        or (kind is ast.InsertStmt and node.selectStmt and node.selectStmt.fromClause)
        or (
            kind is ast.AlterTableStmt
            and any(each.subtype == AlterTableType.AT_ValidateConstraint for each in node.cmds)
        )
    ):
        for table in sorted(altered):
            yield "works-under-lock", table


def _makes(node: Tree) -> set[str]:
    """Return the tables that this statement creates."""
    kind = type(node)
    if kind is ast.CreateSchemaStmt:
        return {name for each in node.schemaElts or () for name in _makes(each)}
    if kind not in {ast.CreateStmt, ast.CreateTableAsStmt} or node.if_not_exists:
        return set()
    return {_name(node.relation if kind is ast.CreateStmt else node.into.rel)}


def _of_file(part: Statement, parts: Sequence[Statement]) -> Iterator[_Hit]:
    if statements.refuses_transaction(part) and len(parts) > 1:
        yield "file-half-done", _words(part)
    if statements.controls_transaction(part):
        yield "own-transaction", _words(part)


def _hits(part: Statement, made: set[str]) -> Iterator[_Hit]:
    for kind, look in _LOOKS.items():
        if isinstance(part.node, kind):
            for rule, what in look(part.node):
                if what not in made:
                    yield rule, what


def _index(node: Tree) -> Iterator[_Hit]:
    if not node.concurrent:
        yield "index-blocks-writes", _name(node.relation)


def _drop(node: Tree) -> Iterator[_Hit]:
    for each in node.objects:
        if node.removeType == ObjectType.OBJECT_INDEX and not node.concurrent:
            yield "drop-index-blocks", _dotted(each)
        elif node.removeType in {ObjectType.OBJECT_TABLE, ObjectType.OBJECT_SCHEMA}:
            yield "drops-table", _dotted(each)
        if node.behavior == DropBehavior.DROP_CASCADE:
            yield "drops-dependents", _dotted(_path(each))


def _path(dropped: Tree) -> object:
    """Return the name of an object that DROP names, with its schema."""
    if isinstance(dropped, ast.ObjectWithArgs):
        return dropped.objname
    return dropped.names if isinstance(dropped, ast.TypeName) else dropped


def _reindex(node: Tree) -> Iterator[_Hit]:
    if not statements.is_concurrent(node):
        yield "reindex-blocks-writes", _name(node.relation) if node.relation else node.name or ""


def _refresh(node: Tree) -> Iterator[_Hit]:
    if not node.concurrent and not node.skipData:
        yield "refresh-blocks-reads", _name(node.relation)


def _vacuum(node: Tree) -> Iterator[_Hit]:
    if node.is_vacuumcmd and any(each.defname == "full" for each in node.options or ()):
        for each in node.rels or ():
            yield "rewrites-table", _name(each.relation)
        if not node.rels:
            yield "rewrites-table", "every table"


def _cluster(node: Tree) -> Iterator[_Hit]:
    yield "rewrites-table", _name(node.relation) if node.relation else "every table"


def _truncate(node: Tree) -> Iterator[_Hit]:
    for each in node.relations:
        yield "drops-table", _name(each)
        if node.behavior == DropBehavior.DROP_CASCADE:
            yield "drops-dependents", _name(each)


def _rename(node: Tree) -> Iterator[_Hit]:
    if node.renameType in {ObjectType.OBJECT_TABLE, ObjectType.OBJECT_COLUMN} and node.relation:
        yield "renames", _name(node.relation)
    elif node.renameType == ObjectType.OBJECT_SCHEMA:
        yield "renames", node.subname


def _move(node: Tree) -> Iterator[_Hit]:
    if node.objectType == ObjectType.OBJECT_TABLE:
        yield "renames", _name(node.relation)


def _domain(node: Tree) -> Iterator[_Hit]:
    # The subtypes are letters (AlterDomainStmt in PostgreSQL's parsenodes.h).
    adds = node.subtype == "C" and not node.def_.skip_validation
    if adds or node.subtype == "O":
        yield "domain-scans-tables", _dotted(node.typeName)


def _rows(node: Tree) -> Iterator[_Hit]:
    if node.whereClause is None:
        yield "touches-all-rows", _name(node.relation)


def _lock(node: Tree) -> Iterator[_Hit]:
    for each in node.relations:
        yield "locks-table", _name(each)


def _alter_table(node: Tree) -> Iterator[_Hit]:
    if node.objtype != ObjectType.OBJECT_TABLE:
        return
    table = _name(node.relation)
    for command in node.cmds:
        match command.subtype:
            case AlterTableType.AT_AddColumn:
                yield from ((rule, table) for rule in _added(command.def_))
            case AlterTableType.AT_AlterColumnType:
                yield "type-rewrites-table", table
            case AlterTableType.AT_SetNotNull:
                yield "not-null-scans-table", table
            case AlterTableType.AT_DropColumn:
                yield "drops-column", table
            case AlterTableType.AT_AddConstraint:
                yield from ((rule, table) for rule in _constrained(command.def_))
            case kind if kind in _REWRITES:
                yield "rewrites-table", table


def _constrained(constraint: Tree) -> Iterator[str]:
    if constraint.contype in _CHECKED and not constraint.skip_validation:
        yield "constraint-scans-table"
    if constraint.contype in _INDEXED and not constraint.indexname:
        yield "constraint-builds-index"


def _added(column: Tree) -> Iterator[str]:
    constraints = {each.contype: each for each in column.constraints or ()}
    default = constraints.get(ConstrType.CONSTR_DEFAULT)
    generated = constraints.get(ConstrType.CONSTR_GENERATED)
    serial = column.typeName.names[-1].sval in _SERIALS
    counted = serial or ConstrType.CONSTR_IDENTITY in constraints
    if (
        counted
        or (generated is not None and generated.generated_kind != "v")
        or (default is not None and _is_volatile(default.raw_expr))
    ):
        yield "column-rewrites-table"
    elif ConstrType.CONSTR_NOTNULL in constraints and default is None and generated is None:
        yield "column-without-default"
    if column.typeName.names[-1].sval == "json" and not column.typeName.arrayBounds:
        yield "json-cannot-be-compared"
    for constraint in constraints.values():
        if constraint.contype != ConstrType.CONSTR_NOTNULL:
            yield from _constrained(constraint)


def _is_volatile(expression: Tree) -> bool:
    """Whether an expression calls a function that may be volatile, as far as is known."""
    if isinstance(expression, tuple):
        return any(_is_volatile(each) for each in expression)
    if not isinstance(expression, ast.Node):
        return False
    function: Tree = expression
    if isinstance(expression, ast.FuncCall) and function.funcname[-1].sval not in _STABLE:
        return True
    return any(_is_volatile(getattr(function, name)) for name in function)


_LOOKS: dict[type, Callable[..., Iterator[_Hit]]] = {
    ast.AlterDomainStmt: _domain,
    ast.AlterObjectSchemaStmt: _move,
    ast.AlterTableStmt: _alter_table,
    ast.ClusterStmt: _cluster,
    ast.DeleteStmt: _rows,
    ast.DropStmt: _drop,
    ast.IndexStmt: _index,
    ast.LockStmt: _lock,
    ast.RefreshMatViewStmt: _refresh,
    ast.ReindexStmt: _reindex,
    ast.RenameStmt: _rename,
    ast.TruncateStmt: _truncate,
    ast.UpdateStmt: _rows,
    ast.VacuumStmt: _vacuum,
}


def _name(relation: Tree) -> str:
    schema = "" if relation.schemaname in {None, "public"} else f"{relation.schemaname}."
    return f"{schema}{relation.relname}"


def _dotted(name: object) -> str:
    parts = name if isinstance(name, tuple) else (name,)
    return ".".join(each.sval for each in parts).removeprefix("public.")


def _words(part: Statement) -> str:
    return " ".join(part.text.split()[:3])
