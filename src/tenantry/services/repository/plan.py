"""When to make a backup, which may be deleted, what is missing, how long the disk lasts. Pure."""

import datetime as dt
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tenantry.base.sizes import readable
from tenantry.control.repository_looks import LookRow
from tenantry.pg.archiving import SEGMENT_BYTES, Waiting
from tenantry.pg.pgbackrest_output import Backup, BackupType
from tenantry.services.repository.model import Alert, RepositoryState, Upkeep

Level = Literal["warning", "danger"]

_DAY = dt.timedelta(days=1)
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
_NUMBERS = 1 << 32  # bytes of the log that share the second part of a segment's name


@dataclass(frozen=True, slots=True)
class Schedule:
    """A backup each day at ``time`` (UTC); on ``weekday`` (Monday is 0) a full one.

    ``window`` is how far back every moment can be restored.
    """

    time: dt.time
    weekday: int
    window: dt.timedelta


def last_slot(time: dt.time, now: dt.datetime) -> dt.datetime:
    """Return when it was last this time of day, in UTC as ``now`` is."""
    today = dt.datetime.combine(now.date(), time, dt.UTC)
    return today if today <= now else today - _DAY


@dataclass(frozen=True, slots=True)
class Due:
    """A backup that is due, in the repositories of these numbers."""

    type: BackupType
    repositories: tuple[int, ...]


def due(
    schedule: Schedule,
    now: dt.datetime,
    states: Sequence[RepositoryState],
    *,
    full_since: dt.datetime | None = None,
) -> Due | None:
    """Return the next backup to make, by the repositories' states, the local one first.

    A missed backup is made later. A new repository begins with a full backup, and one that lacks
    the local one's last backup gets one. In a repository of unknown state nothing is due; and if
    that is the local one, through which the log goes, in no other one either. A full one is due if
    none was made after ``full_since``.
    """
    local = states[0]
    if local.known == "unknown":
        return None
    wanted: dict[int, BackupType] = {}
    for each in states:
        kind = None if each.known == "unknown" else _due(schedule, now, each, full_since)
        if kind is None and each.last_backup_at and local.last_began_at:
            kind = "incr" if each.last_backup_at < local.last_began_at else None
        if kind is not None:
            wanted[each.number] = kind
    if not wanted:
        return None
    first = next(iter(wanted.values()))
    return Due(first, tuple(number for number, kind in wanted.items() if kind == first))


def _due(
    schedule: Schedule, now: dt.datetime, state: RepositoryState, full_since: dt.datetime | None
) -> BackupType | None:
    slot = last_slot(schedule.time, now)
    full_slot = slot - _DAY * ((slot.weekday() - schedule.weekday) % 7)
    last, last_full = state.last_backup_at, state.last_full_at
    if last is None or last_full is None:
        return "full"
    if full_since is not None and last_full < full_since:
        return "full"
    if last >= slot:
        return "incr" if state.broken else None
    return "full" if last_full < full_slot else "incr"


# ── what can be restored ─────────────────────────────────────────────────────


def state(
    number: int, place: str, backups: Sequence[Backup], *, now: dt.datetime
) -> RepositoryState:
    """Return what can be restored from a repository with these backups, and the log for them."""
    usable = reaching(backups, None)
    fulls = [each.stopped for each in usable if each.type == "full"]
    return RepositoryState(
        number=number,
        place=place,
        looked_at=now,
        last_backup_at=usable[0].stopped if usable else None,
        last_began_at=usable[0].started if usable else None,
        last_full_at=max(fulls, default=None),
        restorable_from=min((each.reachable_from for each in usable), default=None),
    )


def with_log(
    found: RepositoryState,
    backups: Sequence[Backup],
    names: Collection[str],
    *,
    last_archived: str,
    archived_until: dt.datetime | None,
) -> RepositoryState:
    """Return the state corrected by the segments of the log that are in the repository.

    ``last_archived`` is the segment that the server reports as the last one archived, and
    ``archived_until`` a moment before which everything committed is in that one or before. It may
    have been archived elsewhere: into the folder that was the repository before.
    """
    usable = reaching(backups, None)
    if not usable:
        return found
    last = usable[0]
    stop = max(each.wal_stop for each in usable)
    gaps = missing_segments(
        names,
        since=min(each.wal_start for each in usable),
        until=max(last_archived, stop) if is_segment(last_archived) else stop,
        segment_bytes=SEGMENT_BYTES,
    )
    per_name = _NUMBERS // SEGMENT_BYTES
    end = number(last.wal_stop, per_name)
    before = max((gap for gap in gaps if gap <= end), default=-1)
    whole = [each for each in usable if number(each.wal_start, per_name) > before]
    broken = any(gap > end for gap in gaps) or not whole
    until = max((each.reachable_from for each in whole), default=None)
    if until is not None and archived_until is not None and not broken:
        until = max(until, archived_until)
    return replace(
        found,
        restorable_from=min((each.reachable_from for each in whole), default=None),
        restorable_until=until,
        missing=len(gaps),
        broken=broken,
    )


def remembered(
    number: int, place: str, look: LookRow | None, *, now: dt.datetime
) -> RepositoryState:
    """Return what is known of a repository that is looked at once a minute."""
    if look is None:
        return RepositoryState(number, place, now, problem="nobody has looked into it yet.")
    problem = look.problem
    if problem is None and now - look.looked_at > _LOOKED:
        problem = f"it was last looked into {_duration(now - look.looked_at)} ago."
    if problem is not None:
        return RepositoryState(number, place, look.looked_at, problem=problem)
    return RepositoryState(
        number=number,
        place=place,
        looked_at=look.looked_at,
        last_backup_at=look.last_backup_at,
        last_full_at=look.last_full_at,
        restorable_from=look.restorable_from,
    )


_LOOKED = dt.timedelta(minutes=5)


def reaching(backups: Iterable[Backup], moment: dt.datetime | None) -> list[Backup]:
    """Return the usable backups from which a moment (None: the end of the log) can be reached.

    First the one from which the least log has to be replayed.
    """
    found = [each for each in backups if each.usable]
    if moment is not None:
        found = [each for each in found if each.reachable_from <= moment]
    return sorted(found, key=_age, reverse=True)


def expired(backups: Sequence[Backup], *, now: dt.datetime, window: dt.timedelta) -> list[Backup]:
    """Return the backups of one repository that no moment of the window needs, newest first.

    A moment is restored from the newest usable backup that was complete by then, with all those
    that it is based on. So the newest that is older than the window is retained as well.
    """
    begins = now - window
    needed = {backup.label for backup in backups if backup.reachable_from > begins}
    older = reaching(backups, begins)
    if older:
        needed.add(older[0].label)
    else:
        needed |= {backup.label for backup in backups}
    retained = _with_foundations(backups, needed)
    return sorted((each for each in backups if each.label not in retained), key=_age, reverse=True)


def _age(backup: Backup) -> tuple[dt.datetime, str]:
    return backup.stopped, backup.label


def _with_foundations(backups: Sequence[Backup], labels: set[str]) -> set[str]:
    """Return these, and all that they are based on or have files in."""
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
    """Return the numbers of segments whose absence stops a recovery from ``since`` to ``until``.

    ``names`` are the existing ones. A new timeline continues at most one segment after the one that
    it left.
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


def is_segment(name: str) -> bool:
    """Whether this is the name of a segment."""
    return _SEGMENT.fullmatch(name) is not None


def number(segment: str, per_name: int) -> int:
    """Return the number of a segment in the whole log, whatever its timeline."""
    found = _SEGMENT.fullmatch(segment[:24])
    if found is None:
        raise ValueError(f"{segment} is not a segment of the write-ahead log")
    return int(found[2], 16) * per_name + int(found[3], 16)


def seconds_left(waiting: Waiting) -> float | None:
    """Return in how many seconds the disk is full, if the log grows as it has while waiting.

    None while nothing waits.
    """
    if not waiting.segments:
        return None
    growth = waiting.size_bytes / max(waiting.seconds, _SHORTEST.total_seconds())
    return waiting.free_bytes / growth


_SHORTEST = dt.timedelta(minutes=1)  # a short burst of writing is not typical of a longer time
_LAGS = dt.timedelta(minutes=5)
_DANGER = dt.timedelta(hours=1)
_FIRST = dt.timedelta(hours=1)
_TOO_OLD = dt.timedelta(hours=36)


def alerts(found: Upkeep, now: dt.datetime) -> list[Alert]:
    """Return the problems that need attention, the worst first."""
    name = found.cluster
    said = [
        *(Alert(level, name, text, "archiving") for level, text in _about_the_log(found)),
        *(Alert("warning", name, text) for text in _about_repositories(found, now)),
        *(Alert("warning", name, text, "archiving") for text in _about_others(found)),
        *(Alert("warning", name, text) for text in _about_backups(found)),
    ]
    return sorted(said, key=lambda each: each.level != "danger")


def _about_the_log(found: Upkeep) -> Iterator[tuple[Level, str]]:
    waiting = found.waiting
    if waiting is None or found.archiver is None:
        return
    if not found.archiver.enabled:
        yield "warning", "it runs without archiving since before that was switched on: restart it."
    lags = waiting.segments > 0 and waiting.seconds > _LAGS.total_seconds()
    if not found.archiver.fails and not lags:
        return
    text = "the write-ahead log does not reach the repository"
    if found.archiver.fails:
        text += f": {found.complaint or 'archiving fails'}"
    text += f". {waiting.segments} segments ({readable(waiting.size_bytes)}) wait"
    left = seconds_left(waiting)
    if left is None:
        yield "warning", f"{text}."
        return
    span = dt.timedelta(seconds=round(min(left, _FOR_EVER)))
    text += f"; at this rate their disk is full in {_duration(span)}."
    yield ("danger" if span < _DANGER else "warning"), text


def _about_others(found: Upkeep) -> Iterator[str]:
    for each in found.behind:
        if each.segments and (each.problem or each.seconds > _LAGS.total_seconds()):
            yield (
                f"the write-ahead log does not reach {each.place}: "
                f"{(each.problem or 'it is slow').rstrip('.')}. "
                f"{each.segments} segments wait for it, the oldest for "
                f"{_duration(dt.timedelta(seconds=each.seconds))}; the local repository has them."
            )


def _command(found: Upkeep) -> str:
    return f"tenantry cluster backup {found.cluster}"


def _about_repositories(found: Upkeep, now: dt.datetime) -> Iterator[str]:
    is_new = not found.moved and now - found.created_at <= _FIRST
    for each in found.repositories:
        if each.problem is not None:
            yield f"what can be restored from {each.place} is not known: {each.problem}"
            continue
        if each.trouble is not None:
            yield each.trouble
        if each.missing:
            since = each.restorable_from
            lost = (
                "nothing can be restored from it"
                if since is None
                else f"not every moment before {since:%F %T} UTC can be restored from it"
            )
            yield (
                f"{each.missing} segments of the write-ahead log are missing in {each.place}: "
                + lost
                + (", and none after the last backup." if each.broken and since else ".")
            )
        last = each.last_backup_at
        if last is not None and now - last > _TOO_OLD:
            yield (
                f"the last backup in {each.place} is {_duration(now - last)} old. "
                f"{_command(found)} makes one."
            )
        elif last is None and not is_new:
            yield (
                f"there is no backup in {each.place} yet, so nothing can be restored: "
                f"{_first(found)}."
            )


def _first(found: Upkeep) -> str:
    if found.in_progress:
        return "the first one is being made"
    return "the first one is due" if found.backup_error is None else "making the first one failed"


def _about_backups(found: Upkeep) -> Iterator[str]:
    command = _command(found)
    if found.damage is not None:
        damage = found.damage.rstrip(".")
        yield f"the last verification failed: {damage}. {command} --type full makes a whole one."
    if found.backup_error is not None:
        error = found.backup_error.rstrip(".")
        yield f"the last backup failed: {error}. {command} tries again at once."


_FOR_EVER = 365 * 24 * 3600


def _duration(span: dt.timedelta) -> str:
    """Return a time in words, to about two digits."""
    minutes = round(span.total_seconds() / 60)
    if minutes < 120:  # noqa: PLR2004
        return f"{minutes} minutes"
    hours = round(minutes / 60)
    return f"{hours} hours" if hours < 72 else f"{round(hours / 24)} days"  # noqa: PLR2004
