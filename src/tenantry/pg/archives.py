"""Read pg_dump archives (every format but SQL) with pg_restore, item by item where necessary."""

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

# Limit of each process. PostgreSQL's largest value, 1 GB, takes libpq three times as much.
MEMORY_BYTES = 4 * 2**30

_COUNTED = re.compile(r"\d+; ")
_DONE = re.compile(r"^pg_restore: (creating|processing data|executing) ")
_LINE = re.compile(r"(?P<number>\d+); \d+ \d+ (?P<kind>(?:[A-Z]+ )+)(?P<name>.*?) ?(?P<owner>\S*)$")
# Each job writes a line in pieces: the program's name, "error: ", the text, the end of the line.
# With several jobs, a piece of another's may follow each of them: a line may name several items.
_FAILED_ITEM = re.compile(r"from TOC entry (\d+);")
_REASON = re.compile(r"ERROR:  (.*)")
_ERROR = re.compile(
    r"(?:^|pg_restore: )error: (?!.*ERROR:  )(?!pg_restore: |error: |(?:creating|disabling|enabling"
    r"|entering|executing|finished|from|launching|processing|reducing|skipping|transferring"
    r"|while) )(.+)"
)
# The last line, unless it gives up. A name, or a message of the server, may have such a text, too.
_IGNORED = re.compile(r"pg_restore: warning: errors ignored on restore: \d+$")
# Messages that say nothing about what is loaded. pg_restore reports no SQLSTATEs; the server's
# messages are in English (lc_messages = C).
_PASSING = re.compile(
    r"canceling statement due to|deadlock detected|out of memory|out of shared memory"
    r"|in a read-only transaction|terminating connection|could not (?:extend|write|fsync) "
    rf"|{files.NO_SPACE}"
)
_UNKNOWN_SETTING = "unrecognized configuration parameter"  # set by a newer pg_restore
_RESTRICTION = re.compile(r"^\\(?:un)?restrict [A-Za-z0-9]+$", re.MULTILINE)

# The statement in each archive's third item by pg_dump, and its replacement of the same length.
_EMPTIED = EMPTIES_SEARCH_PATH + b"\n"
_RESET = b"RESET search_path;".ljust(len(_EMPTIED) - 1) + b"\n"
_BEGINNING = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Item:
    """An item of an archive, as ``pg_restore --list`` shows it."""

    number: int
    kind: str
    name: str
    line: str

    @classmethod
    def of(cls, line: str) -> "Item":
        """Parse a line of the list: ``216; 1255 16386 FUNCTION public norm(text) shop``."""
        found = _LINE.match(line)
        if found is None:
            number = int(line.partition(";")[0])
            return cls(number, "", line, line)
        return cls(int(found["number"]), found["kind"].strip(), found["name"], line)

    def __str__(self) -> str:
        schema, _, name = self.name.partition(" ")
        return f"{self.kind} {name if schema == '-' else f'{schema}.{name}'}"


async def contents(bindir: Path, source: Path) -> list[str]:
    """Return the items of an archive's list. Raises CommandFailed if the list cannot be read."""
    listed = await commands.run([bindir / "pg_restore", "--list", source], memory=MEMORY_BYTES)
    return [line for line in listed.stdout.splitlines() if _COUNTED.match(line)]


def only(file: Path, lines: Iterable[str]) -> str:
    """Write these items of a list to ``file``; return pg_restore's option to read no others."""
    files.write_atomically(file, "".join(f"{line}\n" for line in lines))
    return f"--use-list={file}"


def keep_search_path(archive: Path) -> None:
    """Keep pg_restore from emptying the search path of its sessions.

    pg_dump empties it, since it writes all names with their schema. But the names inside a
    function's body are not written by pg_dump, and resolve only with the original path.
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

        ``heard`` is called for each item. Returns the reasons of the items that failed, by item
        number; with several jobs a reason may be that of another item.

        Raises CommandFailed if pg_restore itself fails, or if the server cannot continue.
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
        if not (is_known and said.accounts_for(done.returncode)):
            raise CommandFailed(f"pg_restore ended with {done.returncode}: {said.failed}")
        return said.failed

    async def statements(self, item: Item) -> str:
        """Return the statements that create one item, after those that set the session up."""
        # Without a section: comments and grants have that of the item before them, if there is one.
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
        # Beside the visitor's password file: deleted with the visitor.
        return only(self.visitor.passfile.with_name("items"), (each.line for each in items))


class _Said:
    """The messages of pg_restore: which items failed, and why, or that it cannot continue.

    Where lines of several jobs run into each other, the reason of a failed item may be missing.
    """

    def __init__(self, heard: Callable[[], None] | None) -> None:
        self.failed: dict[int, str] = {}
        self.broken: str | None = None
        self._is_newer = False  # than the server
        self._went_on = False  # to its end, in spite of errors
        self._heard = heard
        self._item: int | None = None  # none while the session is set up

    def hear(self, line: str) -> None:
        """Parse a line."""
        if self._heard is not None and _DONE.match(line):
            self._heard()
        self._went_on = _IGNORED.match(line) is not None
        if items := _FAILED_ITEM.findall(line):
            self._item = int(items[-1])
            for each in items:
                self.failed.setdefault(int(each), "")
        elif (reason := _REASON.search(line)) is not None:
            self._take(reason[1])
        elif (error := _ERROR.search(line)) is not None:
            self.broken = self.broken or error[1]

    def accounts_for(self, code: int) -> bool:
        """Whether pg_restore has ended by itself, and all that failed is known.

        Its own count cannot be compared: of an item it counts several errors.
        """
        return code == 0 or (code == 1 and self._went_on and (bool(self.failed) or self._is_newer))

    def _take(self, reason: str) -> None:
        if self._item is not None:
            self.failed[self._item] = self.failed[self._item] or reason
        elif _UNKNOWN_SETTING in reason:
            self._is_newer = True
            return
        if self._item is None or _PASSING.search(reason):
            self.broken = self.broken or reason


def stopped(said: str) -> CommandFailed:
    """Return the error for a load that ended for a reason other than what is loaded."""
    return CommandFailed(f"The server did not go on with the load: {said}")
