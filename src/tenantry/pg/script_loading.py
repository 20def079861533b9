"""A program that loads a script into a database: ``python -m … FILE ROOM ROLES LOSSES``.

``ROOM`` is how many bytes the database may take. ``ROLES`` is a JSON object: the logins of the
database that grants and policies may name, by the names that the script has for them. ``LOSSES`` is
``true`` to continue without what the server does not build, else ``false``.

It connects by libpq's environment variables. A script may make the server answer with more than
there is memory, and take hours to parse: so it runs as a child (``host.children``).

It reports its progress in the file on standard error (``read 1234``), and the result as one line of
JSON on standard output: ``{"left_out": […], "settings": {name: value, …}}``, the settings being
those of its database, or ``{"refused": …, "hint": …}`` if the script is at fault, or ``{"failed":
…}`` with the server's message.
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

from tenantry.pg.script_checks import Checks
from tenantry.pg.script_choice import Choice, Chosen
from tenantry.pg.script_session import Failed, Session
from tenantry.pg.script_triggers import (
    Triggers,
    add_foreign_key,
    disables_triggers,
    replicates,
)
from tenantry.pg.scripts import Refused, Script, Statement

GZIP = b"\x1f\x8b"
# Bytes of SQL for one byte in the database: bytea is written with two digits a byte, and long
# values are compressed there. It limits only how long a load may take, not the room on the disk.
_TIMES = 4
_BUFFER = 1024 * 1024
_REPORT_SECONDS = 0.5
# Each INSERT in a transaction of its own would wait for the disk.
_MOST_TOGETHER = 1000
_MOST_BYTES_TOGETHER = 1024 * 1024
_CONTROL = {b"BEGIN", b"START", b"COMMIT", b"END", b"ROLLBACK", b"ABORT", b"SAVEPOINT", b"RELEASE"}
_ACCEPT = "Change that at the source; or go on without it, by accept_losses (--accept-losses)."

# SQLSTATEs (PostgreSQL's manual, appendix A).
_NOT_FOUND = {b"42883", b"42P01", b"42704", b"3F000"}  # function, table, object, schema
_NOT_NULL = b"23502"
# Errors of rows: a check or NOT NULL violated, and those that a check's function raises.
_OF_ROWS = {b"23514", _NOT_NULL, b"P0001", b"22012"}
# Classes of the server's errors: connection, rollback, resources, intervention, system.
_OF_THE_SERVER = {b"08", b"40", b"53", b"57", b"58"}


class Unpacked(io.RawIOBase):
    """A file's contents, unpacked if it is compressed, limited by the ``room`` of the database."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self._file = file
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        self._source: Any = gzip.GzipFile(fileobj=file) if packed else file
        self._most = _TIMES * room
        self._size = 0
        self._reported_at = 0.0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the beginning")
        self._source.seek(offset)
        self._size = offset
        return offset

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
        if time.monotonic() - self._reported_at > _REPORT_SECONDS:
            self._reported_at = time.monotonic()
            sys.stderr.write(f"read {self._file.tell()}\n")
            sys.stderr.flush()
        return size


class _Loader:
    """Loads one script into the database.

    A load is stricter than a running database (see ``reloading``): what fails for that is tried
    again, with all schemas on the search path and without checks.
    """

    def __init__(self, file: BinaryIO, roles: Mapping[str, str], *, accepts_losses: bool) -> None:
        self._accepts_losses = accepts_losses
        self._session = Session()
        self._script = Script(file, self._session.setting)
        self._choice = Choice(roles, self._session.version)
        self._triggers = Triggers(self._session)
        self._checks = Checks(self._session)
        self._together: list[Statement] = []
        self._size = 0

    def load(self) -> dict[str, object]:
        """Load the whole script. Returns what was left out, and the settings."""
        for statement in self._script.statements():
            if statement.verb == b"INSERT":
                self._keep(statement)
            else:
                self._flush()
                self._take(statement)
        self._flush()
        if self._session.is_in_transaction:
            raise Refused("It ends within a transaction, which is never committed.")
        changed, lost = self._checks.restore()
        if lost and not self._accepts_losses:
            raise Refused(f"PostgreSQL does not build all of it again: {lost[0]}", hint=_ACCEPT)
        left_out = [*self._choice.left_out, *changed, *lost, *self._triggers.restore()]
        return {"left_out": left_out, "settings": self._choice.settings}

    def _keep(self, statement: Statement) -> None:
        self._together.append(statement)
        self._size += len(statement.text)
        if len(self._together) >= _MOST_TOGETHER or self._size >= _MOST_BYTES_TOGETHER:
            self._flush()

    def _flush(self) -> None:
        if self._together:
            together, self._together, self._size = self._together, [], 0
            try:
                self._do_with_less(together)
            except Failed as error:
                if not self._can_do_without(error):
                    raise
                for each in together:
                    self._do(Chosen(each))

    def _take(self, statement: Statement) -> None:
        if (is_off := replicates(statement)) is not None:
            self._triggers.disable() if is_off else self._triggers.enable()
        elif (of_user := disables_triggers(statement)) is not None:
            self._triggers.suspend_foreign_keys()
            self._session.do([of_user], self._script)
        elif (chosen := self._choice.chosen(statement)) is not None:
            self._do(chosen)

    def _do(self, chosen: Chosen) -> None:
        """Run a statement; an allowed failure rolls back this statement alone."""
        try:
            if chosen.makes == "foreign key":
                self._add_foreign_key(chosen.statement)
            else:
                self._do_with_less([chosen.statement])
        except Failed as error:
            if error.code not in chosen.may_fail and not self._can_do_without(error):
                raise
            if error.has_data:
                for _ in self._script.data():
                    pass
            self._choice.failed(chosen, error.said, error.code)

    def _can_do_without(self, error: Failed) -> bool:
        """Whether a failure is a loss that the caller accepts, and not an error of the server."""
        code = error.code or b"08"
        return self._accepts_losses and code[:2] not in _OF_THE_SERVER

    def _do_with_less(self, statements: list[Statement]) -> None:
        """Run statements, in a way that needs less if that helps. Raises Failed."""
        if statements[0].verb in _CONTROL:  # of transactions, and so of savepoints
            self._session.do(statements, self._script)
            return
        place = self._script.place()
        try:
            with self._session.savepoint():
                self._session.do(statements, self._script)
        except Failed as error:
            failure = error
        else:
            return
        # A failure in a script written by hand is an error; what was dumped did work before.
        looks_further = self._script.is_dump and statements[0].verb != b"DROP"
        while (looks_further and failure.code in _NOT_FOUND) or self._suspend_checks(failure):
            looks_further = False
            self._script.go_back(place)
            try:
                with self._session.all_schemas(), self._session.savepoint():
                    self._session.do(statements, self._script)
            except Failed as error:
                failure = error
            else:
                return
        raise failure

    def _suspend_checks(self, failure: Failed) -> bool:
        """Drop the checks that may have rejected rows. Returns whether there were any."""
        if not self._script.is_dump or failure.code not in _OF_ROWS:
            return False
        if failure.domain is not None:
            return self._checks.suspend_of_domain(*failure.domain)
        return failure.code != _NOT_NULL and self._checks.suspend_of_tables()

    def _add_foreign_key(self, statement: Statement) -> None:
        change = statement.text.rstrip().removesuffix(b";")
        try:
            reported = add_foreign_key(self._session, change)
        except Failed as error:
            raise Failed(statement, error.said, error.code) from None
        if reported:
            self._choice.report(reported)


def load(
    file: BinaryIO, room: int, roles: Mapping[str, str], *, accepts_losses: bool
) -> dict[str, object]:
    """Load a script into the database. Returns what was left out, and the settings.

    Raises Failed, Refused, psycopg.Error.
    """
    source = io.BufferedReader(Unpacked(file, room), _BUFFER)
    return _Loader(source, roles, accepts_losses=accepts_losses).load()


def main() -> None:
    """Run the program. The process ends with 0 if it has printed a result."""
    path, room, roles, losses = sys.argv[1:]
    reported: dict[str, object]
    try:
        with Path(path).open("rb") as file:
            reported = load(file, int(room), json.loads(roles), accepts_losses=json.loads(losses))
    except Refused as refused:
        reported = {"refused": refused.detail, "hint": refused.hint}
    except (Failed, psycopg.Error) as error:
        reported = {"failed": str(error)}
    except MemoryError:
        reported = {"refused": "It takes too much memory.", "hint": "Send it in the custom format."}
    sys.stdout.write(json.dumps(reported))


if __name__ == "__main__":
    main()
