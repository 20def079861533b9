"""What statements did between two snapshots: nothing negative, nothing twice."""

import datetime as dt
import uuid
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_rows import database_row
from tenantry.base.errors import InvalidInput
from tenantry.control.query_history import KEPT_DAYS, MOST_IN_PRESENT_HOUR, WHOLE, Hour
from tenantry.pg import names, sql_program
from tenantry.pg.statement_counters import Counters, Entry
from tenantry.services.insights import counting
from tenantry.services.insights.counting import Hours
from tenantry_rest.catalog import fetching

NOW = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)
ROW = database_row("aaaaaaaaaaaa")
OTHER = database_row("bbbbbbbbbbbb")
DATABASES = counting.owned([ROW, OTHER, database_row("cccccccccccc", status="warm")])

some = st.builds(
    Counters,
    *[st.integers(0, 2**40) if name != "total_ms" else st.integers(0, 2**40).map(float)
      for name in Counters.__dataclass_fields__],
)  # fmt: skip


def did(calls: int, total_ms: float = 1.0) -> Counters:
    return Counters(calls, total_ms, calls, 0, 0, 0, 0)


def entry(database: str, role: str, query_id: int, counters: Counters, *, oid: int = 1) -> Entry:
    return Entry((oid, hash(role), query_id), database, role, counters)


@given(before=some, more=some)
def test_what_was_counted_since_is_the_difference(before: Counters, more: Counters) -> None:
    assert before.plus(more).since(before) == more
    assert before.since(None) == before


@given(before=some, now=some)
def test_nothing_is_ever_negative(before: Counters, now: Counters) -> None:
    since = now.since(before)
    assert all(each >= 0 for each in astuple(since))
    assert all(each <= most for each, most in zip(astuple(since), astuple(now), strict=True))


def test_a_counter_that_went_down_was_reset() -> None:
    assert did(5, 2.0).since(did(7, 1.0)) == did(5, 2.0)
    assert did(9, 0.5).since(did(7, 1.0)) == did(9, 0.5)


def test_only_a_tenants_own_statements_in_its_databases_are_its() -> None:
    additional = f"{names.beginning_of_additional(ROW.username)}reader"
    entries = [
        entry(ROW.database_name, ROW.username, 1, did(2)),
        entry(ROW.database_name, additional, 1, did(3)),
        entry(ROW.shadow_name, ROW.username, 1, did(4), oid=2),
        entry(ROW.database_name, names.authenticator(ROW.username), 1, did(1)),
        entry(ROW.database_name, "anon", 1, did(1)),
        entry(ROW.database_name, "service_role", 1, did(1)),
        entry(ROW.database_name, "tenantry_visitor_x", 2, did(5)),
        entry(ROW.database_name, OTHER.username, 2, did(6)),
        entry("postgres", ROW.username, 2, did(7), oid=3),
        entry("tenant_cccccccccccc", "user_cccccccccccc", 2, did(8), oid=4),
    ]
    found = counting.done_since({}, entries, DATABASES)
    assert found == {
        ROW.id: {
            (False, 1): did(8, 5.0),
            (True, 1): did(4),
            (False, WHOLE): did(12, 6.0),
        }
    }


def test_an_entry_that_did_nothing_since_adds_nothing() -> None:
    before = entry(ROW.database_name, ROW.username, 1, did(2))
    assert counting.done_since({before.key: before.counters}, [before], DATABASES) == {}


def test_who_has_endless_statements_pushes_nobody_out() -> None:
    many = [
        entry(ROW.database_name, ROW.username, number, did(1, float(number)))
        for number in range(1, 3 * MOST_IN_PRESENT_HOUR)
    ]
    few = entry(OTHER.database_name, OTHER.username, 7, did(1), oid=2)
    found = counting.first(counting.done_since({}, [*many, few], DATABASES))
    assert len(found[ROW.id]) == MOST_IN_PRESENT_HOUR + 1
    assert found[ROW.id][False, WHOLE].calls == len(many)
    assert (False, len(many)) in found[ROW.id]
    assert found[OTHER.id].keys() == {(False, WHOLE), (False, 7)}


def test_a_statement_is_compared_with_the_same_hour_of_other_days() -> None:
    hour, day, week = (NOW - each for each in counting.BEFORE.values())
    assert counting.compared(NOW.replace(minute=7)) == [NOW, hour, day, week]
    hours = Hours(
        NOW,
        {NOW: Hour(NOW, 60.0, 0), hour: Hour(hour, 3600.0, 5), week: Hour(week, 3600.0, 0)},
        {(NOW, False, 1): did(6, 30.0), (hour, False, 1): did(36, 72.0),
         (day, False, 1): did(1), (week, True, 1): did(1)},
    )  # fmt: skip
    found = hours.compare(shadow=False, query_id=1)
    assert found.now is not None
    assert (found.now.calls_per_second, found.now.mean_ms) == (0.1, 5.0)
    assert found.hour_before is not None
    assert (found.hour_before.calls_per_second, found.hour_before.mean_ms) == (0.01, 2.0)
    assert (found.now.incomplete, found.hour_before.incomplete) == (False, True)
    # Of the day before nothing was measured, and the week before it was the shadow's.
    assert (found.day_before, found.week_before) == (None, None)
    assert hours.compare(shadow=False, query_id=2).now is None


def test_a_moment_outside_of_the_history_is_taken_as_its_end() -> None:
    for since in (dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=14))), NOW):
        found = counting.within_history(since, "calls", NOW)
        assert NOW - dt.timedelta(days=KEPT_DAYS) <= found <= NOW
    latest = dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=14)))
    assert counting.within_history(latest, "calls", NOW) == NOW
    with pytest.raises(InvalidInput):
        counting.within_history(NOW, "max_ms", NOW)


def test_a_period_is_incomplete_from_the_first_eviction_on() -> None:
    measured = [Hour(NOW, 60.0, 0), Hour(NOW + dt.timedelta(hours=1), 60.0, 3)]
    assert counting.completeness(measured, NOW) == (NOW, measured[1].hour)
    assert counting.completeness([], NOW.replace(minute=9)) == (NOW, None)


def test_the_data_apis_reading_of_the_catalog_is_the_platforms_own() -> None:
    assert fetching.OWN == sql_program.OWN


def test_texts_are_looked_for_where_they_are_missing() -> None:
    entries = [
        entry(ROW.database_name, ROW.username, 1, did(1), oid=5),
        entry(ROW.shadow_name, ROW.username, 1, did(1), oid=6),
        entry(ROW.database_name, "tenantry_visitor_x", 2, did(1), oid=5),
    ]
    missing: set[tuple[uuid.UUID, bool, int]] = {(ROW.id, False, 1), (ROW.id, False, 2)}
    assert counting.places(missing, entries, DATABASES) == {(5, 1): (ROW.id, 1)}
