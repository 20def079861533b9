"""What root changes on this machine outside of the home, before everything runs as another user."""

import os
from collections.abc import Mapping
from pathlib import Path

from typer.completion import get_completion_script  # type: ignore[attr-defined] # is public

from tenantry.base.errors import MachineError
from tenantry.base.settings import Settings
from tenantry.cli import output
from tenantry.host import engines, files, nftables, packages, programs

_USUAL_HOME = Path("/var/lib/tenantry")


def say(text: str) -> None:
    """Tell what is being done."""
    output.note(f"{text} …")


async def install(here: Settings) -> None:
    """Have the programs that the platform runs."""
    umask = os.umask(0o022)  # root installs it, and the service user runs it
    await packages.ensure_postgres(say)
    await packages.ensure_libraries(say)
    if here.backups:
        await packages.ensure_pgbackrest(say)
    await engines.ensure_pgbouncer(here.engines_dir, say)
    os.umask(umask)
    put_on_path(here)


async def limit_connections(here: Settings) -> None:
    """As root, have the kernel limit connections by their address as the settings say, or not.

    Raises MachineError if that is wanted and cannot be.
    """
    name = nftables.table(here.pg_port)
    if here.connections_per_address is None:
        if os.geteuid() == 0 and await nftables.exists(name):
            await nftables.remove(name)
        return
    if os.geteuid() != 0:
        output.note("Only root can set TENANTRY_CONNECTIONS_PER_ADDRESS in force.")
        return
    await packages.ensure_nftables(say)
    ports = (here.pg_port, here.pool.port, here.api.port)
    text = nftables.render(name, ports, here.connections_per_address)
    files.write_atomically(here.home / "nftables.conf", text, mode=0o644)
    await nftables.apply(text)


def put_on_path(here: Settings) -> None:
    """As root, have the programs found by everybody, and completed by shells.

    What cannot be is said, and is no reason not to start.
    """
    if os.geteuid() != 0:
        return
    umask = os.umask(0o022)
    scripts = {
        shell: get_completion_script(
            prog_name=programs.NAMES[0], complete_var=programs.COMPLETE_VARIABLE, shell=shell
        )
        for shell in programs.COMPLETIONS
    }
    for problem in programs.link(here.home / "venv" / "bin", scripts):
        output.note(f"Not linked: {problem}")
    os.umask(umask)


def unit_environment(here: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings among these variables, for the unit file, which everybody can read.

    Raises MachineError if a secret one is among them.
    """
    told = [each for each in here.variables() if each.name in environ]
    if secrets := [each.name for each in told if each.is_secret]:
        raise MachineError(
            f"Everybody can read a unit file, and {' and '.join(secrets)} would be in it.",
            hint=f"Put it into {here.home / 'tenantry.env'} instead, with mode 0600, and unset it.",
        )
    return {each.name: environ[each.name] for each in told}


def unit_name(here: Settings) -> str:
    """The name of this installation's unit of systemd."""
    return "tenantry" if here.home == _USUAL_HOME else f"tenantry-{here.home.name}"
