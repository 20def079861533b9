"""Conditions, how long they last before they matter, and messages. Values only."""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tenantry.control.alerts import Severity

PLATFORM_ALERTS = "alert.platform"
DATABASE_ALERTS = "alert.database"
LOGIN_FAILED = "login.failed"
Event = Literal[
    "alert.platform",
    "alert.database",
    "database.created",
    "database.deleted",
    "database.restored",
    "database.log_paused",
    "login.failed",
]
EVENTS: tuple[Event, ...] = get_args(Event)

Transition = Literal["firing", "worse", "resolved"]
TEST = "channel.test"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that needs attention, as found now.

    Its alert is the platform's unless it has a ``database_id``. An ``occurrence`` identifies an
    incident that is reported even if it is over (not ``present``) when it is noticed.
    """

    rule: str
    subject: str
    detail: str
    severity: Severity = "warning"
    database_id: uuid.UUID | None = None
    customer_id: uuid.UUID | None = None
    occurrence: uuid.UUID | None = None
    present: bool = True

    @property
    def key(self) -> tuple[str, str]:
        return self.rule, self.subject


@dataclass(frozen=True, slots=True)
class Found:
    """What a look has found. ``looked`` are the rules that could be evaluated.

    Nothing is known about the conditions of other rules, so their alerts stay as they are.
    """

    conditions: list[Condition]
    looked: frozenset[str]
    # Messages of alerts that the supervisor has sent, while nothing could be stored.
    reported: frozenset[uuid.UUID] = field(default=frozenset())
    # Databases about which nothing is known now either, whatever the rule.
    unknown: frozenset[uuid.UUID] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a condition must be there before its alert fires, and gone before it is resolved."""

    hold: dt.timedelta
    clear: dt.timedelta


_USUAL = Patience(hold=dt.timedelta(seconds=10), clear=dt.timedelta(seconds=30))
_SLOW = Patience(hold=dt.timedelta(minutes=5), clear=dt.timedelta(minutes=2))
PART = "part"
LATELY = dt.timedelta(days=1)
_LONGEST_CLEAR = dt.timedelta(hours=1)
# Longer than parts.MERGED: an incident that goes on is never a new one to its open alert.
_PATIENCE = {
    PART: Patience(hold=dt.timedelta(0), clear=dt.timedelta(seconds=45)),
    "pool": Patience(hold=dt.timedelta(seconds=30), clear=dt.timedelta(minutes=1)),
    "reconciliation": _SLOW,
    "operations": _SLOW,
    "clock": Patience(hold=dt.timedelta(0), clear=dt.timedelta(seconds=30)),
    "database.connections": Patience(hold=dt.timedelta(seconds=30), clear=dt.timedelta(minutes=1)),
    "database.deadlocks": Patience(hold=dt.timedelta(0), clear=dt.timedelta(minutes=1)),
}


def patience(rule: str, fired: int = 1) -> Patience:
    """Return how long conditions of a rule must last, and be gone.

    ``fired`` is how often it has fired about this subject within ``LATELY``: each time doubles how
    long it must be gone, so that one that comes and goes is a single alert. A part that ends is
    always reported.
    """
    usual = _PATIENCE.get(rule, _USUAL)
    if rule == PART or fired <= 1:
        return usual
    longer = usual.clear * 2 ** min(fired - 1, 10)
    return Patience(usual.hold, max(usual.clear, min(longer, _LONGEST_CLEAR)))


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to a channel: ``id`` is the same whenever it is sent again."""

    id: uuid.UUID
    event: str
    at: dt.datetime
    data: dict[str, Any]
