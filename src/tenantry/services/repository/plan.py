"""When to make a backup, what may go, what is missing, and how long the disk lasts. Pure."""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tenantry.pg.pgbackrest import Backup, BackupType

_DAY = dt.timedelta(days=1)
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
_NUMBERS = 1 << 32  # bytes of the log that share the second part of a segment's name


@dataclass(frozen=True, slots=True)
class Schedule:
    """A backup each day at ``time`` (UTC); on ``weekday`` (Monday is 0) it is a full one.

    ``window`` is how far back every moment can be restored to.
    """

    time: dt.time
    weekday: int
    window: dt.timedelta


def due(
    schedule: Schedule, now: dt.datetime, *, last: dt.datetime | None, last_full: dt.datetime | None
) -> BackupType | None:
    """The backup that should be there by now and is not; what was slept through is made up for."""
    slot = dt.datetime.combine(now.date(), schedule.time, dt.UTC)
    slot -= _DAY if slot > now else dt.timedelta(0)
    full_slot = slot - _DAY * ((slot.weekday() - schedule.weekday) % 7)
    if last is None or last_full is None:
        return "full"
    if last >= slot:
        return None
    return "full" if last_full < full_slot else "incr"


def expired(backups: Sequence[Backup], *, now: dt.datetime, window: dt.timedelta) -> list[Backup]:
    """The backups of one repository that no moment of the window needs, newest first.

    A moment is restored from the newest sound backup that was complete by then, with all that
    this one was made upon. So the newest that is older than the window stays as well.
    """
    begins = now - window
    needed = {backup.label for backup in backups if backup.stopped > begins}
    older = [each for each in backups if each.stopped <= begins and not each.damaged]
    if older:
        needed.add(max(older, key=_age).label)
    else:
        needed |= {backup.label for backup in backups}
    kept = _with_foundations(backups, needed)
    return sorted((each for each in backups if each.label not in kept), key=_age, reverse=True)


def _age(backup: Backup) -> tuple[dt.datetime, str]:
    return backup.stopped, backup.label


def _with_foundations(backups: Sequence[Backup], labels: set[str]) -> set[str]:
    """These, and all that they were made upon or have files in."""
    known = {backup.label: backup for backup in backups}
    found: set[str] = set()
    waiting = [*labels]
    while waiting:
        label = waiting.pop()
        if label in found or label not in known:
            continue
        found.add(label)
        prior = known[label].prior
        waiting += [*known[label].references, *([] if prior is None else [prior])]
    return found


def missing_segments(
    names: Iterable[str], *, since: str, until: str, segment_bytes: int
) -> list[int]:
    """The numbers of segments that a recovery from ``since`` on to ``until`` would stop at.

    ``names`` are those that are there. A new timeline goes on at most one segment after the
    one that it left.
    """
    per_name = _NUMBERS // segment_bytes
    first, last = number(since, per_name), number(until, per_name)
    there: dict[str, set[int]] = {}
    for name in names:
        if _SEGMENT.fullmatch(name) and name[:8] >= since[:8]:
            there.setdefault(name[:8], set()).add(number(name, per_name))
    missing: set[int] = set()
    reached = first - 1
    for timeline in sorted(there):
        numbers = {each for each in there[timeline] if each >= first}
        if not numbers:
            continue
        start = min(reached + 1, *numbers)
        missing |= set(range(start, max(numbers) + 1)) - numbers
        reached = max(numbers)
    return sorted(missing | set(range(reached + 1, last + 1)))


def number(segment: str, per_name: int) -> int:
    """The number of a segment in the whole log, whatever its timeline."""
    found = _SEGMENT.fullmatch(segment[:24])
    if found is None:
        raise ValueError(f"{segment} is not a segment of the write-ahead log")
    return int(found[2], 16) * per_name + int(found[3], 16)


def seconds_left(*, waiting_bytes: int, waiting_seconds: float, free_bytes: int) -> float | None:
    """How long until the disk is full, if the log keeps growing as it has since it waits.

    None while nothing waits.
    """
    if waiting_bytes <= 0 or waiting_seconds <= 0:
        return None
    return max(0.0, free_bytes / (waiting_bytes / waiting_seconds))
