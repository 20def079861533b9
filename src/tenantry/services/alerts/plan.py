"""The life of an alert, who hears of it, and its wording. Pure.

An alert is pending while its condition has not lasted long enough, then firing, then resolved. The
condition must have gone for a while before that: it may come and go meanwhile without a message.
"""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import replace

from tenantry.control.alert_channels import ChannelRow
from tenantry.control.alerts import AlertRow
from tenantry.services.alerts.model import (
    DATABASE_ALERTS,
    PLATFORM_ALERTS,
    TEST,
    Condition,
    Message,
    Patience,
    Transition,
)

_FIRST_RETRY = 5.0
_SLOWEST_RETRY = 300.0


def opened(condition: Condition, now: dt.datetime, alert_id: uuid.UUID) -> AlertRow:
    """Return the pending alert of a condition that was just found."""
    return AlertRow(
        id=alert_id,
        rule=condition.rule,
        subject=condition.subject,
        severity=condition.severity,
        detail=condition.detail,
        database_id=condition.database_id,
        customer_id=condition.customer_id,
        state="pending",
        open=True,
        since=now,
        absent_since=None,
        occurrence=condition.occurrence,
        fired_at=None,
        resolved_at=None,
        resolved_by=None,
        acknowledged_at=None,
        acknowledged_by=None,
        muted_until=None,
        customer_muted_until=None,
        customer_acknowledged_at=None,
        customer_acknowledged_by=None,
        customer_resolved_at=None,
        customer_resolved_by=None,
    )


def of_customer(row: AlertRow) -> AlertRow:
    """Return an alert as its customer has it: its own mute, acknowledgement and resolution.

    What an administrator has resolved is resolved for the customer, too.
    """
    row = replace(
        row,
        muted_until=row.customer_muted_until,
        acknowledged_at=row.customer_acknowledged_at,
        acknowledged_by=row.customer_acknowledged_by,
    )
    if row.customer_resolved_at is None:
        return row
    return replace(
        row,
        state="resolved",
        resolved_at=row.customer_resolved_at,
        resolved_by=row.customer_resolved_by,
    )


def step(
    row: AlertRow, condition: Condition | None, now: dt.datetime, lasts: Patience
) -> tuple[AlertRow | None, Transition | None]:
    """Return an open alert after a look, and the transition to report; None to delete it.

    ``condition`` is None if it was not found. Called again with the same look it changes nothing.
    """
    if condition is None:
        return _absent(row, now, lasts)
    if condition.customer_id != row.customer_id:  # a new owner has done none of these
        row = replace(
            row,
            customer_muted_until=None,
            customer_acknowledged_at=None,
            customer_acknowledged_by=None,
            customer_resolved_at=None,
            customer_resolved_by=None,
        )
    is_worse = (row.severity, condition.severity) == ("warning", "critical")
    row = replace(
        row,
        detail=condition.detail,
        severity=condition.severity,
        customer_id=condition.customer_id,
        occurrence=condition.occurrence,
        absent_since=None,
    )
    if row.state == "pending" and now - row.since >= lasts.hold:
        return replace(row, state="firing", fired_at=now), "firing"
    return row, "worse" if is_worse and row.state == "firing" else None


def _absent(
    row: AlertRow, now: dt.datetime, lasts: Patience
) -> tuple[AlertRow | None, Transition | None]:
    if row.state == "pending":
        return None, None
    since = now if row.absent_since is None else row.absent_since
    row = replace(row, absent_since=since)
    if now - since < lasts.clear:
        return row, None
    row = replace(row, open=False)
    if row.state == "resolved":  # by hand; that was reported then
        return row, None
    return replace(row, state="resolved", resolved_at=now), "resolved"


def hearing(row: AlertRow, channels: Iterable[ChannelRow], now: dt.datetime) -> list[ChannelRow]:
    """Return the channels that an alert is sent to.

    They are the platform's, and those of the customer whose database it is about, unless their
    owner has muted it, or the customer resolved it, which was reported to it then.
    """
    wanted = PLATFORM_ALERTS if row.database_id is None else DATABASE_ALERTS
    mutes: dict[uuid.UUID | None, dt.datetime | None] = {None: row.muted_until}
    has_customer = row.database_id is not None and row.customer_id is not None
    if has_customer and row.customer_resolved_at is None:
        mutes[row.customer_id] = row.customer_muted_until
    owners = {owner for owner, until in mutes.items() if until is None or until <= now}
    return [each for each in channels if wanted in each.events and each.customer_id in owners]


def message(
    row: AlertRow, transition: Transition, channel_id: uuid.UUID, now: dt.datetime
) -> Message:
    """Return the message about a transition of an alert, for one channel.

    One that has become critical is reported as firing once more, but not each time that it does.
    """
    at = {"firing": row.fired_at, "resolved": row.resolved_at}.get(transition)
    return Message(
        message_id(row.id, transition, channel_id),
        f"alert.{'resolved' if transition == 'resolved' else 'firing'}",
        at or now,
        {
            "alert_id": str(row.id),
            "rule": row.rule,
            "subject": row.subject,
            "severity": row.severity,
            "state": row.state,
            "detail": row.detail,
            "database_id": None if row.database_id is None else str(row.database_id),
            "fired_at": None if row.fired_at is None else row.fired_at.isoformat(),
            "resolved_at": None if row.resolved_at is None else row.resolved_at.isoformat(),
            "resolved_by": row.resolved_by,
        },
    )


def message_id(alert_id: uuid.UUID, transition: Transition, channel_id: uuid.UUID) -> uuid.UUID:
    """Return the id of a message, the same in every process that may send it."""
    return uuid.uuid5(alert_id, f"{transition} {channel_id}")


def retry_seconds(failures: int) -> float:
    """Return how long to wait after so many failures of a channel in a row (one at least)."""
    return min(_SLOWEST_RETRY, _FIRST_RETRY * 2.0 ** min(failures - 1, 10))


_EVENTS = {
    "database.created": "Database created",
    "database.deleted": "Database deleted",
    "database.restored": "Database restored",
    "database.log_paused": "Logging of a database paused, as it logged too much",
    "login.failed": "Login failed",
}


def title(message: Message) -> str:
    """Return one line about a message, for the subject of an e-mail.

    Names may have separators of lines that are no control characters (U+2028): they are spaces.
    """
    data = message.data
    if message.event == TEST:
        said = "Test of this channel"
    elif message.event in _EVENTS:
        said = f"{_EVENTS[message.event]}: {data.get('subject')}"
    else:
        state = str(data["severity"]) if message.event == "alert.firing" else "resolved"
        said = f"[{state}] {data['rule']}: {data['subject']}"
    return " ".join(said.split())


def text(message: Message) -> str:
    """Return a message in words."""
    data = message.data
    lines = [title(message)]
    lines += [f"{name}: {data[name]}" for name in ("actor", "address") if data.get(name)]
    detail = data.get("detail")
    if message.event == "alert.resolved":
        by = f" by {data['resolved_by']}" if data.get("resolved_by") else ""
        lines.append(f"Resolved{by}; it was {data['severity']} {_lasted(message)}.")
        lines += [f"It was reported as: {detail}"] if detail else []
    elif detail:
        lines.append(str(detail))
    return "\n".join([*lines, f"Time: {message.at.astimezone(dt.UTC):%F %T} UTC"])


def _lasted(message: Message) -> str:
    """Return for how long an alert that is resolved had fired."""
    fired_at = message.data.get("fired_at")
    if not fired_at:
        return "for a moment"
    minutes, seconds = divmod(
        max(0, int((message.at - dt.datetime.fromisoformat(fired_at)).total_seconds())), 60
    )
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"for {hours} h {minutes} min"
    return f"for {minutes} min" if minutes else f"for {seconds} s"
