"""What follows from how much a database takes on disk."""

from hypothesis import given
from hypothesis import strategies as st

from tenantry.control.databases import QuotaState
from tenantry.services.quotas import plan

STATES: list[QuotaState] = ["ok", "warning", "read_only", "stopped"]
sizes = st.integers(0, 2**50)
quotas = st.integers(32 * 2**20, 2**50)
states = st.sampled_from(STATES)
GIB = 2**30


def follows(used: int, quota: int, state: QuotaState, started: int | None = None) -> QuotaState:
    return plan.next_state(used=used, quota=quota, state=state, read_only_from=started)


@given(sizes, quotas, states, sizes)
def test_the_state_holds_until_the_size_changes(
    used: int, quota: int, state: QuotaState, started: int
) -> None:
    was = started if state in plan.RESTRICTED else None
    first = follows(used, quota, state, was)
    start = used if was is None else was
    assert follows(used, quota, first, start) == first


@given(sizes, quotas, states)
def test_who_is_full_is_restricted_and_who_is_not_is_free(
    used: int, quota: int, state: QuotaState
) -> None:
    after = follows(used, quota, state, used)
    if used >= quota:
        assert after in plan.RESTRICTED
    elif used < quota * 0.8:
        assert after == "ok"
    elif used < quota * 0.95:
        assert after == "warning"
    else:
        assert after == ("read_only" if state in plan.RESTRICTED else "warning")


@given(sizes, quotas)
def test_nobody_is_stopped_who_was_not_reported_before(used: int, quota: int) -> None:
    for state in ("ok", "warning"):
        assert follows(used, quota, state) != "stopped"
    # However far a load overran the quota until it was noticed, there is room to tidy up.
    assert follows(used, quota, "read_only", used) != "stopped"


@given(st.integers(0, 2**50), quotas, st.integers(1, 2**50))
def test_growing_in_spite_of_it_is_stopped(overrun: int, quota: int, more: int) -> None:
    started = quota + overrun
    after = follows(started + more, quota, "read_only", started)
    assert after == ("stopped" if more > quota // 10 else "read_only")


def test_one_that_is_stopped_is_let_in_by_a_larger_quota_or_by_less_data() -> None:
    started, used = 10 * GIB, 12 * GIB
    assert follows(used, 10 * GIB, "stopped", started) == "stopped"
    assert follows(used, 11 * GIB, "stopped", started) == "read_only"
    assert follows(used, 20 * GIB, "stopped", started) == "ok"
    assert follows(9 * GIB, 10 * GIB, "stopped", started) == "warning"


def test_what_is_reported_of_each_state() -> None:
    assert plan.explain("ok") is None
    for state in STATES[1:]:
        assert "disk_quota_bytes" in (plan.explain(state) or "")
    assert plan.summary({"ok": 5, "warning": 2}) == ""
    assert plan.summary({"read_only": 2, "ok": 1}) == "Over their disk quota: 2 read-only."
    assert (
        plan.summary({"stopped": 1, "read_only": 3})
        == "Over their disk quota: 3 read-only, 1 stopped."
    )
