"""What happened, as typed values. Code emits; ``services.observations`` interprets, and tests do.

An event's name follows from its class: ``RulesWritten`` is ``rules.written``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


class Event:
    """Something that has happened."""

    __slots__ = ()

    @classmethod
    def name(cls) -> str:
        """As it is called in the log, and in the metrics that count it."""
        *words, verb = re.findall("[A-Z][a-z0-9]*", cls.__name__)
        return f"{'_'.join(words)}.{verb}".lower()


@dataclass(frozen=True, slots=True)
class StepDone(Event):
    """A durable flow has finished a step. A crash after it is what reconciliation completes."""

    flow: str
    step: str
    subject: str


@dataclass(frozen=True, slots=True)
class SessionAnnounced(Event):
    """The platform is about to begin a session in a tenant's database."""

    database: str


# ── changes ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Change(Event):
    """Something was not as it should be, and now is. ``subject`` is what of its kind."""

    subject: str


class BackupFileRemoved(Change):
    """Of a logical backup that there is no more."""


class BlockersEnded(Change):
    """Sessions that kept the platform waiting for a lock; the subject is how many."""


class CertificateInstalled(Change):
    """By its domain."""


class CertificateRevoked(Change):
    """By its serial number."""


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


class LogMirrored(Change):
    """The write-ahead log is in a further repository, up to a segment."""


class PoolSizeChanged(Change):
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
    """A role that was to be dropped owns something elsewhere, and has lost its login instead."""


class RulesReloaded(Change):
    """A cluster's pg_hba.conf is in force."""


class RulesWritten(Change):
    """A cluster's pg_hba.conf."""


class SideInstanceRecovered(Change):
    pass


class SideInstanceRemoved(Change):
    pass


class SideInstanceRestored(Change):
    pass


class StandingRoleRestored(Change):
    """One of the platform's own roles, or what it may do."""


class VisibilityLimited(Change):
    """What a tenant sees of others in the catalogs of its database."""


class VisitorDropped(Change):
    """A login that was made for one operation."""


# ── reconciliation, jobs and operations ──────────────────────────────────────


@dataclass(frozen=True, slots=True)
class DifferenceRemoved(Event):
    """Reconciliation found a difference to the wanted state, and has removed it."""

    action: str
    subject: str


@dataclass(frozen=True, slots=True)
class ReconciliationFailed(Event):
    """A difference stays for now; the next pass tries again."""

    action: str
    subject: str
    error: str


@dataclass(frozen=True, slots=True)
class ReconciliationEnded(Event):
    """A pass is over."""

    changes: int
    failures: int


@dataclass(frozen=True, slots=True)
class DatabaseMissing(Event):
    """A database that somebody owns is not on its cluster."""

    database: str
    cluster: str


@dataclass(frozen=True, slots=True)
class JobFailed(Event):
    """One of the worker's jobs could not be done; it is tried again when it is next due."""

    job: str
    error: str


@dataclass(frozen=True, slots=True)
class JobCrashed(Event):
    """The same, by an error that nobody expects. To be emitted where that is handled."""

    job: str


@dataclass(frozen=True, slots=True)
class OperationEnded(Event):
    """An operation has succeeded, failed or been cancelled."""

    kind: str
    status: str
    subject: str


@dataclass(frozen=True, slots=True)
class DrillFailed(Event):
    """A backup was not proven to be restorable."""

    database: str
    error: str


# ── processes ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ProcessDied(Event):
    """A process of the platform ended without having been asked to."""

    process: str
    code: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessStarted(Event):
    """One that had died runs again."""

    process: str


@dataclass(frozen=True, slots=True)
class ProcessRestarted(Event):
    """One was ended on purpose, to run anew."""

    process: str
    reason: str


@dataclass(frozen=True, slots=True)
class StartFailed(Event):
    """A process does not start; it is tried again."""

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
    """Unfinished logins were ended, as there were too many; with the addresses of the most."""

    count: int
    addresses: Mapping[str, int] = field(hash=False)


@dataclass(frozen=True, slots=True)
class LoginsRefused(Event):
    """PostgreSQL and the pooler have refused logins."""

    count: int


@dataclass(frozen=True, slots=True)
class DatabasePaused(Event):
    """Nobody connects to a database for a while, as it wrote too much."""

    database: str
    reason: str
    written_bytes: int


@dataclass(frozen=True, slots=True)
class QuotaChanged(Event):
    """A database's use of the disk has another consequence than before."""

    database: str
    state: str
    used_bytes: int
    quota_bytes: int | None


_handlers: list[Callable[[Event], None]] = []


def subscribe(handler: Callable[[Event], None]) -> None:
    """Call ``handler`` with every event of this process from now on, once each."""
    if handler not in _handlers:
        _handlers.append(handler)


def emit(event: Event) -> None:
    """Tell every subscriber, in order of subscription."""
    for handler in _handlers:
        handler(event)
