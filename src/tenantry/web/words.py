"""What pages say of values: states, sizes, times. Pure."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tenantry.control.alerts import AlertRow
from tenantry.control.clusters import ClusterRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.migration_runs import TargetStatus
from tenantry.control.operations import OperationRow
from tenantry.control.users import UserRow
from tenantry.services.instances.model import InstanceStatus
from tenantry.services.overuse import plan as overuse
from tenantry.services.quotas import plan as quotas
from tenantry.services.tenant_migrations.model import FleetSummary

Tone = Literal["ok", "info", "warn", "bad", "off"]

UNKNOWN = "\N{EN DASH}"
GIB = 2**30
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SOON = 2  # of a unit: below it, the smaller unit is used
_FLEET = "fleet.migrate"
_OPERATIONS = {
    "backup.create": "Backup",
    "backup.verify": "Check of a backup",
    "branch.create": "Branch",
    "branch.promote": "Promotion of a branch",
    "branch.reset": "Reset of a branch",
    "cluster.add": "New cluster",
    "cluster.backup": "Backup",
    "cluster.restore": "Restore",
    "cluster.verify": "Check of the backups",
    "database.analyze": "ANALYZE",
    "database.blueprint": "Blueprint",
    "database.create_index": "CREATE INDEX",
    "database.delete": "Deletion",
    "database.drill": "Restore drill",
    "database.import": "Import",
    "database.migrate": "Migration",
    "database.move": "Move to another cluster",
    "database.past": "Look into the past",
    "database.put_back": "Put back",
    "database.reindex": "REINDEX",
    "database.restore": "Restore",
    "database.restore_tables": "Restore of tables",
    "database.vacuum": "VACUUM",
    "database.vacuum_full": "VACUUM FULL",
    _FLEET: "Migration of many databases",
    "instance.create": "New instance",
    "instance.restart": "Restart",
    "instance.start": "Start",
    "instance.stop": "Stop",
    "site.backup": "Backup of a site",
    "site.restore": "Restore of a site",
}
_EVENTS = {
    "database.bring_back": "Rows brought back",
    "database.moved": "Moved",
    "database.restored": "Restored",
}
_UNDER_WAY = {"deleting": "Being deleted", "branching": "Being made"}
_FULL: dict[str, tuple[str, Tone]] = {
    "stopped": ("Stopped: full", "bad"),
    "read_only": ("Read-only: full", "bad"),
    "warning": ("Almost full", "warn"),
}
_HELD = _FULL | {
    "stopped": ("Stopped: disk full", "bad"),
    "read_only": ("Read-only: disk full", "bad"),
}
_INSTANCES: dict[InstanceStatus | None, tuple[str, Tone]] = {
    "creating": ("Being created", "info"),
    "running": ("Running", "ok"),
    "starting": ("Starting", "info"),
    "stopped": ("Stopped", "off"),
    "suspended": ("Suspended", "off"),
    "error": ("Does not run", "bad"),
    None: ("Unknown", "warn"),
}
_CHANGING = {
    "instance.create": "Being created",
    "instance.restart": "Restarting",
    "instance.start": "Starting",
    "instance.stop": "Stopping",
}
_TARGETS: dict[TargetStatus, Tone] = {
    "succeeded": "ok",
    "failed": "bad",
    "running": "info",
    "skipped": "off",
    "pending": "off",
}
_LONGEST_LEAD = 200  # letters of a text that is shown whole
_SEVERE = re.compile(r"\b(?:FATAL|PANIC): .*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
# The page that shows more about an alert of a rule: of the platform, and of a database.
_PLACES = {
    "archiving": ("/clusters", "Clusters"),
    "backups": ("/clusters", "Clusters"),
    "disk": ("/platform", "Health"),
    "drills": ("/operations?kind=database.drill", "Operations"),
    "operations": ("/operations?status=queued", "Operations"),
    "part": ("/clusters", "Clusters"),
    "pool": ("/platform", "Health"),
    "pooler": ("/platform", "Health"),
    "site_backups": ("/operations?status=failed", "Operations"),
    "unresponsive": ("/clusters", "Clusters"),
}
_PLACES_OF_DATABASE = {
    "database.blocked": ("/sessions", "Sessions"),
    "database.connections": ("/sessions", "Sessions"),
    "database.disk": ("/tables", "Tables"),
    "database.slower": ("/queries", "Queries"),
    "database.transaction": ("/sessions", "Sessions"),
}
_TONES: dict[str, Tone] = {
    "queued": "off",
    "running": "info",
    "succeeded": "ok",
    "failed": "bad",
    "cancelled": "off",
}


@dataclass(frozen=True, slots=True)
class State:
    """A state in one or two words, and what there is to know about it."""

    word: str
    tone: Tone
    detail: str | None = None


def _absent(row: DatabaseRow, *, is_down: bool) -> State | None:
    if row.wanted == "stopped":
        return State("Stopped", "off", "Nobody can connect until its instance is started.")
    if row.wanted == "suspended":
        return State("Suspended", "off", "The next connection through the pooler wakes it.")
    if row.missing_since is not None:
        return State("Missing", "bad", "Its server does not have it; restore it from a backup.")
    if is_down:
        return State("Server down", "bad", "Its server does not run; it is being started again.")
    return None


def state_of(row: DatabaseRow, now: dt.datetime, *, is_down: bool = False) -> State:
    """Return the state of a database, the worst first; ``is_down`` is whether its server is."""
    if row.status in _UNDER_WAY:
        return State(_UNDER_WAY[row.status], "info")
    if (absent := _absent(row, is_down=is_down)) is not None:
        return absent
    if row.paused_until is not None and row.paused_for is not None and row.paused_until > now:
        return State("Paused", "bad", overuse.explain(row.paused_for))
    if row.quota_state in _FULL:
        word, tone = (_HELD if row.held else _FULL)[row.quota_state]
        return State(word, tone, quotas.explain(row.quota_state, held=row.held))
    if row.status_detail is not None:
        return State("Needs attention", "warn", row.status_detail)
    return State("Ready", "ok")


def cluster_state(row: ClusterRow, why_down: str | None) -> State:
    """Return the state of a cluster; ``why_down`` is None unless it does not serve."""
    if row.wanted != "running":
        return State(row.wanted.capitalize(), "off")
    if not row.ready:
        return State("Being added", "info")
    if why_down is not None:
        return State("Down", "bad", why_down)
    return State("Ready", "ok")


def attention(rows: Sequence[AlertRow], now: dt.datetime) -> State | None:
    """Return how many alerts fire that nobody has muted, None if none does."""
    heard = [row for row in rows if row.muted_until is None or row.muted_until <= now]
    critical = sum(row.severity == "critical" for row in heard)
    counts = {"critical alert": critical, "warning": len(heard) - critical}
    said = [_count(number, name) for name, number in counts.items() if number]
    if not said:
        return None
    return State(" and ".join(said), "bad" if critical else "warn")


def place_of(row: AlertRow) -> tuple[str, str] | None:
    """Return address and name of the page that shows more about an alert, if there is one."""
    if row.database_id is None:
        return _PLACES.get(row.rule)
    if (place := _PLACES_OF_DATABASE.get(row.rule)) is None:
        return None
    tab, name = place
    return f"/databases/{row.database_id}{tab}", name


@dataclass(frozen=True, slots=True)
class Account:
    """A text in one line, and all of it where that is more."""

    lead: str
    whole: str | None = None


def account(text: str | None) -> Account:
    """Return what a long text says first: of lines of a log, why the server gave up."""
    lines = [line.rstrip() for line in (text or "").splitlines() if line.strip()]
    if len(lines) > 1:
        severe = (found[0] for line in lines[1:] if (found := _SEVERE.search(line)))
        return Account(f"{lines[0]} {next(severe, '')}".strip(), "\n".join(lines))
    whole = "".join(lines)
    if len(whole) <= _LONGEST_LEAD:
        return Account(whole)
    lead, *more = _SENTENCE.split(whole, maxsplit=1)
    return Account(lead, whole if more else None)


def operation_state(row: OperationRow, inside: TargetStatus | None = None) -> State:
    """Return the state of an operation; a failed one's detail is its error.

    Of a run over many databases it is that of one database, if its status there is given.
    """
    if inside is not None:
        return target_state(inside, is_over=row.finished_at is not None)
    error = row.error or {}
    detail = " ".join(str(error[name]) for name in ("detail", "hint") if error.get(name))
    if row.kind == _FLEET and row.status == "succeeded" and (row.result or {}).get("failed"):
        return State("Succeeded in part", "warn", _counted(row.result or {}, is_over=True))
    word = "Undoing" if row.undoing and row.status == "running" else row.status.capitalize()
    return State(word, _TONES[row.status], detail or None)


def target_state(status: TargetStatus, *, is_over: bool) -> State:
    """Return the state of one database in a run over many."""
    if status == "pending" and is_over:
        return State("Not begun", "off")
    return State(status.capitalize(), _TARGETS[status])


def counted(run: FleetSummary) -> str:
    """Return how many databases of a run have which status."""
    return _counted(run.counts, is_over=run.operation.finished_at is not None)


def _counted(counts: Mapping[Any, object], *, is_over: bool) -> str:
    waiting = "not begun" if is_over else "pending"
    said = {status: waiting if status == "pending" else status for status in _TARGETS}
    return ", ".join(f"{counts[each]} {word}" for each, word in said.items() if counts.get(each))


def instance_state(status: InstanceStatus | None, operations: Sequence[OperationRow]) -> State:
    """Return the state of an instance; while it is being changed, what is being done to it."""
    for each in operations:
        if each.kind in _CHANGING and each.status in {"queued", "running"}:
            return State(_CHANGING[each.kind], "info", f"{percent(each.progress)} done.")
    return State(*_INSTANCES[status])


def operation_title(kind: str) -> str:
    """Return what an operation of this kind is called."""
    return _OPERATIONS.get(kind, kind)


def event_title(kind: str) -> str:
    """Return what an action that changed a database is called."""
    return _EVENTS.get(kind) or operation_title(kind)


def duration(seconds: float) -> str:
    """Return a duration in its largest unit that is there at least twice: ``90 min``, ``3 h``."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= _SOON * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def ago(moment: dt.datetime | None, now: dt.datetime) -> str:
    """Return how long ago a moment was, or how far ahead it is."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def last_used(row: DatabaseRow, now: dt.datetime) -> str:
    """Return how long ago clients used a database, as far as it was watched."""
    if row.last_active_at is not None:
        return ago(row.last_active_at, now)
    if row.watched_since is None:
        return "unknown"
    return f"no use seen in {duration((now - row.watched_since).total_seconds())}"


def gibibytes(size: int) -> str:
    """Return a size in GiB, as a field for a number has it."""
    return f"{size / GIB:.6g}"


def milliseconds(value: float) -> str:
    """Return a time of statements: ``0.42 ms``, ``12 s``."""
    if value >= 10_000:  # noqa: PLR2004
        return duration(value / 1000)
    if value >= 1000:  # noqa: PLR2004
        return f"{value / 1000:.1f} s"
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"  # noqa: PLR2004


def moment(value: dt.datetime | None) -> str:
    """Return a moment in UTC, to the second."""
    return "" if value is None else f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def percent(share: float | None) -> str:
    """Return a share of 0 to 1 in percent."""
    return UNKNOWN if share is None else f"{share * 100:.1f} %"


def title(row: DatabaseRow) -> str:
    """Return what a database is called where it has to be unmistakable, as before it is deleted."""
    return row.name or row.friendly_name or row.database_name


def sees(row: UserRow) -> str:
    """Return what a user sees, in a sentence."""
    if row.customer_email is None:
        return "They see everything."
    number = row.customer_databases or 0
    if not number:
        return f"They see nothing yet: {row.customer_email} has no database."
    return f"They see the {_count(number, 'database')} of {row.customer_email}."


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def label(row: DatabaseRow) -> str:
    """Return what people call a database: its friendly name, which others may have, too."""
    return row.friendly_name or title(row)


def tagged(tag: str) -> str:
    """Return the address of the list of databases that have a tag."""
    return f"/databases?tag={tag}"


def argument(row: DatabaseRow) -> str:
    """Return the word that names a database in a command: a friendly name may be anything."""
    return row.name or row.database_name


def within_quotes(text: str) -> str:
    """Return a text as it stands between single quotes in a command for a shell."""
    return text.replace("'", "'\\''")
