"""Files: written whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

_LAST_LINES = 8


def write_atomically(path: Path, data: str | bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data``: a reader, or a crash, sees the old file or the new one.

    The new file has ``mode`` from its first byte on, and is on the disk when
    this returns (rename(2), fsync(2) of file and folder).
    """
    raw = data.encode() if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
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


def ensure_folder(path: Path, *, mode: int = 0o700) -> None:
    """Make ``path`` a folder with ``mode``, and its parents."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)


def make_anew(path: Path, *, mode: int = 0o600) -> None:
    """Have an empty file there, another one than was there before."""
    path.unlink(missing_ok=True)
    path.touch(mode, exist_ok=False)


def entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing if it is not there."""
    with contextlib.suppress(FileNotFoundError):
        return list(folder.iterdir())
    return []


def last_words(log: Path) -> str:
    """The last lines of a log, for whoever asks why its writer has ended; "" if there are none."""
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
    return ""
