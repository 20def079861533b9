"""Killed at steps of a restore: the old or the new database is whole and in service, always.

One operation is killed at several of its steps, one after the other: it goes on where it was.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from scene import Database, Scene, Victim, wait_for

STEP = "database.restore."
SWAPPED = "database.replaced"  # told of between PostgreSQL's commit and ours


@pytest.fixture(scope="module")
def backed_up() -> Iterator[Scene]:
    scene = Scene(TENANTRY_BACKUPS="on")
    try:
        scene.up()
        scene.installation.tenantry("cluster", "backup", "shared-1")
        yield scene
    finally:
        scene.remove()


@pytest.fixture
def scene(backed_up: Scene) -> Scene:
    backed_up.reset()
    return backed_up


def wrecked(scene: Scene) -> tuple[Database, str]:
    """A database that has lost its rows, and the moment before."""
    database = scene.create("wrecked")
    scene.fill(database)
    with scene.connect(database["connection_string"]) as connection:
        (moment,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
        connection.execute("COMMIT; DELETE FROM kept")
    assert isinstance(moment, dt.datetime)
    return database, moment.isoformat()


def wanted(scene: Scene, database: Database, **asked: str) -> str:
    answer = scene.ask("POST", f"/api/databases/{database['id']}/restore", json=asked)
    assert answer is not None
    assert answer.status_code == 202, answer.text
    return str(answer.json()["data"]["id"])


def operation(scene: Scene, operation_id: str) -> dict[str, Any]:
    answer = scene.ask("GET", f"/api/operations/{operation_id}")
    assert answer is not None
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


def ended(scene: Scene, operation_id: str) -> dict[str, Any]:
    wait_for("the operation's end", lambda: operation(scene, operation_id)["finished_at"])
    return operation(scene, operation_id)


def is_whole(scene: Scene, database: Database, *, rows: set[int]) -> bool:
    """There is one database of that name, and it is the old one or the new one."""
    with scene.installation.superuser(dbname=database["database_name"]) as server:
        found = server.execute("SELECT count(*) FROM kept").fetchone()
    assert found is not None
    assert found[0] in rows
    return True


def killed_at(scene: Scene, database: Database, victim: Victim, *steps: str) -> None:
    """Return when the victim has been killed at each of these steps, armed at the first already."""
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        wait_for(f"the kill at {step}", scene.struck)
        scene.forget_strike()
        if following:  # before anything goes on
            scene.arm("worker", following, victim)
        wait_for("a whole database", lambda: is_whole(scene, database, rows={0, 1000}))
    scene.wait_ready()


def test_the_worker_is_killed_at_steps_of_a_restore_in_place_and_during_one_as_new(
    scene: Scene,
) -> None:
    database, moment = wrecked(scene)
    other, before = wrecked(scene)
    # Each death lets the supervisor wait twice as long: not at those that are like one another.
    steps = [STEP + each for each in ("prepare", "restore", "load")] + [SWAPPED, STEP + "serve"]
    scene.arm("worker", steps[0], "worker")
    in_place = wanted(scene, database, to=moment, **{"as": "in_place"})
    as_new = wanted(scene, other, to=before, **{"as": "new"})
    killed_at(scene, database, "worker", *steps)
    done, made = ended(scene, in_place), ended(scene, as_new)
    assert done["status"] == made["status"] == "succeeded", (done["error"], made["error"])
    opened = scene.ask("POST", f"/api/databases/{made['result']['database_id']}/rotate-password")
    assert opened is not None
    scene.converge()
    scene.check_filled(database)
    scene.check_filled(opened.json()["data"])
    assert is_whole(scene, other, rows={0})


def test_the_cluster_is_killed_at_steps_of_a_restore_in_place(scene: Scene) -> None:
    database, moment = wrecked(scene)
    steps = [STEP + "load", STEP + "check", SWAPPED]
    scene.arm("worker", steps[0], "shared-1")
    operation_id = wanted(scene, database, to=moment, **{"as": "in_place"})
    killed_at(scene, database, "shared-1", *steps)
    done = ended(scene, operation_id)
    assert done["status"] == "succeeded", done["error"]
    scene.converge()
    scene.check_filled(database)


def test_killed_while_it_is_put_back_and_while_it_is_given_up(scene: Scene) -> None:
    database, moment = wrecked(scene)
    scene.arm("worker", "side_instance.removed", "worker")
    given_up = wanted(scene, database, to=moment, **{"as": "in_place"})
    wait_for(
        "a side instance",
        lambda: operation(scene, given_up)["step"] in {"restore", "recover", "dump", "load"},
    )
    scene.ask("POST", f"/api/operations/{given_up}/cancel", json={})
    scene.wait_restarted("worker")
    assert ended(scene, given_up)["status"] == "cancelled"
    scene.converge()
    assert is_whole(scene, database, rows={0})

    restored = ended(scene, wanted(scene, database, to=moment, **{"as": "in_place"}))
    assert restored["status"] == "succeeded", restored["error"]
    scene.arm("worker", SWAPPED, "worker")
    back = wanted(scene, database, to="previous")
    scene.wait_restarted("worker")
    assert ended(scene, back)["status"] == "succeeded"
    scene.converge()
    assert is_whole(scene, database, rows={0})
    scene.check_filled(scene.bystander)

    # What was replaced has its time, and goes when that is over.
    with scene.installation.control() as control:
        control.execute("UPDATE replaced_databases SET expires_at = now()")
    scene.converge()
    assert not any("before" in name for name in scene.installation.world()[1])
    assert scene.audited("database.replaced_dropped", database) == 1
