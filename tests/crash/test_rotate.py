"""Killed at every step of a change of password: exactly one password works, always."""

from uuid import uuid4

import pytest
from scene import Scene, Victim, blows

STEPS = ["rotate.remembered", "rotate.set", "rotate.recorded", "request.committed"]


@pytest.mark.parametrize(("step", "victim"), blows(STEPS, "api"))
def test_killed_while_a_password_is_changed(scene: Scene, step: str, victim: Victim) -> None:
    old = scene.create("rotates")
    scene.fill(old)
    path = f"/api/databases/{old['id']}/rotate-password"
    key = {"Idempotency-Key": str(uuid4())}
    scene.arm("api", step, victim)
    first = scene.ask("POST", path, headers=key)
    scene.wait_restarted(victim)
    scene.reconcile()

    if victim == "api":
        assert first is None
    else:
        assert first is not None
        assert first.status_code in {200, 503}, first.text
    old_works = scene.can_log_in(old)
    if victim == "api":
        assert old_works == (step != "request.committed")
    if first is not None and first.status_code == 200:
        assert not old_works
        assert scene.can_log_in(first.json()["data"])

    # Whoever got no answer asks again: what was committed is reported, what was not is done.
    again = scene.ask("POST", path, headers=key)
    assert again is not None
    assert again.status_code == 200, again.text
    assert ("Idempotency-Replayed" in again.headers) == (not old_works)
    new = again.json()["data"]
    assert scene.can_log_in(new)
    assert not scene.can_log_in(old)
    scene.check_filled(new)
    scene.check_still_works()


def test_every_step_is_killed_at(scene: Scene) -> None:
    database = scene.create("rotates")
    scene.forget_steps()
    scene.ask("POST", f"/api/databases/{database['id']}/rotate-password")
    assert [name for name, _ in scene.steps("api")] == STEPS
