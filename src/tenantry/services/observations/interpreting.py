"""The meaning of events: lines of the log, and counters. The only place that interprets them.

The audit is not written here: its rows are written by the transactions that they describe, and
exist exactly if those were committed.
"""

from dataclasses import dataclass, fields
from functools import partial

import structlog

from tenantry.base import events
from tenantry.base.events import Event
from tenantry.base.home import Home
from tenantry.services.observations.counts import Counts
from tenantry.services.observations.model import Metric, counter

_CHANGES = counter(
    "tenantry_changes_total",
    "Differences to what should be that were found and removed, by what was done",
    "what",
)
_DIFFERENCES = counter(
    "tenantry_reconciled_differences_total",
    "Differences of databases and roles that reconciliation has removed",
    "action",
)
_FAILURES = counter(
    "tenantry_reconciliation_failures_total",
    "Differences that reconciliation could not remove, each time it tried",
    "action",
)
_PASSES = counter("tenantry_reconciliation_passes_total", "Passes of reconciliation that ended")
_JOBS = counter(
    "tenantry_job_failures_total", "Failures of what the worker does again and again", "job"
)
_OPERATIONS = counter(
    "tenantry_operations_ended_total", "Operations that ended, by kind and end", "kind", "status"
)
_DEATHS = counter(
    "tenantry_process_deaths_total",
    "How often a process ended without having been asked to",
    "process",
)
_START_FAILURES = counter(
    "tenantry_process_start_failures_total", "How often a process could not be started", "process"
)
_SESSIONS = counter(
    "tenantry_sessions_ended_total", "Tenants' sessions that the platform ended, by why", "reason"
)
_LOGINS_ENDED = counter(
    "tenantry_logins_ended_total", "Unfinished logins that were ended as there were too many"
)
_LOGINS_REFUSED = counter(
    "tenantry_logins_refused_total", "Logins that PostgreSQL and the pooler refused"
)
_PAUSES = counter(
    "tenantry_database_pauses_total",
    "How often a database was paused, by what it wrote too much of",
    "reason",
)
_MESSAGES_SENT = counter(
    "tenantry_alert_messages_sent_total",
    "Messages about alerts and events that channels accepted, by kind of channel",
    "kind",
)
_MESSAGES_FAILED = counter(
    "tenantry_alert_messages_failed_total",
    "How often a channel did not accept a message, by kind of channel",
    "kind",
)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """An event's level in the log, and its counter, with the fields for its labels and amount."""

    level: str
    metric: Metric | None = None
    labels: tuple[str, ...] = ()
    amount: str | None = None


_MEANINGS: dict[type[Event], _Meaning] = {
    events.StepDone: _Meaning("debug"),
    events.SessionAnnounced: _Meaning("debug"),
    events.DifferenceRemoved: _Meaning("info", _DIFFERENCES, ("action",)),
    events.ReconciliationFailed: _Meaning("warning", _FAILURES, ("action",)),
    events.ReconciliationEnded: _Meaning("info", _PASSES),
    events.DatabaseMissing: _Meaning("error"),
    events.JobFailed: _Meaning("warning", _JOBS, ("job",)),
    events.JobCrashed: _Meaning("exception", _JOBS, ("job",)),
    events.OperationEnded: _Meaning("info", _OPERATIONS, ("kind", "status")),
    events.DrillFailed: _Meaning("error"),
    events.ProcessDied: _Meaning("warning", _DEATHS, ("process",)),
    events.ProcessStarted: _Meaning("warning"),
    events.ProcessStopped: _Meaning("info"),
    events.ProcessRestarted: _Meaning("warning"),
    events.StartFailed: _Meaning("error", _START_FAILURES, ("process",)),
    events.SessionsEnded: _Meaning("warning", _SESSIONS, ("reason",), "count"),
    events.LoginsEnded: _Meaning("warning", _LOGINS_ENDED, (), "count"),
    events.LoginsRefused: _Meaning("debug", _LOGINS_REFUSED, (), "count"),
    events.DatabasePaused: _Meaning("warning", _PAUSES, ("reason",)),
    events.QuotaChanged: _Meaning("warning"),
    events.MessageSent: _Meaning("info", _MESSAGES_SENT, ("kind",)),
    events.MessageFailed: _Meaning("warning", _MESSAGES_FAILED, ("kind",)),
}
_CHANGE = _Meaning("info", _CHANGES)


def observe(home: Home, process: str) -> Counts:
    """Log and count all events of this process from now on, under its name."""
    counts = Counts(home.counts, process)
    events.subscribe(partial(interpret, counts))
    return counts


def interpret(counts: Counts, event: Event) -> None:
    """Log an event, and count it."""
    meaning = _CHANGE if isinstance(event, events.Change) else _MEANINGS[type(event)]
    values = {each.name: getattr(event, each.name) for each in fields(event)}  # type: ignore[arg-type]
    if meaning.metric is not None:
        labels = [str(values[name]) for name in meaning.labels]
        if isinstance(event, events.Change):
            labels = [event.name()]
        amount = 1 if meaning.amount is None else int(values[meaning.amount])
        counts.add(meaning.metric, *labels, amount=amount)
    # A pass that finds nothing is only logged for debugging: there is one every minute.
    quiet = isinstance(event, events.ReconciliationEnded) and not any(values.values())
    getattr(structlog.get_logger(), "debug" if quiet else meaning.level)(event.name(), **values)
