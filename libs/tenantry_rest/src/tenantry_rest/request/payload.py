"""The body of a request."""

import csv
import io
import json
from dataclasses import dataclass

from tenantry_rest.errors import bad_body, too_many_values
from tenantry_rest.request import media
from tenantry_rest.request.media import Media
from tenantry_rest.request.query import pairs

# Each takes a hundred times the memory and the time of its bytes. They are counted by characters
# that make them: those in texts are counted too, and a hint says what to do.
MOST_NODES = 200_000  # objects, arrays and keys of a JSON text
MOST_CELLS = 250_000  # fields of all lines
MOST_FIELDS = 2_000  # of a form: more than a table has columns


@dataclass(frozen=True)
class Payload:
    """A body with its keys; ``arguments`` are those of a form sent to a function."""

    raw: bytes
    keys: tuple[str, ...] = ()
    arguments: tuple[tuple[str, str], ...] | None = None

    @property
    def is_object(self) -> bool:
        return self.raw.lstrip(b" \t\r\n")[:1] == b"{"


def parse_payload(
    body: bytes, content: Media, *, columns: tuple[str, ...] | None, is_call: bool
) -> Payload:
    """Find out what keys a body has; its values are PostgreSQL's to read.

    Raises:
        ApiError: PGRST102, the body is not of this type, or its objects differ in their keys;
            too_many_values, reading it would take too long.
    """
    if content == media.JSON:
        return _json(body, columns, is_call=is_call)
    if content == media.CSV:
        return _csv(body)
    if content == media.URLENCODED:
        if body.count(b"&") >= MOST_FIELDS:
            raise too_many_values("fields", MOST_FIELDS, "Send JSON.")
        fields = tuple((key, value or "") for key, value in pairs(body.decode(errors="replace")))
        if is_call:
            return Payload(body, _unique([key for key, _ in fields]), fields)
        values = dict(fields)
        return Payload(json.dumps(values).encode(), _unique(list(values)))
    if is_call and content in {media.TEXT, media.XML, media.OCTETS}:
        return Payload(body)
    raise bad_body(f"Content-Type not acceptable: {content.mime}")


def _unique(keys: list[str]) -> tuple[str, ...]:
    return tuple(sorted(set(keys)))


def _json(body: bytes, columns: tuple[str, ...] | None, *, is_call: bool) -> Payload:
    if columns is not None:
        return Payload(body, _unique(list(columns)))
    if not body and is_call:
        return Payload(b"{}")
    if sum(map(body.count, (b"{", b"[", b":"))) > MOST_NODES:
        hint = "Send fewer rows at once, or name their columns by the parameter columns."
        raise too_many_values("objects, arrays and keys", MOST_NODES, hint)
    try:
        # Numbers as they are written: reading those of thousands of digits is slow.
        content = json.loads(
            body.decode(), parse_int=str, parse_float=str, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise bad_body("Empty or invalid json") from None
    if isinstance(content, dict):
        return Payload(body, _unique(list(content)))
    if not isinstance(content, list) or not content:
        return Payload(b"[]")
    keys = set(content[0]) if isinstance(content[0], dict) else None
    if keys is None or any(not isinstance(each, dict) or set(each) != keys for each in content):
        raise bad_body("All object keys must match")
    return Payload(body, _unique(list(keys)))


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are Python's, not JSON's


def _csv(body: bytes) -> Payload:
    # Lines end in either, or in both.
    lines_at_least = max(body.count(b"\n"), body.count(b"\r"))
    if body.count(b",") + lines_at_least > MOST_CELLS:
        raise too_many_values("fields", MOST_CELLS, "Send fewer lines at once.")
    try:
        rows = list(csv.reader(io.StringIO(body.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise bad_body(f"parse error ({error})") from None
    rows = [row for row in rows if row]
    if not rows:
        raise bad_body("not enough input")
    header, *lines = rows
    if any(len(line) != len(header) for line in lines):
        raise bad_body("All lines must have same number of fields")
    content = [
        {key: None if value == "NULL" else value for key, value in zip(header, line, strict=True)}
        for line in lines
    ]
    return Payload(json.dumps(content).encode(), _unique(header) if lines else ())
