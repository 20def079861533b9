"""Moves what sessions have logged from the server's log to the entries of their databases.

The invariant. The file ``position.json`` has a position in each cluster's log, and where the
entries of each database ended when everything before these positions was moved. Whatever was
written after that is cut off before the log is read from there: a kill at any moment neither loses
an entry nor duplicates one. A secret is overwritten in the server's log, in place, before the
position advances; an entry that is read again after that is the same.
"""

import contextlib
import datetime as dt
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from tenantry.base.ids import parse_id
from tenantry.host import files
from tenantry.pg import names, server_log
from tenantry.pg.clusters import Cluster
from tenantry.pg.server_log import Line, LogEntry
from tenantry.services.statement_log import entries
from tenantry.services.statement_log.entries import EntryFiles, Place
from tenantry.services.statement_log.model import HIDDEN, MOST_TEXT, without_secrets
from tenantry.services.statement_log.reading import LogPosition, end_of, read_on

_MOST_READ = 2 * 1024 * 1024  # at a time: what databases log is counted in between
Notice = tuple[uuid.UUID, str]  # the text of the platform in the log of a database
_ENDS_A_SESSION = {"FATAL", "PANIC"}
_NOT_SHOWN = ("detail", "hint", "context", "internal_query")
_GAP = "The server's log was deleted before it was read: entries before this one may be missing."


@dataclass(slots=True)
class _Position:
    """How far each cluster's log was read, and where the entries of each database ended then."""

    logs: dict[str, LogPosition]  # by the cluster's name
    ends: dict[uuid.UUID, Place] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    """The parts of the log just read: new entries, and lines to replace."""

    new: defaultdict[uuid.UUID, list[dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    secrets: defaultdict[Path, list[tuple[Line, bytes]]] = field(
        default_factory=lambda: defaultdict(list)
    )


class Mover:
    """A mover of entries from the clusters' logs; for one process, and one thread at a time."""

    def __init__(self, clusters: Callable[[], Sequence[Cluster]], entries_: EntryFiles) -> None:
        self._clusters = clusters
        self._entries = entries_
        self._note = entries_.root / "position.json"
        self._position: _Position | None = None

    def move(self, logged: Mapping[str, uuid.UUID], notices: Sequence[Notice]) -> bool:
        """Move a part of the log: entries of ``logged`` databases, by their name in PostgreSQL.

        Add the ``notices``. Return whether there is more to read.
        """
        position = self._position or self._begin()
        self._position = None  # after a failure the next call begins at the stored position
        before = replace(position, logs=dict(position.logs), ends=dict(position.ends))
        batch = _Batch()
        for database_id, text in notices:
            batch.new[database_id].append(_notice(text))
        unread = [self._read_on(each, position, batch, logged) for each in self._clusters()]
        for database_id, new in batch.new.items():
            end = position.ends.get(database_id, entries.FIRST)
            position.ends[database_id] = self._entries.append(database_id, end, new)
        if position != before:
            self._write(position)
        self._position = position
        return any(unread)

    def _read_on(
        self,
        cluster: Cluster,
        position: _Position,
        batch: _Batch,
        logged: Mapping[str, uuid.UUID],
    ) -> bool:
        """Read a cluster's log from the position on, and advance it. Return whether there is more.

        At first, the position is the log's end.
        """
        if (before := position.logs.get(cluster.name)) is None:
            if (end := end_of(cluster)) is not None:
                position.logs[cluster.name] = end
            return False
        paths = cluster.entries_from(before[0])
        if paths and paths[0].name != before[0]:
            for database_id in logged.values():
                batch.new[database_id].append(_notice(_GAP))

        def take(path: Path, line: Line) -> None:
            _take(batch, path, line, logged)

        after, more = read_on(paths, before, take, most=_MOST_READ)
        for path, secrets in batch.secrets.items():
            _overwrite(path, secrets)
        batch.secrets.clear()
        position.logs[cluster.name] = after
        return more

    def forget(self, keep_days: Mapping[uuid.UUID, int]) -> None:
        """Delete files that are older than the days of their database, and those of others."""
        self._entries.forget(keep_days)
        if self._position is not None:
            for gone in self._position.ends.keys() - keep_days.keys():
                del self._position.ends[gone]

    def _begin(self) -> _Position:
        """Return the stored position, and cut off what was written later."""
        files.ensure_folder(self._entries.root)
        found = self._read()
        there = self._entries.databases()
        if found is None:
            return _Position({}, {each: self._entries.end(each) for each in there})
        for database_id in there:
            self._entries.cut(database_id, found.ends.get(database_id, entries.FIRST))
        return found

    def _read(self) -> _Position | None:
        try:
            noted = json.loads(self._note.read_text())
        except FileNotFoundError:
            return None
        ends = {
            database_id: Place(*place)
            for name, place in noted["ends"].items()
            if (database_id := parse_id(name)) is not None
        }
        return _Position({name: (file, at) for name, (file, at) in noted["logs"].items()}, ends)

    def _write(self, position: _Position) -> None:
        noted = {
            "logs": position.logs,
            "ends": {str(each): astuple(place) for each, place in position.ends.items()},
        }
        files.write_atomically(self._note, json.dumps(noted))


def database_of(found: Mapping[str, Any]) -> str | None:
    """Return the main database of the session that logged an entry; None without one.

    Messages that end a session are not charged to its database: others may cause them.
    """
    session = server_log.session_of(found)
    if session is None or found.get("error_severity") in _ENDS_A_SESSION:
        return None
    return names.main_of(session[1])


def _take(batch: _Batch, path: Path, line: Line, logged: Mapping[str, uuid.UUID]) -> None:
    """Add the entry of a line if its database is logged; whoever logged it, without secrets."""
    found = server_log.entry(line)
    name = database_of(found) if found else None
    logged_entry = server_log.read_entry(found) if found and name else None
    if found is None or name is None or logged_entry is None:
        return
    statement, message = without_secrets(logged_entry)
    if (statement, message) != (logged_entry.text, logged_entry.message):
        batch.secrets[path].append((line, _without(found, logged_entry, statement, message)))
    if names.is_for_the_platform(str(found.get("user"))):
        return  # a backup alone would fill a log of all statements
    if (database_id := logged.get(name)) is not None:
        batch.new[database_id].append(
            _entry(found, logged_entry, statement, message, whole=line.is_whole)
        )


def _entry(
    found: Mapping[str, Any],
    logged_entry: LogEntry,
    statement: str | None,
    message: str | None,
    *,
    whole: bool,
) -> dict[str, Any]:
    address = found.get("remote_host")
    entry = {
        "time": _time(str(found.get("timestamp"))),
        "kind": logged_entry.kind,
        "database_name": found.get("dbname"),
        "role": found.get("user"),
        "application": found.get("application_name"),
        "client_address": None if address == "[local]" else address,
        "session_id": found.get("session_id"),
        "statement": _clean(statement),
        "truncated": not whole or len(statement or "") > MOST_TEXT,
        "duration_ms": logged_entry.duration_ms,
        "sqlstate": logged_entry.sqlstate,
        "message": _clean(message),
    }
    return {
        name: value for name, value in entry.items() if value or (value == 0 and value is not False)
    }


def _notice(text: str) -> dict[str, Any]:
    return {"time": dt.datetime.now(dt.UTC).isoformat(), "kind": "notice", "message": text}


def _time(text: str) -> str:
    """Return the time of an entry in ISO format; the log's times are UTC."""
    if text.endswith(" UTC"):
        return f"{text[:-4].replace(' ', 'T')}+00:00"
    return dt.datetime.now(dt.UTC).isoformat()


def _clean(text: str | None) -> str | None:
    """Return the beginning of a text, without bytes that were no UTF-8."""
    return None if text is None else text[:MOST_TEXT].encode(errors="replace").decode()


def _without(
    found: Mapping[str, Any], logged_entry: LogEntry, statement: str | None, message: str | None
) -> bytes:
    """Return a line of the log without the secret, and not longer."""
    kept = {name: value for name, value in found.items() if name not in _NOT_SHOWN}
    if logged_entry.kind == "error":
        kept |= {"message": message or HIDDEN} | ({"statement": statement} if statement else {})
    elif logged_entry.text:
        kept["message"] = f"{str(found['message'])[: -len(logged_entry.text)]}{statement}"
    return server_log.write(kept)


def _overwrite(path: Path, secrets: list[tuple[Line, bytes]]) -> None:
    """Overwrite these lines with others, filled with spaces to the same length.

    The file's time is restored, as the newest is found by it. The server only ever appends.
    """
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        before = os.fstat(file.fileno())
        for line, text in secrets:
            file.seek(line.start)
            file.write(text.ljust(line.length)[: line.length])
        file.flush()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
