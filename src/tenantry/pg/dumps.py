"""pg_dump and pg_restore: a whole database to a file and back, with the rights of a visitor.

A dump is the tenant's: reading one back runs whatever its author wrote into it. So it is done
by a visitor of the very tenant, and a plain script (which psql would run programs for) is
never read.
"""

import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal

from tenantry.host import commands
from tenantry.pg.visitors import Visitor

Format = Literal["custom", "plain", "directory"]
Part = Literal["all", "schema", "data"]
Tell = Callable[[int, int | None], Awaitable[None]]

_HOURS = 3600.0
DEADLINE = 12 * _HOURS
_PARTS: dict[Part, list[str]] = {"all": [], "schema": ["--schema-only"], "data": ["--data-only"]}
_ITEM = re.compile(r"^pg_restore: (creating|processing data|launching item|executing) ")
_COUNTED = re.compile(r"^\d+; ", re.MULTILINE)


async def dump(
    bindir: Path,
    visitor: Visitor,
    database: str,
    target: Path,
    *,
    form: Format = "custom",
    part: Part = "all",
    options: Sequence[str] = (),
    tell: Tell | None = None,
    deadline: float = DEADLINE,
) -> None:
    """Write a database to ``target``: a file, or for ``directory`` a folder that is not there.

    ``plain`` is compressed by gzip. ``tell`` is called about twice a second with the bytes
    written so far. Other sessions go on: it reads one snapshot, and holds up only what would
    drop or rewrite a table.

    Raises CommandFailed with pg_dump's own words.
    """
    compressed = ["--compress=6"] if form == "plain" else []
    await commands.run(
        [
            bindir / "pg_dump",
            f"--format={form}",
            f"--file={target}",
            "--no-password",
            *compressed,
            *_PARTS[part],
            *options,
        ],
        env=visitor.environment(database),
        deadline=deadline,
        while_running=None if tell is None else lambda: tell(size_of(target), None),
    )


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files in a folder; 0 if it is not there (yet)."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            return sum(each.stat().st_size for each in path.iterdir())
        return path.stat().st_size
    return 0


async def load(
    bindir: Path,
    visitor: Visitor,
    database: str,
    source: Path,
    *,
    jobs: int = 1,
    options: Sequence[str] = (),
    tell: Tell | None = None,
    deadline: float = DEADLINE,
) -> None:
    """Read a dump (not a plain one) into a database; the first error ends it.

    ``tell`` is called about twice a second with the items of the dump that are done, and how
    many there are.

    Raises CommandFailed with pg_restore's own words.
    """
    contents = await commands.run([bindir / "pg_restore", "--list", source])
    items = len(_COUNTED.findall(contents.stdout))
    done = 0

    def count(line: str) -> None:
        nonlocal done
        done += bool(_ITEM.match(line))

    await commands.run(
        [
            bindir / "pg_restore",
            f"--dbname={database}",
            f"--jobs={jobs}",
            "--exit-on-error",
            "--no-password",
            "--verbose",
            *options,
            source,
        ],
        env=visitor.environment(database),
        deadline=deadline,
        on_error_line=count,
        while_running=None if tell is None else lambda: tell(min(done, items), items),
    )
