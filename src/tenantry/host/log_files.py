"""Limit the size of logs, independently of their writers and of their speed."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

MOST_OF_A_SERVER = 64 * 1024 * 1024  # of all files of one PostgreSQL server together
MOST_OF_A_FILE = 16 * 1024 * 1024  # of a file that is never closed; twice that with its ``.1``
MOST_OF_A_START = 1024 * 1024  # of what a server reports while it starts: it may be tried for days


def by_age(paths: Iterable[Path]) -> list[Path]:
    """Return the existing files, the one that was written last at the end."""
    dated = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # they are deleted by size
            dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated)]


def delete_oldest(paths: Iterable[Path], most: int) -> int:
    """Delete the oldest files until all have at most ``most`` bytes together.

    The newest stays: it is in use. Returns how many were deleted.
    """
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found.append((status.st_mtime_ns, path, status.st_size))
    found.sort()
    total, deleted = sum(size for _, _, size in found), 0
    for _, path, size in found[:-1]:
        if total <= most:
            break
        path.unlink(missing_ok=True)
        total, deleted = total - size, deleted + 1
    return deleted


def cut(path: Path, most: int) -> bool:
    """Empty a file of more than ``most`` bytes, keeping its last ones in ``NAME.1``.

    Writers that have opened it to append continue. What they write meanwhile may be lost. Returns
    whether it was so large.
    """
    try:
        with path.open("r+b") as file:
            if os.fstat(file.fileno()).st_size <= most:
                return False
            file.seek(-most, os.SEEK_END)
            kept = path.with_name(f"{path.name}.1")
            kept.touch(mode=0o600)
            kept.write_bytes(file.read(most))
            file.truncate(0)
    except FileNotFoundError:
        return False
    return True
