"""How many processors nobody uses, by what the kernel counts."""

import os

from hypothesis import given
from hypothesis import strategies as st

from tenantry.host import processors

# proc(5): user nice system idle iowait irq softirq steal guest guest_nice
BEFORE = """cpu  300 0 0 700 0 0 0 0 0 0
cpu0 100 0 0 500 0 0 0 0 0 0
cpu1 200 0 0 200 0 0 0 0 0 0
intr 1 2 3
"""
AFTER = """cpu  400 0 0 800 0 0 0 0 50 0
cpu0 110 0 0 570 20 0 0 0 10 0
cpu1 250 20 20 200 0 0 5 5 40 0
"""


def test_what_a_processor_waits_for_a_disk_is_idle_and_what_is_stolen_from_it_is_not() -> None:
    before, after = processors.read_times(BEFORE), processors.read_times(AFTER)
    assert before.keys() == after.keys() == {0, 1}
    assert processors.share_idle(before[0], after[0]) == 0.9
    assert processors.share_idle(before[1], after[1]) == 0.0
    assert processors.share_idle(before[0], before[0]) == 0.0


@given(st.lists(st.integers(0, 10**9), min_size=8, max_size=8))
def test_no_more_is_idle_than_there_is(spent: list[int]) -> None:
    assert 0 <= processors.share_idle((0,) * 8, tuple(spent)) <= 1


async def test_some_of_this_machine_is_idle_and_no_more_than_all() -> None:
    assert processors.count() == len(os.sched_getaffinity(0))
    assert 0 <= await processors.idle(0.02) <= processors.count()
