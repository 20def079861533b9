"""What follows from how much a database takes on disk, and from what is left of the disk."""

import datetime as dt
import shutil
import uuid
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import AsyncMock, MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_rows import database_row
from tenantry.control import usage
from tenantry.control.databases import QuotaState
from tenantry.control.usage import UsageRow
from tenantry.services.quotas import plan
from tenantry.services.quotas.plan import Outcome, Size
from tenantry.services.quotas.service import Quotas

STATES: list[QuotaState] = ["ok", "warning", "read_only", "stopped"]
GIB = 2**30
MIB = 2**20
sizes = st.integers(0, 2**50)
quotas = st.integers(32 * MIB, 2**50)
states = st.sampled_from(STATES)
outcomes = st.builds(Outcome, states, st.booleans())


def after(
    now: Outcome, used: int, quota: int, started: int | None = None, *, hold: bool = False
) -> Outcome:
    held_to = 32 * MIB if hold else None
    return plan.next_state(now, used=used, quota=quota, read_only_from=started, held_to=held_to)


def follows(used: int, quota: int, state: QuotaState, started: int | None = None) -> QuotaState:
    """The next state while there is space."""
    found = after(Outcome(state), used, quota, started)
    assert not found.held
    return found.state


@given(sizes, quotas, outcomes, sizes, st.booleans())
def test_the_state_holds_until_the_size_changes(
    used: int, quota: int, now: Outcome, started: int, hold: bool
) -> None:
    then = after(now, used, quota, started, hold=hold)
    start = started if now.state in plan.RESTRICTED else used
    assert after(then, used, quota, start, hold=hold) == then


@given(sizes, quotas, states)
def test_who_is_full_is_restricted_and_who_is_not_is_free(
    used: int, quota: int, state: QuotaState
) -> None:
    then = follows(used, quota, state, used)
    if used >= quota:
        assert then in plan.RESTRICTED
    elif used < quota * 0.8:
        assert then == "ok"
    elif used < quota * 0.95:
        assert then == "warning"
    else:
        assert then == ("read_only" if state in plan.RESTRICTED else "warning")


@given(sizes, quotas)
def test_nobody_is_stopped_who_was_not_reported_before(used: int, quota: int) -> None:
    for state in ("ok", "warning"):
        assert follows(used, quota, state) != "stopped"
    # However far a load overran the quota until it was noticed, there is room to tidy up.
    assert follows(used, quota, "read_only", used) != "stopped"


@given(st.integers(0, 2**50), quotas, st.integers(1, 2**50))
def test_growing_in_spite_of_it_is_stopped(overrun: int, quota: int, more: int) -> None:
    started = quota + overrun
    then = follows(started + more, quota, "read_only", started)
    assert then == ("stopped" if more > quota // 10 else "read_only")


def test_one_that_is_stopped_is_let_in_by_a_larger_quota_or_by_less_data() -> None:
    started, used = 10 * GIB, 12 * GIB
    assert follows(used, 10 * GIB, "stopped", started) == "stopped"
    assert follows(used, 11 * GIB, "stopped", started) == "read_only"
    assert follows(used, 20 * GIB, "stopped", started) == "ok"
    assert follows(9 * GIB, 10 * GIB, "stopped", started) == "warning"


def test_what_is_reported_of_each_state() -> None:
    assert plan.explain("ok", held=False) is None
    for state in STATES[1:]:
        assert "disk_quota_bytes" in (plan.explain(state, held=False) or "")
    for state in plan.RESTRICTED:
        found = plan.explain(state, held=True) or ""
        assert "disk_quota_bytes" not in found
        assert "until there is space again" in found
    assert plan.summary({"ok": 5, "warning": 2}) == ""
    said = "Over their disk quota, or held as the disk is nearly full: "
    assert plan.summary({"read_only": 2, "ok": 1}) == f"{said}2 read-only."
    assert plan.summary({"stopped": 1, "read_only": 3}) == f"{said}3 read-only, 1 stopped."


# ── a disk that is short of space ────────────────────────────────────────────


@given(sizes, quotas, outcomes)
def test_a_held_database_is_restricted_and_free_again_when_there_is_space(
    used: int, quota: int, now: Outcome
) -> None:
    held = after(now, used, quota, used, hold=True)
    assert held.state == "read_only"
    free = after(held, used, quota, used)
    if used < quota * 0.8:
        assert free == ("ok", False)
    elif used < quota and held.held:
        assert free == ("warning", False)
    elif used >= quota:
        assert free == ("read_only", False)


@given(sizes, quotas, states, sizes)
def test_what_the_quota_restricts_is_not_freed_by_space_on_the_disk(
    used: int, quota: int, state: QuotaState, started: int
) -> None:
    if follows(used, quota, state, started) in plan.RESTRICTED:
        short = after(Outcome(state), used, quota, started, hold=True)
        assert not short.held
        assert follows(used, quota, short.state, started) in plan.RESTRICTED


def test_a_held_database_that_goes_on_growing_is_stopped_until_there_is_space() -> None:
    held = Outcome("read_only", held=True)

    def grown(mib: int) -> Outcome:
        return after(held, GIB + mib * MIB, 100 * GIB, GIB, hold=True)

    assert (grown(0), grown(32), grown(33)) == (held, held, ("stopped", True))
    stopped = Outcome("stopped", held=True)
    assert after(stopped, GIB + 33 * MIB, 100 * GIB, GIB, hold=True) == stopped
    assert after(stopped, GIB + 33 * MIB, 100 * GIB, GIB) == ("ok", False)


def test_one_that_is_held_and_then_full_is_freed_by_its_quota_only() -> None:
    full = after(Outcome("read_only", held=True), 40 * MIB, 40 * MIB, 30 * MIB, hold=True)
    assert full == ("read_only", False)
    assert after(full, 40 * MIB, 40 * MIB, 30 * MIB) == full
    assert after(full, 39 * MIB, 40 * MIB, 30 * MIB) == full
    assert after(full, 37 * MIB, 40 * MIB, 30 * MIB) == ("warning", False)


def test_the_disk_is_short_below_a_twentieth_and_until_more_is_free() -> None:
    def left(percent: float, total: int = 20 * GIB) -> float:
        return plan.floors(int(total * percent / 100), total)

    assert plan.is_short(left(4.9), was_short=False)
    assert not plan.is_short(left(5), was_short=False)
    assert plan.is_short(left(7), was_short=True)
    assert not plan.is_short(left(7.6), was_short=True)
    assert left(9.9) < plan.NEAR < left(10.1)
    large = 10_000 * GIB  # 5 % are 500 GiB, of which nobody has to be kept
    assert not plan.is_short(plan.floors(16 * GIB, large), was_short=False)
    assert plan.is_short(plan.floors(16 * GIB - 1, large), was_short=False)
    assert not plan.is_short(plan.floors(0, 0), was_short=True)  # a file system without a size


def test_the_less_is_left_the_less_a_held_database_may_grow() -> None:
    assert [plan.tolerated(left) // MIB for left in (1.4, 0.5, 0.49, 0.2, 0.19, 0)] == [
        *(32, 32, 4, 4, 1, 1)
    ]


ANN, BOB = uuid.UUID(int=100), uuid.UUID(int=101)
BIG, SMALL, IDLE = (uuid.UUID(int=number) for number in range(3))
SHORT, LESS, LEAST = 0.8, 0.4, 0.1  # of the floor


def measured(big: float, small: float, idle: float = 7) -> dict[uuid.UUID, Size]:
    found = {BIG: (big, BIG), SMALL: (small, SMALL), IDLE: (idle, IDLE)}
    return {each: Size(int(mib * MIB), owner) for each, (mib, owner) in found.items()}


def grown(*looks: dict[uuid.UUID, Size]) -> plan.Growth:
    growth = plan.Growth()
    for look in looks:
        growth.note(look)
    return growth


def test_those_that_grew_most_are_held_and_more_the_less_is_left() -> None:
    growth = grown(measured(10, 10), measured(300, 20, 7.5))
    assert growth.to_hold(SHORT) == {BIG}  # the other: a thirtieth of what they grew together
    assert growth.to_hold(LESS) == {BIG, SMALL}
    assert growth.to_hold(LEAST) == {BIG, SMALL, IDLE}
    assert grown(measured(10, 10), measured(10, 10)).to_hold(LEAST) == set()


def test_nobody_is_held_for_what_others_or_earlier_ones_have_written() -> None:
    growth = plan.Growth()
    for minutes, size in enumerate([10, 300, 300, 300], 1):
        growth.turn(minutes * 300.0, short=False)
        growth.note(measured(size, 10))
    assert growth.to_hold(LEAST) == set()
    growth.note(measured(300, 17))
    assert growth.to_hold(SHORT) == set()
    growth.note(measured(300, 18))
    assert growth.to_hold(SHORT) == {SMALL}


def test_growth_counts_as_long_as_the_disk_is_short() -> None:
    growth = plan.Growth()
    for minute in range(120):
        growth.turn(minute * 60.0, short=minute > 0)
        growth.note(measured(10 + minute / 10, 10))
    assert growth.to_hold(SHORT) == {BIG}


def test_who_spreads_growth_over_many_databases_makes_nobody_else_the_fastest() -> None:
    many = [uuid.UUID(int=1000 + number) for number in range(30)]

    def look(anns: int, bobs: int) -> dict[uuid.UUID, Size]:
        return {each: Size(anns * MIB, ANN) for each in many} | {SMALL: Size(bobs * MIB, BOB)}

    growth = grown(look(10, 10), look(17, 20))  # 30 times 7 MiB, and 10 MiB: a twenty-second
    assert growth.to_hold(SHORT) == set(many)


def test_a_quiet_database_of_who_fills_the_disk_with_another_is_not_held() -> None:
    before = {BIG: Size(0, ANN), SMALL: Size(0, ANN)}
    growth = grown(before, {BIG: Size(300 * MIB, ANN), SMALL: Size(2 * MIB, ANN)})
    assert growth.to_hold(SHORT) == {BIG}


def test_a_new_database_has_grown_by_what_was_loaded_into_it() -> None:
    def first(mib: int, *, is_new: bool) -> plan.Growth:
        return grown({BIG: Size(mib * MIB, BIG, is_new)})

    assert first(32, is_new=True).to_hold(LEAST) == set()
    assert first(400, is_new=True).to_hold(SHORT) == {BIG}
    assert first(400, is_new=False).to_hold(LEAST) == set()  # its server was down until now


def test_a_database_that_was_emptied_grows_from_there() -> None:
    growth = grown(measured(500, 400), measured(8, 400))
    assert growth.to_hold(LESS) == set()
    growth.note(measured(20, 400))
    assert growth.to_hold(LESS) == {BIG}


# ── what the service decides ─────────────────────────────────────────────────


class Usage(NamedTuple):
    total: int
    free: int


ROW = database_row("a", disk_quota_bytes=GIB, created_at=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))


def use(state: QuotaState, *, held: bool = False, used: int = 100 * MIB) -> UsageRow:
    now = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    start = used if state in plan.RESTRICTED else None
    return UsageRow(ROW.id, used, state, held, now, start, 0)


def beginning(monkeypatch: pytest.MonkeyPatch, percent: float) -> Quotas:
    """A process that has just begun, with so much of the disk free."""
    nothing: Any = MagicMock()
    service = Quotas(nothing, nothing, nothing, home=Path("/home"))
    disk = Usage(20 * GIB, int(20 * GIB * percent / 100))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    service._look_at_disk()
    service._has_measured_all = True
    return service


def decided(monkeypatch: pytest.MonkeyPatch, percent: float, *looks: UsageRow) -> Outcome:
    """What a process that has just begun decides, after these looks at one database."""
    service = beginning(monkeypatch, percent)
    for look in looks:
        service._note([ROW], {ROW.id: look})
    return service._next(ROW, looks[-1])


def test_who_fills_the_disk_is_held_and_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    grower = use("ok"), use("ok", used=200 * MIB)
    assert decided(monkeypatch, 4, *grower) == ("read_only", True)
    assert decided(monkeypatch, 6, *grower) == ("ok", False)
    held = use("read_only", held=True)
    assert decided(monkeypatch, 4, held) == ("read_only", True)  # whoever noticed its growth
    assert decided(monkeypatch, 7, held) == ("read_only", True)
    assert decided(monkeypatch, 8, held) == ("ok", False)


@pytest.mark.parametrize("percent", [0.1, 4, 7, 8, 90])
def test_space_on_the_disk_frees_nobody_from_a_quota(
    monkeypatch: pytest.MonkeyPatch, percent: float
) -> None:
    full = use("read_only", used=GIB)
    assert decided(monkeypatch, percent, full) == ("read_only", False)


async def test_a_quota_that_is_changed_frees_nobody_while_the_disk_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process knows who has grown: one that was held, too, may only be full by now."""
    acted: list[str] = []

    async def act(_row: object, found: UsageRow) -> bool:
        acted.append(found.state)
        return True

    looks: list[tuple[float, QuotaState]] = [(7, "read_only"), (7, "ok"), (8, "read_only")]
    for percent, state in looks:
        service = beginning(monkeypatch, percent)
        monkeypatch.setattr(service, "_act", act)
        monkeypatch.setattr(service, "_measure", AsyncMock())
        monkeypatch.setattr(usage, "find", AsyncMock(return_value=use(state)))
        await service.enforce_one(ROW)
    assert acted == ["ok", "read_only"]


def test_a_mark_that_an_earlier_release_has_left_means_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert decided(monkeypatch, 4, use("ok", held=True)) == ("ok", False)
