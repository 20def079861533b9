"""Killed at every step of a branch: it is whole or gone, and its parent is as it was."""

from collections.abc import Callable
from typing import Any

import pytest
from scene import Database, Scene, Victim, wait_for

STEPS = [
    "branch.create.prepare",
    "branch.filling",
    "branch.loaded",
    "branch.create.copy",
    "branch.create.mask",
    "branch.opened",
    "branch.create.open",
]
MASKING = "UPDATE kept SET n = -n"


def begun(scene: Scene, path: str, **asked: object) -> Any:
    answer = scene.ask("POST", path, json=asked)
    assert answer is not None
    assert answer.status_code == 202, answer.text
    return answer.json()["data"]


def ended(scene: Scene, operation: Database) -> Database:
    last: Database = {}

    def over() -> bool:
        answer = scene.ask("GET", f"/api/operations/{operation['id']}")
        if answer is None or answer.status_code != 200:
            return False
        last.update(answer.json()["data"])
        return last["finished_at"] is not None

    wait_for("the operation's end", over)
    return last


def total(scene: Scene, database: Database) -> int:
    with scene.connect(database["connection_string"]) as session:
        (found,) = session.execute("SELECT sum(n) FROM kept").fetchone() or (0,)
    return int(found)


def nothing_left(scene: Scene) -> bool:
    """No visitor, no scratch file."""
    with scene.installation.superuser() as server:
        visitors = server.execute(
            "SELECT 1 FROM pg_roles WHERE starts_with(rolname, 'tenantry_visitor_')"
        ).fetchall()
    return not visitors and not list((scene.installation.home / "scratch").iterdir())


def check_branch(scene: Scene, strike: Callable[[], None]) -> None:
    parent = scene.create("parent")
    scene.fill(parent)
    answer = scene.ask("PUT", f"/api/databases/{parent['id']}/masking", json={"sql": MASKING})
    assert answer is not None
    assert answer.status_code == 200, answer.text
    # Somebody is there, so that it is dumped.
    with scene.connect(parent["connection_string"]):
        strike()
        branch = begun(scene, f"/api/databases/{parent['id']}/branches", name="branch")
        operation = ended(scene, branch["operation"])
    scene.wait_ready()
    scene.check_filled(parent)
    if operation["status"] == "succeeded":
        assert scene.can_log_in({**parent, **{k: v or parent[k] for k, v in branch.items()}})
        assert total(scene, branch) == -total(scene, parent)
    else:
        wait_for("its end", lambda: scene.ask("GET", f"/api/databases/{branch['id']}"))
        answer = scene.ask("GET", f"/api/databases/{branch['id']}")
        assert answer is not None
        assert answer.status_code == 404
    scene.converge()
    assert nothing_left(scene)


@pytest.mark.parametrize(
    ("step", "victim"),
    [(step, "worker") for step in STEPS]
    + [
        ("branch.filling", "shared-1"),
        ("branch.loaded", "shared-1"),
        ("branch.filling", "control"),
    ],
)
def test_killed_while_a_branch_is_made(scene: Scene, step: str, victim: Victim) -> None:
    check_branch(scene, lambda: scene.arm("worker", step, victim))


def test_every_step_is_killed_at(scene: Scene) -> None:
    scene.forget_steps()
    check_branch(scene, lambda: None)
    scene.check_still_works()
    done = [name for name, _ in scene.steps("worker")]
    assert [name for name in done if name.startswith("branch.")] == STEPS
