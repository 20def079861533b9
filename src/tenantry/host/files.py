"""Write files whole or not at all, and measure the space for them."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from tenantry.base.errors import Conflict, MachineError
from tenantry.base.sizes import readable

_LAST_LINES = 8
LOW = 0.05  # of a disk
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}")  # what tempfile.mkstemp adds to a name
_FICLONE = 0x4004_9409  # _IOW(0x94, 9, int), linux/fs.h


T = TypeVar("T")


class NotEnoughDisk(MachineError):
    code = "not_enough_disk"
    status = 507
    title = "There is not enough room on the disk"


def write_atomically(
    path: Path, data: str | bytes, *, mode: int = 0o600, owner: tuple[int, int] | None = None
) -> None:
    """Replace ``path`` by ``data``: a reader, or a crash, sees the old file or the new one.

    The new file has ``mode`` from its first byte on, and is on the disk when
    this returns (rename(2), fsync(2) of file and folder). ``owner`` is a user and a group, by id.
    """
    raw = data.encode() if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # write(2) reports no name
        raise
    sync_folder(path.parent)


def remove_unfinished(folder: Path, *, seconds: float) -> None:
    """Delete what ``write_atomically`` left in a folder when it was killed, so long ago or more.

    Only beside a file that is there: a name of that form may otherwise be another program's.
    """
    for path in entries(folder):
        temporary = _TEMPORARY.fullmatch(path.name)
        if temporary is None or not (folder / temporary[1]).exists():
            continue
        with contextlib.suppress(FileNotFoundError):
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and time.time() - found.st_mtime >= seconds:
                path.unlink()


def replace(path: Path, data: str) -> None:
    """Replace ``path`` by ``data``: a reader sees the old file or the new one.

    For what is written often and does not justify an fsync: a power failure may leave it empty.
    """
    new = path.with_name(f"{path.name}.new")
    new.write_text(data)
    new.replace(path)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk (fsync)."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def ensure_file(path: Path, data: str, *, mode: int = 0o600) -> bool:
    """Make ``path`` hold exactly ``data``. Returns whether it had to change."""
    try:
        if path.read_text() == data:
            return False
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    write_atomically(path, data, mode=mode)
    return True


def read_if_no_link(path: Path) -> str:
    """Return the text of a file in a user's folder, "" if there is none.

    Raises Conflict for a link: root would otherwise disclose the linked file to the link's owner;
    for what is no regular file, as reading a pipe waits for its writer; and MachineError for what
    is no text.
    """
    if path.is_symlink():
        raise Conflict(f"{path} is a link.", hint=f"Write to the folder of {path.readlink()}.")
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise Conflict(f"{path} is no regular file.", hint="Remove it, or choose another folder.")
    with os.fdopen(opened, encoding="utf-8", newline="\n") as file:
        try:
            return file.read()
        except UnicodeDecodeError:
            raise MachineError(f"{path} is no text in UTF-8.") from None


def owner_as_root(path: Path) -> tuple[int, int] | None:
    """Return the owner and group for a file that root writes at ``path``; None for other users.

    They are those of the file there if its owner is the folder's, else the folder's: whoever could
    put a file into a folder of others does not get what is written.
    """
    if os.geteuid() != 0:
        return None
    folder = path.parent.stat()
    with contextlib.suppress(FileNotFoundError):
        there = path.lstat()
        if there.st_uid == folder.st_uid:
            return there.st_uid, there.st_gid
    return folder.st_uid, folder.st_gid


@contextlib.contextmanager
def until_read(owed: Path) -> Iterator[bool]:
    """In the block, write files and make a server read those that changed.

    Yields whether an earlier block was interrupted, maybe in between: then the server must read
    them although nothing differs any more. The file ``owed`` exists as long as that holds.
    """
    before = owed.exists()
    owed.touch()
    yield before
    owed.unlink(missing_ok=True)


def ensure_folder(path: Path, *, mode: int = 0o700) -> None:
    """Create the folder ``path`` with ``mode``, and its parents."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)


def recreate(path: Path, *, mode: int = 0o600) -> None:
    """Create an empty file, which replaces an existing one."""
    path.unlink(missing_ok=True)
    path.touch(mode, exist_ok=False)


class Remembered(Generic[T]):
    """A value that is read from a file, and again once that was changed or replaced.

    ``missing`` is the value without a file. What ``read`` raises is raised, and not remembered.
    """

    def __init__(self, path: Path, read: Callable[[bytes], T], *, missing: T) -> None:
        self._path = path
        self._read = read
        self._missing = missing
        self._of: tuple[tuple[int, int, int], T] | None = None

    def value(self) -> T:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if self._of is None or self._of[0] != stamp:
                self._of = (stamp, self._read(self._path.read_bytes()))
        except FileNotFoundError:
            self._of = None
            return self._missing
        return self._of[1]


def entries(folder: Path) -> list[Path]:
    """Return the entries of a folder; none if it does not exist."""
    with contextlib.suppress(FileNotFoundError):
        return list(folder.iterdir())
    return []


async def remove_folder(folder: Path) -> None:
    """Delete a folder with its contents, maybe a million files, while other tasks run."""
    import asyncio  # noqa: PLC0415 (short commands use this module, and nothing of asyncio)

    removing = asyncio.create_task(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
    try:
        await asyncio.shield(removing)
    except asyncio.CancelledError:
        await removing  # the thread goes on, and would delete what is put there next
        raise


def shares_blocks(folder: Path) -> bool:
    """Whether copies of files in a folder can share their blocks (reflinks: XFS, Btrfs).

    This is tested (ioctl_ficlone(2)), with two files that have no name.
    """
    block = os.statvfs(folder).f_bsize
    try:
        with _nameless(folder) as source, _nameless(folder) as copy:
            os.write(source, bytes(block))
            fcntl.ioctl(copy, _FICLONE, source)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _nameless(folder: Path) -> Iterator[int]:
    opened = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        yield opened
    finally:
        os.close(opened)


def last_words(log: Path) -> str:
    """Return the last lines of a log, for error messages; "" if there are none."""
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
    return ""


# ── the disk ─────────────────────────────────────────────────────────────────

NO_SPACE = os.strerror(errno.ENOSPC)  # as programs report it, in English


def used_bytes(folder: Path) -> int:
    """Return the disk space of the files in a folder; holes of sparse files take none.

    Files and folders may vanish while they are counted.
    """
    total = 0
    for inside, _, names in os.walk(folder):  # it ignores what vanishes, unlike rglob
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(inside, name)).st_blocks * 512  # noqa: PTH118
    return total


def free_bytes(folder: Path, *, spare: float = 0.0) -> int:
    """Return the free bytes on a folder's (future) disk, without ``spare``, a share of the disk."""
    usage = shutil.disk_usage(_existing(folder))
    return usage.free - int(usage.total * spare)


def disk_bytes(folder: Path) -> int:
    """Return the size of a folder's (future) disk."""
    return shutil.disk_usage(_existing(folder)).total


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def is_nearly_full(folder: Path) -> bool:
    """Whether less than a twentieth of its disk is free."""
    return free_bytes(folder, spare=LOW) < 0


def became_full(where: str) -> NotEnoughDisk:
    """Return the error for a disk that became full during work; ``where`` says which."""
    return NotEnoughDisk(
        f"A disk became full meanwhile: {where}.",
        hint="Make room there, and ask again. What had been done is taken back.",
    )


def require_room(folder: Path, needed: int, *, what: str, hint: str, spare: float = 0.0) -> None:
    """Raise NotEnoughDisk if ``what`` may take more than the free bytes beyond ``spare``.

    ``hint`` says what to do about it.
    """
    free = free_bytes(folder, spare=spare)
    if needed > free:
        raise NotEnoughDisk(
            f"{what} may take {readable(needed)}, and there is room for {readable(max(0, free))} "
            f"on the disk of {folder}.",
            hint=hint,
        )
