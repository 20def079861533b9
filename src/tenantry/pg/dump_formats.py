"""The forms of an incoming dump: SQL, an archive for pg_restore, either of them packed.

An archive begins with its own format's version, which newer releases of pg_dump raise; an older
pg_restore refuses it (WriteHead and ReadHead in PostgreSQL's src/bin/pg_dump/pg_backup_archiver.c).
"""

import gzip
import re
import shutil
import tarfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Literal

from tenantry.base.errors import Conflict
from tenantry.host import packages
from tenantry.pg.script_loading import GZIP

ARCHIVE = b"PGDMP"
HEAD_BYTES = 512  # enough to recognise a form
_TAR = slice(257, 262)
_CONTENTS = "toc.dat"
_SCRIPT_IN_TAR = "restore.sql"  # pg_dump --format=tar adds it, --format=directory does not
_OF_A_FOLDER = re.compile(
    r"toc\.dat|\d+\.dat(\.gz|\.lz4|\.zst)?|blobs(_\d+)?\.toc|blob_\d+\.dat(\.gz|\.lz4|\.zst)?"
)
_PIECE = 1024 * 1024
_BYTE_COMPRESSION = (1, 15)  # from here on a byte names the compression, before it an integer
# The newest archive format that is read, by pg_restore's major version.
_READS = {15: (1, 14), 16: (1, 15), 17: (1, 16), 18: (1, 16)}
_ANY = (255, 255)  # for a release that is newer than this list
_MOST_FILES = 100_000  # in a folder, one or two a table

Form = Literal["script", "archive", "tar"]


@dataclass(frozen=True, slots=True)
class Header:
    """The header of an archive. ``made_by`` is pg_dump's version, if it can be read."""

    format: tuple[int, int]
    made_by: str | None


class NewerDump(Conflict):
    """An archive that no installed pg_restore can read."""

    code = "newer_dump"
    title = "The dump was made by a newer pg_dump"


def form_of(head: bytes) -> Form | None:
    """Return the form that a dump's first bytes show, unpacked if gzipped; None if it is none."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
        except zlib.error:
            return None
    if head.startswith(ARCHIVE):
        return "archive"
    if head[_TAR] == b"ustar":
        return "tar"
    return None if b"\0" in head or not head.strip() else "script"


def header_of(head: bytes) -> Header | None:
    """Return the header in an archive's first bytes; None if they are not an archive's."""
    if not head.startswith(ARCHIVE) or len(head) < len(ARCHIVE) + 6:
        return None
    major, minor, _, size = head[5:9]
    at = 11
    at += 1 if (major, minor) >= _BYTE_COMPRESSION else 1 + size
    at += 7 * (1 + size)  # the time of creation
    made_by: bytes | None = None
    for _ in range(3):  # the database's name, the server's version, pg_dump's
        length = int.from_bytes(head[at + 1 : at + 1 + size], "little")
        at += 1 + size
        made_by, at = head[at : at + length], at + length
    text = (made_by or b"").decode("ascii", "replace")
    found = re.match(r"\d+", text)
    return Header((major, minor), found[0] if found else None)


def reader(header: Header, version: int, engines_dir: Path) -> packages.PostgresEngine:
    """Return the programs to read an archive with.

    Those of the server's major version, or, if they do not know its format, the oldest newer ones
    that are installed. Raises NewerDump if there are none.
    """
    installed = packages.installed_clients(engines_dir)
    for engine in installed:
        if engine.version >= version and _READS.get(engine.version, _ANY) >= header.format:
            return engine
    by = f" ({header.made_by})" if header.made_by else ""
    newest = max((engine.version for engine in installed), default=version)
    raise NewerDump(
        f"The dump was made by a newer pg_dump{by} than this server's ({newest}), in a format that"
        " the programs here do not read.",
        hint="Send it as SQL: pg_dump --format=plain, or pg_restore --file=dump.sql of the release"
        " that made it. Or have a newer postgresql-client package installed on the server.",
    )


# ── packed dumps ─────────────────────────────────────────────────────────────


def unpack(dump: Path, most: int) -> None:
    """Unpack an archive for pg_restore: gunzip it, and extract a folder from a tar file.

    A script is left as it is. Raises Conflict if it is damaged, or larger than ``most`` bytes.
    """
    if dump.is_dir():  # already done
        return
    with dump.open("rb") as file:
        head = file.read(HEAD_BYTES)
    form = form_of(head)
    if form in {None, "script"}:
        return
    try:
        if head.startswith(GZIP):
            _replace_by_unzipped(dump, most)
        if form == "tar":
            _replace_by_folder(dump, most)
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise Conflict(
            f"The dump is damaged, or something of it is missing: {error}.", hint="Send it again."
        ) from error


def _replace_by_unzipped(dump: Path, most: int) -> None:
    target = dump.with_name(f"{dump.name}.unzipped")
    with gzip.open(dump, "rb") as source:
        _write(source, target, most)
    target.replace(dump)


def _replace_by_folder(dump: Path, most: int) -> None:
    """Replace a tar file by its folder if that is one of pg_dump's --format=directory."""
    folder = dump.with_name(f"{dump.name}.folder")
    with tarfile.open(dump) as packed:
        members = [each for each in islice(packed, _MOST_FILES) if each.isfile()]
        names = {Path(each.name).name for each in members}
        if _SCRIPT_IN_TAR in names or _CONTENTS not in names:
            return  # pg_restore reads it as it is, or reports the error
        shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted try
        folder.mkdir(mode=0o700)
        for each in members:
            name = Path(each.name).name
            source = packed.extractfile(each)
            if source is not None and _OF_A_FOLDER.fullmatch(name):
                most -= _write(source, folder / name, most)
    dump.unlink()
    folder.rename(dump)


def _write(source: IO[bytes] | gzip.GzipFile, target: Path, most: int) -> int:
    size = 0
    with target.open("wb") as file:
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > most:
                raise Conflict(
                    f"The dump is more than {most:,} bytes when it is unpacked.",
                    hint="Raise the database's disk_quota_bytes, or leave tables out.",
                )
            file.write(piece)
    return size


def remove(dump: Path) -> None:
    """Delete a dump, and what unpacking it has left beside it."""
    for path in dump.parent.glob(f"{dump.name}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_tar(dump: Path) -> bool:
    """Whether a dump is in tar's format, which only one job can read."""
    return not dump.is_dir() and form_of(_read_head(dump)) == "tar"


def head_of(dump: Path) -> bytes:
    """Return the first bytes of an unpacked dump."""
    if dump.is_dir():
        dump = dump / _CONTENTS
    elif is_tar(dump):
        with suppress(KeyError, tarfile.TarError), tarfile.open(dump) as packed:
            contents = packed.extractfile(_CONTENTS)
            return contents.read(HEAD_BYTES) if contents else b""
    return _read_head(dump)


def _read_head(file: Path) -> bytes:
    with file.open("rb") as source:
        return source.read(HEAD_BYTES)
