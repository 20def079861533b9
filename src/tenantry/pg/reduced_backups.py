"""A backup as if the other databases were empty: pgBackRest then creates no files for them.

A restore of one database creates all the files of all the others too, as zeros: 300 for each, a
quarter of a million for 400 databases with their shadows. They are never read, and PostgreSQL's
recovery creates what is missing, as it does for what is dropped later in the log; it treats a
missing page as it treats a page of zeros. So pgBackRest gets a repository in which the list of a
backup's files (backup.manifest) lacks them, and all else is a link to the real one.

Only small files are left out: recovery fills the space before a page that it writes.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tenantry.host import files

Choose = Callable[[dict[str, int]], Iterable[str]]

MOST_BYTES = 1024**2  # of a file that is left out: what recovery may have to fill for one page
MANIFEST = "backup.manifest"
_FIRST_OID = 16384  # lower ones are PostgreSQL's own (access/transam.h)
_OWN = {"postgres", "template0", "template1"}
_SECTION = re.compile(r"\[(.+)\]")
_OF_DATABASE = re.compile(r"pg_data/base/(\d+)/(?!PG_VERSION=)[^=]+=(\{.*\})")
_CHECKSUM = "backrest-checksum="
_CIPHER = "cipher-pass="


class Unknown(Exception):
    """The list is damaged, or has an unknown form."""


@dataclass(frozen=True, slots=True)
class Reduced:
    """A list without others' files, and the databases that the backup lists, with their oids."""

    text: str
    known: dict[str, int]


def reduced(lines: Iterable[str], choose: Choose) -> Reduced:
    """Leave the small files of databases out of a list.

    The files of PostgreSQL's own databases stay, and of those that ``choose`` returns, which is
    called with all others. Raises Unknown.
    """
    before, after = _Checksum(), _Checksum()
    found: list[str] = []
    known: dict[str, int] = {}
    keep: set[int] = set()
    expected, section = None, ""
    for line in (each.rstrip("\n") for each in lines):
        if line.startswith(_CHECKSUM) and section == "backrest":
            expected = json.loads(line.removeprefix(_CHECKSUM))
            found.append(f"{_CHECKSUM}{json.dumps(after.digest())}")
            continue
        if opened := _SECTION.fullmatch(line):
            section = opened[1]
            if section == "target:file":  # it comes after the databases
                keep = {known[name] for name in _OWN & known.keys()}
                known = {name: oid for name, oid in known.items() if name not in _OWN}
                keep |= {known[name] for name in choose(known)}
        elif line:
            before.add(section, line)
            if section == "db":
                name, value = _split(line)
                known[name] = _number(value, "db-id")
            if section == "target:file" and _is_left_out(line, keep):
                continue
            after.add(section, line)
        found.append(line)
    if expected is None or before.digest() != expected:
        raise Unknown("its checksum is not that of what it says")
    return Reduced("\n".join([*found, ""]), known)


def _is_left_out(line: str, keep: Collection[int]) -> bool:
    match = _OF_DATABASE.fullmatch(line)
    if match is None or (oid := int(match[1])) < _FIRST_OID or oid in keep:
        return False
    return _number(match[2], "size") <= MOST_BYTES


def _number(value: str, key: str) -> int:
    try:
        return int(json.loads(value)[key])
    except (ValueError, KeyError, TypeError) as error:
        raise Unknown(f"{key} is not to be found in it: {value[:80]}") from error


class _Checksum:
    """pgBackRest's checksum of such a file, of its JSON form (its source's src/info/info.c)."""

    def __init__(self) -> None:
        self._sha1 = hashlib.sha1(b"{", usedforsecurity=False)
        self._section: str | None = None

    def add(self, section: str, line: str) -> None:
        if section == self._section:
            self._sha1.update(b",")
        else:
            opening = f'"{section}":{{'
            self._sha1.update((opening if self._section is None else f"}},{opening}").encode())
            self._section = section
        key, value = _split(line)
        self._sha1.update(f'"{key}":{value}'.encode())

    def digest(self) -> str:
        ended = self._sha1.copy()
        ended.update(b"}}")
        return ended.hexdigest()


def _split(line: str) -> tuple[str, str]:
    """Return a key, which may have an equals sign in it, and its value, which is JSON."""
    key, sign, value = line.partition("=")
    if sign and "=" not in value:
        return key, value
    while sign:
        try:
            json.loads(value)
        except ValueError:
            more, sign, value = value.partition("=")
            key = f"{key}={more}"
        else:
            return key, value
    raise Unknown(f"a line of it is not known: {line[:80]}")


def cipher_key(info: str) -> str:
    """Return the key that the list is encrypted with, from backup.info. Raises Unknown."""
    for line in info.splitlines():
        if line.startswith(_CIPHER):
            key: str = json.loads(line.removeprefix(_CIPHER))
            return key
    raise Unknown("the key of the list is not known")


def link(repository: Path, stanza: str, label: str, into: Path) -> None:
    """Create a repository in ``into`` of links to the other one, without the list of one backup.

    That list is written afterwards.
    """
    backups, linked = repository / "backup" / stanza, into / "backup" / stanza
    files.ensure_folder(linked / label)
    (into / "archive").symlink_to(repository / "archive")
    for each in _but(backups, label):
        (linked / each.name).symlink_to(each)
    for each in _but(backups / label, MANIFEST, f"{MANIFEST}.copy"):
        (linked / label / each.name).symlink_to(each)


def _but(folder: Path, *names: str) -> Iterator[Path]:
    return (each for each in folder.iterdir() if each.name not in names)
