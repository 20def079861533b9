"""Which databases can be moved where, and how long their clients wait."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_rows import NOW, database_row
from tenantry.base.errors import Conflict, InvalidInput
from tenantry.services.moves import plan

INSTANCE = {"kind": "dedicated", "cluster": "db-bcdfgh", "container_name": "app"}
sizes = st.integers(0, 2**44)


@given(sizes, sizes, st.integers(1, 2**40), st.floats(0.1, 1e6))
def test_more_takes_longer(size: int, more: int, moved: int, seconds: float) -> None:
    for pace in ((0, 0.0), (moved, seconds)):
        less = plan.expected_wait(min(size, more), *pace)
        longer = plan.expected_wait(max(size, more), *pace)
        assert less[0] <= longer[0]
        assert less[1] == longer[1] == ("measured" if pace[0] else "assumed")


def test_the_wait_is_computed_from_the_last_moves() -> None:
    assert plan.expected_wait(200, 100, 2.0) == (7.0, "measured")
    assert plan.expected_wait(100 * 1024 * 1024, 0, 0.0) == (13.0, "assumed")
    plan.require_time(7.0, 7.0)
    with pytest.raises(InvalidInput, match="7 seconds"):
        plan.require_time(7.0, 6.9)


@pytest.mark.parametrize(
    ("differing", "to_instance", "others", "why"),
    [
        (INSTANCE, True, [], "instance of its own already"),
        ({"name": None}, True, [], "no name"),
        (INSTANCE, False, ["b"], "also has b"),
        ({"quota_state": "stopped"}, True, [], "accepts no connections"),
        ({"paused_until": NOW}, True, [], "accepts no connections"),
    ],
)
def test_what_cannot_be_moved(
    differing: dict[str, Any], to_instance: bool, others: list[str], why: str
) -> None:
    row = database_row("bcdfghjkmnpq", **differing)
    with pytest.raises(Conflict, match=why):
        plan.require_movable(row, to_instance=to_instance, others=others)


def test_what_can_be_moved() -> None:
    plan.require_movable(database_row("bcdfghjkmnpq"), to_instance=True, others=[])
    plan.require_movable(database_row("bcdfghjkmnpq", **INSTANCE), to_instance=False, others=[])
    # A branch of another database on that one's instance may get an instance of its own.
    plan.require_movable(database_row("zzdfghjkmnpq", **INSTANCE), to_instance=True, others=[])


def test_a_target_has_to_hold_it() -> None:
    row = database_row(version=17, max_connections=50)
    plan.require_target(row, version=17, most_connections=50, missing_extensions=set())
    with pytest.raises(InvalidInput, match="is older"):
        plan.require_target(row, version=16, most_connections=50, missing_extensions=set())
    with pytest.raises(Conflict, match="at most 49"):
        plan.require_target(row, version=17, most_connections=49, missing_extensions=set())
    with pytest.raises(Conflict, match="the extensions a, b"):
        plan.require_target(row, version=18, most_connections=50, missing_extensions={"b", "a"})
