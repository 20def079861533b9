"""Killed at every step of a backup's life: it is whole or not at all, and no file is nobody's."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from scene import Database, Scene, Victim, wait_for

Row = dict[str, Any]

CREATE = [
    "backup.create.visiting",
    "backup.create.dumped",
    "backup.create.dump",
    "backup.create.check",
    "backup.create.moved",
    "backup.create.ready",
    "backup.create.keep",
]


def path(database: Database, end: str = "") -> str:
    return f"/api/databases/{database['id']}/backups{end}"


def listed(scene: Scene, database: Database) -> list[Row]:
    answer = scene.ask("GET", path(database))
    assert answer is not None
    assert answer.status_code == 200, answer.text
    rows: list[Row] = answer.json()["data"]
    return rows


def files(scene: Scene) -> list[Path]:
    return list((scene.installation.home / "backups" / "logical").glob("*/*"))


def made(scene: Scene, database: Database) -> Row:
    """What becomes of a backup that is wanted: its operation, once it has ended."""
    answer = scene.ask("POST", path(database), json={})
    assert answer is not None
    assert answer.status_code == 202, answer.text
    found: Row = {}

    def has_ended() -> bool:
        shown = scene.ask("GET", answer.headers["Location"])
        found.update(shown.json()["data"] if shown is not None and shown.is_success else {})
        return found.get("finished_at") is not None

    wait_for("the operation's end", has_ended)
    return found


def check(scene: Scene, rows: list[Row]) -> None:
    """Each row has its file, and each file its row."""
    assert {file.name for file in files(scene)} == {row["file_name"] for row in rows}
    for row in rows:
        (file,) = [each for each in files(scene) if each.name == row["file_name"]]
        assert row["status"] == "ready"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]


@pytest.mark.parametrize(
    ("step", "victim"),
    [
        *((step, "worker") for step in CREATE[:-1]),  # after the last one nothing is left to do
        ("backup.create.visiting", "shared-1"),
        ("backup.create.moved", "control"),
    ],
)
def test_killed_while_a_backup_is_made(scene: Scene, step: str, victim: Victim) -> None:
    database = scene.create("is backed up")
    scene.fill(database)
    scene.arm("worker", step, victim)
    operation = made(scene, database)
    scene.wait_restarted(victim)
    scene.reconcile()
    rows = listed(scene, database)
    if victim != "shared-1":
        assert operation["status"] == "succeeded", operation
    assert len(rows) == (operation["status"] == "succeeded")
    check(scene, rows)
    scene.check_filled(database)


def test_every_step_is_killed_at(scene: Scene) -> None:
    database = scene.create("is backed up")
    scene.forget_steps()
    made(scene, database)
    assert [name for name, _ in scene.steps("worker") if "backup.create" in name] == CREATE


def test_killed_while_a_backup_is_deleted(scene: Scene) -> None:
    database = scene.create("is backed up")
    made(scene, database)
    (row,) = listed(scene, database)
    scene.arm("api", "backup.delete.forgotten", "api")
    assert scene.ask("DELETE", path(database, f"/{row['id']}")) is None
    scene.wait_restarted("api")
    assert files(scene)
    scene.reconcile()
    assert listed(scene, database) == []
    check(scene, [])


def test_killed_while_those_that_have_had_their_time_go(scene: Scene) -> None:
    database = scene.create("is backed up")
    made(scene, database)
    made(scene, database)
    scene.ask(
        "PUT", path(database, "/schedule"), json={"every": "off", "keepCount": 1, "keepDays": 0}
    )
    with scene.installation.control() as control:
        control.execute("UPDATE backups SET origin = 'scheduled' WHERE status = 'ready'")
    newest, _ = listed(scene, database)
    scene.arm("worker", "backup.reconcile.rows", "worker")
    scene.kill("worker")  # the next one begins with a pass
    wait_for("the pass", lambda: not (scene.installation.home / "crash" / "armed").exists())
    scene.wait_restarted("worker")
    scene.reconcile()
    assert listed(scene, database) == [newest]
    check(scene, [newest])
