"""A program of its own that reads a script into a database: ``python -m … FILE ROOM ROLES``.

``ROOM`` is how many bytes the database may take. ``ROLES`` is a JSON object: the logins of the
database that grants and policies may name, by the names that the script has for them.

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import psycopg

from tenantry.pg.script_choice import Choice, Chosen, disables_triggers, replicates
from tenantry.pg.script_session import Failed, Session
from tenantry.pg.script_triggers import Triggers, add_foreign_key
from tenantry.pg.scripts import Refused, Script, Statement

GZIP = b"\x1f\x8b"
# Of SQL, for one byte in the database: bytea is written with two digits a byte, and long values are
# compressed there. No room on the disk depends on it, only how long it may take.
_TIMES = 4
_BUFFER = 1024 * 1024
_TELL_SECONDS = 0.5
# Each INSERT alone would wait for the disk alone.
_MOST_TOGETHER = 1000
_MOST_BYTES_TOGETHER = 1024 * 1024


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


class _Loader:
    """Reads one script into the database."""

    def __init__(self, file: BinaryIO, roles: Mapping[str, str]) -> None:
        self._session = Session()
        self._script = Script(file, self._session.setting)
        self._choice = Choice(roles, self._session.version)
        self._triggers = Triggers(self._session)
        self._together: list[Statement] = []
        self._size = 0

    def load(self) -> list[str]:
        """Do all of it. Returns what was left out."""
        for statement in self._script.statements():
            if statement.verb == b"INSERT":
                self._keep(statement)
            else:
                self._flush()
                self._take(statement)
        self._flush()
        if self._session.is_in_transaction:
            raise Refused("It ends within a transaction, which is never committed.")
        return [*self._choice.left_out, *self._triggers.restore()]

    def _keep(self, statement: Statement) -> None:
        self._together.append(statement)
        self._size += len(statement.text)
        if len(self._together) >= _MOST_TOGETHER or self._size >= _MOST_BYTES_TOGETHER:
            self._flush()

    def _flush(self) -> None:
        if self._together:
            self._session.do(self._together, self._script)
            self._together, self._size = [], 0

    def _take(self, statement: Statement) -> None:
        if (is_off := replicates(statement)) is not None:
            self._triggers.disable() if is_off else self._triggers.enable()
        elif (of_user := disables_triggers(statement)) is not None:
            self._triggers.suspend_foreign_keys()
            self._session.do([of_user], self._script)
        elif (chosen := self._choice.chosen(statement)) is not None:
            self._do(chosen)

    def _do(self, chosen: Chosen) -> None:
        """Carry it out; a failure that the others can do without is taken back alone."""
        try:
            if chosen.makes == "foreign key":
                self._add_foreign_key(chosen.statement)
            elif chosen.may_fail:
                with self._session.savepoint():
                    self._session.do([chosen.statement], self._script)
            else:
                self._session.do([chosen.statement], self._script)
        except Failed as error:
            if error.code not in chosen.may_fail:
                raise
            if error.has_data:
                for _ in self._script.data():
                    pass
            self._choice.failed(chosen, error.said)

    def _add_foreign_key(self, statement: Statement) -> None:
        change = statement.text.rstrip().removesuffix(b";")
        try:
            told = add_foreign_key(self._session, change)
        except Failed as error:
            raise Failed(statement, error.said, error.code) from None
        if told:
            self._choice.tell(told)


def load(file: BinaryIO, room: int, roles: Mapping[str, str]) -> list[str]:
    """Read a script into the database. Returns what was left out.

    Raises Failed, Refused, psycopg.Error.
    """
    source = io.BufferedReader(_Counted(file, room), _BUFFER)
    return _Loader(source, roles).load()


def main() -> None:
    """Do what the module says. The process ends with 0 if it has said what came of it."""
    path, room, roles = sys.argv[1:]
    told: dict[str, object]
    try:
        with Path(path).open("rb") as file:
            told = {"left_out": load(file, int(room), json.loads(roles))}
    except Refused as refused:
        told = {"refused": refused.detail, "hint": refused.hint}
    except (Failed, psycopg.Error) as error:
        told = {"failed": str(error)}
    except MemoryError:
        told = {"refused": "It takes too much memory.", "hint": "Send it in the custom format."}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
