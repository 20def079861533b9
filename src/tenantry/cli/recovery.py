"""``tenantry recover``: recover a whole installation from its backups, on an empty machine."""

import asyncio
import datetime as dt
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tenantry.base import settings
from tenantry.base.errors import Conflict, InvalidInput, MachineError
from tenantry.base.secrets import Secret
from tenantry.base.sizes import readable
from tenantry.cli import findings, output, times
from tenantry.cli.asking import confirm
from tenantry.cli.entry_point import FAILED, Json, local_settings
from tenantry.cli.installing import install
from tenantry.host import identity, preflight
from tenantry.services import supervisor
from tenantry.services.cluster_restores.model import Differences, Reached
from tenantry.services.cluster_restores.recovering import Say, Show
from tenantry.services.recovery.model import Found, Recovered
from tenantry.services.recovery.service import Recovery, remote_names, source_of


def recover(
    *,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="REPOSITORY",
            help=f"The folder of the backups, or {' or '.join(remote_names())}: "
            "the repository that the settings name.",
        ),
    ],
    key_file: Annotated[
        Path | None,
        typer.Option(help="The file with the backups' key (backup.key); it is asked for without."),
    ] = None,
    to: Annotated[
        dt.datetime | None,
        typer.Option(
            parser=times.past,
            metavar="WHEN",
            help="A moment, such as 2031-12-31T18:00+01:00; the end of all by default.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Recover a whole installation from its backups, on an empty machine.

    Nothing is overwritten. After an interruption, run the same command again to continue.

    Example:

        tenantry recover --from /mnt/backups --key-file backup.key
    """
    here = local_settings()
    if (pid := supervisor.running_pid(here)) is not None:
        raise Conflict(f"Tenantry runs in {here.home} (pid {pid}).", hint="Stop it first.")
    key = _key(key_file)
    if to is not None and to > dt.datetime.now(dt.UTC):
        raise InvalidInput.of("--to", "is in the future")
    asyncio.run(install(here))
    identity.become_service_user()
    with supervisor.only_one(here):
        recovery = Recovery(here, source_of(here, source), key, to=to)
        found = asyncio.run(_look(here, recovery))
        if not as_json:
            _report_plan(here.home, found, to)
        if not yes:
            confirm("Bring it back?", as_json=as_json)
        done = asyncio.run(_carry_out(recovery, found))
    _report(done, as_json=as_json)


def _key(file: Path | None) -> Secret:
    if file is None and not sys.stdin.isatty():
        raise InvalidInput("Nobody can be asked for the key here.", hint="Name it by --key-file.")
    try:
        text = (
            typer.prompt("The backups' key", hide_input=True) if file is None else file.read_text()
        )
    except (OSError, UnicodeDecodeError) as error:
        raise MachineError(f"{file} cannot be read: {error}.") from None
    if not text.strip() or len(text.strip().splitlines()) != 1:
        raise InvalidInput.of("key_file", "must hold the backups' key, in one line")
    return Secret(text.strip())


async def _look(here: settings.Settings, recovery: Recovery) -> Found:
    preflight.require(await findings.examine(here))
    return await recovery.look()


def _report_plan(home: Path, found: Found, moment: dt.datetime | None) -> None:
    output.facts(
        [
            ("from", found.source),
            ("into", home),
            (
                "to",
                "the end of the log" if moment is None else times.exact(moment),
            ),
            ("takes", readable(found.size)),
            ("the home's files", "are there" if found.has_home_files else "are NOT there"),
            ("goes on", "with a recovery that has begun" if found.in_progress else None),
        ]
    )
    output.table(
        [
            {
                "cluster": name,
                "backup": backup.label,
                "ended": backup.stopped,
                "size": readable(backup.size),
                "log": " to ".join(found.contents[name].wal or ("none",)),
            }
            for name, backup in found.chosen.items()
        ],
        {"CLUSTER": "cluster", "BACKUP": "backup", "ENDED": "ended", "SIZE": "size", "LOG": "log"},
        empty="",
    )
    for name, count in found.lacking.items():
        if count:
            output.note(
                f"{name}: {count} segments of its log are missing. What was written after the "
                "first of them is lost. If they are to be had, put them into the repository first.",
                style="red",
            )


@contextmanager
def reporting() -> Iterator[tuple[Say, Show]]:
    """Yield what prints messages, and what shows a cluster's progress, on a terminal as a bar."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=output.error_console(),
        transient=True,
        disable=not output.error_console().is_terminal,
    ) as bar:
        task = bar.add_task("", total=None)

        def say(text: str) -> None:
            bar.update(task, description=text, completed=0, total=None)
            bar.console.print(output.ongoing(text))

        async def show(cluster: str, done: int, total: int) -> None:
            bar.update(task, description=f"Restoring {cluster}", completed=done, total=total)

        yield say, show


async def _carry_out(recovery: Recovery, found: Found) -> Recovered:
    with reporting() as (say, show):
        return await recovery.carry_out(found, say=say, show=show)


def _report(done: Recovered, *, as_json: bool) -> None:
    if as_json:
        output.as_json(
            {
                "clusters": [each.model_dump(mode="json") for each in done.clusters],
                "home_files": done.home_files,
                **asdict(done.differences),
            }
        )
    else:
        for each in done.clusters:
            output.done(f"{each.cluster} is back, as it was at {moment_of(each)}")
        _warn(done)
        output.note("Now: tenantry up", style="bold")
    if any(each.unread for each in done.clusters):
        raise typer.Exit(FAILED)


def moment_of(reached: Reached) -> str:
    """Describe the moment that a cluster has reached."""
    if reached.last_commit is None:
        return f"the end of the backup {reached.backup}"
    return f"{times.exact(reached.last_commit)}, its last commit"


def _warn(done: Recovered) -> None:
    for each in done.clusters:
        if each.unread:
            output.note(
                f"{each.cluster}: its log has a gap, or is damaged. What was written between its "
                f"last commit and segment {each.unread} is lost.",
                style="red",
            )
    warn_of(done.differences)


def warn_of(differences: Differences) -> None:
    """Report differences between the control database and the databases."""
    listed = {
        "are owned, and not there: they were made after the moment of shared-1": (
            differences.missing
        ),
        "are there, and unknown to the control database: they are kept": differences.unmanaged,
        "have no password any more: tenantry db rotate-password": differences.closed,
    }
    for what, names in listed.items():
        if names:
            output.note(f"{', '.join(names)} {what}", style="yellow")
