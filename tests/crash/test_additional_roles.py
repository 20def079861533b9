"""Killed at every step of a further role's life: wholly there, or wholly gone; one password."""

from typing import Any
from uuid import uuid4

import pytest
from scene import VICTIMS, Database, Scene, Victim

from clients import ENDPOINTS

CREATE = [
    "role.wanted",
    "role.made",
    "role.granted",
    "role.admitted",
    "role.opened",
    "role.recorded",
    "request.committed",
]
DELETE = [
    "role_delete.promised",
    "role_delete.closed",
    "role_delete.sessions",
    "role_delete.role",
    "role_delete.row",
]
ROTATE = ["role_rotate.remembered", "role_rotate.set", "role_rotate.recorded", "request.committed"]


def cases(steps: list[str]) -> list[tuple[str, Victim]]:
    """The API's own death at each step; the others' where they have a part in what is next."""
    return [(step, "api") for step in steps] + [(steps[1], victim) for victim in VICTIMS[1:]]


def opens(scene: Scene, role: dict[str, Any]) -> bool:
    found = {scene._opens(role[endpoint]) for endpoint in ENDPOINTS}
    assert len(found) == 1
    return found.pop()


def roles_of(scene: Scene, database: Database) -> list[dict[str, Any]]:
    answer = scene.ask("GET", f"/api/databases/{database['id']}/roles")
    assert answer is not None
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def make(scene: Scene, database: Database) -> dict[str, Any]:
    answer = scene.ask("POST", f"/api/databases/{database['id']}/roles", json={"name": "reads"})
    assert answer is not None
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["data"]
    return made


@pytest.mark.parametrize(("step", "victim"), cases(CREATE))
def test_killed_while_a_role_is_made(scene: Scene, step: str, victim: Victim) -> None:
    database = scene.create("has roles")
    scene.fill(database)
    path = f"/api/databases/{database['id']}/roles"
    key = {"Idempotency-Key": str(uuid4())}
    scene.arm("api", step, victim)
    first = scene.ask("POST", path, json={"name": "reads"}, headers=key)
    scene.wait_restarted(victim)
    scene.reconcile()
    if victim == "api":
        assert first is None
        assert bool(roles_of(scene, database)) == (step == "request.committed")
    elif first is not None and first.status_code == 201:
        assert opens(scene, first.json()["data"])
    again = scene.ask("POST", path, json={"name": "reads"}, headers=key)
    assert again is not None
    assert again.status_code == 201, again.text
    role = again.json()["data"]
    assert opens(scene, role)
    with scene.connect(role["connection_string"]) as session:
        assert session.execute("SELECT count(*) FROM kept").fetchone() == (1_000,)
    scene.check_filled(database)
    scene.check_still_works()


@pytest.mark.parametrize(("step", "victim"), cases(DELETE))
def test_killed_while_a_role_is_deleted(scene: Scene, step: str, victim: Victim) -> None:
    database = scene.create("has roles")
    scene.fill(database)
    role = make(scene, database)
    scene.arm("api", step, victim)
    answer = scene.ask("DELETE", f"/api/databases/{database['id']}/roles/{role['id']}")
    scene.wait_restarted(victim)
    scene.reconcile()
    gone = not roles_of(scene, database)
    if victim == "api":
        # Before the promise is committed nothing may have happened.
        assert gone == (step != "role_delete.promised")
    elif answer is not None and answer.is_success:
        assert gone
    assert opens(scene, role) != gone
    scene.check_filled(database)
    scene.check_still_works()


@pytest.mark.parametrize(("step", "victim"), cases(ROTATE))
def test_killed_while_a_roles_password_is_changed(scene: Scene, step: str, victim: Victim) -> None:
    database = scene.create("has roles")
    role = make(scene, database)
    path = f"/api/databases/{database['id']}/roles/{role['id']}/rotate-password"
    key = {"Idempotency-Key": str(uuid4())}
    scene.arm("api", step, victim)
    first = scene.ask("POST", path, headers=key)
    scene.wait_restarted(victim)
    scene.reconcile()
    old_works = opens(scene, role)
    if victim == "api":
        assert first is None
        assert old_works == (step != "request.committed")
    again = scene.ask("POST", path, headers=key)
    assert again is not None
    assert again.status_code == 200, again.text
    assert opens(scene, again.json()["data"])
    assert not opens(scene, role)
    scene.check_still_works()


def test_every_step_is_killed_at(scene: Scene) -> None:
    database = scene.create("has roles")
    scene.forget_steps()
    role = make(scene, database)
    path = f"/api/databases/{database['id']}/roles/{role['id']}"
    scene.ask("POST", f"{path}/rotate-password")
    scene.ask("DELETE", path)
    assert [name for name, _ in scene.steps("api")] == [*CREATE, *ROTATE, *DELETE]
