"""Events of the platform, as typed values, interpreted by ``services.observations`` and by tests.

An event's name follows from its class: ``RulesWritten`` is ``rules.written``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


class Event:
    """An event."""

    __slots__ = ()

    @classmethod
    def name(cls) -> str:
        """Return its name in the log, and in the metrics that count it."""
        *words, verb = re.findall("[A-Z][a-z0-9]*", cls.__name__)
        return f"{'_'.join(words)}.{verb}".lower()


@dataclass(frozen=True, slots=True)
class StepDone(Event):
    """A durable flow has finished a step. Reconciliation completes what a crash after it leaves."""

    flow: str
    step: str
    subject: str


@dataclass(frozen=True, slots=True)
class SessionAnnounced(Event):
    """The platform is about to open a session in a tenant's database."""

    database: str


# ── changes ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Change(Event):
    """A difference to the wanted state was removed. ``subject`` identifies the object."""

    subject: str


class BackupFileRemoved(Change):
    """The file of a deleted logical backup."""


class BlockersEnded(Change):
    """Sessions that blocked the platform's wait for a lock; the subject is how many."""


class CertificateInstalled(Change):
    """The subject is the certificate's domain."""


class CertificateRevoked(Change):
    """The configuration of a cluster."""


class ClusterFilesWritten(Change):
    """The configuration of a cluster."""


class ClusterStarted(Change):
    pass


class DatabaseCopied(Change):
    pass


class DatabaseCreated(Change):
    pass


class DatabaseDropped(Change):
    pass


class DatabaseReplaced(Change):
    """Another database has its name now."""


class DatabaseSetAside(Change):
    """It was renamed to be moved: nobody finds it."""


class DatabaseBroughtBack(Change):
    """It has its name again: it was not moved."""


class LogMirrored(Change):
    """WAL was copied to another repository, up to a segment."""


class PoolSizeChanged(Change):
    pass


class EdgeConfigured(Change):
    pass


class EdgeStarted(Change):
    pass


class PoolerFilesWritten(Change):
    pass


class PoolerRulesReloaded(Change):
    pass


class PoolerRulesWritten(Change):
    pass


class PoolerStarted(Change):
    pass


class PoolerUsersWritten(Change):
    pass


class RoleCreated(Change):
    pass


class RoleDropped(Change):
    pass


class RoleRetained(Change):
    """A role to be dropped owns objects elsewhere, and has lost its login instead."""


class RulesReloaded(Change):
    """A cluster's pg_hba.conf is in force."""


class RulesWritten(Change):
    """A cluster's pg_hba.conf."""


class SideClusterRecovered(Change):
    pass


class SideClusterRemoved(Change):
    pass


class SideClusterRestored(Change):
    pass


class SiteRemoved(Change):
    """The process of a site, and its data if the site was deleted."""


class SiteRulesSet(Change):
    """The packet filter's rules for allowlists of sites; the subject is how many have one."""


class SiteWritten(Change):
    """The files of a site's process."""


class StandingRoleRestored(Change):
    """One of the platform's own roles, or its privileges."""


class StatementsForgotten(Change):
    """The statistics of statements of all databases, whose texts took too much of the disk."""


class VisibilityLimited(Change):
    """What a tenant sees of other tenants in the catalogs of its database."""


class VisitorDropped(Change):
    """A login that was created for one operation."""


# ── reconciliation, jobs and operations ──────────────────────────────────────


@dataclass(frozen=True, slots=True)
class DifferenceRemoved(Event):
    """Reconciliation found a difference to the wanted state, and has removed it."""

    action: str
    subject: str


@dataclass(frozen=True, slots=True)
class ReconciliationFailed(Event):
    """A difference remains for now; the next pass tries again."""

    action: str
    subject: str
    error: str


@dataclass(frozen=True, slots=True)
class ReconciliationEnded(Event):
    """A reconciliation pass has ended."""

    changes: int
    failures: int


@dataclass(frozen=True, slots=True)
class DatabaseMissing(Event):
    """An owned database is missing on its cluster."""

    database: str
    cluster: str


@dataclass(frozen=True, slots=True)
class JobFailed(Event):
    """One of the worker's jobs failed; it runs again when it is next due."""

    job: str
    error: str


@dataclass(frozen=True, slots=True)
class JobCrashed(Event):
    """A job failed with an unexpected error. To be emitted while the exception is handled."""

    job: str


@dataclass(frozen=True, slots=True)
class OperationEnded(Event):
    """An operation has succeeded, failed or been cancelled."""

    kind: str
    status: str
    subject: str


@dataclass(frozen=True, slots=True)
class DrillFailed(Event):
    """A drill could not prove a backup to be restorable."""

    database: str
    error: str


# ── processes ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ProcessDied(Event):
    """A process of the platform ended unexpectedly."""

    process: str
    code: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessStarted(Event):
    """A process that had died runs again."""

    process: str


@dataclass(frozen=True, slots=True)
class ProcessStopped(Event):
    """A process is not to run any more: its instance was stopped or deleted."""

    process: str


@dataclass(frozen=True, slots=True)
class ProcessRestarted(Event):
    """A process was stopped on purpose, to be restarted."""

    process: str
    reason: str


@dataclass(frozen=True, slots=True)
class StartFailed(Event):
    """A process does not start; the start is retried."""

    process: str
    error: str


# ── limits in force ──────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SessionsEnded(Event):
    """The platform has ended sessions. ``subject`` is whose, or where."""

    reason: str
    subject: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class LoginsEnded(Event):
    """Excess unfinished logins were ended; ``addresses`` are those with the most."""

    count: int
    addresses: Mapping[str, int] = field(hash=False)


@dataclass(frozen=True, slots=True)
class LoginsRefused(Event):
    """PostgreSQL and the pooler have refused logins."""

    count: int


@dataclass(frozen=True, slots=True)
class DatabasePaused(Event):
    """Connections to a database are refused for a while, because it wrote too much."""

    database: str
    reason: str
    written_bytes: int


@dataclass(frozen=True, slots=True)
class QuotaChanged(Event):
    """A database's disk usage has reached another quota state."""

    database: str
    state: str
    used_bytes: int
    quota_bytes: int | None


# ── messages about alerts ────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class MessageSent(Event):
    """A channel has accepted a message about an alert or an event."""

    kind: str
    channel: str
    message: str


@dataclass(frozen=True, slots=True)
class MessageFailed(Event):
    """A channel did not accept a message; it is sent again later."""

    kind: str
    channel: str
    error: str


_handlers: list[Callable[[Event], None]] = []


def subscribe(handler: Callable[[Event], None]) -> None:
    """Call ``handler`` once with every further event of this process."""
    if handler not in _handlers:
        _handlers.append(handler)


def emit(event: Event) -> None:
    """Call every subscriber, in order of subscription."""
    for handler in _handlers:
        handler(event)
