"""Branches whose cluster or control database is killed: whole or gone, their parent as it was.

For a killed worker see ``test_killed_everywhere``.
"""

from collections.abc import Callable
from typing import Any

import pytest
from scene import Database, Scene, Victim, wait_for

from clients import VISITORS

MASKING = "UPDATE kept SET n = -n"


def started(scene: Scene, path: str, **asked: object) -> Any:
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
        visitors = server.execute(VISITORS).fetchall()
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
        branch = started(scene, f"/api/databases/{parent['id']}/branches", name="branch")
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
    scene.reconcile()
    assert nothing_left(scene)


@pytest.mark.parametrize(
    ("step", "victim"), [("branch.filling", "control"), ("branch.loaded", "shared-1")]
)
def test_killed_while_a_branch_is_made(scene: Scene, step: str, victim: Victim) -> None:
    check_branch(scene, lambda: scene.arm("worker", step, victim))


def check_replaced(scene: Scene, kind: str, strike: Callable[[], None]) -> None:
    """Of a reset or a promotion: what is replaced is the one or the other, whole."""
    parent = scene.create("parent")
    scene.fill(parent)
    path = f"/api/databases/{parent['id']}/branches"
    branch = started(scene, path, name="branch")
    assert ended(scene, branch["operation"])["status"] == "succeeded"
    with scene.connect(branch["connection_string"]) as session:
        session.execute("DELETE FROM kept WHERE n > 2")
    source, target = (parent, branch) if kind == "reset" else (branch, parent)
    before, wanted = total(scene, target), total(scene, source)
    with scene.connect(source["connection_string"]):  # so that it is dumped
        strike()
        reset = f"{path}/{branch['id']}/reset"
        promote = f"/api/databases/{branch['id']}/promote"
        operation = ended(scene, started(scene, reset if kind == "reset" else promote))
    scene.wait_ready()
    assert total(scene, source) == wanted
    assert total(scene, target) == (wanted if operation["status"] == "succeeded" else before)
    kept = 0 if operation["status"] != "succeeded" else 1
    beside = [n for n in scene.installation.inventory()[1] if n.startswith(target["database_name"])]
    beside.remove(target["database_name"])
    assert sum("_before_" in name for name in beside) == kept
    assert not any("_copying_" in name for name in beside)
    # What is kept goes with its database, and so this leaves nothing.
    for each in (branch, parent):
        scene.delete(each["id"])
    scene.reconcile()
    assert nothing_left(scene)


@pytest.mark.parametrize(
    ("kind", "step", "victim"),
    [("promote", "branch.swapped", "control"), ("reset", "branch.loaded", "shared-1")],
)
def test_killed_while_one_is_put_in_anothers_place(
    scene: Scene, kind: str, step: str, victim: Victim
) -> None:
    check_replaced(scene, kind, lambda: scene.arm("worker", step, victim))
