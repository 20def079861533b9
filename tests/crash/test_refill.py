"""Killed at every step of the warm pool's refill, which the worker does."""

import pytest
from scene import WARM, Scene, Victim, blows, wait_for

STEPS = [
    "prepare.wanted",
    "prepare.role",
    "prepare.main",
    "prepare.shadow",
    "prepare.limits",
    "prepare.warm",
]


@pytest.mark.parametrize(("step", "victim"), blows([*STEPS, "database.created"], "worker"))
def test_killed_while_the_pool_is_refilled(scene: Scene, step: str, victim: Victim) -> None:
    scene.have_exactly_enough_warm()
    scene.arm("worker", step, victim)
    database = scene.create("wakes the worker")
    scene.wait_restarted(victim)
    scene.reconcile()

    assert [each["id"] for each in scene.listed("wakes the worker")] == [database["id"]]
    assert scene.can_log_in(database)
    scene.check_still_works()


def test_every_step_is_killed_at(scene: Scene) -> None:
    scene.have_exactly_enough_warm()
    scene.forget_steps()
    scene.create("wakes the worker")
    wait_for("a full pool", lambda: scene.count_warm() >= WARM)
    assert [name for name, _ in scene.steps("worker")] == STEPS
