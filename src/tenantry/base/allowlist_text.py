"""An allowlist as a text: in each line an address, its end if it has one, and a description.

``203.0.113.0/24 2031-01-31T12:00:00Z # office``
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from tenantry.base.errors import InvalidInput
from tenantry.base.networks import Network, parse_network

FIELD = "entries"
_MOST_WORDS = 2


@dataclass(frozen=True, slots=True)
class Line:
    """An entry of an allowlist."""

    network: Network
    description: str | None = None
    expires_at: dt.datetime | None = None

    def body(self) -> dict[str, str | None]:
        """Return the entry as the API takes it."""
        return {
            "ip_address": str(self.network),
            "description": self.description,
            "expires_at": None if self.expires_at is None else self.expires_at.isoformat(),
        }


def parse(text: str, *, now: dt.datetime) -> list[Line]:
    """Return the entries of a text; a line without one is skipped.

    Raises InvalidInput, with the number of the line, for what is no entry or has ended.
    """
    lines = enumerate(text.split("\n"), start=1)  # a description may have other ends of lines
    found = (_parsed(line, number, now) for number, line in lines)
    return [each for each in found if each is not None]


def render(lines: Iterable[Line]) -> str:
    """Return the text of these entries."""
    return "".join(f"{_rendered(each)}\n" for each in lines)


def _parsed(line: str, number: int, now: dt.datetime) -> Line | None:
    entry, _, description = line.partition("#")
    words = entry.split()
    if not words:
        return None
    if len(words) > _MOST_WORDS:
        raise _wrong(number, "has more than an address and an end; a description follows #")
    try:
        network = parse_network(words[0])
    except InvalidInput as error:
        raise _wrong(number, error.fields[0].message) from None
    end = _end(words[1], number, now) if len(words) == _MOST_WORDS else None
    return Line(network, description.strip() or None, end)


def _end(word: str, number: int, now: dt.datetime) -> dt.datetime:
    try:
        found = dt.datetime.fromisoformat(word)
    except ValueError:
        raise _wrong(
            number, f"“{word}” is no time such as 2031-01-31T12:00:00Z; a description follows #"
        ) from None
    end = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    if end <= now:
        raise _wrong(number, "has ended: leave it out, or give it a later end")
    return end


def _rendered(line: Line) -> str:
    end = "" if line.expires_at is None else f" {line.expires_at.isoformat()}"
    return f"{line.network}{end}" + (f" # {line.description}" if line.description else "")


def _wrong(number: int, message: str) -> InvalidInput:
    return InvalidInput.of(FIELD, f"line {number}: {message}")
