"""The server's log in JSON (``log_destination = jsonlog``): its lines, and what they tell.

PostgreSQL escapes all that a client can choose, so that a line is an entry, and a bare quote ends a
text. Which function has made an entry is in it with ``log_error_verbosity = verbose``, and nothing
else tells a statement that PostgreSQL logs from a RAISE LOG that looks like one.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_BLOCK = 1 << 20
_HEAD = 64 * 1024  # of a line that is kept, which holds all that comes before the texts
_TAIL = 4 * 1024  # that comes after them
_AFTER_TEXTS = b',"func_name":"'
_LONGEST_ESCAPE = 6  # \uXXXX
_LOGS_IN = {"initializing", "authentication", "startup", ""}
# Who logs statements, and which file of PostgreSQL's source it is in.
_LOGGERS = {
    ("exec_simple_query", "postgres.c"),
    ("exec_execute_message", "postgres.c"),
    ("HandleFunctionRequest", "fastpath.c"),
}
_DURATION = re.compile(r"duration: (\d+\.\d+) ms(?:  )?")
_STATEMENT = re.compile(r"(?:statement|execute .*?): |(?=fastpath function call: )", re.DOTALL)

Kind = Literal["statement", "duration", "error"]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log: where it begins, its length without the line's end, and what is kept.

    Of one that is very long that is its beginning and its end.
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
    """The lines of a file from a position on that have ended, in about ``most`` bytes of it."""
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
    """The entry that a line is; None if it is none. Bytes that are no UTF-8 become surrogates."""
    try:
        found = json.loads(line.decode(errors="surrogateescape"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def entry(line: Line) -> dict[str, Any] | None:
    """The entry that a line is; of one that is very long, with a text that is cut off."""
    if line.is_whole:
        return read(line.head + line.tail)
    at = line.tail.find(_AFTER_TEXTS)
    for less in range(_LONGEST_ESCAPE + 1) if at >= 0 else ():
        if found := read(line.head[: len(line.head) - less] + b'"' + line.tail[at:]):
            return found
    return None


def write(found: dict[str, Any]) -> bytes:
    """An entry as PostgreSQL writes it."""
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="surrogateescape")


def session_of(found: dict[str, Any]) -> tuple[str, str] | None:
    """The role and the database of the session that made an entry, if it has proved who it is."""
    role, database = found.get("user"), found.get("dbname")
    if not role or not database or found.get("ps") in _LOGS_IN:
        return None
    return role, database


@dataclass(frozen=True, slots=True)
class Told:
    """What an entry tells of a statement: an error's ``text`` is that of the whole message."""

    kind: Kind
    text: str | None
    duration_ms: float | None = None
    sqlstate: str | None = None
    message: str | None = None


def told(found: dict[str, Any]) -> Told | None:
    """What a session's entry tells of a statement; None if it is of something else."""
    message = str(found.get("message", ""))
    if found.get("error_severity") == "ERROR":
        text = found.get("statement")
        return Told("error", text, sqlstate=found.get("state_code"), message=message)
    if (found.get("func_name"), found.get("file_name")) not in _LOGGERS:
        return None
    duration_ms = None
    if duration := _DURATION.match(message):
        duration_ms, message = float(duration[1]), message[duration.end() :]
        if not message:
            return Told("duration", None, duration_ms)
    beginning = _STATEMENT.match(message)
    if beginning is None:
        return None
    return Told("statement", message[beginning.end() :], duration_ms)


def readable(text: str) -> str:
    """Entries as people read them; what is no entry stays."""
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
