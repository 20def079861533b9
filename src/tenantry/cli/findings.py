"""What ``tenantry doctor`` finds, and what prevents a start."""

import datetime as dt
import os
from dataclasses import replace
from typing import Literal

from tenantry.base.errors import Conflict, MachineError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.cli.installing import unit_name
from tenantry.host import (
    backup_engines,
    containers,
    engines,
    environment,
    identity,
    packages,
    preflight,
    reachability,
    systemd,
)
from tenantry.host.preflight import Finding, Port
from tenantry.services import cpu_shares
from tenantry.services import status as statuses
from tenantry.services.caching import process as caching
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.fleet_file import FIRST
from tenantry.services.data_api import process as data_api
from tenantry.services.databases.hosts import direct_host
from tenantry.services.local_parts import LocalParts

_SEARCHED_DAYS = 7
_NEWER_POOLER = (
    "The configuration keeps out of its way; ./tenantry down and ./tenantry up, as root, take the"
    " newest release that can be installed or built here."
)
_NEWER_PGBACKREST = (
    "./tenantry down and ./tenantry up, as root, build a newer release where apt reaches one; or"
    " add PostgreSQL's own apt repository, and upgrade pgbackrest."
)
_NAMED_HOSTS = "Have the certificate name it, or set TENANTRY_INSTANCE_HOSTS=off."


async def find(here: Settings) -> list[Finding]:
    """Return all findings about this machine and what runs on it. Changes nothing."""
    findings: list[Finding] = []
    try:
        postgres = packages.find_postgres(here.engines_dir)
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
    findings.append(await _engine())
    findings += await _versions(here)
    findings += await examine(here)
    findings += [*_challenge_port(here), *_certificate(here), *_edge(here)]
    found, reasons = await statuses.look(here), statuses.reasons(here)
    findings += [
        Finding("ok", part.name, f"runs ({part.detail})")
        if part.state == "running"
        else _stopped(part, reasons.get(part.name), supervised=_is_supervised(found))
        for part in found.parts
    ]
    findings += _disk(found)
    running = _running(found)
    if "worker" in running:
        findings.append(_cpu_shares(here))
    findings += _site_filter(here)
    served = [port for name, port in _ports(here).items() if name in running]
    findings += await reachability.examine(served, host=here.domain)
    findings += await _instance_host(here)
    reported = {f"{finding.detail} {finding.hint}" for finding in findings}
    return [*findings, *(each for each in of_clusters(here, found) if each.detail not in reported)]


def _is_supervised(found: statuses.Status) -> bool:
    return any(each.name == "supervisor" and each.state == "running" for each in found.parts)


def _stopped(part: statuses.PartStatus, reason: str | None, *, supervised: bool) -> Finding:
    """Return the finding about a part that does not run; without a reason it is being started."""
    if not supervised:
        return Finding("warning", part.name, "does not run.", "./tenantry up starts it.")
    retries = "The supervisor tries to start it again and again."
    if reason is None:
        return Finding("warning", part.name, "does not run.", retries)
    return Finding("problem", part.name, reason, retries)


def _disk(found: statuses.Status) -> list[Finding]:
    """Return what takes the disk. Whether there is space to start is another finding."""
    if found.disk is None:
        return []
    level: Literal["ok", "warning"] = "ok" if found.disk.level == "ok" else "warning"
    return [Finding(level, "disk usage", found.disk.detail)]


def of_clusters(here: Settings, found: statuses.Status) -> list[Finding]:
    """Return the findings about clusters and their backups."""
    warnings = [
        Finding("warning", f"cluster {each.name}", warning)
        for each in found.clusters
        for warning in each.warnings
    ]
    return [*warnings, *_backups(here, found)]


def _cpu_shares(here: Settings) -> Finding:
    absent = cpu_shares.absence(Home(here.home))
    if absent is None:
        return Finding("ok", "CPU shares", "a busy database leaves the others theirs.")
    hint = "Without them a tenant can take all processors: docs/reference/limits.md."
    return Finding("warning", "CPU shares", absent, hint)


def _site_filter(here: Settings) -> list[Finding]:
    """Check that a service of an earlier release was given what sets allowlists of sites."""
    is_service = systemd.is_installed(unit_name(here), here.home)
    if not is_service or not systemd.is_running():
        return []
    if systemd.socket_of_filter(here.home).is_socket():
        return [Finding("ok", "allowlists of sites", "root's unit sets them.")]
    detail = "no unit of root's sets them: a site with one is reached from this machine only."
    return [Finding("warning", "allowlists of sites", detail, "sudo ./tenantry service install")]


async def _versions(here: Settings) -> list[Finding]:
    """Return findings about the running, installed and available versions."""
    findings = []
    for part in await LocalParts(here).versions.look(wait=True):
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


async def _engine() -> Finding:
    try:
        detail = f"{await containers.check()} at {containers.address()}"
    except MachineError as error:
        # No problem: the process driver needs none.
        return Finding("ok", "containers", f"cannot be used: {error.detail}", error.hint or "")
    return Finding("ok", "containers", detail)


def _backups(here: Settings, found: statuses.Status) -> list[Finding]:
    if not here.backups:
        hint = "Set TENANTRY_BACKUPS=on to have backups."
        return [Finding("warning", "backups", "are off: nothing is backed up.", hint)]
    findings = []
    if not packages.has_pgbackrest():
        hint = f"{packages.command_for(['pgbackrest'])}"
        findings.append(Finding("problem", "backups", "pgBackRest is not installed.", hint))
    engine = backup_engines.find_pgbackrest(here.engines_dir)
    for cluster in found.clusters:
        subject = f"backups of {cluster.name}"
        if engine is not None and not engine.knows(cluster.version):
            detail = f"pgBackRest {engine.release} does not know PostgreSQL {cluster.version}."
            findings.append(Finding("problem", subject, detail, _NEWER_PGBACKREST))
            continue
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


async def _instance_host(here: Settings) -> list[Finding]:
    """Check one host of an instance: the same record of DNS stands for all of them."""
    for member in Fleet(here).members():
        try:
            host = direct_host(here, member.container_name, member.port)
        except OSError:
            return []  # of the certificate, which is reported
        if host.detail is not None:
            return [Finding("warning", "hosts of instances", host.detail, _NAMED_HOSTS)]
        if host.name != here.domain:
            return [await reachability.examine_host(host.name, domain=here.domain)]
    return []


def _challenge_port(here: Settings) -> list[Finding]:
    """Check that ACME challenges can be answered: no program may hold their port until then."""
    if here.acme.directory is None or here.acme.dns_hook is not None:
        return []
    host, number = "0.0.0.0", here.challenge_port  # noqa: S104
    behind_edge = number != here.acme.http_port
    setting = "TENANTRY_EDGE_CHALLENGE_PORT" if behind_edge else "TENANTRY_ACME_HTTP_PORT"
    port = Port("the ACME authority's challenge", host, number, setting)
    found = preflight.check_port(port)
    # Only a warning: the platform serves tenants without it.
    return [replace(found, level="warning") if found.level == "problem" else found]


def _certificate(here: Settings) -> list[Finding]:
    try:
        found = LocalParts(here).certificates.status()
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


def _edge(here: Settings) -> list[Finding]:
    """Return findings about the edge: its program, and its certificates."""
    if not here.edge:
        return []
    program = environment.find_traefik()
    if program is None:
        hint = "In the folder of the code: ./tenantry install-edge"
        return [Finding("problem", "edge", "Traefik is not installed.", hint)]
    findings = [Finding("ok", "Traefik", f"at {program}")]
    try:
        installed = LocalParts(here).edge.certificates.status()
    except OSError as error:
        hint = "Run this as root or as the user that Tenantry runs as."
        why = f"its certificates cannot be read: {error.strerror}."
        return [*findings, Finding("warning", "edge", why, hint)]
    for each in installed:
        detail = f"The certificate for {', '.join(each.names)} expires {each.not_after:%Y-%m-%d}."
        said = " ".join(filter(None, [each.error, each.warning]))
        findings.append(
            Finding("warning" if said else "ok", "edge's certificate", f"{detail} {said}".strip())
        )
    return findings


def _ports(here: Settings) -> dict[str, Port]:
    """Return the ports that clients reach, by part."""
    servers = {
        each.name: Port(
            "PostgreSQL",
            "0.0.0.0",  # noqa: S104
            each.address.port,
            "TENANTRY_PG_PORT" if each.name == FIRST else "TENANTRY_INSTANCE_PORTS",
        )
        for each in Fleet(here).serving
    }
    return servers | {
        "pooler": Port("the pooler", "0.0.0.0", here.pool.port, "TENANTRY_POOL_PORT"),  # noqa: S104
        "api": Port("the API", here.api.host, here.api.port, "TENANTRY_API_PORT"),
        **(_ports_of_edge(here) if here.edge else {}),
        **(
            {"rest": Port("the data API", here.rest.host, here.rest.port, "TENANTRY_REST_PORT")}
            if data_api.is_wanted(Home(here.home))
            else {}
        ),
        **(
            {"cache": Port("the AI cache", here.cache.host, here.cache.port, "TENANTRY_CACHE_PORT")}
            if caching.is_wanted(Home(here.home))
            else {}
        ),
    }


def _ports_of_edge(here: Settings) -> dict[str, Port]:
    everywhere = "0.0.0.0"  # noqa: S104
    over_http = (here.edge_http_port, "TENANTRY_EDGE_HTTP_PORT")
    over_https = (here.edge_https_port, "TENANTRY_EDGE_HTTPS_PORT")
    found = {
        "edge": Port("the edge", everywhere, *over_https, may_be_low=True),
        "edge (HTTP)": Port("the edge", everywhere, *over_http, may_be_low=True),
    }
    if here.edge_sql:
        over_sql = (here.edge_sql_port, "TENANTRY_EDGE_SQL_PORT")
        found["edge (SQL)"] = Port("the edge", everywhere, *over_sql, may_be_low=True)
    return found


def _running(found: statuses.Status) -> set[str]:
    """Return what runs, by the names of parts and of their ports."""
    running = {part.name for part in found.parts if part.state == "running"}
    return running | {"edge (HTTP)", "edge (SQL)"} if "edge" in running else running


def require_ports_of_edge(here: Settings) -> None:
    """Raise MachineError if the edge's ports are taken. Root sees whose they are."""
    if here.edge and LocalParts(here).edge.pid() is None:
        preflight.require(map(preflight.check_port, _ports_of_edge(here).values()))


async def examine(here: Settings) -> list[Finding]:
    """Return the problems that would prevent a start of the parts that do not run yet."""
    ports = _ports(here)
    found = await statuses.look(here)
    running = _running(found)
    user = identity.SERVICE_USER if os.geteuid() == 0 else None
    return await preflight.examine(
        here.home, [port for name, port in ports.items() if name not in running], user=user
    )
