"""CSV as PostgreSQL's COPY reads it: where its first line ends, and what would end it too early."""

import csv
import re
from collections.abc import AsyncIterator

from tenantry.base.errors import InvalidInput

_LONGEST_HEADER = 64 * 1024  # bytes
# COPY counts each quote, wherever it is: one that is odd puts all that follows into the same field.
_RECORD = re.compile(rb'(?:[^"\r\n]++|"[^"]*+")*+(?=[\r\n])')
_HEADER = re.compile(r'(?:\A|,)(?:"(?:[^"]|"")*+"|[^",\r\n]*+)')
_END_MARKER = re.compile(rb"[\r\n]\\\.(?=[\r\n])")
_MARKER_BYTES = 3  # of its line's begin, and of itself


async def header(chunks: AsyncIterator[bytes]) -> tuple[bytes, bytes]:
    """Return the first line, and what has come with it: all of a file that has one line."""
    found = b""
    async for chunk in chunks:
        found += chunk
        if line := _RECORD.match(found):
            return line[0], found
        if len(found) > _LONGEST_HEADER:
            raise InvalidInput.of("line 1", f"has more than {_LONGEST_HEADER:,} bytes")
    return found, found


def names_of(line: bytes) -> list[str]:
    """Return the names in a first line.

    Raises InvalidInput if PostgreSQL would read it otherwise, as with a quote inside of a name.
    """
    try:
        text = line.decode("utf-8-sig")
    except ValueError:
        raise InvalidInput.of("line 1", "is not encoded in UTF-8") from None
    if "".join(each[0] for each in _HEADER.finditer(text)) != text:
        raise InvalidInput.of(
            "line 1", 'has a quote that neither begins nor ends a name: write a quote as ""'
        )
    [names] = csv.reader([text], strict=True) if text else [[""]]
    return names


async def whole(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    r"""Yield a file, in which no line is ``\.``, unless it is a part of a field in quotes.

    Up to version 17, PostgreSQL takes it for the end, and drops the lines that follow without a
    word. Raises InvalidInput, before the end of the file.
    """
    last, quoted = b"\n", 0  # what a marker may begin with, and whether that is in quotes
    async for chunk in chunks:
        text = last + chunk
        quoted = _require_no_marker(text, quoted)
        last = text[-_MARKER_BYTES:]
        quoted ^= last.count(b'"') & 1
        yield chunk
    _require_no_marker(last + b"\n", quoted)


def _require_no_marker(text: bytes, quoted: int) -> int:
    """Return whether the end of a text is in quotes, if its begin is as ``quoted`` says."""
    at = 0
    for marker in _END_MARKER.finditer(text):
        quoted ^= text.count(b'"', at, marker.start()) & 1
        at = marker.start()
        if not quoted:
            refusal = InvalidInput.of("csv", r"has a line that is \. alone, the end of a file")
            refusal.hint = r'If it is a value, write it as "\." with quotes. Nothing was copied.'
            raise refusal
    return quoted ^ (text.count(b'"', at) & 1)
