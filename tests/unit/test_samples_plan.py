"""What is recorded of databases, how long, and how it is drawn: everything that needs no server."""

import datetime as dt
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.control.sample_history import SUMS, Period, Resolution
from tenantry.control.samples import COUNTERS, GAUGES, POOLER_COUNTERS, Sample
from tenantry.host import processes
from tenantry.services.samples import latest, plan, resolutions, series
from tenantry.services.samples.model import FIELDS
from tenantry.services.samples.plan import Reading
from tenantry.services.samples.resolutions import HOUR, MINUTE, RAW, Partition, Span
from tenantry.services.samples.session_use import SessionUse

NOW = dt.datetime(2031, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
DATABASE = uuid.UUID(int=7)
SERVER = ("started", 16385)
LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def seconds(count: float) -> dt.timedelta:
    return dt.timedelta(seconds=count)


def reading(at: float = 0, *, sessions: int = 1, pooler: int | None = 9, **values: Any) -> Reading:
    """A reading ``at`` seconds after NOW, with one direct session and counters of 100."""
    known = dict.fromkeys(GAUGES, 0) | dict.fromkeys(COUNTERS, 100) | {"direct_idle": 1} | values
    if pooler is None:
        known |= dict.fromkeys((*POOLER_COUNTERS, "clients_active"), None)
    sample = Sample(database_id=DATABASE, at=NOW + seconds(at), **known)
    return Reading(sample, SERVER, pooler, sessions)


def added(period: Period) -> dict[str, float | None]:
    return dict(zip(SUMS, period.sums, strict=True))


def test_the_fields_are_those_of_a_sample() -> None:
    names = [each.name for each in fields(Sample)]
    assert [each.name for each in FIELDS] == names[2:]
    assert (*GAUGES, *COUNTERS) == tuple(names[2:])
    kinds = {each.name: each.kind for each in FIELDS}
    assert {kinds[name] for name in GAUGES} == {"gauge"}
    assert {kinds[name] for name in COUNTERS} == {"counter"}
    sources = {each.name: each.source for each in FIELDS}
    assert {sources[name] for name in POOLER_COUNTERS} == {"pooler"}


# ── what was added ───────────────────────────────────────────────────────────


def test_what_was_added_between_two_readings() -> None:
    found = plan.period(reading(), reading(15, commits=112, cpu_seconds=100.5, pooled_queries=103))
    assert found.at == NOW + seconds(15)
    values = added(found)
    assert (values["seconds"], values["pooler_seconds"]) == (15, 15)
    assert (values["commits"], values["rollbacks"]) == (12, 0)
    assert (values["cpu_seconds"], values["pooled_queries"]) == (0.5, 3)
    assert dict(zip(GAUGES, found.gauges, strict=True))["direct_idle"] == 1


def test_the_first_reading_adds_nothing_known() -> None:
    assert set(plan.period(None, reading()).sums) == {None}


@pytest.mark.parametrize(
    "now",
    [
        replace(reading(15, commits=200), server=("restarted", 16385)),
        replace(reading(15, commits=200), server=("started", 20001)),  # restored
        reading(15, commits=200, rows_read=99),
    ],
)
def test_counters_that_were_reset_have_no_rate(now: Reading) -> None:
    values = added(plan.period(reading(), now))
    assert values["commits"] is None
    assert values["cpu_seconds"] is None
    assert values["seconds"] is None
    assert (values["pooled_queries"], values["pooler_seconds"]) == (0, 15)


@pytest.mark.parametrize(
    "now", [reading(15, pooler=10), reading(15, pooled_queries=3), reading(15, pooler=None)]
)
def test_a_new_pooler_leaves_the_server_known(now: Reading) -> None:
    values = added(plan.period(reading(), now))
    assert (values["commits"], values["seconds"]) == (0, 15)
    assert values["pooled_queries"] is None
    assert values["pooler_seconds"] is None


def test_nothing_is_known_if_the_clock_went_back() -> None:
    assert added(plan.period(reading(15), reading(0)))["seconds"] is None


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=20))
def test_no_rate_is_negative(totals: list[int]) -> None:
    readings = [reading(15 * n, commits=total) for n, total in enumerate(totals)]
    for before, now in pairwise(readings):
        values = [each for each in plan.period(before, now).sums if each is not None]
        assert all(each >= 0 for each in values)


# ── when a database is idle ──────────────────────────────────────────────────


@pytest.mark.parametrize(
    "now",
    [
        reading(15, commits=101),
        reading(15, direct_active=1),
        reading(15, sessions=2),
        reading(15, size_bytes=8192),
        reading(15, clients_waiting=1),
        reading(15, longest_transaction_seconds=3.5),
    ],
)
def test_what_makes_a_database_active(now: Reading) -> None:
    assert plan.is_active(reading(), now)


def test_neither_time_nor_memory_nor_autovacuum_makes_it_active() -> None:
    assert not plan.is_active(reading(), reading(15, memory_bytes=7))
    before, now = reading(direct_idle=0), reading(15, direct_idle=0, commits=102, rows_read=900)
    assert not plan.is_active(before, now)


def test_idle_databases_have_a_row_every_five_minutes() -> None:
    first = reading()
    for at in range(15, 300, 15):
        assert plan.due(first, reading(at - 15), reading(at), closed=LONG_AGO) == []
    (row,) = plan.due(first, reading(285), reading(300), closed=LONG_AGO)
    assert added(row)["seconds"] == 300


def test_an_idle_database_has_a_row_once_the_clock_was_set_back() -> None:
    now = reading(-86_400)
    (row,) = plan.due(reading(), reading(-15), now, closed=LONG_AGO)
    assert (row.at, added(row)["seconds"]) == (now.sample.at, None)
    assert plan.due(now, now, reading(-86_385), closed=LONG_AGO) == []


def test_an_idle_time_ends_with_a_row_of_its_own() -> None:
    first, seen, now = reading(), reading(135), reading(150, commits=115)
    idle, busy = plan.due(first, seen, now, closed=LONG_AGO)
    assert (idle.at, added(idle)["seconds"], added(idle)["commits"]) == (seen.sample.at, 135, 0)
    assert (busy.at, added(busy)["seconds"], added(busy)["commits"]) == (now.sample.at, 15, 15)
    # No row is added to what coarser ones have been computed from.
    (row,) = plan.due(first, seen, now, closed=now.sample.at)
    assert (added(row)["seconds"], added(row)["commits"]) == (150, 15)
    (row,) = plan.due(seen, seen, now, closed=LONG_AGO)
    assert added(row)["seconds"] == 15


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_rows_cover_the_time_without_gap_or_overlap(busy: list[bool]) -> None:
    recorded = seen = reading()
    rows: list[Period] = []
    for number, active in enumerate(busy, start=1):
        commits = int(seen.sample.commits) + active
        now = reading(15 * number, commits=commits)
        if due := plan.due(recorded, seen, now, closed=LONG_AGO):
            rows += due
            recorded = now
        seen = now
    times = [NOW, *(each.at for each in rows)]
    for row, before in zip(rows, times, strict=False):
        assert added(row)["seconds"] == (row.at - before).total_seconds() > 0
    assert sum(added(row)["commits"] or 0 for row in rows) == recorded.sample.commits - 100


# ── processes ────────────────────────────────────────────────────────────────


def test_the_use_of_processes_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[int, processes.ProcessUse] = {}
    monkeypatch.setattr(processes, "use", there.get)
    use = SessionUse()
    there |= {1: processes.ProcessUse(10, 5.0, 100), 2: processes.ProcessUse(10, 1.0, 50)}
    use.look({"a": [1, 2], "b": [3]})
    assert (use.cpu_seconds("a"), use.memory_bytes("a")) == (6.0, 150)
    assert (use.cpu_seconds("b"), use.memory_bytes("b")) == (0.0, 0)
    # Another process with the same pid begins at 0.
    there |= {1: processes.ProcessUse(10, 5.5, 100), 2: processes.ProcessUse(11, 0.25, 50)}
    use.look({"a": [1, 2]})
    assert use.cpu_seconds("a") == 6.75
    use.look({})
    assert (use.cpu_seconds("a"), use.memory_bytes("a")) == (6.75, 0)


def test_the_use_of_a_process_is_read() -> None:
    own = processes.use(os.getpid())
    assert own is not None
    assert own.cpu_seconds > 0
    assert own.memory_bytes > 1_000_000
    assert processes.use(2**22 + 1) is None


# ── partitions ───────────────────────────────────────────────────────────────


def test_names_of_partitions() -> None:
    for kept, name in ((RAW, "raw_2031030400"), (MINUTE, "minute_2031030400")):
        found = Partition(kept, kept.start_of_partition(NOW))
        assert str(found) == name
        assert resolutions.parse_partition(name) == found
    month = Partition(HOUR, HOUR.start_of_partition(NOW))
    assert str(month) == "hour_2031030100"
    assert month.end == dt.datetime(2031, 4, 1, tzinfo=dt.UTC)
    for name in ("raw_20310304", "week_2031030400", "raw_2031030400_old", "samples_raw"):
        assert resolutions.parse_partition(name) is None


moments = st.datetimes(
    dt.datetime(2001, 1, 1),  # noqa: DTZ001 (Hypothesis adds the zone)
    dt.datetime(2099, 1, 1),  # noqa: DTZ001
    timezones=st.just(dt.UTC),
)


@given(moments, st.sampled_from(resolutions.EVERY))
def test_partitions_have_no_gap(now: dt.datetime, kept: resolutions.Kept) -> None:
    present = Partition(kept, kept.start_of_partition(now))
    assert present.start <= now < present.end
    assert kept.start_of_partition(present.end) == present.end
    assert kept.start_of_partition(present.end - seconds(1)) == present.start
    created = [str(each) for each in resolutions.missing([], now)]
    assert str(present) in created
    assert len(created) == 2 * len(resolutions.EVERY)
    assert resolutions.missing(created, now) == []


@given(moments, st.integers(0, 400 * 24))
def test_only_what_is_not_kept_is_dropped(now: dt.datetime, hours: int) -> None:
    at = now - dt.timedelta(hours=hours)
    names = [str(Partition(kept, kept.start_of_partition(at))) for kept in resolutions.EVERY]
    done: dict[Resolution, dt.datetime] = {"raw": now, "minute": now}
    dropped = {each.kept.name for each in resolutions.expired(names, now, rolled_up=done)}
    for kept in resolutions.EVERY:
        if now - at <= kept.keep:
            assert kept.name not in dropped
        if now - at > kept.keep + dt.timedelta(days=31):
            assert kept.name in dropped
    # What coarser rows were not computed from stays.
    assert {each.kept.name for each in resolutions.expired(names, now, rolled_up={})} <= {"hour"}


def test_rows_from_before_a_long_pause_are_computed() -> None:
    """The worker was down for ten days; the last minute before that was not computed yet."""
    half_a_day = dt.timedelta(hours=12)
    old, new = NOW - dt.timedelta(days=10), RAW.start_of_partition(NOW)
    names = {str(Partition(RAW, RAW.start_of_partition(at))) for at in (old, NOW)} | {"minute_x"}
    pieces = list(resolutions.uncomputed(names, RAW, since=old, end=NOW, most=half_a_day))
    assert pieces == [(old, RAW.end_of_partition(RAW.start_of_partition(old))), (new, NOW)]
    hours = list(resolutions.uncomputed(names, RAW, since=new, end=NOW, most=seconds(3600)))
    assert all(before[1] == after[0] for before, after in pairwise(hours))
    assert (hours[0][0], hours[-1][1], len(hours)) == (new, NOW, 6)
    later = NOW + half_a_day  # the clock was set back
    assert list(resolutions.uncomputed(names, RAW, since=later, end=NOW, most=half_a_day)) == [
        (NOW, NOW)
    ]
    assert list(resolutions.uncomputed(names, RAW, since=NOW, end=NOW, most=half_a_day)) == []


# ── what is read ─────────────────────────────────────────────────────────────


def span(ago: dt.timedelta | None = None, *, step: int | None = None, until: int = 0) -> Span:
    start = None if ago is None else NOW - ago
    return resolutions.span(NOW, start=start, end=NOW - seconds(until), step=step)


@pytest.mark.parametrize(
    ("ago", "step", "resolution"),
    [
        (dt.timedelta(minutes=10), 15, "raw"),
        (dt.timedelta(hours=1), 15, "raw"),
        (dt.timedelta(hours=6), 120, "minute"),
        (dt.timedelta(days=1), 300, "minute"),
        (dt.timedelta(days=7), 3600, "hour"),
        (dt.timedelta(days=30), 10_800, "hour"),
        (dt.timedelta(days=365), 172_800, "hour"),
        (dt.timedelta(days=4000), 172_800, "hour"),
    ],
)
def test_the_step_and_the_resolution_follow_from_the_time(
    ago: dt.timedelta, step: int, resolution: str
) -> None:
    found = span(ago)
    assert (found.step, found.resolution) == (seconds(step), resolution)
    assert len(found.buckets) <= 301


def test_what_is_asked_for_is_rounded_to_what_is_kept() -> None:
    assert span(dt.timedelta(minutes=5), step=20).step == seconds(30)
    assert span(dt.timedelta(minutes=5), step=90).resolution == "raw"
    assert (span(dt.timedelta(days=2), step=150).step) == seconds(180)
    assert span(dt.timedelta(days=2), step=150).resolution == "minute"
    assert span(dt.timedelta(days=10), step=4000).step == seconds(7200)
    assert span().start == resolutions.floor(NOW - dt.timedelta(days=1), seconds(300))
    assert span(dt.timedelta(hours=1), until=-3600).end == NOW  # nothing is known of the future


@given(
    st.integers(15, 500 * 86_400), st.one_of(st.none(), st.integers(15, 10**6)), st.integers(0, 10)
)
def test_every_row_read_is_still_kept(ago: int, step: int | None, until: int) -> None:
    try:
        found = span(seconds(ago), step=step, until=min(until, ago - 1))
    except InvalidInput:
        return
    kept = next(each for each in resolutions.EVERY if each.name == found.resolution)
    assert NOW - found.start <= kept.keep + found.step
    assert found.step % kept.row == seconds(0)
    assert step is None or found.step >= seconds(step)
    assert found.buckets[0] == found.start
    assert found.buckets[-1] < found.end <= found.buckets[-1] + found.step
    assert len(found.buckets) <= resolutions.MOST_POINTS + 1


@pytest.mark.parametrize(
    ("start", "end", "step", "field"),
    [
        (NOW, NOW, None, "from"),
        (NOW + seconds(60), None, None, "from"),
        (NOW - seconds(60), NOW - seconds(90), None, "from"),
        (NOW - dt.timedelta(days=500), NOW - dt.timedelta(days=400), None, "to"),
        (None, dt.datetime.min.replace(tzinfo=dt.UTC), None, "to"),
        (NOW - dt.timedelta(days=1), None, 15, "step"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    start: dt.datetime | None, end: dt.datetime | None, step: int | None, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        resolutions.span(NOW, start=start, end=end, step=step)
    assert [each.field for each in refused.value.fields] == [field]


# ── series ───────────────────────────────────────────────────────────────────

FIVE = Span(NOW, NOW + seconds(75), seconds(15), "raw")


def row(at: float, **values: float | None) -> dict[str, Any]:
    known = dict.fromkeys((*SUMS, *GAUGES), None) | {"seconds": 15.0} | values
    return known | {"bucket": NOW + seconds(at)}


def drawn(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    return {each.name: list(each.values) for each in series.series(rows, FIVE)}


def test_counters_are_drawn_as_rates_and_gauges_as_they_are() -> None:
    found = drawn([row(15, commits=30, direct_idle=4, cpu_seconds=3.0, deadlocks=2)])
    nothing = [None, None, None, None]
    assert found == {
        "commits": [None, 2.0, *nothing[1:]],
        "direct_idle": [None, 4, *nothing[1:]],
        "cpu_percent": [None, 20.0, *nothing[1:]],
        "deadlocks": [None, 2, *nothing[1:]],
    }


def test_ratios_are_of_what_was_there() -> None:
    rows = [
        row(0, blocks_hit=90, blocks_read=10, pooled_queries=4, pooled_query_seconds=0.5),
        row(15, blocks_hit=0, blocks_read=0, pooled_queries=0, pooled_query_seconds=0.0),
    ]
    found = drawn(rows)
    assert found["cache_hit_ratio"][:2] == [0.9, None]
    assert found["pooled_query_ms"][:2] == [125.0, None]


def test_an_idle_database_has_no_gaps() -> None:
    found = drawn([row(0, commits=15), row(60, commits=0, seconds=45.0)])
    assert found["commits"] == [1.0, None, 0.0, 0.0, 0.0]
    # What is not known is not filled.
    assert drawn([row(60, direct_idle=1, seconds=None)])["direct_idle"][:4] == [None] * 4


def test_every_series_has_a_unit_and_a_name_of_its_own() -> None:
    everything = row(0) | dict.fromkeys((*SUMS, *GAUGES), 1.0)
    found = series.series([everything], FIVE)
    assert [each.name for each in found] == list(series.NAMES)
    assert all(each.unit for each in found)
    assert {each.name for each in series.sparklines([everything], FIVE)} == {
        "transactions",
        "connections",
        "size_bytes",
    }


# ── at present ───────────────────────────────────────────────────────────────


def newest(**known: Any) -> dict[str, Any]:
    return {
        "database_id": uuid.UUID(int=1),
        "database_name": "tenant_a",
        "name": None,
        "friendly_name": "A",
        "environment": "staging",
        **dict.fromkeys((*SUMS, *GAUGES)),
        "at": NOW,
        **known,
    }


def test_the_newest_sample_is_shown_as_rates_and_states() -> None:
    row = newest(
        seconds=15.0,
        commits=29,
        rollbacks=1,
        cpu_seconds=3.0,
        temporary_bytes=150,
        blocks_hit=90,
        blocks_read=10,
        direct_active=1,
        pooled_active=2,
        pooled_idle=4,
        direct_in_transaction=1,
    )
    found = latest.activity(row, NOW + dt.timedelta(seconds=20))
    assert (found.transactions_per_second, found.cpu_percent) == (2.0, 20.0)
    assert (found.temporary_bytes_per_second, found.cache_hit_ratio) == (10.0, 0.9)
    assert (found.connections_active, found.connections_idle) == (3, 4)
    assert found.connections_in_transaction == 1
    assert (found.wal_bytes_per_second, found.clients_waiting) == (None, None)


def test_where_nothing_happened_since_rates_are_zero() -> None:
    row = newest(seconds=15.0, commits=30, rollbacks=0, direct_idle=4)
    found = latest.activity(row, NOW + dt.timedelta(minutes=4))
    assert (found.transactions_per_second, found.connections_idle) == (0.0, 4)
    # After a restart of the server nothing is known yet.
    unknown = latest.activity(newest(commits=None), NOW + dt.timedelta(minutes=4))
    assert (unknown.transactions_per_second, unknown.cache_hit_ratio) == (None, None)


@pytest.mark.parametrize("order", get_args(latest.Order))
def test_the_greatest_is_first_and_the_unknown_last(order: latest.Order) -> None:
    def one(name: str, value: int | None) -> dict[str, Any]:
        hit = None if value is None else 100 - value
        rates = dict.fromkeys(("commits", "cpu_seconds", "temporary_bytes", "wal_bytes"), value)
        gauges = dict.fromkeys(("clients_waiting", "longest_transaction_seconds"), value)
        return newest(
            name=name,
            seconds=15.0,
            rollbacks=0,
            blocks_hit=hit,
            blocks_read=value,
            size_bytes=value,
            direct_idle=value,
            **rates,
            **gauges,
        )

    found = [one("none", None), one("low", 1), one("b", 5), one("a", 5), one("high", 9)]
    names = [each.name for each in latest.first(found, order, 5, NOW)]
    assert names == ["high", "a", "b", "low", "none"]
    assert [each.name for each in latest.first(found, order, 2, NOW)] == names[:2]
