"""``tenantry up``, ``down``, ``status``, ``doctor``, ``cluster``, ``service``: this machine."""

import asyncio
import contextlib
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tenantry.base import logs
from tenantry.base.errors import MachineError, TenantryError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.cli import findings, output, times, words
from tenantry.cli.client import Api, Row
from tenantry.cli.entry_point import FAILED, NOT_RUNNING, Json, local_settings
from tenantry.cli.installing import (
    enter_group,
    install,
    limit_connections,
    put_on_path,
    say,
    site_table,
    unit_environment,
    unit_name,
)
from tenantry.cli.metrics import sparkline
from tenantry.host import (
    cgroups,
    files,
    homes,
    identity,
    preflight,
    processes,
    systemd,
)
from tenantry.host.reserve import Reserve
from tenantry.services import status as statuses
from tenantry.services import supervisor, uninstalling
from tenantry.services.bringing_up import BroughtUp, bring_up
from tenantry.services.data_api import process as data_api
from tenantry.services.edge.plan import hosts_lines, is_local
from tenantry.services.observations.interpreting import observe
from tenantry.services.recovery.service import require_complete

# What /ready reports besides whether each part runs: no start changes it.
CONDITIONS = frozenset(
    {
        *("backups", "certificate", "databases", "disk", "drills", "instances", "logins"),
        *("operations", "ownership", "passwords", "scheduled backups", "site backups"),
        *("transaction ids", "versions"),
    }
)
_READY_SECONDS = 120
_POLL_SECONDS = 0.1
_DOWN_SECONDS = 120

service = typer.Typer(help="Run under systemd, from boot on.", no_args_is_help=True)


def up(
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Return when it is ready; go on in the background."),
    ] = False,
) -> None:
    """Start the platform: install what is missing, start everything, wait until it is ready.

    Runs in the foreground, with logs, until Ctrl-C, which stops everything again.
    """
    here = local_settings()
    if (pid := supervisor.running_pid(here)) is not None:
        output.note(f"Tenantry already runs in {here.home} (pid {pid}).")
        put_on_path(here)
        _report_addresses(here, key_is_new=False)
        return
    if homes.is_for_root_to_make(here.home):
        homes.require_reachable(here.home.parent)
        homes.ensure_home(here.home)
    require_complete(here)
    findings.require_ports_of_edge(here)
    asyncio.run(install(here))
    asyncio.run(limit_connections(here))
    enter_group(here)
    identity.become_service_user(low_ports=here.edge_on_low_ports)
    with supervisor.only_one(here):
        uninstalling.require_none_started(here.home)
        brought = asyncio.run(_bring_up(here, is_read=detach or sys.stderr.isatty()))
        if not detach:
            asyncio.run(_supervise(here, brought))
            return
    _detached(here, brought)


async def _bring_up(here: Settings, *, is_read: bool) -> BroughtUp:
    """Start the platform. If a person reads along (``is_read``), log to the log file meanwhile."""
    await supervisor.end_leftovers(here)
    if Reserve(Home(here.home).reserve).make_room():
        say("The disk is full: some of its reserve is used")
    preflight.require(await findings.examine(here))
    counts = observe(Home(here.home), "supervisor")
    try:
        return await _bring_up_logging(here, is_read=is_read)
    finally:
        counts.write()  # with --detach, another process continues from these counts


async def _bring_up_logging(here: Settings, *, is_read: bool) -> BroughtUp:
    if not is_read:
        logs.configure("supervisor")
        return await bring_up(here, say)
    folder = Home(here.home).logs
    files.ensure_folder(folder)
    with logs.into(folder / "tenantry.log", "supervisor"):
        return await bring_up(here, say)


async def _supervise(here: Settings, brought: BroughtUp) -> None:
    logs.configure("supervisor")
    announcing = asyncio.create_task(_announce(here, brought))
    await supervisor.Supervisor(here).run()
    announcing.cancel()
    output.note("Tenantry has stopped.")


async def _announce(here: Settings, brought: BroughtUp) -> None:
    if await _ready(here, asyncio.Event()):
        _report_addresses(here, key_is_new=brought.key_is_new)


def _detached(here: Settings, brought: BroughtUp) -> None:
    log = Home(here.home).logs / "tenantry.log"
    with log.open("a") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "tenantry.cli", "up"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    asyncio.run(_wait_for(here, child, log))
    _report_addresses(here, key_is_new=brought.key_is_new)


async def _wait_for(here: Settings, child: "subprocess.Popen[bytes]", log: Path) -> None:
    gone = asyncio.Event()

    async def watch() -> None:
        await processes.wait_gone(child.pid)
        gone.set()

    watching = asyncio.create_task(watch())
    ready = await _ready(here, gone)
    watching.cancel()
    if not ready:
        await processes.stop(child.pid, deadline=_DOWN_SECONDS)
        raise MachineError("Tenantry did not become ready.", hint=f"Its log {log} says why.")


def is_running(parts: list[Row]) -> bool:
    """Whether every part runs and answers, by what ``/ready`` reports of them.

    A full disk or a failed backup is no reason to stop what serves tenants again.
    """
    down = {part["name"] for part in parts if part["state"] == "down"}
    return down <= CONDITIONS


async def _ready(here: Settings, gone: asyncio.Event) -> bool:
    with Api(here.api_url, seconds=5) as api:
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        while asyncio.get_running_loop().time() < deadline and not gone.is_set():
            with contextlib.suppress(TenantryError):
                if is_running((await asyncio.to_thread(api.readiness))[1]):
                    return True
            await asyncio.sleep(_POLL_SECONDS)
    return False


def _report_addresses(here: Settings, *, key_is_new: bool) -> None:
    home = Home(here.home)
    api = here.edge_url("api") if here.edge else here.api_url
    output.facts(
        [
            ("Console", f"{here.edge_url('console') if here.edge else here.api_url}/"),
            ("API", api),
            ("Documentation", f"{api}/docs"),
            ("Data API", here.rest_root if data_api.is_wanted(home) else None),
            ("PostgreSQL", f"{here.domain}:{here.pg_port}"),
            ("Pooled", f"{here.domain}:{here.pool.port}"),
            (
                "Instances",
                f"*.{here.instance_domain}:{here.edge_sql_port}" if here.edge_sql else None,
            ),
            ("CA file", home.ca_certificate),
        ]
    )
    if here.is_local:
        output.note(
            f"Connection strings contain {here.domain}: they work on this machine only. For other "
            f"machines set TENANTRY_DOMAIN (docs/how-to/reach-it-from-other-machines.md)."
        )
    if here.edge and is_local(here.domain):
        instances = [f"INSTANCE.{here.instance_domain}"] if here.edge_sql else []
        lines = hosts_lines(here.domain, ["DATABASE"], instances)
        output.note("Programs that do not look up such names by themselves need in /etc/hosts:")
        for line in lines:
            output.note(f"  {line}")
    if key_is_new:
        output.facts([("Admin key", home.admin_key.read_text().strip())])
        output.note(f"The key is also in {home.admin_key}, for its owner only.")


def down() -> None:
    """Stop everything without losing data: clients first, then the pooler, then PostgreSQL."""
    here = local_settings()
    pid = supervisor.running_pid(here)
    if pid is None and not Home(here.home).clusters.exists():
        output.note("Tenantry does not run.")
        return
    identity.become_service_user()
    _warn_of_the_next_start(here)
    if pid is not None:
        with output.waiting("Stopping"):
            if asyncio.run(processes.stop(pid, deadline=_DOWN_SECONDS)):
                output.note("The supervisor took too long and was killed.")
    # A supervisor that was killed leaves the daemons for tenants running.
    asyncio.run(supervisor.stop_daemons(here))
    cgroups.remove(here.home)
    output.done("Tenantry has stopped; all data is kept.")


def _warn_of_the_next_start(here: Settings) -> None:
    """Say what would prevent the next start, as long as everything still runs."""
    found = [asyncio.run(preflight.check_home(here.home, None)), preflight.check_space(here.home)]
    for each in found:
        if each.level == "problem":
            output.note(f"Before the next start: {each.detail} {each.hint}", style="yellow")


def status(json: Json = False) -> None:
    """Show the state of all parts. Exit code 3 if one does not run."""
    found = asyncio.run(statuses.look(local_settings()))
    if json:
        shown = asdict(found)
        if found.disk is None:
            del shown["disk"]
        output.as_json(shown)
    else:
        output.table(
            [asdict(part) for part in found.parts],
            {"PART": "name", "STATE": "state", "DETAIL": "detail"},
            empty="Tenantry has not been brought up here; run ./tenantry up",
        )
        if found.disk is not None and found.disk.level != "ok":
            output.note(f"! disk: only {found.disk.detail}", style="yellow")
        if found.clusters:
            output.heading("Clusters")
            output.table(
                [asdict(each) for each in found.clusters],
                {
                    "NAME": "name",
                    "KIND": "kind",
                    "STATUS": "status",
                    "VERSION": "version",
                    "DATABASES": "databases",
                    "BACKUP": _last_backup,
                    "ACTIVITY": lambda row: sparkline(row["activity"]) or None,
                    "SOCKET": "socket_dir",
                },
                empty="",
                spare=("ACTIVITY", "SOCKET"),
            )
            for each in found.clusters:
                for warning in each.warnings:
                    output.note(f"! {each.name}: {words.commands(warning)}")
                for old in each.retained:
                    output.note(f"{each.name}: {old} is kept until tenantry cluster discard")
    if not found.all_running:
        raise typer.Exit(NOT_RUNNING)


def _last_backup(row: Row) -> str:
    if row["backups"] == "ok":
        return times.distance(row["last_backup_at"])
    return str(row["backups"] or "-")


def doctor(json: Json = False) -> None:
    """Check this machine for problems, and say how to fix them. Changes nothing."""
    found = asyncio.run(findings.find(local_settings()))
    if json:
        output.as_json([asdict(finding) for finding in found])
    else:
        marks = {"ok": "✓", "warning": "!", "problem": "✗"}
        output.table(
            [
                {
                    "mark": marks[finding.level],
                    "subject": finding.subject,
                    "detail": words.commands(f"{finding.detail} {finding.hint}".strip()),
                }
                for finding in found
            ],
            {"": "mark", "CHECK": "subject", "FINDING": "detail"},
            empty="",
        )
    if any(finding.level == "problem" for finding in found):
        raise typer.Exit(FAILED)


@service.command("install")
def install_service() -> None:
    """Install a systemd unit that starts the platform at every boot. For root."""
    here = local_settings()
    asyncio.run(install(here))
    unit = systemd.Unit(
        name=unit_name(here),
        home=here.home,
        program=Path(sys.prefix) / "bin" / "tenantry",  # a link to it may be another installation's
        user=identity.SERVICE_USER,
        environment=unit_environment(here, os.environ),
        folders=(here.repository_dir,) if here.backup.dir else (),
        low_ports=here.edge_on_low_ports,
        site_table=asyncio.run(site_table(here)),
    )
    asyncio.run(systemd.install(unit, output.done))


@service.command("uninstall")
def uninstall_service() -> None:
    """Stop and remove the systemd unit; all data stays. For root."""
    asyncio.run(systemd.uninstall(unit_name(local_settings()), output.done))
