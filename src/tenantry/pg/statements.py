"""SQL taken apart by PostgreSQL's own parser (pglast, which is that of version 18)."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pglast import ast, parser
from pglast.enums import AlterTableType, ReindexObjectType, TransactionStmtKind

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


class Unreadable(Exception):
    """The parser does not take it, at ``line``: an error, a newer server's SQL, or psql's."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its text, the comments above it, where it begins, and what it says."""

    text: str
    comments: str
    line: int  # from 1
    node: Any  # the tree that pglast makes of it


@lru_cache(maxsize=1024)  # a fleet runs the same files over hundreds of databases
def split(sql: str) -> tuple[Statement, ...]:
    """The statements of a text, in order. Raises Unreadable."""
    # Where they are is asked of a text that is all ASCII, to the grammar the same: pglast counts
    # characters from the start for each position else, which takes minutes in a large dump.
    ascii_only = _NOT_ASCII.sub("x", sql)
    found = []
    before, line = 0, 1
    try:
        for place in parser.split(ascii_only, only_slices=True):
            comments, text = sql[before : place.start], sql[place]
            line += comments.count("\n")
            [raw] = parser.parse_sql(text)
            found.append(Statement(text, comments, line, raw.stmt))
            line += text.count("\n")
            before = place.stop
    except parser.ParseError as error:
        raise Unreadable(_complaint(sql, error), line_of(sql, int(error.args[1]) + 1)) from None
    except RecursionError:
        raise Unreadable("is nested too deeply", 1) from None
    return tuple(found)


def _complaint(sql: str, error: parser.ParseError) -> str:
    """What the parser says of the text as it is."""
    try:
        parser.parse_sql(sql)
    except parser.ParseError as itself:
        error = itself
    return str(error.args[0])


def line_of(sql: str, position: int) -> int:
    """The line, from 1, of the character at ``position``, which PostgreSQL counts from 1."""
    return sql.count("\n", 0, position - 1) + 1


def controls_transaction(statement: Statement) -> bool:
    """Whether it begins or ends a transaction."""
    return isinstance(statement.node, ast.TransactionStmt)


def begins_transaction(statement: Statement) -> bool:
    """Whether it is a BEGIN or START TRANSACTION."""
    return controls_transaction(statement) and statement.node.kind in _BEGINS


def refuses_transaction(statement: Statement) -> bool:
    """Whether it cannot run inside one (PreventInTransactionBlock in PostgreSQL's source)."""
    node = statement.node
    kind = type(node)
    if kind in {ast.IndexStmt, ast.DropStmt}:
        return bool(node.concurrent)
    if kind is ast.ReindexStmt:
        return node.kind in _WHOLE or is_concurrent(node)
    if kind is ast.VacuumStmt:
        return bool(node.is_vacuumcmd)  # the other is ANALYZE
    if kind is ast.ClusterStmt:
        return node.relation is None
    if kind is ast.AlterTableStmt:
        return any(
            command.subtype == AlterTableType.AT_DetachPartition and command.def_.concurrent
            for command in node.cmds
        )
    return kind in _ALONE


def is_concurrent(reindex: Any) -> bool:
    """Whether a REINDEX leaves its tables to others meanwhile."""
    return any(option.defname == "concurrently" for option in reindex.params or ())


_BEGINS = {TransactionStmtKind.TRANS_STMT_BEGIN, TransactionStmtKind.TRANS_STMT_START}
_WHOLE = {
    ReindexObjectType.REINDEX_OBJECT_SCHEMA,
    ReindexObjectType.REINDEX_OBJECT_SYSTEM,
    ReindexObjectType.REINDEX_OBJECT_DATABASE,
}
_ALONE = {
    ast.AlterSystemStmt,
    ast.CreateSubscriptionStmt,
    ast.CreateTableSpaceStmt,
    ast.CreatedbStmt,
    ast.DropSubscriptionStmt,
    ast.DropTableSpaceStmt,
    ast.DropdbStmt,
}
# Either commits by itself, or does something outside this database.
_LASTING = {ast.CallStmt, ast.DoStmt, ast.AlterSubscriptionStmt, *_ALONE}


def leaves_nothing(statement: Statement) -> bool:
    """Whether its failure, outside a transaction, leaves nothing that the catalog does not tell."""
    return type(statement.node) not in _LASTING
