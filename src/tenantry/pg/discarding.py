"""Run a tenant's statements and discard their rows: only whether they fail is of interest.

``execute`` of psycopg keeps all rows that a script returns, and libpq all of a row: one ``SELECT
repeat('x', 1000000000)`` in a migration would take gigabytes of the worker's memory.
"""

import array
import fcntl
import termios
from collections.abc import Callable, Generator

import psycopg
from psycopg import AsyncConnection, pq
from psycopg.errors import ProgramLimitExceeded, error_from_result
from psycopg.rows import TupleRow
from psycopg.waiting import Ready, Wait

MOST_ROW_BYTES = 256 * 1024 * 1024

_Waiting = Generator[Wait, Ready | int, None]
_DONE = {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY}
_COPIES = {pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH}


async def execute_discarding(
    connection: AsyncConnection[TupleRow],
    statements: bytes,
    done: Callable[[], None] | None = None,
) -> None:
    """Run statements in autocommit mode, as one message; ``done`` is called after each.

    Rows are dropped as they come. Raises psycopg.Error, including ProgramLimitExceeded for a row of
    more than 256 MiB, after which the connection is closed.
    """
    async with connection.lock:
        await connection.wait(_execute(connection.pgconn, statements, done))


def _execute(server: pq.abc.PGconn, statements: bytes, done: Callable[[], None] | None) -> _Waiting:
    server.send_query(statements)
    server.set_single_row_mode()
    while server.flush():
        if (yield Wait.RW) & Ready.R:
            server.consume_input()
    failure: psycopg.Error | None = None
    while True:
        yield from _await_result(server)
        if (result := server.get_result()) is None:
            break
        if _size(result) > MOST_ROW_BYTES:
            raise _too_large(server)
        if result.status == pq.ExecStatus.FATAL_ERROR:
            failure = failure or error_from_result(result)
        elif result.status in _COPIES:
            server.finish()  # there is no other side of a COPY
            raise psycopg.ProgrammingError("COPY to or from the client cannot be used here")
        elif done is not None and result.status in _DONE:
            done()
    if failure is not None:
        raise failure


def _await_result(server: pq.abc.PGconn) -> _Waiting:
    """Read until there is a result. Raises ProgramLimitExceeded."""
    size = 0
    while server.is_busy():
        yield Wait.R
        waiting = array.array("i", [0])
        fcntl.ioctl(server.socket, termios.FIONREAD, waiting)
        size += waiting[0]
        if size > MOST_ROW_BYTES:
            raise _too_large(server)
        server.consume_input()  # which reads on for as long as the server keeps pace


def _size(result: pq.abc.PGresult) -> int:
    """Return the bytes of a single row."""
    columns = range(result.nfields * result.ntuples)
    return sum(len(result.get_value(0, column) or b"") for column in columns)


def _too_large(server: pq.abc.PGconn) -> ProgramLimitExceeded:
    server.finish()
    return ProgramLimitExceeded(
        f"a statement answers with a row of more than {MOST_ROW_BYTES:,} bytes"
    )
