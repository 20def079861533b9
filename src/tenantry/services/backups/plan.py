"""When a backup is due, how its file is named, and which backups have expired. Pure."""

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from tenantry.control.backup_schedules import Schedule, ScheduleRow
from tenantry.control.backups import Format, Origin

_ENDINGS: dict[Format, str] = {"custom": "dump", "plain": "sql.gz"}
_SUNDAY = 6
# After the first and the second failure. After a third one the schedule's next time applies.
RETRY_AFTER = (dt.timedelta(minutes=15), dt.timedelta(hours=1))


def file_name(name: str, form: Format, at: dt.datetime) -> str:
    """Return the file name of a backup: ``shop-20260131-020000.sql.gz``, in UTC."""
    return f"{name}-{at.astimezone(dt.UTC):%Y%m%d-%H%M%S}.{_ENDINGS[form]}"


def last_slot(schedule: Schedule, now: dt.datetime) -> dt.datetime | None:
    """Return the schedule's last time until ``now``; None if it is off."""
    if schedule.every == "off":
        return None
    slot = now.astimezone(dt.UTC).replace(hour=schedule.hour, minute=0, second=0, microsecond=0)
    if schedule.every == "week":
        slot += dt.timedelta(days=(_SUNDAY - slot.weekday()) % 7)
    while slot > now:
        slot -= dt.timedelta(days=7 if schedule.every == "week" else 1)
    return slot


def is_due(schedule: Schedule, since: dt.datetime, now: dt.datetime) -> bool:
    """Whether a time of the schedule has passed since the last backup began."""
    slot = last_slot(schedule, now)
    return slot is not None and since < slot


def next_slot(schedule: Schedule, since: dt.datetime, now: dt.datetime) -> dt.datetime | None:
    """Return when the schedule next begins a backup: ``now`` if one is due, None if it is off."""
    slot = last_slot(schedule, now)
    if slot is None:
        return None
    if since < slot:
        return now
    return slot + dt.timedelta(days=7 if schedule.every == "week" else 1)


def failing_backups(databases: int) -> str:
    """Return the alert about databases whose last scheduled backup failed or was refused."""
    return (
        f"The last scheduled backup of databases failed: {databases}."
        " GET /api/operations?kind=backup.create&status=failed and the audit (backup.refused)"
        " say why."
    )


def try_now(row: ScheduleRow, now: dt.datetime) -> int | None:
    """Return the number of the try if a database's backup is to begin now; None if not.

    A failed backup is retried twice. A refused or cancelled one is not: the reason for the refusal
    persists, and a cancellation was intended.
    """
    if is_due(row.schedule, row.since, now):
        return 1
    last = row.attempt
    if row.schedule.every == "off" or last is None or last.status != "failed":
        return None
    if last.ended_at is None or last.tries > len(RETRY_AFTER):
        return None
    return last.tries + 1 if now - last.ended_at >= RETRY_AFTER[last.tries - 1] else None


@dataclass(frozen=True, slots=True)
class Held:
    """An existing backup, as retention sees it; ``good`` if its file is not known to be damaged."""

    id: uuid.UUID
    created_at: dt.datetime
    origin: Origin
    good: bool


def expired(held: Collection[Held], schedule: Schedule, now: dt.datetime) -> list[uuid.UUID]:
    """Return which of a database's backups have expired, the oldest first.

    The newest good one never expires. A scheduled one expires if it is both older than
    ``keep_days`` and not among the newest ``keep_count`` good scheduled ones; a manual one if it is
    older than ``keep_manual_days``, where that is set. A damaged one does not count towards
    ``keep_count``, and expires by its age alone.
    """
    newest_first = sorted(held, key=lambda each: (each.created_at, each.id), reverse=True)
    good = [each for each in newest_first if each.good]
    scheduled = [each for each in good if each.origin == "scheduled"]
    kept = {each.id for each in (*good[:1], *scheduled[: schedule.keep_count])}
    days: dict[Origin, int | None] = {
        "scheduled": schedule.keep_days,
        "manual": schedule.keep_manual_days,
    }
    gone: list[uuid.UUID] = []
    for each in reversed(newest_first):
        most = days[each.origin]
        if each.id in kept or most is None:
            continue
        if now - each.created_at > dt.timedelta(days=most):
            gone.append(each.id)
    return gone
