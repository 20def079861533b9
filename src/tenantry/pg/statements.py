"""Parse SQL with PostgreSQL's own parser (pglast, which is that of version 18).

The tree of one statement can be so deep that making it exhausts the stack, which ends the process,
or so large that it takes minutes, during which no other thread runs. So a statement of more than 16
KiB is parsed by a child first (``python -m tenantry.pg.statements SECONDS``), with half the stack
and a few seconds of processor time.
"""

import asyncio
import io
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, overload

from pglast import ast, parser
from pglast.enums import AlterTableType, ReindexObjectType, TransactionStmtKind

from tenantry.pg.scripts import Refused, Script

_HARMLESS_LENGTH = 16 * 1024  # two characters a level: 8 MiB of stack take 40 KiB of "1+1+1…"
_CHILD_STACK = 4 * 1024 * 1024
_CHILD_BYTES = 1024 * 1024 * 1024
_CHILD_SECONDS = 4.0  # of processor time
_CHILD_DEADLINE = 60
_LARGE = 1024 * 1024  # characters
_SETTINGS = {"standard_conforming_strings": b"on", "client_encoding": b"UTF8"}
_INSERTS_VALUES = re.compile(r"INSERT\s+INTO\s+[^\s(']+\s*(\([^()']*\)\s*)?VALUES\b", re.IGNORECASE)
_CHANGES_ROWS = re.compile(rb"(?:INSERT|UPDATE|DELETE)\s", re.IGNORECASE)
_PARSERS = ThreadPoolExecutor(2, thread_name_prefix="parser")
_Result = TypeVar("_Result")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


class Unreadable(Exception):
    """The parser rejects it, at ``line``: an error, a newer server's SQL, or psql's."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its text, the comments above it, its first line, and its tree."""

    text: str
    comments: str
    line: int  # from 1
    node: Any  # the tree that pglast makes of it


@dataclass(frozen=True, slots=True)
class Batch:
    """``count`` statements, from the index ``first`` on, with the text between them."""

    text: bytes
    first: int
    count: int


def split(sql: str) -> Sequence[Statement]:
    """Return the statements of a text, in order. Raises Unreadable.

    Of more than 1 MiB, each is parsed when it is requested, and not at all if it inserts values:
    there may be a million of them. One that the parser rejects has None for a tree then.
    """
    if len(sql) > _LARGE:
        return _large(sql)
    return _remembered(sql) if len(sql) <= _HARMLESS_LENGTH else _remembered_large(sql)


async def aside(work: Callable[[], _Result]) -> _Result:
    """Run code that parses SQL in one of a few threads for this alone.

    A large text takes seconds, and its trees 80 times as much memory as itself: so only a few run
    at a time, and not in the threads of ``asyncio.to_thread``, where they would delay the
    monitoring of what tenants write.
    """
    return await asyncio.get_running_loop().run_in_executor(_PARSERS, work)


def batch(parts: Sequence[Statement], first: int, *, most: int, most_bytes: int) -> Batch:
    """Return the statement at an index with the next ones that fit into one message with it.

    They only change rows, so that none of them changes how the next one is parsed, or whether there
    is a transaction. They are ``most`` at most, and have ``most_bytes`` at most unless it is one.
    """
    if isinstance(parts, _Large):
        return parts.batch(first, most, most_bytes)
    text = [parts[first].text]
    size = len(text[0])
    last = first
    while last - first + 1 < most and all(_changes_rows(each) for each in parts[last : last + 2]):
        if last + 1 == len(parts):
            break
        following = parts[last + 1]
        size += len(following.comments) + len(following.text)
        if size > most_bytes:
            break
        text += following.comments, following.text
        last += 1
    return Batch("".join(text).encode(), first, last - first + 1)


def _changes_rows(statement: Statement) -> bool:
    return isinstance(statement.node, _OF_ROWS)


def without_rows(parts: Sequence[Statement]) -> Iterator[Statement]:
    """Return the statements without some of those that only change rows: there may be a million."""
    return parts.without_rows() if isinstance(parts, _Large) else iter(parts)


class _Large(Sequence[Statement]):
    """The statements of a large text, of which only the positions are stored."""

    def __init__(self, sql: str) -> None:
        self._text = sql.encode()
        self._places = array("Q")  # where each begins, where it ends, and its line
        self._changes_rows = bytearray()  # whether it does nothing else
        script = Script(io.BytesIO(self._text), _SETTINGS.__getitem__)
        after = 0
        try:
            for statement in script.statements():
                start = self._text.index(statement.text, after)
                after = start + len(statement.text)
                self._places.extend((start, after, statement.line))
                self._changes_rows.append(_CHANGES_ROWS.match(statement.text) is not None)
        except Refused as error:
            raise Unreadable(error.detail, script.line) from None

    def __len__(self) -> int:
        return len(self._places) // 3

    @overload
    def __getitem__(self, index: int) -> Statement: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Statement, ...]: ...

    def __getitem__(self, index: int | slice) -> Statement | tuple[Statement, ...]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        place = range(len(self))[index] * 3
        start, end, line = self._places[place : place + 3]
        before = self._places[place - 2] if place else 0
        text = self._text[start:end].decode()
        return Statement(text, self._text[before:start].decode(), line, _tree(text))

    def batch(self, first: int, most: int, most_bytes: int) -> Batch:
        start, end = self._places[first * 3], self._places[first * 3 + 1]
        last = first
        while last - first + 1 < most and self._changes_rows[last : last + 2] == b"\1\1":
            if self._places[last * 3 + 4] - start > most_bytes:
                break
            last += 1
            end = self._places[last * 3 + 1]
        return Batch(self._text[start:end], first, last - first + 1)

    def without_rows(self) -> Iterator[Statement]:
        return (self[i] for i, changes in enumerate(self._changes_rows) if not changes)


def _tree(text: str) -> Any:
    if _INSERTS_VALUES.match(text):
        return None
    try:
        if len(text) > _HARMLESS_LENGTH:
            _require_parseable(text)
        return parser.parse_sql(text)[0].stmt
    except (parser.ParseError, RecursionError, Unreadable):
        return None


# A run requests the statements of a file several times, and one file after the other.
_large = lru_cache(maxsize=1)(_Large)


def _split(sql: str) -> tuple[Statement, ...]:
    # Positions are taken from a text that is all ASCII, and the same to the grammar: in others
    # pglast counts characters from the start for each, which takes minutes in a large dump.
    ascii_only = _NOT_ASCII.sub("x", sql)
    found = []
    before, line = 0, 1
    try:
        places = parser.split(ascii_only, only_slices=True)
        if any(place.stop - place.start > _HARMLESS_LENGTH for place in places):
            _require_parseable(sql)
        for place in places:
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


# A fleet runs the same files over hundreds of databases, many at a time: they share the trees.
# Those of one take up to 2 MiB, and of a large one 80 times its size.
_remembered = lru_cache(maxsize=64)(_split)
_remembered_large = lru_cache(maxsize=2)(_split)


def _require_parseable(sql: str) -> None:
    """Raise Unreadable if a child does not survive parsing it, or takes too long."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(_CHILD_SECONDS)],
            input=sql.encode(),
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_CHILD_DEADLINE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode != 0:
        raise Unreadable("has a statement that is nested too deeply, or too long to be parsed", 1)


def main() -> None:
    """Parse standard input, within limits; the process ends with 0 if that succeeds.

    The first argument is the limit of processor time, in seconds.
    """
    # SIGPROF ends the process, unless it is handled; RLIMIT_CPU counts in whole seconds.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, float(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_AS, (_CHILD_BYTES, _CHILD_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sql = sys.stdin.buffer.read().decode()
    parsed: list[bool] = []

    def parse() -> None:
        for text in parser.split(_NOT_ASCII.sub("x", sql)):
            parser.parse_sql(text)
        parsed.append(True)

    threading.stack_size(_CHILD_STACK)
    thread = threading.Thread(target=parse)
    thread.start()
    thread.join()
    sys.exit(0 if parsed else 1)


def _complaint(sql: str, error: parser.ParseError) -> str:
    """Return the parser's message about the text as it is."""
    try:
        parser.parse_sql(sql)
    except parser.ParseError as itself:
        error = itself
    return str(error.args[0])


def line_of(sql: str, position: int) -> int:
    """Return the line, from 1, of the character at ``position``, which PostgreSQL counts from 1."""
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
    """Whether a REINDEX does not lock its tables meanwhile."""
    return any(option.defname == "concurrently" for option in reindex.params or ())


_OF_ROWS = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)
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
# Either commits by itself, or leaves something at another server.
_LASTING = {
    ast.CallStmt,
    ast.DoStmt,
    ast.AlterSubscriptionStmt,
    ast.CreateSubscriptionStmt,
    ast.DropSubscriptionStmt,
}


def only_sets(statement: Statement) -> bool:
    """Whether it only sets or shows settings of the session."""
    return isinstance(statement.node, ast.VariableSetStmt | ast.VariableShowStmt)


def leaves_nothing(statement: Statement) -> bool:
    """Whether its failure, outside a transaction, leaves nothing that the catalogs do not show."""
    return type(statement.node) not in _LASTING


if __name__ == "__main__":
    main()
