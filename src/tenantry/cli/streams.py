"""Files that a command reads or writes, where - is standard input or output."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from tenantry.base.errors import InvalidInput


def is_standard(file: Path) -> bool:
    """Whether a path is the hyphen that stands for standard input or output."""
    return str(file) == "-"


def text(file: Path, what: str, *, hint: str) -> str:
    """Return the text of a file, which is ``what``. Raises InvalidInput, with a hint."""
    try:
        return sys.stdin.read() if is_standard(file) else file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise InvalidInput(f"{what} cannot be read from {file}: {why}.", hint=hint) from None


@contextmanager
def reading(file: Path) -> Iterator[BinaryIO]:
    """Open a file that can be read again from its beginning. Raises OSError."""
    if not is_standard(file):
        with file.open("rb") as content:
            yield content
        return
    with TemporaryFile() as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        yield cast("BinaryIO", copy)


@contextmanager
def writing(file: Path) -> Iterator[BinaryIO]:
    """Open a file to write, which has all of it afterwards, or none after an error.

    Raises OSError.
    """
    if is_standard(file):
        with TemporaryFile() as copy:
            yield cast("BinaryIO", copy)
            copy.seek(0)
            shutil.copyfileobj(copy, sys.stdout.buffer)
        return
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as target:
            yield cast("BinaryIO", target)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
