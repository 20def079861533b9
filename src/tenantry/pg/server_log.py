"""The server's log in JSON (``log_destination = jsonlog``): its lines and entries.

PostgreSQL escapes all text that a client can choose, so that a line is an entry, and a bare quote
ends a text. Entries name the function that wrote them with ``log_error_verbosity = verbose``: only
this distinguishes a statement that PostgreSQL logs from a RAISE LOG that looks like one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_BLOCK = 1 << 20
_HEAD = 64 * 1024  # bytes kept of a line, which include everything before the texts
_TAIL = 4 * 1024  # bytes kept of what comes after them
_AFTER_TEXTS = b',"func_name":"'
_LONGEST_ESCAPE = 6  # \uXXXX
_LOGS_IN = {"initializing", "authentication", "startup", ""}
# The functions that log statements, with their file in PostgreSQL's source.
_LOGGERS = {
    ("exec_simple_query", "postgres.c"),
    ("exec_execute_message", "postgres.c"),
    ("HandleFunctionRequest", "fastpath.c"),
}
_DURATION = re.compile(r"duration: (\d+\.\d+) ms(?:  )?")
_STATEMENT = re.compile(r"(?:statement|execute .*?): |(?=fastpath function call: )", re.DOTALL)
_FATAL = re.compile(r"\b(?:FATAL|PANIC):  ")
_CAUSE = re.compile(r"\b(?:FATAL|PANIC|DETAIL|HINT):  (.*)")

Kind = Literal["statement", "duration", "error"]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log: its position, its length without the line's end, and its bytes.

    Of one that is very long, only its beginning and its end are kept.
    """

    start: int
    length: int
    head: bytes
    tail: bytes

    @property
    def end(self) -> int:
        return self.start + self.length + 1

    @property
    def is_whole(self) -> bool:
        return len(self.head) + len(self.tail) == self.length


class _Partial:
    def __init__(self, start: int) -> None:
        self.start = start
        self.length = 0
        self.head = bytearray()
        self.tail = b""

    def add(self, part: bytes) -> None:
        room = _HEAD - len(self.head)
        self.head += part[:room]
        self.tail = (self.tail + part[room:])[-_TAIL:] if len(part) > room else self.tail
        self.length += len(part)

    def line(self) -> Line:
        return Line(self.start, self.length, bytes(self.head), self.tail)


def lines(path: Path, start: int, *, most: int) -> Iterator[Line]:
    """Yield the complete lines of a file from a position on, in about ``most`` bytes of it."""
    partial = _Partial(start)
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK):
            *ended, rest = block.split(b"\n")
            for part in ended:
                partial.add(part)
                line = partial.line()
                yield line
                partial = _Partial(line.end)
            partial.add(rest)
            if partial.start - start >= most:
                return


def read(line: bytes) -> dict[str, Any] | None:
    """Parse a line; None if it is no entry. Bytes that are not UTF-8 become surrogates."""
    try:
        found = json.loads(line.decode(errors="surrogateescape"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def entry(line: Line) -> dict[str, Any] | None:
    """Return the entry of a line; one that is very long has a truncated text."""
    if line.is_whole:
        return read(line.head + line.tail)
    at = line.tail.find(_AFTER_TEXTS)
    for less in range(_LONGEST_ESCAPE + 1) if at >= 0 else ():
        if found := read(line.head[: len(line.head) - less] + b'"' + line.tail[at:]):
            return found
    return None


def write(found: dict[str, Any]) -> bytes:
    """Return an entry as PostgreSQL writes it."""
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="surrogateescape")


def session_of(found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the role and database of an entry's session, if it has authenticated; else None."""
    role, database = found.get("user"), found.get("dbname")
    if not role or not database or found.get("ps") in _LOGS_IN:
        return None
    return role, database


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A statement in an entry; ``text`` of an error is that of the whole message."""

    kind: Kind
    text: str | None
    duration_ms: float | None = None
    sqlstate: str | None = None
    message: str | None = None


def read_entry(found: Mapping[str, Any]) -> LogEntry | None:
    """Return the statement in a session's entry; None if it has none."""
    message = str(found.get("message", ""))
    if found.get("error_severity") == "ERROR":
        text = found.get("statement")
        return LogEntry("error", text, sqlstate=found.get("state_code"), message=message)
    if (found.get("func_name"), found.get("file_name")) not in _LOGGERS:
        return None
    duration_ms = None
    if duration := _DURATION.match(message):
        duration_ms, message = float(duration[1]), message[duration.end() :]
        if not message:
            return LogEntry("duration", None, duration_ms)
    beginning = _STATEMENT.match(message)
    if beginning is None:
        return None
    return LogEntry("statement", message[beginning.end() :], duration_ms)


def readable(text: str) -> str:
    """Return entries in a readable form; lines that are no entries stay."""
    said = []
    for line in text.splitlines():
        found = read(line.encode(errors="surrogateescape"))
        if found is None:
            said.append(line)
        else:
            said.append(
                " ".join(str(found.get(name, "")) for name in ("timestamp", "error_severity"))
                + f":  {found.get('message', '')}"
            )
    return "\n".join(said)


def cause(text: str) -> str:
    """Return the last fatal error of a log's readable end, with its detail and hint.

    Without one, return the text.
    """
    lines = text.splitlines()
    fatal = [number for number, line in enumerate(lines) if _FATAL.search(line)]
    if not fatal:
        return text
    said = (_CAUSE.search(line) for line in lines[fatal[-1] :])
    return " ".join(found[1] for found in said if found is not None)
