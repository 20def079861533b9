"""Downloads that are complete or absent under their name, and that can be resumed.

The part received so far is beside the target as ``NAME.part``, readable by its owner only, and
locked while it is written.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from io import BufferedRandom
from pathlib import Path
from typing import BinaryIO

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.cli.client import WrongFile
from tenantry.host import files

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}  # such as FAT, and some network shares

# Writes the body from the given byte on; it may also begin again at the first byte.
Fetch = Callable[[BinaryIO, int], None]


def ensure_file(target: Path, fetch: Fetch, *, size: int, sha256: str) -> bool:
    """Ensure that the file with this hash exists. Return whether it was downloaded.

    Raises Conflict if another file exists or another program is downloading it; InvalidInput if it
    cannot be written; WrongFile if the download has another hash; and whatever ``fetch`` raises.
    """
    try:
        with _part_of(target) as (part, file):
            if target.exists():
                _require_same(target, sha256)
                part.unlink()
                return False
            try:
                # The last byte is always requested, so that the range is never empty.
                file.truncate(start := max(0, min(os.fstat(file.fileno()).st_size, size - 1)))
                file.seek(start)
                fetch(file, start)
            except OSError:
                part.unlink()  # do not leave a full disk full
                raise
            _keep(file, part, target, sha256)
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}.") from None
    return True


@contextlib.contextmanager
def _part_of(target: Path) -> Iterator[tuple[Path, BufferedRandom]]:
    """Yield the locked file of the part received so far."""
    part = target.with_name(f"{target.name}.part")
    while True:
        with open(part, "r+b", opener=_private) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    f"{target} is being downloaded by another program.",
                    hint="Wait for its end.",
                ) from None
            found = os.fstat(file.fileno())
            # The previous holder of the lock may have moved this very file to its target meanwhile.
            if not part.exists() or not os.path.samestat(found, part.stat()):
                continue
            if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
                raise Conflict(f"{part} is not yours.", hint="Use another folder.")
            os.fchmod(file.fileno(), 0o600)
            try:
                yield part, file
            finally:
                _forget_if_empty(part)
            return


def _private(path: str, _: int) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _forget_if_empty(part: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not part.stat().st_size:
            part.unlink()


def _keep(file: BufferedRandom, part: Path, target: Path, sha256: str) -> None:
    file.flush()
    file.seek(0)
    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
        part.unlink()
        raise WrongFile(
            "What came is not what was sent: its SHA-256 is another one.",
            hint="Try again; then `tenantry backup verify` looks at it on the server.",
        )
    os.fsync(file.fileno())
    try:
        os.link(part, target)  # which replaces nothing, unlike a rename
        part.unlink()
    except FileExistsError:
        _require_same(target, sha256)
        part.unlink()
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        part.rename(target)
    files.sync_folder(target.parent)


def _require_same(target: Path, sha256: str) -> None:
    if target.is_file():
        with target.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return
    raise Conflict(
        f"{target} is there already, and is not this backup.",
        hint="Name another file with --output, or another folder with --into.",
    )
