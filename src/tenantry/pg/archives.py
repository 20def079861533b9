"""Archives of pg_dump's (any format but SQL), read back by pg_restore, item by item if need be."""

import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenantry.host import commands, files
from tenantry.host.commands import CommandFailed
from tenantry.pg import visitors
from tenantry.pg.connections import startup_options
from tenantry.pg.scripts import EMPTIES_SEARCH_PATH
from tenantry.pg.visitors import Visitor

Section = Literal["pre-data", "data", "post-data"]

# Of each process. PostgreSQL's largest value, 1 GB, takes libpq three times as much.
MEMORY_BYTES = 4 * 2**30

_COUNTED = re.compile(r"\d+; ")
_DONE = re.compile(r"^pg_restore: (creating|processing data|executing) ")
_LINE = re.compile(r"(?P<number>\d+); \d+ \d+ (?P<kind>(?:[A-Z]+ )+)(?P<name>.*?) ?(?P<owner>\S*)$")
# With several jobs, what one of them writes may begin in the midst of another's line.
_FAILED_ITEM = re.compile(r"from TOC entry (\d+);")
_REASON = re.compile(r"ERROR:  (.*)")
_ERROR = re.compile(r"(?:^|pg_restore: )error: (?!.*ERROR:  )(.*)")
# What has nothing to do with what is loaded. pg_restore tells no codes; the server's messages are
# in English (lc_messages = C).
_PASSING = re.compile(
    r"canceling statement due to|deadlock detected|out of memory|out of shared memory"
    r"|in a read-only transaction|terminating connection|could not (?:extend|write|fsync) "
    rf"|{files.NO_SPACE}"
)
_UNKNOWN_SETTING = "unrecognized configuration parameter"  # of a newer pg_restore's
_RESTRICTION = re.compile(r"^\\(?:un)?restrict [A-Za-z0-9]+$", re.MULTILINE)

# What pg_dump writes into each archive's third item, and what takes its place byte for byte.
_EMPTIED = EMPTIES_SEARCH_PATH + b"\n"
_RESET = b"RESET search_path;".ljust(len(_EMPTIED) - 1) + b"\n"
_BEGINNING = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Item:
    """An item of an archive, as ``pg_restore --list`` has it."""

    number: int
    kind: str
    name: str
    line: str

    @classmethod
    def of(cls, line: str) -> "Item":
        """The item of a line of the list: ``216; 1255 16386 FUNCTION public norm(text) shop``."""
        found = _LINE.match(line)
        if found is None:
            number = int(line.partition(";")[0])
            return cls(number, "", line, line)
        return cls(int(found["number"]), found["kind"].strip(), found["name"], line)

    def __str__(self) -> str:
        schema, _, name = self.name.partition(" ")
        return f"{self.kind} {name if schema == '-' else f'{schema}.{name}'}"


async def contents(bindir: Path, source: Path) -> list[str]:
    """The items of an archive's list. Raises CommandFailed if that cannot be read."""
    told = await commands.run([bindir / "pg_restore", "--list", source], memory=MEMORY_BYTES)
    return [line for line in told.stdout.splitlines() if _COUNTED.match(line)]


def only(file: Path, lines: Iterable[str]) -> str:
    """pg_restore's option to read no other items than these of a list, written to ``file``."""
    files.write_atomically(file, "".join(f"{line}\n" for line in lines))
    return f"--use-list={file}"


def keep_search_path(archive: Path) -> None:
    """Have pg_restore leave each session the search path that it begins with.

    pg_dump has it emptied, since all names that it writes have their schema. What a function
    names inside is not written by pg_dump, and is found as it was only by the same path.
    """
    table_of_contents = archive / "toc.dat" if archive.is_dir() else archive
    with table_of_contents.open("r+b") as file:
        at = file.read(_BEGINNING).find(_EMPTIED)
        if at >= 0:
            file.seek(at)
            file.write(_RESET)


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that is read into a database as a visitor; ``options`` are pg_restore's."""

    bindir: Path
    path: Path
    visitor: Visitor
    database: str
    options: Sequence[str]
    deadline: float

    async def load(
        self,
        section: Section,
        items: Collection[Item],
        settings: Mapping[str, str],
        *,
        jobs: int = 1,
        heard: Callable[[], None] | None = None,
        while_running: Callable[[], Awaitable[None]] | None = None,
    ) -> dict[int, str]:
        """Read items of one section, with these settings in each session.

        ``heard`` is called for each item. Returns why those that failed did, by their numbers;
        with several jobs a reason may be that of another item.

        Raises CommandFailed if pg_restore itself fails, or the server does not go on.
        """
        said = _Said(heard)
        await visitors.renew(self.visitor)
        done = await commands.run(
            [
                self.bindir / "pg_restore",
                f"--dbname={self.database}",
                f"--section={section}",
                f"--jobs={jobs}",
                "--no-password",
                "--verbose",
                self._only(items),
                *self.options,
                self.path,
            ],
            env=self._environment(settings),
            deadline=self.deadline,
            memory=MEMORY_BYTES,
            check=False,
            on_error_line=said.hear,
            while_running=while_running,
        )
        if said.broken is not None:
            raise stopped(said.broken)
        is_known = said.failed.keys() <= {each.number for each in items}
        is_told = done.returncode == 0 or (done.returncode == 1 and (said.failed or said.is_newer))
        if not (is_known and is_told):
            raise CommandFailed(f"pg_restore ended with {done.returncode}: {said.failed}")
        return said.failed

    async def statements(self, item: Item) -> str:
        """The statements by which one item is made, after those that set the session up."""
        # Not of a section: comments and grants have that of the item before them, if there is one.
        done = await commands.run(
            [
                self.bindir / "pg_restore",
                "--file=-",
                self._only([item]),
                *self.options,
                self.path,
            ],
            memory=MEMORY_BYTES,
        )
        return _RESTRICTION.sub("", done.stdout)

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        return self.visitor.environment(self.database) | {"PGOPTIONS": startup_options(settings)}

    def _only(self, items: Collection[Item]) -> str:
        # Beside the visitor's password: gone with the visitor.
        return only(self.visitor.passfile.with_name("items"), (each.line for each in items))


class _Said:
    """What pg_restore says: which items failed, and why, or that it cannot go on."""

    def __init__(self, heard: Callable[[], None] | None) -> None:
        self.failed: dict[int, str] = {}
        self.broken: str | None = None
        self.is_newer = False  # than the server
        self._heard = heard
        self._item: int | None = None  # none while the session is set up

    def hear(self, line: str) -> None:
        """Take in a line."""
        if self._heard is not None and _DONE.match(line):
            self._heard()
        if (item := _FAILED_ITEM.search(line)) is not None:
            self._item = int(item[1])
            self.failed.setdefault(self._item, "")
        elif (reason := _REASON.search(line)) is not None:
            self._take(reason[1])
        elif (error := _ERROR.search(line)) is not None:
            self.broken = self.broken or error[1]

    def _take(self, reason: str) -> None:
        if self._item is not None:
            self.failed[self._item] = self.failed[self._item] or reason
        elif _UNKNOWN_SETTING in reason:
            self.is_newer = True
            return
        if self._item is None or _PASSING.search(reason):
            self.broken = self.broken or reason


def stopped(said: str) -> CommandFailed:
    """What to raise where it is not for what is loaded that loading ended."""
    return CommandFailed(f"The server did not go on with the load: {said}")
