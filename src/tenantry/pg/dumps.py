"""Dump a whole database to a file, and load an SQL script into one with the rights of a visitor.

A dump is the tenant's: loading one runs all code that its author put into it. So it is done by a
visitor of the same tenant, and no psql reads it, since psql runs programs for a script: see
``script_loading``. Dumps that are not SQL are loaded by ``reloading``.
"""

import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from tenantry.base.errors import Conflict, TenantryError
from tenantry.host import children, commands, files
from tenantry.host.commands import CommandFailed
from tenantry.pg import logins, script_loading
from tenantry.pg.archives import MEMORY_BYTES
from tenantry.pg.visitors import Visitor

Format = Literal["custom", "plain", "directory"]
Part = Literal["all", "schema", "data"]
ReportProgress = Callable[[int, int | None], Awaitable[None]]

_HOURS = 3600.0
DEADLINE = 12 * _HOURS
_LOCK_WAIT_MS = 300_000
_PARTS: dict[Part, list[str]] = {"all": [], "schema": ["--schema-only"], "data": ["--data-only"]}


class Login(Protocol):
    """The login of a program: a visitor here, or a role of another server."""

    def environment(self, database: str) -> dict[str, str]: ...


async def dump(
    bindir: Path,
    visitor: Login,
    database: str,
    target: Path,
    *,
    form: Format = "custom",
    part: Part = "all",
    options: Sequence[str] = (),
    gently: bool = False,
    report: ReportProgress | None = None,
    deadline: float = DEADLINE,
    memory: int = MEMORY_BYTES,
) -> None:
    """Write a database to ``target``: a new file, or for ``directory`` a new folder.

    ``plain`` is SQL, compressed by gzip, without owners and rights, so that the role that loads it
    owns it. With ``gently`` it gives way to other processes (see ``commands.run``). ``report`` is
    called about twice a second with the bytes written so far; ``memory`` limits each of its
    processes, in bytes. Other sessions go on: it reads one snapshot, and blocks only what would
    drop or rewrite a table.

    Raises Conflict if the database's connections are all taken, or if a transaction keeps a table
    from being read for five minutes; CommandFailed with pg_dump's own message.
    """
    if form != "directory":
        # A new file, not one that the pg_dump of a killed worker may still write to.
        files.recreate(target)
    plain = ["--compress=6", "--no-owner", "--no-privileges"] if form == "plain" else []
    try:
        await commands.run(
            [
                bindir / "pg_dump",
                f"--format={form}",
                f"--file={target}",
                f"--lock-wait-timeout={_LOCK_WAIT_MS}",
                "--no-password",
                *plain,
                *_PARTS[part],
                *options,
            ],
            env=visitor.environment(database),
            gently=gently,
            deadline=deadline,
            memory=memory,
            while_running=None if report is None else lambda: report(size_of(target), None),
        )
    except CommandFailed as error:
        raise _refusal(error, database) from error


def _refusal(error: CommandFailed, database: str) -> TenantryError:
    """Return the error for a failure of pg_dump, where a tenant can do something about it."""
    # pg_dump reports no SQLSTATEs; the server's messages are in English (lc_messages = C).
    if (refused := logins.refusal(database, error.detail)) is not None:
        return refused
    if "canceling statement due to statement timeout" in error.detail:  # its --lock-wait-timeout
        return logins.busy(database)
    if "terminating connection due to administrator command" in error.detail:
        return Conflict(
            f"The session that read {database} was ended.",
            hint="The database is being deleted or replaced, or became full; or it has so many"
            " tables that one session cannot lock them all. Physical backups have it all the same.",
        )
    return error


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 if it does not exist (yet)."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            return sum(each.stat().st_size for each in path.iterdir())
        return path.stat().st_size
    return 0


async def as_script(bindir: Path, source: Path, target: Path, *, options: Sequence[str]) -> None:
    """Write the contents of a dump that is not a script as SQL.

    Raises CommandFailed with pg_restore's own message.
    """
    files.recreate(target)
    await commands.run(
        [bindir / "pg_restore", f"--file={target}", *options, source],
        deadline=DEADLINE,
        memory=MEMORY_BYTES,
    )


@dataclass(frozen=True, slots=True)
class LoadedScript:
    """What was left out of a script, and the settings that it has for its database.

    The settings are not applied; their values are as in pg_db_role_setting.
    """

    left_out: list[str]
    settings: dict[str, str]


async def load_script(
    visitor: Visitor,
    database: str,
    source: Path,
    *,
    room: int,
    roles: Mapping[str, str] | None = None,
    accepts_losses: bool = False,
    report: ReportProgress | None = None,
    deadline: float = DEADLINE,
) -> LoadedScript:
    """Load a script into a database.

    The first error ends the load, unless the other statements do not need what failed, or the
    caller ``accepts_losses``. ``room`` is how many bytes the database may take; ``roles`` are the
    logins of the database, by the names that the script has for them; ``report`` is called about
    twice a second with the bytes of the file that are read, and its size.

    Raises Conflict if the script is refused, CommandFailed with the server's own message.
    """
    size, read = size_of(source), 0

    def hear(line: str) -> None:
        nonlocal read
        if line.startswith("read "):
            read = int(line.removeprefix("read "))

    environment = visitor.environment(database) | {
        # As psql would resolve names: a script that was written by hand names no schema.
        "PGOPTIONS": "-csearch_path=public -cstatement_timeout=0",
    }
    reported = await children.run(
        script_loading,
        source,
        str(room),
        json.dumps(dict(roles or {})),
        json.dumps(accepts_losses),
        env=environment,
        deadline=deadline,
        on_error_line=hear,
        while_running=None if report is None else lambda: report(read, size),
    )
    if "failed" in reported:
        raise CommandFailed(f"ERROR: {reported['failed']}")
    if "refused" in reported:
        raise Conflict(reported["refused"], hint=reported["hint"])
    return LoadedScript(reported["left_out"], reported["settings"])
