"""Three small programs for administrators: ``pg-status``, ``pg-list-databases`` and
``pg-backup-control``.

The first two use the API. The backup does not: it must work when the API is down.
"""

import asyncio
import contextlib
import datetime as dt
import os
import pwd
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import typer

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.cli import entry_point, output, pooler
from tenantry.cli.client import NotRunning, connect
from tenantry.cli.entry_point import Json, local_settings
from tenantry.cli.listing import show_list
from tenantry.control.store import DATABASE
from tenantry.host import commands, files
from tenantry.pg.connections import ADMIN

_RETENTION = dt.timedelta(days=7)
_DUMP_SECONDS = 3600


def _enter(name: str, command: Callable[[bool], None]) -> NoReturn:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    entry_point.enter(app, name)


def status() -> NoReturn:
    """Run ``pg-status``."""
    _enter("pg-status", _status)


def list_databases() -> NoReturn:
    """Run ``pg-list-databases``."""
    _enter("pg-list-databases", _list_databases)


def backup_control() -> NoReturn:
    """Run ``pg-backup-control``."""
    _enter("pg-backup-control", _backup_control)


def _status(as_json: Json = False) -> None:
    """Show the platform's parts, its clusters and its pooler. Exit code 1 if a part is down."""
    with connect() as api:
        ready, parts = api.readiness()
        if as_json:
            clusters, pools = api.rows("/api/clusters").rows, api.get("/api/pooler")
            output.as_json({"ready": ready, "parts": parts, "clusters": clusters, "pooler": pools})
        else:
            output.table(
                parts,
                {
                    "PART": "name",
                    "STATE": "state",
                    "MS": "latency_ms",
                    "DETAIL": "detail",
                },
                empty="No part has reported.",
            )
            output.heading("Clusters")
            output.table(
                api.rows("/api/clusters").rows,
                {
                    "NAME": "name",
                    "KIND": "kind",
                    "DRIVER": "driver",
                    "VERSION": "version",
                    "DATABASES": "databases",
                },
                empty="There is no cluster.",
            )
            output.heading("Pooler")
            pooler.show(api.get("/api/pooler"))
    if not ready:
        raise typer.Exit(entry_point.FAILED)


def _list_databases(as_json: Json = False) -> None:
    """List every database of the platform."""
    with connect() as api:
        page = api.rows("/api/databases")
    show_list(page, as_json=as_json)


def _backup_control(as_json: Json = False) -> None:
    """Back up the control database below $TENANTRY_HOME/backups; delete copies older than 7 days.

    Run it as root or as the platform's own user. Restore a copy with pg_restore.
    """
    home = Home(local_settings().home)
    data = home.clusters / "control" / "data"
    _become_owner_of(data)
    server = _running(data)
    with output.waiting("Saving the control database"):
        saved = _dump(server, home.backups, now=dt.datetime.now(dt.UTC))
    if as_json:
        output.as_json({"file": str(saved), "size_bytes": saved.stat().st_size})
        return
    output.line(str(saved))
    output.done(f"The control database is saved, {saved.stat().st_size / 1024:,.0f} kB")


@dataclass(frozen=True, slots=True)
class _Server:
    """A running server, as described by its data folder."""

    bindir: Path
    socket_dir: str
    port: str


def _become_owner_of(folder: Path) -> None:
    """Become the user who owns ``folder``: the server accepts no other user.

    Root gives up its rights permanently, so that no link made by the platform's user can redirect
    what it writes.
    """
    try:
        owner = folder.stat()
    except FileNotFoundError:
        raise MachineError(
            f"There is no control cluster at {folder}.",
            hint="Is TENANTRY_HOME right? The first `tenantry up` makes it.",
        ) from None
    except PermissionError:
        owner = None
    if owner and os.geteuid() == owner.st_uid:
        return
    if not owner or os.geteuid() != 0:
        raise MachineError(
            f"This user may not look into {folder}.", hint="Run it as root: sudo pg-backup-control."
        )
    account = pwd.getpwuid(owner.st_uid)
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def _running(data: Path) -> _Server:
    """Return the server of a data folder (PostgreSQL's postmaster.pid and postmaster.opts).

    Raises NotRunning.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        program = shlex.split((data / "postmaster.opts").read_text())[0]
        return _Server(Path(program).parent, socket_dir=lines[4], port=lines[3])
    except (FileNotFoundError, IndexError):
        raise NotRunning(
            "The control cluster does not run.", hint="Start it with `tenantry up`."
        ) from None


def _dump(server: _Server, folder: Path, *, now: dt.datetime) -> Path:
    """Write a copy, under its final name only once it is complete; then delete old copies."""
    files.ensure_folder(folder)
    final = folder / f"control-{now:%Y%m%d-%H%M%S}.dump"
    unfinished = folder / f".{final.name}.{os.getpid()}"
    try:
        unfinished.touch(mode=0o600)  # pg_dump does not change the mode
        asyncio.run(
            commands.run(
                [
                    server.bindir / "pg_dump",
                    "--format=custom",
                    f"--host={server.socket_dir}",
                    f"--port={server.port}",
                    f"--username={ADMIN}",
                    "--no-password",
                    f"--file={unfinished}",
                    DATABASE,
                ],
                cwd=folder,
                deadline=_DUMP_SECONDS,
            )
        )
        unfinished.rename(final)
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
    for old in folder.glob("*control-*.dump*"):
        if dt.datetime.fromtimestamp(old.stat().st_mtime, dt.UTC) < now - _RETENTION:
            old.unlink()
    return final
