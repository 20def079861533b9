"""The conditions of one database that need attention. Pure."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from tenantry.control.alert_channels import Thresholds
from tenantry.control.alerts import Severity
from tenantry.control.query_history import Pace
from tenantry.control.watched import WatchedRow
from tenantry.pg.database_activity import Blocked, Counters, DatabaseActivity
from tenantry.services.alerts.model import Condition
from tenantry.services.quotas import plan as quotas

RULES = frozenset(
    {
        "database.disk",
        "database.connections",
        "database.blocked",
        "database.transaction",
        "database.deadlocks",
        "database.errors",
        "database.paused",
        "database.slower",
    }
)
_WINDOW = 300.0  # seconds over which deadlocks and rollbacks are counted
_APART = 30.0  # seconds between the counters that are retained
_FEWEST_ROLLBACKS = 100
_FEWEST_CALLS = 100
_LEAST_SLOWER_MS = 10_000.0  # in an hour: what takes less is not worth a message
_MINUTE = 60
BLOCKED_SECONDS = 60.0
_MOST_NAMED = 3

Activities = Mapping[str, DatabaseActivity]


@dataclass(slots=True)
class History:
    """The counters of one cluster's databases, over the last five minutes."""

    _seen: deque[tuple[float, Activities]] = field(default_factory=deque)

    def before(self, at: float, now: Activities) -> Activities:
        """Return the counters of five minutes ago, or the oldest since then; remember these."""
        while len(self._seen) > 1 and at - self._seen[1][0] >= _WINDOW:
            self._seen.popleft()
        first = self._seen[0][1] if self._seen else now
        if not self._seen or at - self._seen[-1][0] >= _APART:
            self._seen.append((at, now))
        return first


def in_force(usual: Thresholds, own: Thresholds) -> Thresholds:
    """Return a database's thresholds: its own, or else the platform's."""
    return replace(
        usual,
        **{
            each.name: value
            for each in fields(own)
            if (value := getattr(own, each.name)) is not None
        },
    )


def conditions(
    row: WatchedRow,
    limits: Thresholds,
    now: DatabaseActivity | None,
    before: DatabaseActivity | None,
    pace: Pace | None,
    *,
    blocked: Blocked | None = None,
) -> list[Condition]:
    """Return the conditions of a database, by its row and its counters now and before.

    ``pace`` is that of the last hour that is over.
    """
    found = [*_of_row(row, limits)]
    if blocked is not None:
        found += [("blocked", "warning", _blocked(row, blocked))]
    if pace is not None:
        found += [*_of_pace(limits, pace)]
    if now is not None:
        found += [*_of_activity(row, limits, now)]
        if before is not None and before.epoch == now.epoch:
            found += [*_of_counters(limits, now.counters, before.counters)]
    return [
        Condition(
            rule=f"database.{rule}",
            subject=row.database_name,
            detail=f"{row.friendly_name} ({row.database_name}): {detail}",
            severity=severity,
            database_id=row.id,
            customer_id=row.customer_id,
        )
        for rule, severity, detail in found
    ]


_Said = tuple[str, Severity, str]


def _of_row(row: WatchedRow, limits: Thresholds) -> Iterator[_Said]:
    percent = limits.disk_percent or 100
    quota, restricted = row.disk_quota_bytes, row.quota_state in quotas.RESTRICTED
    if row.used_bytes is not None and (restricted or row.used_bytes * 100 >= quota * percent):
        used = row.used_bytes * 100 // max(1, quota)
        why = quotas.explain(row.quota_state, held=row.held)
        yield (
            "disk",
            "critical" if restricted else "warning",
            f"It takes {used} % of its disk quota. {why or ''}".strip(),
        )
    if row.paused_for is not None:
        yield "paused", "critical", f"Connections are refused: it wrote too much {row.paused_for}."


def _blocked(row: WatchedRow, found: Blocked) -> str:
    pids = ", ".join(map(str, found.blockers[:_MOST_NAMED])) or "none that is left"
    return (
        f"{found.sessions} sessions have waited for a lock for {BLOCKED_SECONDS:.0f} s or more, the"
        f" longest for {found.longest_seconds:.0f} s, behind process {pids}."
        f" `tenantry db locks {row.database_name}` shows them."
    )


def _of_pace(limits: Thresholds, pace: Pace) -> Iterator[_Said]:
    is_slower = pace.now_ms * 100 >= pace.before_ms * (limits.slower_percent or 100)
    is_much = pace.calls >= _FEWEST_CALLS and pace.now_ms - pace.before_ms >= _LEAST_SLOWER_MS
    if is_slower and is_much:
        yield (
            "slower",
            "warning",
            f"In the last full hour its statements took {pace.now_ms / 1000:.0f} s; as fast as a"
            f" week before they would have taken {pace.before_ms / 1000:.0f} s."
            " `tenantry db queries` compares them.",
        )


def _of_activity(row: WatchedRow, limits: Thresholds, now: DatabaseActivity) -> Iterator[_Said]:
    taken = sum(now.connections)
    if taken * 100 >= row.max_connections * (limits.connections_percent or 100):
        yield (
            "connections",
            "warning",
            f"{taken} of its {row.max_connections} connections are taken.",
        )
    minutes = now.longest_transaction_seconds / _MINUTE
    if limits.transaction_minutes is not None and minutes >= limits.transaction_minutes:
        yield "transaction", "warning", f"A transaction has been open for {minutes:.0f} minutes."


def _of_counters(limits: Thresholds, now: Counters, before: Counters) -> Iterator[_Said]:
    deadlocks = now.deadlocks - before.deadlocks
    if limits.deadlocks is not None and deadlocks >= limits.deadlocks:
        yield "deadlocks", "warning", f"There were {deadlocks} deadlocks in five minutes."
    failed = now.rollbacks - before.rollbacks
    every = failed + now.commits - before.commits
    if failed >= _FEWEST_ROLLBACKS and failed * 100 >= every * (limits.rollback_percent or 100):
        yield (
            "errors",
            "warning",
            f"{failed} of {every} transactions in five minutes were rolled back.",
        )
