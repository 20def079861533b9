"""What happens to the files of a repository, and is undone again."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def without(path: Path) -> Iterator[None]:
    """While this lasts, something is not there."""
    away = path.with_name(f"away-{path.name}")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


@contextlib.contextmanager
def flipped_byte(file: Path) -> Iterator[None]:
    """While this lasts, a file has a byte in its middle that was not written."""
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    try:
        yield
    finally:
        file.write_bytes(whole)
