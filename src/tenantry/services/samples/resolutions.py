"""How long samples are kept in which resolution, their partitions, and which one is read: pure."""

import datetime as dt
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from tenantry.base.errors import InvalidInput
from tenantry.control.sample_history import Resolution

SAMPLE_SECONDS = 15
MOST_POINTS = 1500
_POINTS = 300  # of a series for which no step is asked

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STEPS = (
    15, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR,
    2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY,
)  # fmt: skip
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_NAME = re.compile(r"(raw|minute|hour)_(\d{10})")


@dataclass(frozen=True, slots=True)
class Kept:
    """A resolution: the time of one row, how long rows are kept, and the time of a partition.

    ``partition`` None is a month.
    """

    name: Resolution
    row: dt.timedelta
    keep: dt.timedelta
    partition: dt.timedelta | None

    def start_of_partition(self, at: dt.datetime) -> dt.datetime:
        if self.partition is None:
            return at.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return floor(at, self.partition)

    def end_of_partition(self, start: dt.datetime) -> dt.datetime:
        return self.start_of_partition(start + (self.partition or dt.timedelta(days=31)))


RAW = Kept("raw", dt.timedelta(seconds=15), dt.timedelta(days=1), dt.timedelta(hours=6))
MINUTE = Kept("minute", dt.timedelta(minutes=1), dt.timedelta(days=7), dt.timedelta(days=1))
HOUR = Kept("hour", dt.timedelta(hours=1), dt.timedelta(days=365), None)
EVERY = (RAW, MINUTE, HOUR)
_BY_NAME: dict[str, Kept] = {each.name: each for each in EVERY}


def floor(at: dt.datetime, step: dt.timedelta) -> dt.datetime:
    """Return the start of the step that a moment is in; steps are counted from 1970."""
    return at - (at - _EPOCH) % step


# ── partitions ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of one resolution, from ``start`` to before ``end``."""

    kept: Kept
    start: dt.datetime

    @property
    def end(self) -> dt.datetime:
        return self.kept.end_of_partition(self.start)

    def __str__(self) -> str:
        return f"{self.kept.name}_{self.start:%Y%m%d%H}"


def parse_partition(name: str) -> Partition | None:
    """Return the partition of that name; None if it is not one of ours."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    start = dt.datetime.strptime(found[2], "%Y%m%d%H").replace(tzinfo=dt.UTC)
    return Partition(_BY_NAME[found[1]], start)


def missing(names: Collection[str], now: dt.datetime) -> list[Partition]:
    """Return the partitions to be created: the present and the next one of each resolution."""
    wanted = []
    for kept in EVERY:
        present = Partition(kept, kept.start_of_partition(now))
        wanted += [present, Partition(kept, present.end)]
    return [each for each in wanted if str(each) not in names]


def expired(
    names: Collection[str], now: dt.datetime, *, rolled_up: dict[Resolution, dt.datetime]
) -> Iterator[Partition]:
    """Yield the partitions whose rows are no longer kept.

    ``rolled_up`` is up to when coarser rows were computed from those of a resolution: later ones
    are not dropped.
    """
    for name in names:
        found = parse_partition(name)
        if found is None or found.end + found.kept.keep > now:
            continue
        if found.kept is HOUR or found.end <= rolled_up.get(found.kept.name, _EPOCH):
            yield found


def uncomputed(
    names: Collection[str], finer: Kept, *, since: dt.datetime, end: dt.datetime, most: dt.timedelta
) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """Yield from when to when coarser rows are to be computed, in order, ``most`` at once.

    Times without a partition of the finer resolution are left out: nothing was sampled for long.
    What is yielded ends at ``end``, if only with nothing.
    """
    upto = since
    found = filter(None, map(parse_partition, names))
    for first, last in sorted((each.start, each.end) for each in found if each.kept is finer):
        begins = max(since, first)
        while begins < min(end, last):
            upto = min(end, last, begins + most)
            yield begins, upto
            begins = upto
    if upto != end:
        yield end, end


# ── reading ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Span:
    """What is read: steps from ``start`` to ``end``, of the rows of one resolution."""

    start: dt.datetime
    end: dt.datetime
    step: dt.timedelta
    resolution: Resolution

    @property
    def buckets(self) -> list[dt.datetime]:
        """The start of each step."""
        return [
            self.start + number * self.step
            for number in range(-((self.start - self.end) // self.step))
        ]


def span(
    now: dt.datetime,
    *,
    start: dt.datetime | None,
    end: dt.datetime | None,
    step: int | None,
    every: Sequence[Kept] = EVERY,
) -> Span:
    """Return what is read for a request: by default a day, in steps that make up to 300 points.

    A step is rounded up to a multiple of the time of a row, where rows of less time are not kept
    any more. ``every`` are the resolutions that there are, the finest first. Raises InvalidInput.
    """
    end = min(now, end or now)
    longest = every[-1].keep
    if end <= now - longest:
        raise InvalidInput.of("to", f"is over {longest.days} days ago: nothing is kept so long")
    start = end - dt.timedelta(days=1) if start is None else start
    if start >= end:
        raise InvalidInput.of("from", "is not before the end: to, or the present if that is later")
    start = max(start, now - longest)
    seconds = (end - start).total_seconds()
    least = _least_step(now - start, every)
    if step is None:
        step = next((each for each in _STEPS if seconds / each <= _POINTS), _STEPS[-1])
    elif seconds / step > MOST_POINTS:
        raise InvalidInput.of(
            "step",
            f"makes more than {MOST_POINTS:,} points of that time; take at least "
            f"{int(-(-seconds // MOST_POINTS))} seconds, or less time",
        )
    length = dt.timedelta(seconds=-(-step // least) * least)
    kept = next(each for each in reversed(every) if length % each.row == dt.timedelta())
    return Span(floor(start, length), end, length, kept.name)


def _least_step(age: dt.timedelta, every: Sequence[Kept]) -> int:
    return next(int(each.row.total_seconds()) for each in every if age <= each.keep)
