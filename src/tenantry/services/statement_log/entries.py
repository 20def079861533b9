"""The entries of each database: a folder of files that are only appended to, bounded together.

An entry's id is its file's number and its position in the file, so that ids increase and a page
begins where the last one ended. A file has one entry per line, as JSON.
"""

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenantry.base.ids import parse_id
from tenantry.host import files

MOST_OF_A_FILE = 4 * 1024 * 1024
MOST_FILES = 8  # of a database
_FILE = re.compile(r"(\d{8})\.jsonl")
_ID = re.compile(r"(\d{8})-(\d{8})")
_DAY = 86_400

Found = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A file of a database's entries, by its number, and a position in it."""

    number: int
    offset: int

    def __str__(self) -> str:
        return f"{self.number:08}-{self.offset:08}"


FIRST = Place(0, 0)


def parse_place(text: str) -> Place | None:
    """Return the place that an entry's id names; None if it is not an id."""
    found = _ID.fullmatch(text)
    return Place(int(found[1]), int(found[2])) if found and text.isascii() else None


@dataclass(frozen=True, slots=True)
class EntryFiles:
    """The entries of all databases, below one folder. One process writes."""

    root: Path

    def _folder(self, database_id: uuid.UUID) -> Path:
        return self.root / str(database_id)

    def _files(self, database_id: uuid.UUID) -> list[tuple[int, Path]]:
        paths = files.entries(self._folder(database_id))
        return sorted((int(found[1]), p) for p in paths if (found := _FILE.fullmatch(p.name)))

    def databases(self) -> set[uuid.UUID]:
        """Return the databases that have entries."""
        found = {parse_id(path.name) for path in files.entries(self.root)}
        return {each for each in found if each is not None}

    # ── writing ──────────────────────────────────────────────────────────────

    def end(self, database_id: uuid.UUID) -> Place:
        """Return the place of the next entry."""
        there = self._files(database_id)
        return Place(there[-1][0], there[-1][1].stat().st_size) if there else FIRST

    def cut(self, database_id: uuid.UUID, end: Place) -> None:
        """Remove what was written from a place on."""
        for number, path in self._files(database_id):
            if number > end.number:
                path.unlink()
            elif number == end.number and path.stat().st_size > end.offset:
                os.truncate(path, end.offset)

    def append(
        self, database_id: uuid.UUID, end: Place, entries: Iterable[Mapping[str, Any]]
    ) -> Place:
        """Append entries at a place, and delete the oldest file if there are too many.

        Return where they end. The number of a file that has been deleted is not used again.
        """
        folder = self._folder(database_id)
        files.ensure_folder(folder)
        number = end.number
        if not (folder / _name(number)).exists():
            number += 1
        rest = iter(entries)
        while True:
            path = folder / _name(number)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "ab") as file:
                while file.tell() < MOST_OF_A_FILE:
                    if (entry := next(rest, None)) is None:
                        file.flush()
                        self._delete_oldest(database_id)
                        return Place(number, file.tell())
                    file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            number += 1

    def _delete_oldest(self, database_id: uuid.UUID) -> None:
        for _, path in self._files(database_id)[:-MOST_FILES]:
            path.unlink(missing_ok=True)

    def forget(self, keep_days: Mapping[uuid.UUID, int]) -> None:
        """Delete files that are older than the days of their database, and those of others."""
        for database_id in self.databases():
            days = keep_days.get(database_id)
            if days is None:
                shutil.rmtree(self._folder(database_id))
                continue
            for _, path in self._files(database_id):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < time.time() - days * _DAY:
                        path.unlink()

    # ── reading ──────────────────────────────────────────────────────────────

    def newest_first(self, database_id: uuid.UUID, *, before: Place | None) -> Iterator[Found]:
        """Yield the entries before a place, each with its id, the newest first."""
        for number, path in reversed(self._files(database_id)):
            if before is None or number <= before.number:
                yield from reversed(
                    [
                        (str(place), found)
                        for place, found in _read(number, path, 0)
                        if before is None or place < before
                    ]
                )

    def oldest_first(self, database_id: uuid.UUID, *, after: Place) -> Iterator[Found]:
        """Yield the entries after a place, each with its id."""
        for number, path in self._files(database_id):
            if number >= after.number:
                start = after.offset if number == after.number else 0
                for place, found in _read(number, path, start):
                    if place > after:
                        yield str(place), found


def _name(number: int) -> str:
    return f"{number:08}.jsonl"


def _read(number: int, path: Path, start: int) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the entries of a file from a position on; without one that is still being written."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(start)
        for line in file:
            place, start = Place(number, start), start + len(line)
            with contextlib.suppress(ValueError):
                found = json.loads(line) if line.endswith(b"\n") else None
                if isinstance(found, dict):
                    yield place, found
