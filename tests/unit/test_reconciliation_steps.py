"""A pass of reconciliation goes on whatever one of its steps meets."""

from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from tenantry import worker
from tenantry.base.errors import Deferred, Unavailable
from tenantry.services.platform import Platform

STEPS = (
    "configuring",
    "ensure_server_files",
    "databases",
    "roles",
    "data_apis",
    "record",
    "clean_up",
    "sites",
    "backups",
    "restores",
    "refill",
    "_forget_old",
)


def test_the_first_failure_is_raised_once_all_have_had_their_turn() -> None:
    done = []

    def work() -> None:
        with Deferred() as failures:
            for error in (ZeroDivisionError(), Unavailable("later")):
                with failures.deferred():
                    done.append(error)
                    raise error

    with pytest.raises(ZeroDivisionError):
        work()
    assert len(done) == 2


@pytest.mark.parametrize("failing", STEPS)
async def test_a_step_that_fails_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    started = []

    def step(name: str) -> Any:
        async def run(*_: object) -> None:
            started.append(name)
            if name == failing:
                raise psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")

        return run

    for name in ("ensure_server_files", "clean_up", "_forget_old"):
        monkeypatch.setattr(worker, name, step(name))
    passed = SimpleNamespace(record=step("record"), done=[], failed={})
    monkeypatch.setattr(worker, "Pass", lambda: passed)
    platform = SimpleNamespace(
        configuring=SimpleNamespace(reconcile=step("configuring")),
        reconciliation=SimpleNamespace(reconcile=step("databases")),
        roles=SimpleNamespace(reconcile=step("roles")),
        data_apis=SimpleNamespace(reconcile=step("data_apis")),
        sites=SimpleNamespace(reconcile=step("sites")),
        backups=SimpleNamespace(reconcile=step("backups")),
        restores=SimpleNamespace(reconcile=step("restores")),
        databases=SimpleNamespace(warm_pool=SimpleNamespace(refill=step("refill"))),
        store=None,
    )
    with pytest.raises(psycopg.errors.LockNotAvailable):
        await worker.reconcile(cast(Platform, platform))
    assert started == [*STEPS]
