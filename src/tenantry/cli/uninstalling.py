"""``tenantry uninstall``: remove everything that ``up`` has created on this machine."""

import asyncio
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput, MachineError
from tenantry.base.settings import Settings
from tenantry.cli import output
from tenantry.cli.asking import require_terminal
from tenantry.cli.entry_point import Json, local_settings
from tenantry.cli.installing import unit_name
from tenantry.host import (
    cgroups,
    files,
    homes,
    identity,
    nftables,
    programs,
    site_filter,
    systemd,
)
from tenantry.services import supervisor, uninstalling
from tenantry.services.uninstalling import Left, Removal

_DOWN_SECONDS = 300


def uninstall(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Stop everything and delete it with all databases and backups. This cannot be undone.

    Asks for the home's path on a terminal; otherwise --yes is required. Packages remain, and
    whatever else remains is listed.

    Example:

        sudo tenantry uninstall
    """
    here = local_settings()
    _require_owner(here.home)
    removal = _plan(here)
    if not yes:
        _confirm(here.home, removal, as_json=as_json)
    gone: list[str] = []
    output.load()
    if os.geteuid() == 0:
        gone += _remove_unit(here)
    is_new = uninstalling.begin(here.home)
    try:
        with output.waiting("Stopping"):
            _stop(here)
    except BaseException:
        if is_new:
            uninstalling.give_up(here.home)
        raise
    with output.waiting("Deleting"):
        removal = _plan(here)
        uninstalling.remove(here.home, removal)
        left = list(removal.left)
        if os.geteuid() == 0:
            _clean_machine(here, gone, left)
        if uninstalling.remove_programs(here.home, removal):
            gone.append(str(here.home))
        else:
            left.append(Left(str(here.home), "it is not empty"))
    gone += [str(path) for path in (*removal.data, *removal.programs)]
    left.append(Left("what apt has installed", "other programs may need it"))
    if as_json:
        output.as_json({"removed": gone, "left": [asdict(each) for each in left]})
        return
    output.done(f"Tenantry is gone from {here.home}")
    for each in left:
        output.note(f"{each.what} stays: {each.why}.", style="none")


def _plan(here: Settings) -> Removal:
    return uninstalling.plan(here, [path.name for path in files.entries(here.home)])


def _require_owner(home: Path) -> None:
    try:
        owner = home.stat().st_uid
    except FileNotFoundError:
        raise MachineError(f"Nothing is installed in {home}.") from None
    if os.geteuid() not in {0, owner}:
        raise MachineError(
            f"{home} belongs to another user.", hint="Run it as root: sudo tenantry uninstall"
        )


def _confirm(home: Path, removal: Removal, *, as_json: bool) -> None:
    require_terminal(as_json=as_json)
    output.note(
        f"All databases of {home} and the backups in it will be gone for ever.", style="bold"
    )
    for each in removal.left:
        output.note(f"{each.what} stays: {each.why}.", style="none")
    if typer.prompt("Type the path of the home to delete it", err=True) != str(home):
        raise InvalidInput("That is not its path, so nothing was deleted.")


def _remove_unit(here: Settings) -> list[str]:
    """Remove the unit first: systemd would restart what is stopped."""
    name = unit_name(here)
    if not systemd.is_installed(name, here.home):
        return []
    asyncio.run(systemd.uninstall(name, output.note))
    return [f"the service {name}"]


def _stop(here: Settings) -> None:
    """Stop everything by ``down``, which becomes the platform's user for that.

    Raises MachineError if something still runs.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tenantry.cli", "down"],
        env={**os.environ, "TENANTRY_HOME": str(here.home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_DOWN_SECONDS,
        check=False,
        cwd="/",  # root must not import what somebody has put into this folder
    )
    running = supervisor.running(here)
    if done.returncode != 0 or running:
        why = done.stderr.strip() if done.returncode else f"{', '.join(running)} run"
        raise MachineError(
            f"It could not be stopped, so nothing was deleted: {why}.",
            hint="See ./tenantry status.",
        )


def _clean_machine(here: Settings, gone: list[str], left: list[Left]) -> None:
    """Remove what root's ``up`` created outside of the home; record what is gone and left."""
    cgroups.remove(here.home)
    gone += [*_remove_filter(here), *map(str, programs.unlink(here.home / "venv" / "bin"))]
    user = f"the system user {identity.SERVICE_USER}"
    if here.backup.dir is not None:
        left.append(Left(user, "it owns the backups outside of the home"))
    elif (why := homes.remove_user(here.home)) is not None:
        left.append(Left(user, why))
    else:
        gone.append(user)


def _remove_filter(here: Settings) -> list[str]:
    if not nftables.PROGRAM.exists():
        return []
    gone = []
    for name in (nftables.table(here.pg_port), site_filter.table(here.pg_port)):
        if asyncio.run(nftables.exists(name)):
            asyncio.run(nftables.remove(name))
            gone.append(f"the packet filter's table {name}")
    return gone
