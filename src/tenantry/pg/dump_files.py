"""The file of a dump: check that it is readable, its size and hash, and copy it."""

import asyncio
import hashlib
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenantry.base.errors import Conflict
from tenantry.host import commands
from tenantry.host.commands import CommandFailed
from tenantry.pg import archives

_CHUNK = 4 * 1024 * 1024
_COPY_SECONDS = 12 * 3600.0

Heard = Callable[[int], Awaitable[None]]


class Unreadable(Conflict):
    """A dump's file is damaged or missing; ``detail`` says how."""

    code = "backup_damaged"
    title = "The backup is damaged"


@dataclass(frozen=True, slots=True)
class Look:
    """The size and hash of a file that can be read from its beginning to its end."""

    size_bytes: int
    sha256: str


async def look_at(file: Path, form: Literal["custom", "plain"], bindir: Path, heard: Heard) -> Look:
    """Read a dump's file; ``heard`` is called with the bytes read so far. Raises Unreadable."""
    digest = hashlib.sha256()
    unpacked = _Unpacked() if form == "plain" else None
    size = 0
    try:
        with await asyncio.to_thread(file.open, "rb") as source:
            while chunk := await asyncio.to_thread(source.read, _CHUNK):
                await asyncio.to_thread(digest.update, chunk)
                if unpacked is not None:
                    await asyncio.to_thread(unpacked.feed, chunk)
                size += len(chunk)
                await heard(size)
        if unpacked is None:
            await archives.contents(bindir, file)
        else:
            unpacked.end()
    except FileNotFoundError:
        raise Unreadable("Its file is gone.") from None
    except OSError as error:
        raise Unreadable(f"Its file cannot be read: {error.strerror}.") from error
    except (zlib.error, CommandFailed) as error:
        raise Unreadable(f"Its file is not whole: {error}") from error
    return Look(size, digest.hexdigest())


async def copy(file: Path, target: Path) -> None:
    """Copy a dump's file for a restore; without copying blocks where the file system can."""
    await commands.run(["cp", "--reflink=auto", "--", file, target], deadline=_COPY_SECONDS)


class _Unpacked:
    """A gzip stream (RFC 1952), whose checksum is verified as it is read."""

    def __init__(self) -> None:
        self._inflating = zlib.decompressobj(wbits=31)

    def feed(self, chunk: bytes) -> None:
        # In pieces: a few bytes may stand for more zeros than there is memory.
        while True:
            piece = self._inflating.decompress(chunk, _CHUNK)
            chunk = self._inflating.unconsumed_tail
            if not chunk and len(piece) < _CHUNK:
                return

    def end(self) -> None:
        if not self._inflating.eof:
            raise zlib.error("it ends too early")
