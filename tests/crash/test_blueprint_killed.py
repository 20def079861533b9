"""Killed while a database gets its blueprint: whole afterwards, or never there; nothing twice."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from scene import SMALL_LIMIT, Scene, wait_for

ASKED = {
    "friendlyName": "with a blueprint",
    "maxConnections": SMALL_LIMIT,
    "blueprint": "notes",
    "seeds": "development",
}


def make(scene: Scene, key: str) -> httpx.Response | None:
    return scene.ask("POST", "/api/databases", json=ASKED, headers={"Idempotency-Key": key})


def made(scene: Scene, key: str) -> dict[str, Any]:
    """The answer to the same request again, once its operation has ended."""
    answer = make(scene, key)
    assert answer is not None
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()["data"]
    assert row["blueprint"] == {"name": "notes", "version": 2}
    return row


@pytest.mark.parametrize("step", ["role.opened", "migrate.held"])
def test_killed_while_a_database_is_made_with_one(scene: Scene, step: str) -> None:
    key = str(uuid4())
    scene.arm("api", step, "api")
    make(scene, key)
    scene.wait_restarted("api")
    scene.reconcile()  # before a repeated request could repair anything
    row = made(scene, key)
    assert [each["friendly_name"] for each in scene.listed()].count(ASKED["friendlyName"]) == 1
    (role,) = row["roles"]
    customer = "SELECT set_config('app.current_customer_id', %s, false)"
    for endpoint in ("connection_string", "connection_string_pooled"):
        with scene.connect(role[endpoint]) as session:
            session.execute(customer, ("00000000-0000-0000-0000-000000000001",))
            assert session.execute("SELECT count(*), sum(pinned::int) FROM notes").fetchone() == (
                2,
                0,
            )
    scene.check_still_works()


def test_killed_while_a_comparison_is_made(scene: Scene) -> None:
    key = str(uuid4())
    make(scene, key)
    row = made(scene, key)
    path = f"/api/databases/{row['id']}/blueprint/diff"
    scene.arm("api", "scratch.opened", "api")
    scene.ask("GET", path)
    scene.wait_restarted("api")
    scene.reconcile()  # also sees that the scratch and its login are gone
    wait_for("another comparison", lambda: _is_as_made(scene.ask("GET", path)))
    scene.wait_right()


def _is_as_made(answer: httpx.Response | None) -> bool:
    return answer is not None and answer.status_code == 200 and not answer.json()["data"]["drifted"]
