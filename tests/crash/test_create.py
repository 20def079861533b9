"""Killed at every step of a creation, from the warm pool and with an empty one."""

from uuid import uuid4

import pytest
from scene import ALL_KILLS, SMALL_LIMIT, Scene, Victim, blows

STEPS = [
    "create.claimed",
    "create.labelled",
    "create.opened",
    "create.recorded",
    "request.committed",
]
STEPS_OF_AN_EMPTY_POOL = [
    "prepare.wanted",
    "prepare.role",
    "prepare.main",
    "prepare.shadow",
    "prepare.limits",
    *STEPS,
]


def check_creation(scene: Scene, step: str, victim: Victim, *, pool_is_empty: bool = False) -> None:
    name = f"{step} {victim} {uuid4()}"
    asked = {
        "json": {"friendlyName": name, "maxConnections": SMALL_LIMIT},
        "headers": {"Idempotency-Key": str(uuid4())},
    }
    scene.arm("api", step, victim)
    if pool_is_empty:
        with scene.empty_pool():
            first = scene.ask("POST", "/api/databases", **asked)
    else:
        first = scene.ask("POST", "/api/databases", **asked)
    scene.wait_restarted(victim)
    answered = first is not None and first.status_code == 201
    if first is not None and answered:
        scene.fill(first.json()["data"])
    scene.reconcile()

    there = scene.listed(name)
    if victim == "api":
        assert first is None
        assert len(there) == (step == "request.committed")
    else:
        assert first is not None
        assert first.status_code in {201, 503}, first.text
    if answered:
        assert len(there) == 1

    # Whoever got no answer asks again, and has one database whose password is the one reported.
    again = scene.ask("POST", "/api/databases", **asked)
    assert again is not None
    assert again.status_code == 201, again.text
    assert ("Idempotency-Replayed" in again.headers) == bool(there)
    database = again.json()["data"]
    if first is not None and answered:
        assert database == first.json()["data"]
        scene.check_filled(database)
    assert [each["id"] for each in scene.listed(name)] == [database["id"]]
    assert scene.can_log_in(database)
    scene.check_still_works()


@pytest.mark.parametrize(("step", "victim"), blows(STEPS, "api"))
def test_killed_while_a_warm_database_is_given_away(
    scene: Scene, step: str, victim: Victim
) -> None:
    check_creation(scene, step, victim)


@pytest.mark.parametrize(
    ("step", "victim"),
    [
        (step, victim)
        for step in [*STEPS_OF_AN_EMPTY_POOL, "database.created"]
        for victim in (("api", "control", "shared-1") if ALL_KILLS else ("api",))
        if step not in STEPS
    ],
)
def test_killed_while_a_database_is_made_for_somebody_who_waits(
    scene: Scene, step: str, victim: Victim
) -> None:
    check_creation(scene, step, victim, pool_is_empty=True)


def test_killed_before_the_pooler_has_read_its_new_file(scene: Scene) -> None:
    scene.arm("api", "pooler_users.written", "api")
    database = scene.create("small")  # answered before
    scene.wait_restarted("api")
    scene.reconcile()
    assert scene.pooler_limits()[database["username"]] < SMALL_LIMIT
    scene.check_still_works()


def test_every_step_is_killed_at(scene: Scene) -> None:
    scene.forget_steps()
    scene.create("clean")
    assert [name for name, _ in scene.steps("api")] == STEPS

    scene.wait_right()
    scene.forget_steps()
    with scene.empty_pool():
        scene.create("clean, made at once")
    assert [name for name, _ in scene.steps("api")] == STEPS_OF_AN_EMPTY_POOL
