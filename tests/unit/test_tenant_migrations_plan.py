"""Who is next in a run over many databases, and which files clients had better wait for."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import Conflict
from tenantry.control.migration_runs import TargetRow, TargetStatus
from tenantry.services.migrations.model import MigrationNotFound, Script
from tenantry.services.tenant_migrations import plan
from tenantry.services.tenant_migrations.model import Selection

STATUSES: list[TargetStatus] = ["pending", "running", "succeeded", "failed", "skipped"]


def targets(*statuses: TargetStatus) -> list[TargetRow]:
    return [
        TargetRow(
            position=position,
            database_id=uuid.UUID(int=position),
            database_name=f"tenant_{position}",
            name=None,
            environment="production",
            status=status,
            version=None,
            dirty=None,
            steps=None,
            error={"detail": f"{position} broke."} if status == "failed" else None,
            started_at=None,
            finished_at=None,
        )
        for position, status in enumerate(statuses)
    ]


@pytest.mark.parametrize(
    ("statuses", "canary", "max_failures", "expected"),
    [
        (["pending"] * 4, 1, 0, [0]),
        (["running", "pending", "pending"], 1, 0, []),
        (["succeeded", "pending", "pending"], 1, 0, [1, 2]),
        (["skipped", "pending", "pending"], 1, 0, [1, 2]),
        (["failed", "pending", "pending"], 1, 9, []),
        (["pending", "pending", "pending"], 0, 0, [0, 1, 2]),
        (["pending", "succeeded", "pending"], 2, 0, [0]),
        (["succeeded", "failed", "pending"], 1, 0, []),
        (["succeeded", "failed", "pending"], 1, 1, [2]),
        (["succeeded", "failed", "failed", "pending"], 1, 1, []),
        (["succeeded", "running", "pending"], 1, 0, [2]),
        (["pending", "pending"], 5, 0, [0, 1]),
    ],
)
def test_who_may_be_started(
    statuses: list[TargetStatus], canary: int, max_failures: int, expected: list[int]
) -> None:
    found = plan.startable(targets(*statuses), canary=canary, max_failures=max_failures)
    assert found == expected


@given(st.lists(st.sampled_from(STATUSES), max_size=12), st.integers(0, 4), st.integers(0, 4))
def test_nobody_is_started_twice_nor_beyond_the_budget(
    statuses: list[TargetStatus], canary: int, max_failures: int
) -> None:
    rows = targets(*statuses)
    found = plan.startable(rows, canary=canary, max_failures=max_failures)
    assert all(rows[position].status == "pending" for position in found)
    if plan.failed(rows) > max_failures or plan.failed(rows[:canary]):
        assert found == []


def test_a_stop_is_reported_with_its_reason() -> None:
    assert plan.summary(targets("succeeded", "failed", "pending")) == (
        "Of 3 databases, 1 failed, 1 succeeded, and 1 did not begin. tenant_1: 1 broke."
    )


def test_the_blueprint_that_may_be_why_is_named() -> None:
    lost = plan.explained(MigrationNotFound("There is no version 11."), "hosting")
    assert lost.detail == "It has the blueprint hosting. There is no version 11."
    assert "without a blueprint" in (lost.hint or "")
    failed = MigrationNotFound("There is no version 11.")
    assert plan.explained(failed, None).detail == "There is no version 11."
    other = Conflict("It is being deleted.")
    assert plan.explained(other, "hosting").detail == "It is being deleted."


def test_a_run_is_known_by_its_last_file_and_its_selection() -> None:
    names = ["9_z.up.sql", "10_a.up.sql", "11_b.down.sql", "README.md"]
    assert plan.last_file(names) == "10_a.up.sql"
    assert plan.last_file([]) is None
    assert plan.described(Selection()) == "all"
    one = frozenset({uuid.UUID(int=1)})
    wanted = Selection("staging", "a@example.com", None, True, one, one)
    assert plan.described(wanted) == (
        "staging, of a@example.com, without blueprint, 1 by name, 1 left out"
    )


def test_what_matters_least_goes_first() -> None:
    named = [("production", "a"), ("development", "z"), ("staging", "b"), ("staging", "a")]
    assert sorted(named, key=lambda each: plan.rank(*each)) == [
        ("development", "z"),
        ("staging", "a"),
        ("staging", "b"),
        ("production", "a"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALTER TABLE t ADD c int", True),
        ("INSERT INTO u VALUES (1); ALTER TABLE t DROP c; UPDATE u SET a = 1", True),
        ("BEGIN; ALTER TABLE t ADD c int; COMMIT", True),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", True),
        ("ALTER TABLE t RENAME a TO b", True),
        ("ALTER TABLE t SET SCHEMA s", True),
        ("DROP TABLE t; CREATE TABLE t (a int)", True),
        ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", True),
        ("DO $$ BEGIN EXECUTE 'ALTER TABLE t ADD c int'; END $$", True),
        ("CALL change_all()", True),
        ("an error, or the SQL of a newer server", True),
        ("CREATE TABLE t (a int)", False),  # nobody has prepared anything of it
        ("INSERT INTO t VALUES (1); UPDATE t SET a = 2", False),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", False),
        ("", False),
    ],
)
def test_what_may_outdate_others_plans(text: str, expected: bool) -> None:
    assert plan.may_outdate(Script("1_a.up.sql", text)) is expected
