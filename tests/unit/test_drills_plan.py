"""When a drill is due, whose turn it is, and what is compared."""

import datetime as dt
import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.control.proofs import Standing
from tenantry.pg.fingerprints import Fingerprint, Table, differing
from tenantry.services.drills import plan

FOUR = dt.time(4)
NIGHT = dt.datetime(2026, 11, 21, 4, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
DAY = dt.timedelta(days=1)

identifiers = st.integers(0, 9).map(lambda number: uuid.UUID(int=number))
moments = st.none() | st.integers(0, 3).map(lambda days: NIGHT - days * DAY)


@pytest.mark.parametrize(
    ("now", "last", "due"),
    [
        (NIGHT - MINUTE, None, False),
        (NIGHT, None, True),
        (NIGHT + MINUTE, NIGHT, False),
        (NIGHT + MINUTE, NIGHT - MINUTE, True),
        (NIGHT + 2 * 60 * MINUTE, NIGHT - DAY, True),
        (NIGHT + 4 * 60 * MINUTE, NIGHT - DAY, False),  # it was off; by day it waits
    ],
)
def test_a_night_has_one_drill(now: dt.datetime, last: dt.datetime | None, due: bool) -> None:
    assert plan.due(FOUR, now, last) == due
    assert not plan.due(None, now, last)


def test_a_night_may_begin_before_midnight() -> None:
    late = dt.time(23, 30)
    assert plan.due(late, NIGHT.replace(hour=0, minute=10), None)
    assert not plan.due(late, NIGHT.replace(hour=0, minute=10), NIGHT.replace(hour=0))


@given(st.dictionaries(identifiers, moments), st.integers())
def test_the_one_that_waits_longest_is_next(
    last: dict[uuid.UUID, dt.datetime | None], seed: int
) -> None:
    standings = [Standing(key, at) for key, at in last.items()]
    chosen = plan.next_database(standings, random.Random(seed))  # noqa: S311
    if chosen is None:
        assert not last
    elif last[chosen] is not None:
        assert None not in last.values()
        assert last[chosen] == min(at for at in last.values() if at)


@given(st.sets(identifiers, min_size=1))
def test_among_equals_everybody_is_chosen_some_time(equals: set[uuid.UUID]) -> None:
    standings = [Standing(key, None) for key in equals]
    chosen = {plan.next_database(standings, random.Random(seed)) for seed in range(300)}  # noqa: S311
    assert chosen == equals


def test_small_tables_come_first_until_the_budget_is_spent() -> None:
    tables = [Table("public", name, size) for name, size in (("a", 50), ("b", 10), ("c", 60))]
    assert [each.name for each in plan.affordable(tables, 60)] == ["b", "a"]
    assert plan.affordable(tables, 5) == []


def test_only_what_stood_still_has_to_be_equal() -> None:
    one, two = Fingerprint(1, "1"), Fingerprint(2, "2")
    expected = plan.unchanged({"a": one, "b": one, "gone": one}, {"a": one, "b": two, "new": two})
    assert expected == {"a": one}
    assert differing(expected, {"a": one, "b": two}) == []
    assert differing(expected, {"a": two}) == ["a"]
    assert differing(expected, {}) == ["a"]
