"""An uploaded folder of migration files: a tar archive, of which one file is read at a time.

Its first member, ``request.json``, says what to do with the files that follow.
"""

import tarfile
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import BinaryIO

from tenantry.base.errors import InvalidInput
from tenantry.services.migrations import plan
from tenantry.services.migrations.model import BadMigrations

REQUEST = "request.json"
MOST_BYTES = 64 * 2**20
MOST_FILES = 2000
MOST_REQUEST_BYTES = 64 * 1024
# With its headers, and the blocks that its end is filled up to.
MOST_ARCHIVE_BYTES = MOST_BYTES + (MOST_FILES + 1) * 2048 + 64 * 1024
_END = b"\0" * tarfile.BLOCKSIZE  # without this check tarfile accepts a truncated archive


class Folder(Mapping[str, str]):
    """The texts of the files in an archive, by name; each is read on access.

    ``request`` is the content of ``request.json``. Raises InvalidInput if the file is not an
    archive, or has other members; BadMigrations as ``plan.collect``.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (as long as file)
            members = list(islice(self._archive, MOST_FILES + 2))
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise _wrong(f"is no tar archive, or not whole: {error}") from None
        file.seek(self._archive.offset)
        if len(members) <= MOST_FILES + 1 and file.read(tarfile.BLOCKSIZE) != _END:
            raise _wrong("is no tar archive, or not whole: its end is missing")
        if not members or members[0].name != REQUEST or not _is_plain(members[0]):
            raise _wrong(f"must be a tar archive whose first member is {REQUEST}")
        if members[0].size > MOST_REQUEST_BYTES:
            raise _wrong(f"has a {REQUEST} of more than {MOST_REQUEST_BYTES:,} bytes")
        self.request = self._content(members[0])
        self._files = {each.name: each for each in members[1:]}
        if len(members) - 1 > MOST_FILES:
            raise _wrong(f"has more than {MOST_FILES:,} files")
        if len(self._files) < len(members) - 1:
            raise _wrong("has a file twice")
        self._check()

    def _check(self) -> None:
        for name, member in self._files.items():
            if not _is_plain(member) or plan.parse_name(name) is None:
                raise _wrong(f"has {name!r} in it, no file with a name like 1_create_users.up.sql")
        if sum(each.size for each in self._files.values()) > MOST_BYTES:
            raise _wrong(f"has more than {MOST_BYTES:,} bytes of files")
        plan.collect(dict.fromkeys(self._files, b""))
        for name in self._files:
            self[name]

    def __getitem__(self, name: str) -> str:
        return plan.text_of(name, self._content(self._files[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def _content(self, member: tarfile.TarInfo) -> bytes:
        source = self._archive.extractfile(member)
        content = b"" if source is None else source.read()
        if len(content) < member.size:
            raise BadMigrations(f"{member.name} ends too early.", hint="Send the folder again.")
        return content


def _is_plain(member: tarfile.TarInfo) -> bool:
    # A sparse member may claim terabytes of zeros.
    return member.type in {tarfile.REGTYPE, tarfile.AREGTYPE} and not member.issparse()


def _wrong(what: str) -> InvalidInput:
    return InvalidInput.of("body", what, code="not_a_folder")
