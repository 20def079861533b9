"""Backups: made when they are due, and removed only when nothing needs them."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tenantry.base.errors import Conflict
from tenantry.base.ids import new_id
from tenantry.control.repository_looks import LookRow
from tenantry.pg.archiving import Archiver, Waiting
from tenantry.pg.pgbackrest_output import Backup
from tenantry.services.repository import plan
from tenantry.services.repository.model import Behind, Known, RepositoryState, Upkeep
from tenantry.services.repository.plan import Due, Schedule
from tenantry.services.side_clusters.model import OutsideWindow
from tenantry.services.side_clusters.plan import candidates

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NOW = START + dt.timedelta(days=30)
SEGMENT = 16 * 1024 * 1024


def segment(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


@st.composite
def histories(draw: st.DrawFn) -> list[Backup]:
    """What a repository may hold: each but the first is full, or made upon an earlier one."""
    found: list[Backup] = []
    at = START
    for _ in range(draw(st.integers(0, 25))):
        at += dt.timedelta(minutes=draw(st.integers(1, 4000)))
        stopped = at + dt.timedelta(seconds=draw(st.integers(0, 3600)))
        kind: Any = draw(st.sampled_from(["full", "diff", "incr"])) if found else "full"
        fulls = [each for each in found if each.type == "full"]
        prior = None
        if kind == "diff":
            prior = fulls[-1]
        elif kind == "incr":
            prior = found[-1]
        chain = set() if prior is None else {prior.label, *prior.references}
        found.append(
            Backup(
                repository=1,
                label=f"{at:%Y%m%d-%H%M%S}{kind[0].upper()}{len(found)}",
                type=kind,
                started=at,
                stopped=stopped,
                prior=None if prior is None else prior.label,
                references=tuple(sorted(draw(st.sets(st.sampled_from(sorted(chain))))))
                if chain
                else (),
                wal_start=segment(len(found) * 3),
                wal_stop=segment(len(found) * 3 + 1),
                size=1,
                stored=1,
                damaged=draw(st.booleans()),
                left=draw(st.booleans()),
            )
        )
        at = stopped
    return found


windows = st.integers(0, 60 * 24 * 40).map(lambda minutes: dt.timedelta(minutes=minutes))
moments = st.integers(0, 60 * 24 * 60).map(lambda minutes: START + dt.timedelta(minutes=minutes))


def kept_of(backups: list[Backup], now: dt.datetime, window: dt.timedelta) -> list[Backup]:
    gone = {each.label for each in plan.expired(backups, now=now, window=window)}
    return [each for each in backups if each.label not in gone]


@given(histories(), moments, windows, st.floats(0, 1))
def test_every_moment_of_the_window_stays_restorable(
    backups: list[Backup], now: dt.datetime, window: dt.timedelta, where: float
) -> None:
    moment = now - window * where
    kept = kept_of(backups, now, window)
    try:
        source, *_ = candidates(backups, moment)
    except (Conflict, OutsideWindow):
        return
    assert candidates(kept, moment)[0] == source
    # The log is kept from the oldest kept backup on: what recovery from this one needs is there.
    assert min(each.wal_start for each in kept) <= source.wal_start


@given(histories(), st.data())
def test_so_does_a_window_that_begins_just_when_a_backup_ends(
    backups: list[Backup], data: st.DataObject
) -> None:
    """What a backup is reported to have ended at has no fractions of a second."""
    assume(backups)
    ended = data.draw(st.sampled_from(backups)).stopped
    begins = ended + dt.timedelta(
        seconds=data.draw(st.sampled_from([-1.5, -1, -0.5, 0, 0.5, 1, 1.5]))
    )
    now = begins + dt.timedelta(minutes=data.draw(st.integers(0, 60 * 24 * 40)))
    kept = kept_of(backups, now, now - begins)
    moment = begins + dt.timedelta(seconds=data.draw(st.sampled_from([0, 0.5, 1, 1.5])))
    try:
        source, *_ = candidates(backups, moment)
    except (Conflict, OutsideWindow):
        return
    assert candidates(kept, moment)[0] == source


@given(histories(), moments, windows)
def test_nothing_that_a_kept_backup_was_made_upon_goes(
    backups: list[Backup], now: dt.datetime, window: dt.timedelta
) -> None:
    kept = kept_of(backups, now, window)
    labels = {each.label for each in kept}
    for backup in kept:
        assert set(backup.references) <= labels
        assert backup.prior is None or backup.prior in labels


@given(histories(), moments, windows)
def test_pgbackrest_removes_no_more_than_was_planned(
    backups: list[Backup], now: dt.datetime, window: dt.timedelta
) -> None:
    """It removes with each all that were made upon it, and refuses to remove the last full one."""
    gone = plan.expired(backups, now=now, window=window)
    labels = {each.label for each in gone}
    for backup in backups:
        assert backup.prior not in labels or backup.label in labels
    if backups:
        assert any(each.type == "full" and each.label not in labels for each in backups)
    assert [each.stopped for each in gone] == sorted((e.stopped for e in gone), reverse=True)


@given(histories(), moments, windows, windows)
def test_a_longer_window_removes_no_more(
    backups: list[Backup], now: dt.datetime, one: dt.timedelta, other: dt.timedelta
) -> None:
    few = set(plan.expired(backups, now=now, window=max(one, other)))
    assert few <= set(plan.expired(backups, now=now, window=min(one, other)))


@given(histories(), moments, windows)
def test_what_is_left_is_left_alone(
    backups: list[Backup], now: dt.datetime, window: dt.timedelta
) -> None:
    assert plan.expired(kept_of(backups, now, window), now=now, window=window) == []


def test_old_weeks_do_go() -> None:
    def backup(day: int, kind: Any, prior: str | None) -> Backup:
        at = START + dt.timedelta(days=day)
        names = () if prior is None else (prior,)
        wal = segment(day)
        return Backup(1, f"{day:02}", kind, at, at, prior, names, wal, wal, 1, 1, damaged=False)

    backups = [
        backup(day, "incr" if day % 7 else "full", f"{day - 1:02}" if day % 7 else None)
        for day in range(22)
    ]
    now = START + dt.timedelta(days=21, hours=1)
    gone = plan.expired(backups, now=now, window=dt.timedelta(days=7))
    # The window begins on day 14, an hour after its full one: that serves all of it.
    assert [each.label for each in gone] == [f"{day:02}" for day in range(13, -1, -1)]


def full(hours: float, *, damaged: bool = False) -> Backup:
    """A full backup of an hour, so many hours after the start."""
    at = START + dt.timedelta(hours=hours)
    label, wal = f"{at:%Y%m%d-%H%M%S}F", segment(round(hours))
    stopped = at + dt.timedelta(hours=1)
    return Backup(1, label, "full", at, stopped, None, (), wal, wal, 1, 1, damaged=damaged)


def test_one_that_was_under_way_as_the_window_began_stays() -> None:
    backups = [full(0), full(9.5), full(20)]  # the window begins ten hours after the start
    now, window = START + dt.timedelta(hours=34), dt.timedelta(hours=24)
    assert plan.expired(backups, now=now, window=window) == []


def test_without_a_sound_one_all_damaged_ones_stay() -> None:
    backups = [full(0, damaged=True), full(5, damaged=True), full(20)]
    now, window = START + dt.timedelta(hours=34), dt.timedelta(hours=24)
    assert plan.expired(backups, now=now, window=window) == []
    assert plan.expired([full(1), *backups], now=now, window=window) == backups[1::-1]


# When


DAILY = Schedule(dt.time(2), weekday=6, window=dt.timedelta(days=7))  # 2026-01-04 is a Sunday


def at(day: int, hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime(2026, 1, day, hour, minute, tzinfo=dt.UTC)


def held(
    last: dt.datetime | None, last_full: dt.datetime | None = None, number: int = 1, **more: Any
) -> RepositoryState:
    """A repository whose last backup, and last full one, ended then; it took an hour."""
    found = RepositoryState(number, f"place {number}", NOW, last_backup_at=last, **more)
    began = None if last is None else last - dt.timedelta(hours=1)
    reach = more.get("restorable_from", last)
    return replace(found, last_began_at=began, last_full_at=last_full, restorable_from=reach)


@pytest.mark.parametrize(
    ("now", "last", "last_full", "wanted"),
    [
        (at(1, 12), None, None, "full"),
        (at(1, 12), at(1, 11), None, "full"),  # what it was made upon is damaged
        (at(1, 12), at(1, 11), at(1, 11), None),
        (at(2, 1, 59), at(1, 11), at(1, 11), None),
        (at(2, 2), at(1, 11), at(1, 11), "incr"),
        (at(2, 2, 1), at(2, 2), at(1, 11), None),
        (at(4, 1, 59), at(3, 2), at(1, 11), None),
        (at(4, 2), at(3, 2), at(1, 11), "full"),
        (at(5, 9), at(3, 2), at(1, 11), "full"),  # the machine was off on Sunday
        (at(5, 9), at(4, 2), at(4, 2), "incr"),
        (at(5, 1), at(4, 2), at(4, 2), None),
    ],
)
def test_a_backup_is_due_when_its_time_has_come(
    now: dt.datetime, last: dt.datetime | None, last_full: dt.datetime | None, wanted: str | None
) -> None:
    due = plan.due(DAILY, now, [held(last, last_full)])
    assert (due and due.type) == wanted


@given(moments, st.times(), st.integers(0, 6))
def test_what_is_made_when_it_is_due_is_not_due_again_that_minute(
    now: dt.datetime, time: dt.time, weekday: int
) -> None:
    schedule = Schedule(time, weekday, dt.timedelta(days=7))
    assert plan.due(schedule, now, [held(now, now)]) is None
    later = now + dt.timedelta(days=1)
    assert plan.due(schedule, later, [held(now, now)]) is not None
    week = now + dt.timedelta(days=7)
    due = plan.due(schedule, week, [held(week - dt.timedelta(days=1), now)])
    assert due == Due("full", (1,))


UNKNOWN = RepositoryState(1, "place 1", START, problem="It is gone.")


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        # Each repository begins with a full one, whatever the other has.
        ([held(None), held(None, number=2)], Due("full", (1, 2))),
        ([held(at(1, 11), at(1, 11)), held(None, number=2)], Due("full", (2,))),
        ([held(None), held(at(1, 11), at(1, 11), number=2)], Due("full", (1,))),
        # What one needs more comes first, and the other's next.
        ([held(at(1, 1), at(1, 1)), held(None, number=2)], Due("incr", (1,))),
        # The other one did not take what the local one did.
        ([held(at(1, 11), at(1, 3)), held(at(1, 9), at(1, 3), number=2)], Due("incr", (2,))),
        ([held(at(1, 11), at(1, 3)), held(at(1, 10), at(1, 3), number=2)], None),
        # The log goes no further than the last backup.
        ([held(at(1, 11), at(1, 11), broken=True)], Due("incr", (1,))),
        # Where that is not known, nothing is due; and nothing goes by a local one that is gone.
        ([UNKNOWN], None),
        ([UNKNOWN, held(None, number=2)], None),
        ([held(at(1, 11), at(1, 11)), replace(UNKNOWN, number=2)], None),
        ([held(at(1, 1), at(1, 1)), replace(UNKNOWN, number=2)], Due("incr", (1,))),
    ],
)
def test_what_is_due_is_reported_by_what_the_repositories_hold(
    states: list[RepositoryState], wanted: Due | None
) -> None:
    assert plan.due(DAILY, at(1, 12), states) == wanted


def test_a_full_backup_that_is_wanted_since_a_moment_is_due_until_it_is_there() -> None:
    states = [held(at(1, 11), at(1, 3))]
    assert plan.due(DAILY, at(1, 12), states, full_since=at(1, 4)) == Due("full", (1,))
    assert plan.due(DAILY, at(1, 12), states, full_since=at(1, 2)) is None


# What is missing


@given(st.sets(st.integers(0, 3000), min_size=1, max_size=60), st.integers(0, 3000))
def test_gaps_on_one_timeline_are_found(numbers: set[int], since: int) -> None:
    until = max(since, *numbers)
    found = plan.missing_segments(
        [segment(each) for each in numbers],
        since=segment(since),
        until=segment(until),
        segment_bytes=SEGMENT,
    )
    assert found == [each for each in range(since, until + 1) if each not in numbers]


def test_a_new_timeline_goes_on_where_it_left_the_old_one() -> None:
    names = [*(segment(each) for each in (3, 4, 5)), *(segment(each, 2) for each in (5, 6))]
    asked: dict[str, Any] = {"since": segment(3), "segment_bytes": SEGMENT}
    assert plan.missing_segments(names, until=segment(6, 2), **asked) == []
    assert plan.missing_segments(names, until=segment(8, 2), **asked) == [7, 8]
    without = [name for name in names if name != segment(5, 2)]
    assert plan.missing_segments(without, until=segment(6, 2), **asked) == []
    later = [*names[:2], segment(7, 2)]
    assert plan.missing_segments(later, until=segment(7, 2), **asked) == [5, 6]
    others = ["00000002.history", f"{segment(4)}.00000028.backup"]
    assert plan.missing_segments([*names, *others], until=segment(6, 2), **asked) == []


# What can be restored


def made(*segments: int) -> list[Backup]:
    """A backup for each of the segments that it began in; it ended in the next one."""
    found = []
    for each in segments:
        started = START + dt.timedelta(hours=each)
        ended = started + dt.timedelta(minutes=30)
        label, wal = f"{each}F", (segment(each), segment(each + 1))
        found.append(Backup(1, label, "full", started, ended, None, (), *wal, 1, 1, damaged=False))
    return found


def reachable(number: int) -> dt.datetime:
    return START + dt.timedelta(hours=number, minutes=30, seconds=1)


UNTIL = START + dt.timedelta(hours=99)


@pytest.mark.parametrize(
    ("there", "archived", "window", "missing", "broken"),
    [
        (range(3, 12), 11, (3, UNTIL), 0, False),
        (range(3, 12), 9, (3, UNTIL), 0, False),  # it is reported a moment late
        (range(3, 11), 11, (3, 8), 1, True),  # the last went elsewhere
        (range(3, 10), 40, (3, 8), 31, True),
        ([3, 4, 6, 7, 8, 9, 10, 11], 11, (8, UNTIL), 1, False),
        ([3, 4, 5, 6, 7, 8, 9, 11], 11, (3, 8), 1, True),
        ([3, 4, 5, 6, 7, 9, 10, 11], 11, None, 1, True),  # its own beginning
        ([3, 4, 6, 7, 8, 9, 11], 11, (8, 8), 2, True),
    ],
)
def test_a_window_goes_as_far_as_the_log_does(
    there: list[int],
    archived: int,
    window: tuple[int, int | dt.datetime] | None,
    missing: int,
    broken: bool,
) -> None:
    backups = made(3, 8)
    found = plan.with_log(
        plan.state(1, "here", backups, now=NOW),
        backups,
        [segment(each) for each in there],
        last_archived=segment(archived),
        archived_until=UNTIL,
    )
    assert (found.missing, found.broken) == (missing, broken)
    assert found.known == ("none" if window is None else "ok")
    if window is not None:
        since, until = window
        assert found.restorable_from == reachable(since)
        assert found.restorable_until == (until if until == UNTIL else reachable(8))


def test_a_repository_without_a_usable_backup_has_none() -> None:
    damaged = [replace(each, damaged=True) for each in made(3)]
    for backups in ([], damaged, [replace(each, left=True) for each in made(3)]):
        empty = plan.state(1, "here", backups, now=NOW)
        found = plan.with_log(empty, backups, [], last_archived="", archived_until=UNTIL)
        assert (found.known, found.last_backup_at, found.restorable_until) == ("none", None, None)


def look(**different: Any) -> LookRow:
    usual: dict[str, Any] = {
        "cluster_id": new_id(),
        "place": "there",
        "looked_at": NOW - dt.timedelta(minutes=1),
        "problem": None,
        "last_backup_at": START,
        "last_full_at": START,
        "restorable_from": START,
    }
    return LookRow(**usual | different)


@pytest.mark.parametrize(
    ("row", "known", "words"),
    [
        (look(), "ok", None),
        (look(last_backup_at=None, last_full_at=None, restorable_from=None), "none", None),
        (look(problem="no answer."), "unknown", "no answer."),
        (look(looked_at=NOW - dt.timedelta(minutes=6)), "unknown", "last looked into 6 minutes"),
        (None, "unknown", "nobody has looked into it yet."),
    ],
)
def test_what_was_seen_is_reported_for_a_while(
    row: LookRow | None, known: Known, words: str | None
) -> None:
    found = plan.remembered(2, "there", row, now=NOW)
    assert found.known == known
    assert words is None or words in (found.problem or "")
    assert (found.last_backup_at is None) == (known != "ok")


def test_one_repository_is_enough_to_restore_from() -> None:
    none, ok = held(None), held(NOW, NOW, number=2)
    for repositories, known, last in (
        ((none, ok), "ok", NOW),
        ((UNKNOWN, ok), "ok", NOW),
        ((UNKNOWN, replace(none, number=2)), "unknown", None),
        ((none, replace(none, number=2)), "none", None),
    ):
        found = upkeep(repositories=repositories)
        assert (found.known, found.last_backup_at) == (known, last)


# What somebody has to see to

FINE = Archiver("0" * 24, START, "", None, 0)
FAILING = Archiver("0" * 24, START, "0" * 24, START + dt.timedelta(seconds=1), 3)
GIB = 2**30


def upkeep(**different: Any) -> Upkeep:
    last = NOW - dt.timedelta(hours=20)
    usual: dict[str, Any] = {
        "created_at": START,
        "repositories": (held(last, last),),
        "archiver": FINE,
        "waiting": Waiting(0, 0, GIB),
    }
    return Upkeep("shared-1", **usual | different)


@given(st.integers(1, 2**20), st.floats(60, 1e6), st.integers(0, 2**50))
def test_the_time_left_follows_from_growth_and_room(
    segments: int, seconds: float, free: int
) -> None:
    left = plan.seconds_left(Waiting(segments, seconds, free))
    assert left is not None
    assert left * segments * SEGMENT == pytest.approx(free * seconds)


def test_while_all_is_well_nobody_is_troubled() -> None:
    assert plan.seconds_left(Waiting(0, 0, 1)) is None
    assert plan.alerts(upkeep(), NOW) == []
    assert plan.alerts(upkeep(waiting=Waiting(30, 100, GIB)), NOW) == []  # a burst
    assert plan.alerts(upkeep(archiver=None, waiting=None), NOW) == []  # reported elsewhere
    new = upkeep(repositories=(held(None),), created_at=NOW - dt.timedelta(minutes=50))
    assert plan.alerts(new, NOW) == []
    (said,) = plan.alerts(replace(new, moved=True), NOW)  # what was there before is missed at once
    assert "there is no backup in place 1 yet" in str(said)


@pytest.mark.parametrize(
    ("different", "level", "words"),
    [
        (
            {
                "archiver": FAILING,
                "waiting": Waiting(64, 3600, 20 * GIB),
                "complaint": "it is full",
            },
            "warning",
            "repository: it is full. 64 segments (1 GiB) wait; at this rate their disk is full"
            " in 20 hours.",
        ),
        (
            {"archiver": FAILING, "waiting": Waiting(64, 3600, GIB // 2)},
            "danger",
            "archiving fails. 64 segments (1 GiB) wait; at this rate their disk is full in 30"
            " minutes.",
        ),
        ({"archiver": FAILING}, "warning", "archiving fails. 0 segments (0 B) wait."),
        ({"waiting": Waiting(1, 301, 99 * GIB)}, "warning", "reach the repository. 1 segments"),
        ({"archiver": replace(FINE, enabled=False)}, "warning", "runs without archiving"),
        (
            {"repositories": (replace(UNKNOWN, problem="it is gone."),)},
            "warning",
            "what can be restored from place 1 is not known: it is gone.",
        ),
        ({"repositories": (held(NOW, NOW, trouble="It is full."),)}, "warning", "It is full."),
        (
            {"repositories": (held(NOW, NOW, missing=2),)},
            "warning",
            "2 segments of the write-ahead log are missing in place 1: not every moment before"
            " 2026-01-31 00:00:00 UTC can be restored from it.",
        ),
        (
            {"repositories": (held(NOW, NOW, missing=2, broken=True),)},
            "warning",
            "from it, and none after the last backup.",
        ),
        (
            {"repositories": (held(NOW, NOW, missing=2, broken=True, restorable_from=None),)},
            "warning",
            "are missing in place 1: nothing can be restored from it.",
        ),
        ({"backup_error": "no key"}, "warning", "the last backup failed: no key"),
        ({"damage": "a byte"}, "warning", "the last verification failed: a byte"),
        (
            {"repositories": (held(None),)},
            "warning",
            "there is no backup in place 1 yet, so nothing can be restored: the first one is due.",
        ),
        ({"repositories": (held(None),), "in_progress": True}, "warning", "is being made."),
        (
            {"repositories": (held(NOW - dt.timedelta(hours=37)),)},
            "warning",
            "the last backup in place 1 is 37 hours old. tenantry cluster backup",
        ),
        (
            {"repositories": (held(NOW, NOW), held(NOW - dt.timedelta(days=9), number=2))},
            "warning",
            "the last backup in place 2 is 9 days old. tenantry cluster backup",
        ),
    ],
)
def test_what_is_wrong_is_reported(different: dict[str, Any], level: str, words: str) -> None:
    (alert,) = plan.alerts(upkeep(**different), NOW)
    assert alert.level == level
    assert words in str(alert)
    assert str(alert).startswith("shared-1: ")


def test_a_first_backup_that_fails_is_not_called_due() -> None:
    found = upkeep(repositories=(held(None),), backup_error="no permission")
    words = [str(each) for each in plan.alerts(found, NOW)]
    assert any("making the first one failed" in each for each in words)
    assert any("the last backup failed: no permission" in each for each in words)
    assert not any("is due" in each for each in words)


def test_the_worst_comes_first() -> None:
    found = upkeep(repositories=(UNKNOWN,), archiver=FAILING, waiting=Waiting(9, 900, 0))
    assert [alert.level for alert in plan.alerts(found, NOW)] == ["danger", "warning"]


@pytest.mark.parametrize(
    ("behind", "reported"),
    [
        (Behind("s3", 0, 0.0, None), None),
        (Behind("s3", 0, 0.0, "it was silent once"), None),
        (Behind("s3", 2, 60.0, None), None),
        (Behind("s3", 2, 301.0, None), "does not reach s3: it is slow. 2 segments"),
        (Behind("s3", 3, 2.0, "no answer."), "does not reach s3: no answer. 3 segments"),
    ],
)
def test_a_log_that_another_repository_lacks_is_reported(
    behind: Behind, reported: str | None
) -> None:
    found = plan.alerts(replace(upkeep(), behind=(behind,)), NOW)
    assert [each.level for each in found] == ([] if reported is None else ["warning"])
    assert reported is None or reported in found[0].detail
