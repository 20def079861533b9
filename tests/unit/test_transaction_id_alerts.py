"""How fast IDs run out, and which ages somebody has to see to."""

from tenantry.pg.transaction_ids import (
    LIMIT,
    MEMBERS_LIMIT,
    Consumed,
    DatabaseAge,
    Holder,
    State,
)
from tenantry.services.transaction_ids import Pace, Report

MILLION = 1_000_000


def state(age: int = 0, *, multixacts: int = 0, holders: list[Holder] | None = None) -> State:
    return State(
        consumed=Consumed(0, 0),
        databases=[
            DatabaseAge("template0", 5, age, multixacts),
            DatabaseAge("tenant_x", 9, 0, 0),
        ],
        holders=holders or [],
        freeze_at={"transactions": 200 * MILLION, "multixacts": 400 * MILLION},
    )


def levels(report: Report) -> list[str]:
    return [alert.level for alert in report.alerts]


def test_a_database_that_nobody_uses_ages_up_to_freezing() -> None:
    """template0 is visited by autovacuum only when it has to be."""
    assert levels(Report("c", state(210 * MILLION, multixacts=410 * MILLION), 0, {})) == []
    assert levels(Report("c", state(400 * MILLION), 0, {})) == ["warning"]
    assert levels(Report("c", state(multixacts=800 * MILLION), 0, {})) == ["warning"]
    assert levels(Report("c", state(1_600 * MILLION), 0, {})) == ["danger"]


def test_members_run_out_too() -> None:
    assert levels(Report("c", state(), MEMBERS_LIMIT // 2, {})) == ["warning"]
    assert levels(Report("c", state(), MEMBERS_LIMIT // 4 * 3, {})) == ["danger"]


def test_every_kind_of_holder_is_named_with_what_to_do() -> None:
    age = 100 * MILLION
    holders = [
        Holder("session", "user_x", "tenant_x", 7, None, None, None, age),
        Holder("prepared transaction", "p", "tenant_x", None, None, None, None, age),
        Holder("replication slot", "standby", None, None, None, None, None, age),
    ]
    details = [alert.detail for alert in Report("c", state(holders=holders), 0, {}).alerts]
    assert ["session 7" in details[0], "roll it back" in details[1], "drop" in details[2]] == [
        True
    ] * 3
    young = [Holder("session", "user_x", "tenant_x", 7, None, None, None, age - 1)]
    assert levels(Report("c", state(holders=young), 0, {})) == []


def test_a_pace_needs_its_window_and_counts_across_the_wrap() -> None:
    now = 0.0
    pace = Pace(10.0, clock=lambda: now)
    pace.add(Consumed(2**32 - 500, 0), 0)
    now = 9.0
    pace.add(Consumed(400, 0), 0)
    assert pace.seconds_left(state(), "transactions") is None
    now = 10.0
    pace.add(Consumed(500, 0), 0)
    assert pace.seconds_left(state(LIMIT - 1_000), "transactions") == 10.0
    assert pace.seconds_left(state(), "multixacts") is None


def test_a_burst_that_is_over_is_forgotten() -> None:
    times = iter((0.0, 5.0, 15.0, 25.0))
    pace = Pace(10.0, clock=lambda: next(times))
    for used in (0, 1_000_000, 1_000_000, 1_000_000):
        pace.add(Consumed(used, 0), 0)
    assert pace.seconds_left(state(), "transactions") is None


def test_members_set_the_pace_of_multixacts() -> None:
    now = 0.0
    pace = Pace(1.0, clock=lambda: now)
    pace.add(Consumed(0, 0), 0)
    now = 1.0
    pace.add(Consumed(0, 10), MEMBERS_LIMIT // 2)
    assert pace.seconds_left(state(), "multixacts") == 1.0
