"""Disk space that is held in reserve, so that servers whose disk is full start again.

A server that cannot write its log ends, and needs a segment of it to start. The reserve consists of
files in a folder of its own, which contain nothing. A start on a full disk deletes one of them.

The invariants: only files of the reserve are ever deleted, which contain no data; nothing is ever
written into a file that is there already; and none is created unless a tenth of the disk stays
free. A file whose creation was interrupted is created again later, or deleted as any other; an
interrupted start leaves more space for the next one.
"""

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tenantry.host import files

PIECE = 32 << 20  # a segment of write-ahead log, and what recovery needs beside it
_PIECE_NAME = re.compile(r"piece-[1-9][0-9]{0,3}")
_MOST = 0.04  # of the disk: with all of it freed, the disk still counts as nearly full
_SPARE = 0.10


@dataclass(frozen=True, slots=True)
class Reserve:
    """The reserve of a disk, in a folder of its own."""

    folder: Path

    def pieces(self) -> list[Path]:
        """Return the files of the reserve, the first one first."""
        found = [path for path in files.entries(self.folder) if _PIECE_NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.name.partition("-")[2]))

    def keep(self, wanted: int) -> None:
        """Have ``wanted`` bytes in reserve, or 4 % of the disk if that is less.

        What is missing is created once a tenth of the disk is free.
        """
        number = min(wanted, int(files.disk_bytes(self.folder) * _MOST)) // PIECE
        for path in self.pieces()[number:]:
            path.unlink(missing_ok=True)
        if number:
            files.ensure_folder(self.folder)
        for path in (self.folder / f"piece-{each}" for each in range(1, number + 1)):
            if not _is_whole(path):
                if files.free_bytes(self.folder, spare=_SPARE) < PIECE:
                    return
                _fill(path)

    def make_room(self) -> bool:
        """Delete a file of the reserve if a server could not start. Return whether one was."""
        if files.free_bytes(self.folder) >= PIECE:
            return False
        for path in reversed(self.pieces()):
            with suppress(OSError):  # what cannot be deleted prevents no start
                path.unlink()
                return True
        return False


def _is_whole(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size >= PIECE


def _fill(path: Path) -> None:
    path.unlink(missing_ok=True)  # what is left of an interrupted one, or a link
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(opened, 0, PIECE)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(opened)
