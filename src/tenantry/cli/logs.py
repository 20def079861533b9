"""``tenantry logs``: the logs of the platform's parts on this machine."""

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tenantry.base.errors import NotFound
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.base.suggestions import did_you_mean
from tenantry.cli import output
from tenantry.cli.entry_point import local_settings
from tenantry.services import optional_parts
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.sites import process as sites

_PROGRAMS = ("supervisor", "api", "worker")
_OWN_FILES = ("pooler", "edge")

_LOOK_SECONDS = 0.5
_BLOCK = 1 << 16


def logs(
    part: Annotated[
        str,
        typer.Argument(
            metavar="PART",
            help="supervisor, api, worker, rest, cache, embedder, listener, pooler, edge,"
            " a cluster: shared-1, or a site by its port: site-6379.",
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="How many of the last lines to show.")
    ] = 50,
) -> None:
    """Show the last log lines of a part of this machine's platform.

    Those of the supervisor, its children (the API, the worker, the data API, which is rest, the AI
    cache, which is cache, its embedder, and the listener of stopped instances) and shared clusters
    are JSON objects, one a line. Logs are rotated and deleted by size: older lines may be gone.

    Examples:

        tenantry logs shared-1 -f

        tenantry logs api -n 1000 | jq 'select(.status >= 500)'
    """
    here = local_settings()
    newest, wanted = _source(here, part)
    path = newest()
    if path is None:
        raise NotFound(
            f"{part} has logged nothing in {Home(here.home).logs}.",
            hint="A platform in the foreground (tenantry up without --detach) and one under systemd"
            " log elsewhere: to that terminal, to the journal (journalctl -u tenantry).",
        )
    with path.open("rb") as file:
        for line in deque(filter(wanted, file), lines):
            _write(line)
        position = file.tell()
    if follow:
        for line in filter(wanted, _follow(newest, path, position)):
            _write(line)


def _source(here: Settings, part: str) -> tuple[Callable[[], Path | None], Callable[[bytes], bool]]:
    """Return what finds a part's current log file, and what recognizes the part's lines in it.

    Raises NotFound.
    """
    home = Home(here.home)
    folder, programs = home.logs, (*_PROGRAMS, *optional_parts.every(here))
    if part in _OWN_FILES:
        return partial(_existing, folder / f"{part}.log"), _everything
    if part in programs:
        shared = partial(_existing, folder / "tenantry.log")
        return shared, lambda line: _part_of(line) == part
    clusters = {each.name: each for each in Fleet(here).every}
    if part in clusters:
        return partial(clusters[part].newest_log, start=True), _everything
    site_logs = {f"site-{each.port()}": each.log_file for each in sites.every(home)}
    if part in site_logs:
        return partial(_existing, site_logs[part]), _everything
    parts = (*programs, *_OWN_FILES, *clusters, *site_logs)
    raise NotFound(
        f"There is no part {part}.",
        hint=did_you_mean(part, parts) or f"The parts are {', '.join(parts)}.",
    )


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _everything(_: bytes) -> bool:
    return True


def _part_of(line: bytes) -> str:
    """Return which of the processes that share a file has written this line of it."""
    try:
        found = json.loads(line)
    except ValueError:
        return "supervisor"  # its messages for the console, and tracebacks
    return str(found.get("part", "supervisor")) if isinstance(found, dict) else "supervisor"


def _follow(newest: Callable[[], Path | None], path: Path, position: int) -> Iterator[bytes]:
    """Yield the lines written from a position on, in this file and in those that follow it."""
    rest = b""
    while True:
        found = newest() or path
        rest, position = yield from _read(path, rest, position)
        if found != path:
            rest, position = yield from _read(path, rest, position)  # the rest of the old file
            path, position = found, 0
            continue
        time.sleep(_LOOK_SECONDS)


def _read(path: Path, rest: bytes, position: int) -> Generator[bytes, None, tuple[bytes, int]]:
    """Yield complete lines. Return the rest of the last one, and the position of the file's end."""
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < position:
                rest, position = b"", 0  # truncated because of its size
            file.seek(position)
            while block := file.read(_BLOCK):
                *whole, rest = (rest + block).split(b"\n")
                yield from (line + b"\n" for line in whole)
            return rest, file.tell()
    except FileNotFoundError:
        return b"", 0


def _write(line: bytes) -> None:
    if sys.stdout.isatty():
        # Tenants' statements are in it: an escape sequence would act on the terminal.
        sys.stdout.write(output.plain(line.rstrip(b"\n").decode(errors="replace")) + "\n")
    else:
        sys.stdout.buffer.write(line)
    sys.stdout.flush()
