"""A program that copies CSV to or from a tenant's table: ``python -m tenantry.pg.copy_program``.

A row may have a gigabyte, and libpq holds each in memory: so this runs as a child
(``host.children``) with a memory limit. Standard input begins with a line of JSON, the fields of
``Task``. With ``reads`` the CSV follows in frames, each a length (4 bytes, big-endian) and so many
bytes; one of length 0 is the end. Without that end nothing is committed: the file was cut off.
Otherwise the CSV is written to standard output. In the end a line of JSON, the fields of
``Outcome``, is written to standard error.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg

from tenantry.pg.sql_program import end_with_parent

_FRAME = 4  # bytes of a length


@dataclass(frozen=True, slots=True)
class Task:
    """What to copy: ``statement`` is a COPY; ``reads`` is whether it is FROM STDIN."""

    conninfo: str = field(repr=False)  # with a password
    statement: str
    reads: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many rows were copied; or why none were, with PostgreSQL's code, detail and context."""

    rows: int = 0
    error: str | None = None
    sqlstate: str | None = None
    detail: str | None = None
    context: str | None = None


class _CutOffError(Exception):
    """The input ended before its end was announced."""


def _frames() -> Iterator[bytes]:
    while True:
        length = int.from_bytes(_exactly(_FRAME), "big")
        if not length:
            return
        yield _exactly(length)


def _exactly(size: int) -> bytes:
    found = sys.stdin.buffer.read(size)
    if len(found) < size:
        raise _CutOffError
    return found


def _copy(task: Task) -> int:
    with psycopg.connect(task.conninfo) as session, session.cursor() as cursor:
        statement: Any = task.statement
        with cursor.copy(statement) as copying:
            if task.reads:
                for piece in _frames():
                    copying.write(piece)
            else:
                for row in copying:
                    sys.stdout.buffer.write(row)
        return cursor.rowcount


def main() -> None:
    """Copy what standard input says, and report what came of it."""
    end_with_parent()
    task = Task(**json.loads(sys.stdin.buffer.readline()))
    try:
        outcome = Outcome(_copy(task))
    except psycopg.Error as error:
        said = error.diag
        message = said.message_primary or str(error).strip()
        outcome = Outcome(0, message, said.sqlstate, said.message_detail, said.context)
    except MemoryError:
        outcome = Outcome(0, "a row needs too much memory")
    except (_CutOffError, BrokenPipeError):
        outcome = Outcome(0, "it was cut off")
    sys.stdout.flush()
    sys.stderr.write(json.dumps(asdict(outcome)) + "\n")


if __name__ == "__main__":
    main()
