"""The images that PostgreSQL runs from in containers.

Without an image of the administrator's, one is built of this machine's own files: PostgreSQL,
pgBackRest, their libraries, a shell and time zones. A data folder can be used in a container and
without one, since collations are those of the same libraries.
"""

import asyncio
import hashlib
import io
import os
import pwd
import re
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import structlog

from tenantry.host import commands, packages
from tenantry.host.containers import Engine

log = structlog.get_logger()

_NAME = "tenantry-postgres"
_PACKAGES = Path("/var/lib/dpkg/status")  # changes with each installation
_PROGRAMS = (Path("/bin/sh"), Path("/usr/bin/env"))
_TREES = (Path("/usr/share/zoneinfo"), Path("/usr/lib/locale/C.utf8"))
_MERGED = ("bin", "lib", "lib64")  # links into /usr: the paths of shells, libraries and loaders
_LIBRARY = re.compile(r"(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)  # in the output of ldd(1)


class PostgresImages:
    """Builds images, and remembers their tags: the search for the files of one takes a second."""

    def __init__(self) -> None:
        self._tags: dict[tuple[str | None, Path, Path, int], str] = {}

    async def ensure(self, engine: Engine, image: str | None, bindir: Path, archiver: Path) -> str:
        """Return the tag of an image that begins with ``image``, or has the programs in ``bindir``.

        The latter also has pgBackRest, the ``archiver``. It is built if needed, and knows this
        process's user. Raises EngineFailed if ``image`` cannot be fetched.
        """
        group = f"{_NAME}:{bindir.parent.name}-{'from' if image else 'own'}"
        key = (image, bindir, archiver, _installed_at())
        if (tag := self._tags.get(key)) is not None and await engine.has_image(tag):
            return tag
        files = [] if image else await _files(bindir, archiver)
        tag = self._tags[key] = f"{group}-{_digest(image, files)}"
        if await engine.has_image(tag):
            return tag
        log.info("postgres_image.building", image=tag, base=image, files=len(files))
        began = time.monotonic()
        with tempfile.TemporaryFile() as context:
            await asyncio.to_thread(_write, context, image, files)
            await engine.build(tag, context, base=image)
        log.info("postgres_image.built", image=tag, seconds=round(time.monotonic() - began, 1))
        await engine.remove_images(f"{group}-*", but=tag)
        return tag


def _installed_at() -> int:
    return _PACKAGES.stat().st_mtime_ns


async def _files(bindir: Path, archiver: Path) -> list[Path]:
    """Return the files of this machine that PostgreSQL needs, without links in their folders."""
    trees = (bindir.parent, Path("/usr/share/postgresql") / bindir.parent.name, *_TREES)
    programs = (*_PROGRAMS, archiver, packages.find_jemalloc())
    found = {path for tree in trees for path in tree.rglob("*") if path.is_file()}
    found |= {path for path in programs if path is not None and path.exists()}
    binary = [path for path in found if _is_binary(path)]
    # It ends with 1 for a library that is no program.
    linked = await commands.run(["ldd", *binary], check=False, deadline=120)
    found |= set(map(Path, _LIBRARY.findall(linked.stdout)))
    return sorted({path.parent.resolve() / path.name for path in found})


def _is_binary(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _digest(image: str | None, files: Iterable[Path]) -> str:
    digest = hashlib.sha256(f"{image}\n{_users()}".encode())
    for path in files:
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _users() -> str:
    """Return a passwd(5) of root and this process's user, the peers that PostgreSQL knows."""
    here = pwd.getpwuid(os.geteuid())
    return (
        "root:x:0:0::/:/usr/sbin/nologin\n"
        f"{here.pw_name}:x:{here.pw_uid}:{here.pw_gid}::/:/usr/sbin/nologin\n"
    )


def _write(context: IO[bytes], image: str | None, files: Iterable[Path]) -> None:
    """Write a tar file with a Dockerfile, and the image's files in the folder ``root``."""
    with tarfile.open(fileobj=context, mode="w", dereference=True) as archive:
        for name, text in (
            ("Dockerfile", f"FROM {image or 'scratch'}\nCOPY root /\n"),
            ("root/etc/passwd", _users()),
        ):
            archive.addfile(_entry(name, size=len(text)), io.BytesIO(text.encode()))
        if image is None:
            for link in _links():
                archive.addfile(link)
        for path in files:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                entry = _entry(f"root{path}", size=status.st_size, mode=status.st_mode & 0o755)
                archive.addfile(entry, file)
    context.seek(0)


def _entry(name: str, *, size: int = 0, mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    return entry


def _links() -> Iterator[tarfile.TarInfo]:
    for name in _MERGED:
        path = Path("/", name)
        if path.is_symlink():
            link = _entry(f"root/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, str(path.readlink())
            yield link
