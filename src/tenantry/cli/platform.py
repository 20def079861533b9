"""``tenantry up``, ``down``, ``status``, ``doctor``, ``cluster``, ``service``: this machine."""

import asyncio
import contextlib
import datetime as dt
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from tenantry.base import logs, settings
from tenantry.base.errors import Conflict, MachineError, TenantryError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.cli import output, times, words
from tenantry.cli.client import Api, Row
from tenantry.cli.entry_point import FAILED, NOT_RUNNING, Json
from tenantry.cli.installing import (
    install,
    limit_connections,
    put_on_path,
    say,
    unit_environment,
    unit_name,
)
from tenantry.host import (
    engines,
    files,
    identity,
    packages,
    preflight,
    processes,
    reachability,
    systemd,
)
from tenantry.host.preflight import Finding, Port
from tenantry.services import status as statuses
from tenantry.services import supervisor, uninstalling
from tenantry.services.clusters.service import LocalClusters
from tenantry.services.observations.interpreting import observe
from tenantry.services.platform import BroughtUp, bring_up, local_certificates, local_pooler
from tenantry.services.recovery.service import require_complete
from tenantry.services.versions import Versions

_READY_SECONDS = 120
_POLL_SECONDS = 0.1
_DOWN_SECONDS = 120
_SEARCHED_DAYS = 7
_NEWER_POOLER = (
    "The configuration keeps out of its way; ./tenantry down and ./tenantry up, as root, take the"
    " newest release that can be installed or built here."
)

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
    here = settings.load()
    if (pid := supervisor.running_pid(here)) is not None:
        output.note(f"Tenantry already runs in {here.home} (pid {pid}).")
        put_on_path(here)
        _report_addresses(here, key_is_new=False)
        return
    require_complete(here)
    asyncio.run(install(here))
    asyncio.run(limit_connections(here))
    identity.become_service_user()
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
    preflight.require(await examine(here))
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
    with (folder / "tenantry.log").open("a") as file:
        logs.configure("supervisor", to=file)
        try:
            return await bring_up(here, say)
        finally:
            logs.configure("supervisor")


def _ports(here: Settings) -> dict[str, Port]:
    """Return the ports that clients reach, by part."""
    return {
        "shared-1": Port("PostgreSQL", "0.0.0.0", here.pg_port, "TENANTRY_PG_PORT"),  # noqa: S104
        "pooler": Port("the pooler", "0.0.0.0", here.pool.port, "TENANTRY_POOL_PORT"),  # noqa: S104
        "api": Port("the API", here.api.host, here.api.port, "TENANTRY_API_PORT"),
    }


async def examine(here: Settings) -> list[Finding]:
    """Return the problems that would prevent a start of the parts that do not run yet."""
    ports = _ports(here)
    found = await statuses.look(here)
    running = {part.name for part in found.parts if part.state == "running"}
    user = identity.SERVICE_USER if os.geteuid() == 0 else None
    return await preflight.examine(
        here.home, [port for name, port in ports.items() if name not in running], user=user
    )


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


async def _ready(here: Settings, gone: asyncio.Event) -> bool:
    with Api(here.api_url, seconds=5) as api:
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        while asyncio.get_running_loop().time() < deadline and not gone.is_set():
            with contextlib.suppress(TenantryError):
                if (await asyncio.to_thread(api.readiness))[0]:
                    return True
            await asyncio.sleep(_POLL_SECONDS)
    return False


def _report_addresses(here: Settings, *, key_is_new: bool) -> None:
    home = Home(here.home)
    output.facts(
        [
            ("API", here.api_url),
            ("Documentation", f"{here.api_url}/docs"),
            ("PostgreSQL", f"{here.domain}:{here.pg_port}"),
            ("Pooled", f"{here.domain}:{here.pool.port}"),
            ("CA file", home.ca_certificate),
        ]
    )
    if here.is_local:
        output.note(
            f"Connection strings contain {here.domain}: they work on this machine only. For other "
            f"machines set TENANTRY_DOMAIN (docs/how-to/reach-it-from-other-machines.md)."
        )
    if key_is_new:
        output.facts([("Admin key", home.admin_key.read_text().strip())])
        output.note(f"The key is also in {home.admin_key}, for its owner only.")


def down() -> None:
    """Stop everything without losing data: clients first, then the pooler, then PostgreSQL."""
    here = settings.load()
    pid = supervisor.running_pid(here)
    if pid is None and not Home(here.home).clusters.exists():
        output.note("Tenantry does not run.")
        return
    identity.become_service_user()
    if pid is not None:
        with output.waiting("Stopping"):
            if asyncio.run(processes.stop(pid, deadline=_DOWN_SECONDS)):
                output.note("The supervisor took too long and was killed.")
    # A supervisor that was killed leaves the daemons for tenants running.
    asyncio.run(supervisor.stop_daemons(here))
    output.done("Tenantry has stopped; all data is kept.")


def status(json: Json = False) -> None:
    """Show the state of all parts. Exit code 3 if one does not run."""
    found = asyncio.run(statuses.look(settings.load()))
    if json:
        output.as_json(asdict(found))
    else:
        output.table(
            [asdict(part) for part in found.parts],
            {"PART": "name", "STATE": "state", "DETAIL": "detail"},
            empty="Tenantry has not been brought up here; run ./tenantry up",
        )
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
                    "SOCKET": "socket_dir",
                },
                empty="",
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
    findings = asyncio.run(_findings(settings.load()))
    if json:
        output.as_json([asdict(finding) for finding in findings])
    else:
        marks = {"ok": "✓", "warning": "!", "problem": "✗"}
        output.table(
            [
                {
                    "mark": marks[finding.level],
                    "subject": finding.subject,
                    "detail": words.commands(f"{finding.detail} {finding.hint}".strip()),
                }
                for finding in findings
            ],
            {"": "mark", "CHECK": "subject", "FINDING": "detail"},
            empty="",
        )
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(FAILED)


async def _findings(here: Settings) -> list[Finding]:
    findings: list[Finding] = []
    try:
        postgres = packages.find_postgres()
        findings.append(Finding("ok", "PostgreSQL", f"{postgres.version} in {postgres.bindir}"))
    except MachineError as error:
        findings.append(Finding("problem", "PostgreSQL", error.detail, error.hint or ""))
        return findings
    try:
        pgbouncer = await engines.find_pgbouncer(here.engines_dir)
        findings.append(Finding("ok", "PgBouncer", f"{pgbouncer.release} at {pgbouncer.path}"))
        findings += [
            Finding("warning", "PgBouncer", warning, _NEWER_POOLER)
            for warning in pgbouncer.warnings()
        ]
    except MachineError as error:
        findings.append(Finding("problem", "PgBouncer", error.detail, error.hint or ""))
    findings += await _versions(here)
    findings += await examine(here)
    findings += [*_challenge_port(here), *_certificate(here)]
    found = await statuses.look(here)
    findings += [
        Finding("ok", part.name, f"runs ({part.detail})")
        if part.state == "running"
        else Finding("warning", part.name, "does not run.", "./tenantry up starts it.")
        for part in found.parts
    ]
    running = {part.name for part in found.parts if part.state == "running"}
    served = [port for name, port in _ports(here).items() if name in running]
    findings += await reachability.examine(served, host=here.domain)
    reported = {f"{finding.detail} {finding.hint}" for finding in findings}
    return [*findings, *(each for each in of_clusters(here, found) if each.detail not in reported)]


def of_clusters(here: Settings, found: statuses.Status) -> list[Finding]:
    """Return the findings about clusters and their backups."""
    warnings = [
        Finding("warning", f"cluster {each.name}", warning)
        for each in found.clusters
        for warning in each.warnings
    ]
    return [*warnings, *_backups(here, found)]


async def _versions(here: Settings) -> list[Finding]:
    """Return findings about the running, installed and available versions."""
    local = LocalClusters(here)
    findings = []
    for part in await Versions(here, local, local_pooler(here)).look(wait=True):
        reported = [
            f"{version} {what}"
            for version, what in (
                (part.running, "runs"),
                (part.installed, "is installed"),
                (part.candidate, "is offered"),
            )
            if version
        ]
        subject = f"version of {part.name}"
        if reported and not part.alerts():
            findings.append(Finding("ok", subject, f"{', '.join(reported)}."))
        level: Literal["problem", "warning"] = "problem" if part.fails else "warning"
        findings += [Finding(level, subject, each.detail, each.hint) for each in part.alerts()]
        findings += [Finding("warning", subject, each.detail, each.hint) for each in part.advice()]
    days = engines.days_since_search(here.engines_dir)
    if days is not None and days > _SEARCHED_DAYS:
        findings.append(
            Finding(
                "warning",
                "PgBouncer",
                f"a newer source was last looked for {days:.0f} days ago.",
                "./tenantry up looks and builds it.",
            )
        )
    return findings


def _backups(here: Settings, found: statuses.Status) -> list[Finding]:
    if not here.backups:
        hint = "Set TENANTRY_BACKUPS=on to have backups."
        return [Finding("warning", "backups", "are off: nothing is backed up.", hint)]
    findings = []
    if not packages.has_pgbackrest():
        hint = f"{packages.command_for(['pgbackrest'])}"
        findings.append(Finding("problem", "backups", "pgBackRest is not installed.", hint))
    for cluster in found.clusters:
        subject = f"backups of {cluster.name}"
        if cluster.backups == "unknown":
            findings.append(
                Finding("warning", subject, "it is not known whether there is one to restore from.")
            )
        elif not cluster.warnings:
            last = cluster.last_backup_at
            reported = (
                "the first one is made now." if last is None else f"the last one: {_moment(last)}"
            )
            findings.append(Finding("ok", subject, reported))
    return findings


def _moment(at: str) -> str:
    """Format a moment in UTC as the API's answers do; ``doctor`` shows it in the local zone."""
    return f"{dt.datetime.fromisoformat(at).astimezone(dt.UTC):%F %T} UTC"


def _challenge_port(here: Settings) -> list[Finding]:
    """Check that ACME challenges can be answered: no program may hold their port until then."""
    if here.acme.directory is None or here.acme.dns_hook is not None:
        return []
    host, number = "0.0.0.0", here.acme.http_port  # noqa: S104
    port = Port("the ACME authority's challenge", host, number, "TENANTRY_ACME_HTTP_PORT")
    found = preflight.check_port(port)
    # Only a warning: the platform serves tenants without it.
    return [replace(found, level="warning") if found.level == "problem" else found]


def _certificate(here: Settings) -> list[Finding]:
    try:
        found = local_certificates(here).status()
    except Conflict:
        return []  # the platform has not been started yet
    except OSError as error:
        hint = "Run this as root or as the user that Tenantry runs as."
        return [Finding("warning", "certificate", f"cannot be read: {error.strerror}.", hint)]
    findings = [
        Finding(
            "warning" if found.failures else "ok",
            "certificate",
            f"expires {found.not_after:%Y-%m-%d}" + (f"; {found.error}" if found.error else "."),
            "" if found.error is None else "tenantry tls renew tries at once.",
        )
    ]
    if found.warning:
        expired = found.seconds_left <= 0
        findings.append(
            Finding(
                "problem" if expired else "warning",
                "certificate",
                found.warning,
                "See tenantry tls status.",
            )
        )
    return findings


@service.command("install")
def install_service() -> None:
    """Install a systemd unit that starts the platform at every boot. For root."""
    here = settings.load()
    unit = systemd.Unit(
        name=unit_name(here),
        home=here.home,
        program=Path(sys.prefix) / "bin" / "tenantry",  # a link to it may be another installation's
        user=identity.SERVICE_USER,
        environment=unit_environment(here, os.environ),
        folders=(here.repository_dir,) if here.backup.dir else (),
    )
    asyncio.run(install(here))
    asyncio.run(systemd.install(unit, output.done))


@service.command("uninstall")
def uninstall_service() -> None:
    """Stop and remove the systemd unit; all data stays. For root."""
    asyncio.run(systemd.uninstall(unit_name(settings.load()), output.done))
