"""Killed at every step of a deletion: afterwards it is wholly there, or wholly gone."""

import pytest
from scene import Scene, Victim, blows, wait_for

STEPS = [
    "delete.promised",
    "delete.closed",
    "delete.sessions",
    "delete.shadow",
    "delete.main",
    "delete.role",
    "delete.row",
]


@pytest.mark.parametrize(("step", "victim"), blows(STEPS, "api"))
def test_killed_while_a_database_is_deleted(scene: Scene, step: str, victim: Victim) -> None:
    database = scene.create("goes")
    scene.fill(database)
    path = f"/api/databases/{database['id']}"
    scene.arm("api", step, victim)
    answer = scene.ask("DELETE", path)
    scene.wait_restarted(victim)
    scene.reconcile()

    if victim == "api":
        # On a busy machine it has answered before it comes to the later steps.
        assert answer is None or (answer.status_code == 202 and step != "delete.promised")
    else:
        assert answer is not None
        assert answer.status_code in {200, 202, 503}, answer.text
    shown = scene.ask("GET", path)
    assert shown is not None
    gone = shown.status_code == 404
    if answer is not None and answer.is_success:
        assert gone
    if victim == "api":
        # Before the promise is committed nothing may have happened; after it there is no way back.
        assert gone == (step != "delete.promised")
    assert bool(scene.listed("goes")) != gone
    assert scene.can_log_in(database) != gone
    if gone:
        assert scene.audited("database.deleted", database) == 1
    else:
        scene.check_filled(database)
    scene.check_still_works()


def test_killed_after_the_deletion_was_answered_and_before_it_was_done(scene: Scene) -> None:
    database = scene.create("goes slowly")
    with scene.cannot_be_dropped(database):
        answer = scene.ask("DELETE", f"/api/databases/{database['id']}")
        assert answer is not None
        assert answer.status_code == 202
        assert not scene.can_log_in(database)
        scene.kill("api")
    scene.wait_restarted("api")
    scene.reconcile()

    operation = scene.ask("GET", f"/api/operations/{answer.json()['data']['operation_id']}")
    assert operation is not None
    assert operation.json()["data"]["status"] == "succeeded"
    assert scene.audited("database.deleted", database) == 1
    assert scene.listed("goes slowly") == []
    scene.check_still_works()


def test_every_step_is_killed_at(scene: Scene) -> None:
    database = scene.create("goes")
    scene.forget_steps()
    scene.delete(database["id"])
    wait_for("the removal", lambda: not scene.listed("goes"))
    reported = scene.steps("api")
    mine = [name for name, subject in reported if subject == database["database_name"]]
    # Everybody is locked out twice: at once, and when its turn to be dropped comes.
    assert list(dict.fromkeys(mine)) == STEPS
