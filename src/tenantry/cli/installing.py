"""The changes outside of the home that root makes before the service user takes over."""

import os
from collections.abc import Mapping
from pathlib import Path

from typer.completion import get_completion_script  # type: ignore[attr-defined] # is public

from tenantry.base.errors import MachineError
from tenantry.base.settings import Settings
from tenantry.cli import output
from tenantry.host import (
    backup_engines,
    cgroups,
    engines,
    environment,
    files,
    identity,
    nftables,
    packages,
    programs,
    redis_engines,
    site_filter,
)
from tenantry.services.clusters.fleet import Fleet

_USUAL_HOME = Path("/var/lib/tenantry")


def say(text: str) -> None:
    """Report a step, or in a sentence what it has found."""
    output.note(output.ongoing(text))


async def install(here: Settings) -> None:
    """Install the programs that the platform runs."""
    umask = os.umask(0o022)  # root installs them, and the service user runs them
    await packages.ensure_postgres(here.engines_dir, say)
    await packages.ensure_libraries(say)
    if here.backups:
        await backup_engines.ensure_pgbackrest(here.engines_dir, say)
    await engines.ensure_pgbouncer(here.engines_dir, say)
    await redis_engines.ensure_redis(say)
    if here.edge and environment.find_traefik() is None:
        raise MachineError(
            "TENANTRY_EDGE is on, and Traefik is not installed.",
            hint="In the folder of the code: ./tenantry install-edge",
        )
    os.umask(umask)
    put_on_path(here)


async def limit_connections(here: Settings) -> None:
    """As root, set or remove the kernel's limit of connections per address, as the settings say.

    Raises MachineError if the limit is wanted and cannot be set.
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
    servers = (each.address.port for each in Fleet(here).of_tenants)
    ports = (*servers, here.pool.port, here.api.port, here.rest.port, here.cache.port)
    text = nftables.render(name, (*ports, *here.edge_ports), here.connections_per_address)
    files.write_atomically(here.home / "nftables.conf", text, mode=0o644)
    await nftables.apply(text)


async def site_table(here: Settings) -> str | None:
    """Return the packet filter's table for allowlists of sites; None without a packet filter."""
    try:
        await packages.ensure_nftables(say)
    except MachineError as error:
        output.note(
            f"Sites with an allowlist will be reached from this machine only: {error.detail}"
        )
        return None
    return site_filter.table(here.pg_port)


def enter_group(here: Settings) -> None:
    """Prepare the control groups of databases, where the machine permits it."""
    user = identity.service_user() if os.geteuid() == 0 else None
    cgroups.prepare(here.home, owner=None if user is None else (user.pw_uid, user.pw_gid))


def put_on_path(here: Settings) -> None:
    """As root, link the programs into the path and install shell completion.

    Failures are reported, and do not prevent the start.
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
    """Return the settings among these variables, for the unit file, which all users can read.

    Raises MachineError if one of them is secret.
    """
    set_here = [each for each in here.variables() if each.name in environ]
    if secrets := [each.name for each in set_here if each.is_secret]:
        raise MachineError(
            f"Everybody can read a unit file, and {' and '.join(secrets)} would be in it.",
            hint=f"Put it into {here.home / 'tenantry.env'} instead, with mode 0600, and unset it.",
        )
    return {each.name: environ[each.name] for each in set_here}


def unit_name(here: Settings) -> str:
    """Return the name of this installation's systemd unit."""
    return "tenantry" if here.home == _USUAL_HOME else f"tenantry-{here.home.name}"
