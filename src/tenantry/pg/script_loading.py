"""A program of its own that reads a script into a database: ``python -m … FILE ROOM``.

``ROOM`` is how many bytes the database may take.

It comes to the server as libpq's environment says. A script may have the server answer with more
than there is memory, and take hours to be taken apart: so it runs as a child (``host.children``).

How far it is in the file it tells on standard error (``read 1234``), and what came of it in one
line of JSON on standard output: ``{"left_out": […]}``, or ``{"refused": …, "hint": …}`` if the
script is at fault, or ``{"failed": …}`` with the server's words.
"""

import gzip
import io
import json
import sys
import time
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from psycopg import pq

from tenantry.pg.script_choice import Choice
from tenantry.pg.scripts import Refused, Script, Statement

GZIP = b"\x1f\x8b"
ARCHIVE = b"PGDMP"
# Of SQL, for one byte in the database: bytea is written with two digits a byte, and long values are
# compressed there. No room on the disk depends on it, only how long it may take.
_TIMES = 4
_BUFFER = 1024 * 1024
_TELL_SECONDS = 0.5
# Each INSERT alone would wait for the disk alone.
_MOST_TOGETHER = 1000
_MOST_BYTES_TOGETHER = 1024 * 1024
_UNKNOWN_SETTING = b"42704"  # undefined_object
_ERROR, _SQLSTATE = pq.DiagnosticField.MESSAGE_PRIMARY, pq.DiagnosticField.SQLSTATE


class Failed(Exception):
    """The server does not do what a statement says."""

    def __init__(self, statement: Statement, said: str, code: bytes | None) -> None:
        super().__init__(f"line {statement.line}: {said}")
        self.code = code


class _Counted(io.RawIOBase):
    """What a file has in it, unpacked if it is compressed, if a database has room for it."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self._file = file
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        self._source: Any = gzip.GzipFile(fileobj=file) if packed else file
        self._most = _TIMES * room
        self._size = 0
        self._told = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            size = int(self._source.readinto(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Refused(
                "Its compression is damaged, or something of it is missing.",
                hint="Send it again; gzip --test says whether the file is whole.",
            ) from error
        self._size += size
        if self._size > self._most:
            raise Refused(
                f"It is more than {self._most:,} bytes of SQL, {_TIMES} times what the database"
                " may take.",
                hint="Raise its disk_quota_bytes, or make the dump with --format=custom.",
            )
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            sys.stderr.write(f"read {self._file.tell()}\n")
            sys.stderr.flush()
        return size


class _Session:
    """The server, which is told one thing after the other."""

    def __init__(self) -> None:
        self._server = pq.PGconn.connect(b"")
        if self._server.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(self._server.get_error_message())

    def setting(self, name: str) -> bytes:
        return self._server.parameter_status(name.encode()) or b""

    @property
    def is_in_transaction(self) -> bool:
        return self._server.transaction_status != pq.TransactionStatus.IDLE

    def do(self, statements: list[Statement], script: Script) -> None:
        """Carry out statements, a COPY alone among them. Raises Failed, Refused."""
        self._server.send_query(b"\n".join(each.text for each in statements))
        # What it answers is nobody's: row by row it takes no memory.
        self._server.set_single_row_mode()
        done, failure = 0, None
        while (result := self._server.get_result()) is not None:
            match result.status:
                case pq.ExecStatus.COPY_IN:
                    for piece in script.data():
                        self._server.put_copy_data(piece)
                    self._server.put_copy_end()
                case pq.ExecStatus.COPY_OUT:
                    while self._server.get_copy_data(0)[0] > 0:
                        pass
                case pq.ExecStatus.FATAL_ERROR | pq.ExecStatus.BAD_RESPONSE:
                    said = result.error_field(_ERROR) or result.error_message
                    where = statements[min(done, len(statements) - 1)]
                    failure = failure or Failed(
                        where, said.decode(errors="replace"), result.error_field(_SQLSTATE)
                    )
                case pq.ExecStatus.SINGLE_TUPLE:
                    pass
                case _:
                    done += 1
        if failure is not None:
            raise failure


class _Loader:
    """Reads one script into the database."""

    def __init__(self, file: BinaryIO) -> None:
        self._session = _Session()
        self._script = Script(file, self._session.setting)
        self._choice = Choice()
        self._together: list[Statement] = []
        self._size = 0

    def load(self) -> list[str]:
        """Do all of it. Returns what was left out."""
        for statement in self._script.statements():
            if statement.verb == b"INSERT":
                self._keep(statement)
            else:
                self._flush()
                if self._choice.takes(statement):
                    self._do(statement)
        self._flush()
        if self._session.is_in_transaction:
            raise Refused("It ends within a transaction, which is never committed.")
        return self._choice.left_out

    def _keep(self, statement: Statement) -> None:
        self._together.append(statement)
        self._size += len(statement.text)
        if len(self._together) >= _MOST_TOGETHER or self._size >= _MOST_BYTES_TOGETHER:
            self._flush()

    def _flush(self) -> None:
        if self._together:
            self._session.do(self._together, self._script)
            self._together, self._size = [], 0

    def _do(self, statement: Statement) -> None:
        try:
            self._session.do([statement], self._script)
        except Failed as error:
            # A newer pg_dump sets what only newer servers know.
            is_setting = statement.verb == b"SET" and error.code == _UNKNOWN_SETTING
            if not is_setting or self._session.is_in_transaction:
                raise
            self._choice.tell(statement)


def load(file: BinaryIO, room: int) -> list[str]:
    """Read a script into the database. Returns what was left out.

    Raises Failed, Refused, psycopg.Error.
    """
    source = io.BufferedReader(_Counted(file, room), _BUFFER)
    if source.peek(len(ARCHIVE)).startswith(ARCHIVE):
        raise Refused(
            "It is a dump in the custom format, compressed by gzip once more.",
            hint="Unpack it with gunzip, and send what comes out.",
        )
    return _Loader(source).load()


def main() -> None:
    """Do what the module says. The process ends with 0 if it has said what came of it."""
    path, room = sys.argv[1:]
    told: dict[str, object]
    try:
        with Path(path).open("rb") as file:
            told = {"left_out": load(file, int(room))}
    except Refused as refused:
        told = {"refused": refused.detail, "hint": refused.hint}
    except (Failed, psycopg.Error) as error:
        told = {"failed": str(error)}
    except MemoryError:
        told = {"refused": "It takes too much memory.", "hint": "Send it in the custom format."}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
