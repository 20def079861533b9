"""When a backup is due, what it is called, and which have had their time. Pure."""

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from tenantry.control.backups import Format, Origin, Schedule

_ENDINGS: dict[Format, str] = {"custom": "dump", "plain": "sql.gz"}
_SUNDAY = 6


def file_name(name: str, form: Format, at: dt.datetime) -> str:
    """What a backup's file is called: ``shop-20260131-020000.sql.gz``, in UTC."""
    return f"{name}-{at.astimezone(dt.UTC):%Y%m%d-%H%M%S}.{_ENDINGS[form]}"


def last_slot(schedule: Schedule, now: dt.datetime) -> dt.datetime | None:
    """The last moment until ``now`` at which the schedule wants a backup."""
    if schedule.every == "off":
        return None
    slot = now.astimezone(dt.UTC).replace(hour=schedule.hour, minute=0, second=0, microsecond=0)
    if schedule.every == "week":
        slot += dt.timedelta(days=(_SUNDAY - slot.weekday()) % 7)
    while slot > now:
        slot -= dt.timedelta(days=7 if schedule.every == "week" else 1)
    return slot


def is_due(schedule: Schedule, since: dt.datetime, now: dt.datetime) -> bool:
    """Whether a moment of the schedule's has come since the last backup was begun."""
    slot = last_slot(schedule, now)
    return slot is not None and since < slot


@dataclass(frozen=True, slots=True)
class Held:
    """A backup that is there, as retention sees it; ``good`` if its file is known to be whole."""

    id: uuid.UUID
    created_at: dt.datetime
    origin: Origin
    good: bool


def expired(held: Collection[Held], schedule: Schedule, now: dt.datetime) -> list[uuid.UUID]:
    """Which of a database's backups have had their time, the oldest first.

    The newest good one never has. A scheduled one has, if it is both older than
    ``keep_days`` and not among the newest ``keep_count`` good scheduled ones; a manual one if
    it is older than ``keep_manual_days``, where that is set. One that is damaged counts for
    nothing, and goes by its age alone.
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
