"""A program that runs statements in a tenant's database: ``python -m tenantry.pg.sql_program``.

A value may have a gigabyte, and libpq holds each in memory: so this runs as a child
(``host.children``) with a memory limit. It reads one JSON object, the fields of ``Task``, from
standard input, and writes one line of JSON, the fields of ``Outcome``, and after it the document
``{"results": […]}``, which nobody needs to parse before it is sent on.

Each statement is sent alone, by the extended protocol, which refuses a second one in its text. All
are one transaction, unless there is one that refuses to be in one. If it is read-only, the server
has taken a snapshot before the first: from then on it refuses to make the transaction writable, and
in the end it is rolled back.
"""

import ctypes
import json
import select
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import psycopg
from psycopg import pq

Kind = Literal["sql", "time", "memory", "size", "connection", "copy", "transaction", "count"]

MOST_FIELD_BYTES = 64 * 1024  # of one value; the rest is cut
_MOST_NOTICES, _MOST_NOTICE = 100, 1000  # of a run, and bytes of each
_BESIDES = 4  # one part in so many of the bytes is for what is not rows: columns, notices
_CANCELLED_SECONDS = 3.0  # for a statement to end that was cancelled
_SAFE = 2**53  # integers beyond it are text: JavaScript has no others
_BOOLEAN, _INTEGERS = 16, frozenset({20, 21, 23})  # object identifiers of their types
_COPIES = frozenset({pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH})
# The end of our own statements, whose forms no application has: see ``statement_statistics``.
OWN = " /* tenantry */"
ENDED = "57P"  # how the SQLSTATEs of a server that ends the session begin
_TYPES = (
    b"SELECT pg_catalog.format_type(o, m)"
    b" FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),"
    b" pg_catalog.unnest($2::pg_catalog.int4[])) AS t (o, m)" + OWN.encode()
)


@dataclass(frozen=True, slots=True)
class Task:
    """What to run: ``statements`` are texts; ``alone`` is whether the only one has no transaction.

    ``seconds`` is for all of it, ``rows`` the most of each result, ``bytes`` the most of all rows.
    ``exactly`` is how many rows each statement has to return or change, if that matters.
    """

    conninfo: str = field(repr=False)  # with a password
    statements: list[str]
    read_only: bool
    alone: bool
    seconds: float
    rows: int
    bytes: int
    exactly: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many statements ran, how many rows they returned or changed, and what failed."""

    statements: int
    rows: int
    failure: "Failure | None" = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a statement failed; ``position`` is that of a character in it, from 1."""

    kind: Kind
    message: str
    sqlstate: str | None = None
    detail: str | None = None
    hint: str | None = None
    context: str | None = None
    position: int | None = None


class Stop(Exception):
    """A statement failed; nothing of the run lasts."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Session:
    """A session, with what is left of the time and the bytes of a run."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._ends = time.monotonic() + task.seconds
        self._left = task.bytes
        self._left_besides = task.bytes // _BESIDES
        self._left_notices = _MOST_NOTICES
        self._notices: list[str] = []
        self.rows = 0
        self.results: list[bytes] = []
        self._server = pq.PGconn.connect(task.conninfo.encode())
        if self._server.status != pq.ConnStatus.OK:
            raise Stop(Failure("connection", self._server.get_error_message()))
        self._server.notice_handler = self._noticed

    def run(self) -> None:
        """Run all statements. Raises Stop."""
        task = self._task
        if task.alone:
            self._one(task.statements[0])
            return
        self._own(b"BEGIN READ ONLY" if task.read_only else b"BEGIN")
        if task.read_only:
            self._own(b"SELECT 1, 'tenantry'" + OWN.encode())
        for text in task.statements:
            self._one(text)
            if self._server.transaction_status != pq.TransactionStatus.INTRANS:
                raise Stop(Failure("transaction", "the statement ended the transaction of the run"))
        if task.read_only:
            self._own(b"ROLLBACK")
        else:
            self._commit()

    def _one(self, text: str) -> None:
        began = time.monotonic()
        self._notices.clear()
        # What is cut is cancelled, which would end a transaction that shall go on.
        within = self._task.read_only and not self._task.alone
        if within:
            self._own(b"SAVEPOINT tenantry")
        self._server.send_query_params(text.encode(), None)
        self._server.set_single_row_mode()
        found = _Result(self._task.rows, self._left)
        cancels = False
        for result in self._answers():
            match result.status:
                case pq.ExecStatus.SINGLE_TUPLE:
                    if found.add(result) or cancels or not within:
                        continue
                    self._server.get_cancel().cancel()
                    cancels = True
                case pq.ExecStatus.FATAL_ERROR | pq.ExecStatus.BAD_RESPONSE if not cancels:
                    raise Stop(_failure(result))
                case _:
                    found.end(result)
        if within:
            self._own(b"ROLLBACK TO SAVEPOINT tenantry" if cancels else b"RELEASE tenantry")
        if self._task.exactly not in {None, found.count}:
            raise Stop(Failure("count", f"{found.command} is not about {self._task.exactly} rows"))
        milliseconds = (time.monotonic() - began) * 1000
        self._left = found.left
        self.rows += found.count
        about = _encoded(
            {
                "command": found.command,
                "columns": self._columns(found.described),
                "row_count": found.count,
                "truncated": found.is_full,
                "cut": found.cut,
                "notices": self._notices,
                "duration_ms": round(milliseconds, 1),
            }
        )
        self._left_besides -= len(about)
        if self._left_besides < 0:
            raise Stop(_TOO_LARGE)
        self.results.append(about[:-1] + b',"rows":[' + b",".join(found.rows) + b"]}")

    def _own(self, query: bytes) -> None:
        self._server.send_query(query)
        for result in self._answers():
            if result.status not in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}:
                raise Stop(_failure(result))

    def _commit(self) -> None:
        """Commit. What the server has committed is, even if that took too long. Raises Stop."""
        self._server.send_query(b"COMMIT")
        is_committed, refusal = False, None
        try:
            for result in self._answers():
                if result.status == pq.ExecStatus.COMMAND_OK:
                    is_committed = True
                else:
                    refusal = _failure(result)
        except Stop:
            if self._server.transaction_status == pq.TransactionStatus.ACTIVE:
                raise Stop(Failure("connection", "COMMIT was not answered in time")) from None
            if not is_committed:
                raise
        if refusal is not None and (refusal.sqlstate or "").startswith(ENDED):
            raise Stop(Failure("connection", refusal.message))  # perhaps after it had committed
        if refusal is not None:
            raise Stop(refusal)

    def _columns(self, described: pq.abc.PGresult | None) -> list[dict[str, str]]:
        if described is None or not described.nfields:
            return []
        places = range(described.nfields)
        kinds = [[described.ftype(each), described.fmod(each)] for each in places]
        arrays = [
            b"{%s}" % b",".join(b"%d" % each for each in column)
            for column in zip(*kinds, strict=True)
        ]
        self._server.send_query_params(_TYPES, arrays)
        names: list[str] = []
        for result in self._answers():
            if result.status != pq.ExecStatus.TUPLES_OK:
                raise Stop(_failure(result))
            names = [_text(result.get_value(row, 0) or b"") for row in range(result.ntuples)]
        return [
            {"name": _text(described.fname(each) or b""), "type": name}
            for each, name in zip(places, names, strict=True)
        ]

    def _answers(self) -> Iterator[pq.abc.PGresult]:
        """Yield the results of what was sent as they come. Raises Stop if the time is over."""
        server = self._server
        waiting = select.poll()
        waiting.register(server.socket, select.POLLIN)
        late = False
        while True:
            while server.is_busy():
                left = self._ends - time.monotonic()
                if left <= 0 and not late:
                    server.get_cancel().cancel()
                    late, left = True, _CANCELLED_SECONDS
                    self._ends += left
                elif left <= 0:
                    raise Stop(_TOO_LONG)
                waiting.poll(left * 1000)
                server.consume_input()
            result = server.get_result()
            if result is None:
                break
            if result.status in _COPIES:
                raise Stop(Failure("copy", "COPY from or to the client is not possible here"))
            if late and result.status == pq.ExecStatus.FATAL_ERROR:
                raise Stop(_TOO_LONG)
            yield result
        if late:
            raise Stop(_TOO_LONG)

    def _noticed(self, result: pq.abc.PGresult) -> None:
        if self._left_notices:
            self._left_notices -= 1
            self._notices.append(_text(result.error_message[:_MOST_NOTICE]).strip())


_TOO_LONG = Failure("time", "it took too long")
_TOO_LARGE = Failure("size", "the columns and notices of the results are too many")


class _Result:
    """The rows of one statement, as JSON, as far as there is room for them."""

    def __init__(self, most: int, left: int) -> None:
        self._most = most
        self.left = left
        self.rows: list[bytes] = []
        self.cut: list[list[int]] = []
        self.is_full = False
        self.count = 0
        self.command = ""
        self.described: pq.abc.PGresult | None = None

    def add(self, result: pq.abc.PGresult) -> bool:
        """Add a row. Returns whether there was room for it."""
        self.described = self.described or result
        if self.is_full or len(self.rows) == self._most:
            self.is_full = True
            return False
        cut: list[list[int]] = []
        row = b"[%s]" % b",".join(
            self._value(result, column, cut) for column in range(result.nfields)
        )
        if len(row) + 1 > self.left:
            self.is_full = True
            return False
        self.left -= len(row) + 1
        self.rows.append(row)
        self.cut += cut
        return True

    def end(self, result: pq.abc.PGresult) -> None:
        """Take what PostgreSQL says of the whole: its command, and how many rows it had."""
        self.command = _text(result.command_status or b"")
        self.described = self.described or result
        affected = result.command_tuples
        self.count = len(self.rows) if affected is None else affected

    def _value(self, result: pq.abc.PGresult, column: int, cut: list[list[int]]) -> bytes:
        value = result.get_value(0, column)
        if value is None:
            return b"null"
        kind = result.ftype(column)
        if kind in _INTEGERS and abs(int(value)) <= _SAFE:
            return bytes(value)
        if kind == _BOOLEAN:
            return b"true" if value == b"t" else b"false"
        if len(value) > MOST_FIELD_BYTES:
            cut.append([len(self.rows), column, len(value)])
            return _encoded(value[:MOST_FIELD_BYTES].decode(errors="ignore"))
        return _encoded(_text(value))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _failure(result: pq.abc.PGresult) -> Failure:
    def said(name: pq.DiagnosticField) -> str | None:
        value = result.error_field(name)
        return None if value is None else _text(value[:MOST_FIELD_BYTES])

    of = pq.DiagnosticField
    message = said(of.MESSAGE_PRIMARY)
    if message is None:  # libpq's own, such as that it has no memory
        return Failure(*_of_libpq(_text(result.error_message)))
    position = said(of.STATEMENT_POSITION)
    return Failure(
        "sql",
        message,
        said(of.SQLSTATE),
        said(of.MESSAGE_DETAIL),
        said(of.MESSAGE_HINT),
        said(of.CONTEXT),
        int(position) if position else None,
    )


def _of_libpq(message: str) -> tuple[Kind, str]:
    return ("memory" if "memory" in message else "connection"), message.strip()


def end_with_parent() -> None:
    """Be killed when the parent is, so that nothing is committed of which nobody learns.

    PR_SET_PDEATHSIG (prctl(2)); the transaction of a session that was lost is rolled back.
    """
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main() -> None:
    """Run the task of standard input, and print its outcome and its document."""
    end_with_parent()
    task = Task(**json.load(sys.stdin))
    session: Session | None = None
    failure: Failure | None = None
    try:
        session = Session(task)
        session.run()
    except Stop as stop:
        failure = stop.failure
    except MemoryError:
        failure = Failure("memory", "a value needs too much memory")
    except psycopg.OperationalError as error:
        failure = Failure(*_of_libpq(str(error)))
    ran = 0 if session is None else len(session.results)
    outcome: dict[str, Any] = asdict(Outcome(ran, session.rows if session else 0, failure))
    sys.stdout.buffer.write(_encoded(outcome) + b"\n")
    if failure is None and session is not None:
        sys.stdout.buffer.write(b'{"results":[' + b",".join(session.results) + b"]}")


if __name__ == "__main__":
    main()
