"""Measures in Prometheus's format. No tenant's name or address is in them."""

import datetime as dt
import math
from collections import Counter as Tally
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tenantry.base.events import Changed, Event, PartDied, subscribe
from tenantry.control.passwords import Ages
from tenantry.control.pauses import PauseReason
from tenantry.control.proofs import Summary
from tenantry.services.certificates.model import CertificateStatus
from tenantry.services.health import Health
from tenantry.services.login_floods import Seen
from tenantry.services.operations.model import Queued
from tenantry.services.pooling.service import PoolerState
from tenantry.services.repository import plan
from tenantry.services.repository.model import Upkeep
from tenantry.services.transaction_ids import Report
from tenantry.services.versions import Part

_registry = CollectorRegistry()

_requests = Histogram(
    "tenantry_http_request_duration_seconds",
    "Time to answer, by route and status",
    ["method", "route", "status"],
    registry=_registry,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_changes = Counter(
    "tenantry_changes_total", "Differences found and removed", ["what"], registry=_registry
)
_up = Gauge("tenantry_part_up", "Whether a part answers", ["part"], registry=_registry)
_latency = Gauge(
    "tenantry_part_latency_seconds", "Time a part took to answer", ["part"], registry=_registry
)
_databases = Gauge("tenantry_databases", "Databases by status", ["status"], registry=_registry)
_quotas = Gauge(
    "tenantry_databases_by_quota",
    "Measured databases by what follows from their use of the disk",
    ["state"],
    registry=_registry,
)
_paused = Gauge(
    "tenantry_databases_paused",
    "Databases that nobody connects to for a while, by what they wrote too much of",
    ["reason"],
    registry=_registry,
)
_clients = Gauge(
    "tenantry_pooler_clients", "Pooled clients, served and waiting", ["state"], registry=_registry
)
_servers = Gauge(
    "tenantry_pooler_servers", "The pools' server connections", ["state"], registry=_registry
)
_budget = Gauge(
    "tenantry_pooler_server_budget", "The most that all pools may hold", registry=_registry
)
_memory = Gauge(
    "tenantry_pooler_memory_bytes", "What the pooler's process takes", registry=_registry
)
_memory_limit = Gauge(
    "tenantry_pooler_memory_limit_bytes",
    "The most that it may take before sessions are ended",
    registry=_registry,
)
_unfinished = Gauge(
    "tenantry_unfinished_logins",
    "Connections that have not finished their login, by endpoint",
    ["endpoint"],
    registry=_registry,
)
_logins_ended = Gauge(
    "tenantry_logins_ended",
    "Unfinished logins that were ended as there were too many, since the worker began",
    registry=_registry,
)
_logins_refused = Gauge(
    "tenantry_logins_refused",
    "Logins that PostgreSQL and the pooler refused, since the worker began",
    registry=_registry,
)
_refused_rate = Gauge(
    "tenantry_logins_refused_per_second", "The same, of the last second", registry=_registry
)
_flood = Gauge(
    "tenantry_login_flood",
    "Whether there were too many unfinished logins within the last minute",
    registry=_registry,
)

_certificate = Gauge(
    "tenantry_certificate_seconds_left",
    "Time until the certificate of the TLS ports expires",
    registry=_registry,
)
_certificate_failures = Gauge(
    "tenantry_certificate_failures",
    "Tries to have another certificate that failed since the last success",
    registry=_registry,
)

_logical = Gauge(
    "tenantry_logical_backups", "Logical backups by status", ["status"], registry=_registry
)
_logical_bytes = Gauge(
    "tenantry_logical_backup_bytes", "What all logical backups take on disk", registry=_registry
)


def observe_paused(counted: dict[str, int]) -> None:
    """Tell how many databases are paused, by the reason."""
    for reason in get_args(PauseReason):
        _paused.labels(reason).set(counted.get(reason, 0))


def observe_logical_backups(counted: dict[str, tuple[int, int]]) -> None:
    """Tell of the logical backups: how many there are by status, and how many bytes they take."""
    for status in ("making", "ready", "damaged"):
        _logical.labels(status).set(counted.get(status, (0, 0))[0])
    _logical_bytes.set(sum(size for _, size in counted.values()))


_passwords = Gauge(
    "tenantry_passwords",
    "Logins by the age of their password: older than TENANTRY_PASSWORD_DAYS, replaced soon",
    ["age"],
    registry=_registry,
)


def observe_passwords(ages: Ages) -> None:
    """Tell how many passwords are old, and how many are replaced soon."""
    _passwords.labels("old").set(ages.old)
    _passwords.labels("rotating").set(ages.rotating)


_schedules_failing = Gauge(
    "tenantry_scheduled_backups_failing",
    "Databases whose last scheduled backup failed or was refused",
    registry=_registry,
)


def observe_backup_schedules(failing: int) -> None:
    """Tell how many databases' last scheduled backup failed or was refused."""
    _schedules_failing.set(failing)


_foreign = Gauge(
    "tenantry_foreign_objects",
    "Objects in tenants' databases that belong to other roles, as of the last checks",
    registry=_registry,
)


def observe_ownership(findings: dict[str, list[str]]) -> None:
    """Set the gauge of objects that do not belong to their tenants."""
    _foreign.set(sum(map(len, findings.values())))


_waiting = Gauge(
    "tenantry_archive_waiting_bytes",
    "The write-ahead log that is in no repository yet",
    ["cluster"],
    registry=_registry,
)
_failing = Gauge(
    "tenantry_archive_failing",
    "Whether archiving last failed",
    ["cluster"],
    registry=_registry,
)
_archive_left = Gauge(
    "tenantry_archive_seconds_left",
    "Time until the disk is full of what waits to be archived, if it grows as it has; +Inf if not",
    ["cluster"],
    registry=_registry,
)
_backup_age = Gauge(
    "tenantry_backup_age_seconds",
    "Age of the last physical backup that can be restored; +Inf without any, NaN if unknown",
    ["cluster"],
    registry=_registry,
)
_behind = Gauge(
    "tenantry_log_behind_segments",
    "Segments of the write-ahead log that the local repository has, and another one not yet",
    ["cluster", "repository"],
    registry=_registry,
)
_alerts = Gauge(
    "tenantry_backup_alerts",
    "What somebody has to see to about backups",
    ["cluster", "level"],
    registry=_registry,
)


_drills_failing = Gauge(
    "tenantry_drills_failing", "Databases whose last drill failed", registry=_registry
)
_proof_age = Gauge(
    "tenantry_proof_age_seconds",
    "Time since a drill of any database last passed; +Inf if none did",
    registry=_registry,
)


_queued = Gauge(
    "tenantry_operations_queued", "Operations that wait to begin", ["lane"], registry=_registry
)
_queued_age = Gauge(
    "tenantry_operations_queued_seconds",
    "How long the oldest of them has waited",
    ["lane"],
    registry=_registry,
)


def observe_queue(lanes: list[Queued]) -> None:
    """Tell of the operations that wait to begin."""
    for each in lanes:
        _queued.labels(each.lane).set(each.count)
        _queued_age.labels(each.lane).set(each.oldest.total_seconds())


def observe_logins(seen: Seen) -> None:
    """Tell of unfinished and refused logins."""
    _unfinished.labels("postgresql").set(seen.authenticating)
    _unfinished.labels("pooler").set(seen.pooled)
    _logins_ended.set(seen.ended)
    _logins_refused.set(seen.refused)
    _refused_rate.set(seen.refused_per_second)
    _flood.set(seen.warning is not None)


_age = Gauge(
    "tenantry_transaction_id_age",
    "How far behind the newest transaction ID or multixact the oldest of a cluster is",
    ["cluster", "kind"],
    registry=_registry,
)
_assigned = Gauge(
    "tenantry_transaction_ids_assigned",
    "Transaction IDs or multixacts ever assigned, modulo 2^32",
    ["cluster", "kind"],
    registry=_registry,
)
_holder_age = Gauge(
    "tenantry_freezing_held_back",
    "Transaction IDs assigned since the oldest session, prepared transaction or slot began",
    ["cluster"],
    registry=_registry,
)
_members = Gauge(
    "tenantry_multixact_members",
    "Members of multixacts kept, of 2^32",
    ["cluster"],
    registry=_registry,
)


def observe_transaction_ids(reports: list[Report]) -> None:
    """Note the ages and counters of each cluster."""
    for each in reports:
        for kind in ("transactions", "multixacts"):
            _age.labels(each.cluster, kind).set(each.state.oldest(kind).of(kind))
            _assigned.labels(each.cluster, kind).set(each.state.consumed.of(kind))
        held = max((holder.age for holder in each.state.holders), default=0)
        _holder_age.labels(each.cluster).set(held)
        _members.labels(each.cluster).set(each.members)


_version = Gauge(
    "tenantry_version",
    "1 for each part with the versions that run, are installed and would be installed",
    ["part", "running", "installed", "candidate"],
    registry=_registry,
)
_outdated = Gauge(
    "tenantry_part_outdated",
    "Whether something else is installed than runs",
    ["part"],
    registry=_registry,
)
_replaced = Gauge(
    "tenantry_part_replaced_files",
    "Programs and libraries that a part runs and that are not on disk any more",
    ["part"],
    registry=_registry,
)
_failing_sessions = Gauge(
    "tenantry_new_sessions_fail",
    "Whether new sessions fail in PL/pgSQL",
    ["part"],
    registry=_registry,
)
_weaknesses = Gauge(
    "tenantry_known_weaknesses",
    "Published weaknesses of the version that runs",
    ["part"],
    registry=_registry,
)


def observe_versions(parts: list[Part]) -> None:
    """Note what runs, is installed and would be installed."""
    _version.clear()
    for part in parts:
        _version.labels(
            part.name, part.running or "", part.installed or "", part.candidate or ""
        ).set(1)
        _outdated.labels(part.name).set(part.outdated)
        _replaced.labels(part.name).set(len(part.replaced))
        _failing_sessions.labels(part.name).set(part.fails is not None)
        _weaknesses.labels(part.name).set(len(part.weaknesses))


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request."""
    _requests.labels(method, route, str(status)).observe(seconds)


def _observe_event(event: Event) -> None:
    match event:
        case Changed(what, _):
            _changes.labels(what).inc()
        case PartDied(part):
            _changes.labels(f"{part}.died").inc()


subscribe(_observe_event)


def render(
    health: Health,
    databases: dict[str, int],
    quotas: dict[str, int],
    pooler: PoolerState | None,
    certificate: CertificateStatus | None,
    backups: list[Upkeep],
    drills: Summary | None,
) -> bytes:
    """Everything measured, as it is now."""
    _observe_drills(drills)
    for each in backups:
        _observe_backups(each)
    if certificate is not None:
        _certificate.set(certificate.seconds_left)
        _certificate_failures.set(certificate.failures)
    for part in health.parts:
        _up.labels(part.name).set(part.state != "down")
        _latency.labels(part.name).set((part.latency_ms or 0) / 1000)
    for status in ("creating", "warm", "active", "deleting", "missing"):
        _databases.labels(status).set(databases.get(status, 0))
    for state in ("ok", "warning", "read_only", "stopped"):
        _quotas.labels(state).set(quotas.get(state, 0))
    if pooler is not None:
        sums = Tally[str]()
        for pool in pooler.pools:
            sums["served"] += pool.clients_active
            sums["waiting"] += pool.clients_waiting
            sums["active"] += pool.servers_active
            sums["idle"] += pool.servers_idle
        for state in ("served", "waiting"):
            _clients.labels(state).set(sums[state])
        for state in ("active", "idle"):
            _servers.labels(state).set(sums[state])
        _budget.set(pooler.budget)
        _memory.set(pooler.memory_bytes)
        _memory_limit.set(pooler.memory_limit_bytes)
    return generate_latest(_registry)


def _observe_drills(found: Summary | None) -> None:
    if found is not None:
        _drills_failing.set(found.failing)
        last = found.last_passed_at
        _proof_age.set((dt.datetime.now(dt.UTC) - last).total_seconds() if last else math.inf)


def _observe_backups(found: Upkeep) -> None:
    now = dt.datetime.now(dt.UTC)
    if found.archiver is not None:
        _failing.labels(found.cluster).set(found.archiver.fails)
    if found.waiting is not None:
        left = plan.seconds_left(found.waiting)
        _waiting.labels(found.cluster).set(found.waiting.size_bytes)
        _archive_left.labels(found.cluster).set(math.inf if left is None else left)
    for other in found.behind:
        _behind.labels(found.cluster, other.place).set(other.segments)
    last = found.last_backup_at
    if last is not None:
        age = (now - last).total_seconds()
    else:
        age = math.nan if found.known == "unknown" else math.inf
    _backup_age.labels(found.cluster).set(age)
    levels = Tally(alert.level for alert in plan.alerts(found, now))
    for level in ("warning", "danger"):
        _alerts.labels(found.cluster, level).set(levels[level])
