"""Keyset pagination: a cursor names the last row seen, so that every page costs the same."""

import base64
import binascii
import datetime as dt
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tenantry.base.errors import InvalidInput
from tenantry.base.ids import parse_id

Row = TypeVar("Row")
Key = tuple[dt.datetime, uuid.UUID]

LONGEST_CURSOR = 300
# Sorts before every row: the start of the first page.
FIRST: Key = (dt.datetime.max.replace(tzinfo=dt.UTC), uuid.UUID(int=2**128 - 1))


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, and the cursor of the next page if there is one."""

    rows: Sequence[Row]
    next_cursor: str | None


def cut(rows: Sequence[Row], limit: int, key: Callable[[Row], Sequence[object]]) -> Page[Row]:
    """Return a page from ``limit + 1`` requested rows: the last one shows that more follow."""
    if len(rows) <= limit:
        return Page(rows, None)
    text = json.dumps([str(part) for part in key(rows[limit - 1])])
    return Page(rows[:limit], base64.urlsafe_b64encode(text.encode()).decode().rstrip("="))


def _parts(cursor: str, count: int) -> list[str]:
    if len(cursor) > LONGEST_CURSOR:  # also bounds nesting and digits for the parser
        raise _not_ours()
    try:
        parts = json.loads(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        )
    except (binascii.Error, ValueError):
        parts = None
    if (
        not isinstance(parts, list)
        or len(parts) != count
        or not all(isinstance(part, str) for part in parts)
    ):
        raise _not_ours()
    return parts


def _not_ours() -> InvalidInput:
    return InvalidInput.of("cursor", "is not a next_cursor of this list; start without one")


def read_key(cursor: str | None) -> Key:
    """Return the key (time, id) after which a page begins.

    Raises InvalidInput for a cursor that this API did not issue.
    """
    if cursor is None:
        return FIRST
    at, name = _parts(cursor, 2)
    identifier = parse_id(name)
    try:
        time = dt.datetime.fromisoformat(at)
    except ValueError:
        raise _not_ours() from None
    if identifier is None or time.tzinfo is None:
        raise _not_ours()
    return time, identifier


def read_number(cursor: str | None) -> int:
    """Return the id below which a page begins. Raises as ``read_key``."""
    if cursor is None:
        return 2**63 - 1
    (text,) = _parts(cursor, 1)
    if not text.isascii() or not text.isdecimal() or int(text) >= 2**63:
        raise _not_ours()
    return int(text)
