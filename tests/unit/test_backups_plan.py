"""When backups are due, what they are called, and which have had their time."""

import datetime as dt
import gzip
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tenantry.control.backup_schedules import Attempt, AttemptStatus, Schedule, ScheduleRow
from tenantry.pg.dump_files import Unreadable, look_at
from tenantry.services.backups.plan import (
    Held,
    expired,
    file_name,
    is_due,
    last_slot,
    next_slot,
    try_now,
)

NOW = dt.datetime(2026, 1, 31, 12, 30, tzinfo=dt.UTC)  # a Saturday
DAY = dt.timedelta(days=1)

SCHEDULES = st.builds(
    Schedule,
    every=st.sampled_from(["off", "day", "week"]),
    hour=st.integers(0, 23),
    keep_count=st.integers(1, 5),
    keep_days=st.integers(0, 20),
    keep_manual_days=st.none() | st.integers(1, 20),
)
HELD = st.lists(
    st.builds(
        Held,
        id=st.uuids(),
        created_at=st.integers(0, 30 * 24).map(lambda hours: NOW - dt.timedelta(hours=hours)),
        origin=st.sampled_from(["manual", "scheduled"]),
        good=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda each: each.id,
)
MOMENTS = st.integers(0, 20 * 365 * 24 * 60).map(lambda minutes: NOW + minutes * DAY / 1440)


def test_a_file_is_called_after_its_database_and_time() -> None:
    there = NOW.astimezone(dt.timezone(dt.timedelta(hours=2)))
    assert file_name("shop", "plain", there) == "shop-20260131-123000.sql.gz"
    assert file_name("shop", "custom", there) == "shop-20260131-123000.dump"


@pytest.mark.parametrize(
    ("every", "hour", "slot"),
    [
        ("day", 2, dt.datetime(2026, 1, 31, 2, tzinfo=dt.UTC)),
        ("day", 13, dt.datetime(2026, 1, 30, 13, tzinfo=dt.UTC)),
        ("week", 2, dt.datetime(2026, 1, 25, 2, tzinfo=dt.UTC)),
        ("off", 2, None),
    ],
)
def test_the_last_moment_of_a_schedule(every: str, hour: int, slot: dt.datetime | None) -> None:
    schedule = Schedule(every=every, hour=hour)  # type: ignore[arg-type]
    assert last_slot(schedule, NOW) == slot
    assert is_due(schedule, NOW - 8 * DAY, NOW) == (slot is not None)
    assert not is_due(schedule, NOW, NOW)


@given(SCHEDULES, MOMENTS, st.integers(0, 14 * 24))
def test_the_next_moment_is_the_first_at_which_it_is_due(
    schedule: Schedule, since: dt.datetime, hours: int
) -> None:
    now = since + dt.timedelta(hours=hours)
    following = next_slot(schedule, since, now)
    if following is None:
        assert schedule.every == "off"
    elif is_due(schedule, since, now):
        assert following == now
    else:
        assert is_due(schedule, since, following)
        assert not is_due(schedule, since, following - dt.timedelta(microseconds=1))


def attempted(
    status: AttemptStatus, tries: int, minutes: float, every: str = "day", *, before: bool = False
) -> ScheduleRow:
    """A backup at 2 that ended so many minutes ago, today or ``before`` the last moment."""
    started = NOW - dt.timedelta(days=1 if before else 0, minutes=minutes)
    ended = None if status in {"queued", "running"} else started
    attempt = Attempt(started, tries, status, None, ended)
    schedule = Schedule(every=every)  # type: ignore[arg-type]
    return ScheduleRow(uuid.UUID(int=1), schedule, own=False, since=started, attempt=attempt)


@pytest.mark.parametrize(
    ("row", "tries"),
    [
        (attempted("failed", 1, 14), None),
        (attempted("failed", 1, 15), 2),
        (attempted("failed", 2, 59), None),
        (attempted("failed", 2, 60), 3),
        (attempted("failed", 3, 600), None),
        (attempted("failed", 3, 0, before=True), 1),
        (attempted("failed", 1, 600, every="off"), None),
        (attempted("succeeded", 1, 600), None),
        (attempted("refused", 1, 600), None),
        (attempted("cancelled", 1, 600), None),
        (attempted("running", 1, 600), None),
        (attempted("refused", 1, 0, before=True), 1),
    ],
)
def test_what_failed_is_tried_again_twice(row: ScheduleRow, tries: int | None) -> None:
    assert try_now(row, NOW) == tries


@given(SCHEDULES, MOMENTS)
def test_a_moment_comes_once_in_each_period(schedule: Schedule, now: dt.datetime) -> None:
    slot = last_slot(schedule, now)
    assume(slot is not None)
    assert slot is not None
    period = DAY if schedule.every == "day" else 7 * DAY
    assert now - period < slot <= now
    assert slot.hour == schedule.hour
    assert last_slot(schedule, slot) == slot
    assert last_slot(schedule, slot + period) == slot + period
    assert is_due(schedule, slot - dt.timedelta(microseconds=1), now)
    assert not is_due(schedule, slot, now)


@given(HELD, SCHEDULES)
def test_what_is_promised_to_stay_stays(held: list[Held], schedule: Schedule) -> None:
    gone = set(expired(held, schedule, NOW))
    newest_first = sorted(held, key=lambda each: (each.created_at, each.id), reverse=True)
    good = [each for each in newest_first if each.good]
    assert not {each.id for each in good[:1]} & gone
    scheduled = [each for each in good if each.origin == "scheduled"]
    assert not {each.id for each in scheduled[: schedule.keep_count]} & gone
    for each in held:
        age = NOW - each.created_at
        if each.origin == "scheduled" and age <= schedule.keep_days * DAY:
            assert each.id not in gone
        if each.origin == "manual" and (
            schedule.keep_manual_days is None or age <= schedule.keep_manual_days * DAY
        ):
            assert each.id not in gone


@given(HELD, SCHEDULES)
def test_what_is_promised_to_go_goes(held: list[Held], schedule: Schedule) -> None:
    left = [each for each in held if each.id not in expired(held, schedule, NOW)]
    old = [
        each
        for each in left
        if each.origin == "scheduled" and NOW - each.created_at > schedule.keep_days * DAY
    ]
    assert len(old) <= schedule.keep_count
    newest = max((each for each in held if each.good), key=lambda e: (e.created_at, e.id),
                 default=None)  # fmt: skip
    for each in left:
        if each.origin == "manual" and schedule.keep_manual_days is not None and each != newest:
            assert NOW - each.created_at <= schedule.keep_manual_days * DAY


@given(HELD, SCHEDULES)
def test_nothing_more_goes_the_second_time(held: list[Held], schedule: Schedule) -> None:
    gone = expired(held, schedule, NOW)
    assert len(gone) == len(set(gone))
    assert expired([each for each in held if each.id not in gone], schedule, NOW) == []


@given(HELD, SCHEDULES, st.integers(0, 5), st.integers(0, 20))
def test_keeping_more_removes_no_more(
    held: list[Held], schedule: Schedule, more: int, longer: int
) -> None:
    wider = replace(
        schedule, keep_count=schedule.keep_count + more, keep_days=schedule.keep_days + longer
    )
    assert set(expired(held, wider, NOW)) <= set(expired(held, schedule, NOW))


def test_the_oldest_goes_first() -> None:
    held = [
        Held(uuid.UUID(int=day), NOW - day * DAY, "scheduled", good=True) for day in range(1, 6)
    ]
    schedule = Schedule(every="day", keep_count=2, keep_days=3)
    assert expired(held, schedule, NOW) == [uuid.UUID(int=5), uuid.UUID(int=4)]


WHOLE = gzip.compress(bytes(range(256)) * 100)

# ── looking at a file ────────────────────────────────────────────────────────


async def _nothing(_: int) -> None:
    pass


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (WHOLE[:-1], "ends too early"),
        (b"", "ends too early"),
        (WHOLE[:50] + bytes([WHOLE[50] ^ 1]) + WHOLE[51:], "not whole"),
        (b"no gzip at all", "not whole"),
    ],
)
async def test_a_plain_file_that_is_not_whole_is_found(
    tmp_path: Path, raw: bytes, words: str
) -> None:
    file = tmp_path / "a.sql.gz"
    file.write_bytes(WHOLE)
    assert (await look_at(file, "plain", tmp_path, _nothing)).size_bytes == len(WHOLE)
    file.write_bytes(raw)
    with pytest.raises(Unreadable, match=words):
        await look_at(file, "plain", tmp_path, _nothing)
    file.unlink()
    with pytest.raises(Unreadable, match="gone"):
        await look_at(file, "plain", tmp_path, _nothing)


async def test_a_file_that_unpacks_to_much_is_read_in_pieces(tmp_path: Path) -> None:
    file = tmp_path / "a.sql.gz"
    file.write_bytes(gzip.compress(bytes(50 * 2**20)))
    heard: list[int] = []

    async def hear(done: int) -> None:
        heard.append(done)

    found = await look_at(file, "plain", tmp_path, hear)
    assert heard == [found.size_bytes]
