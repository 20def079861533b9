"""Killed while databases are migrated: each file has run once, and no client waits for ever."""

from typing import Any

import pytest
from scene import Database, Scene, Victim, wait_for

from clients import VISITORS

COUNT = 4
FILES = [
    {"name": "1_a.up.sql", "sql": "CREATE TABLE a (i int); INSERT INTO a VALUES (1);"},
    {"name": "2_b.up.sql", "sql": "ALTER TABLE a ADD j int;"},
    {"name": "3_c.up.sql", "sql": "INSERT INTO a VALUES (2, 2);"},
]


def post(scene: Scene, path: str, asked: dict[str, object]) -> str:
    answer = scene.ask("POST", path, json=asked)
    assert answer is not None
    assert answer.status_code == 202, answer.text
    return str(answer.json()["data"]["id"])


def outcome(scene: Scene, operation: str) -> dict[str, Any]:
    last: dict[str, Any] = {}

    def over() -> bool:
        answer = scene.ask("GET", f"/api/operations/{operation}")
        if answer is None or answer.status_code != 200:
            return False
        last.update(answer.json()["data"])
        return last["finished_at"] is not None

    wait_for("the operation's end", over)
    return last


def check(scene: Scene, databases: list[Database], operation: str) -> None:
    done = outcome(scene, operation)
    assert done["status"] == "succeeded", done["error"]
    for database in databases:
        for endpoint in ("connection_string", "connection_string_pooled"):
            with scene.connect(database[endpoint]) as session:
                assert session.execute("SELECT i, j FROM a ORDER BY i").fetchall() == [
                    (1, None),
                    (2, 2),
                ]
                assert session.execute("SELECT * FROM schema_migrations").fetchall() == [(3, False)]
    scene.reconcile()
    with scene.installation.superuser() as server:
        left = server.execute(VISITORS).fetchall()
    assert left == []
    assert not list((scene.installation.home / "scratch").iterdir())


@pytest.mark.parametrize("victim", ["worker"])
@pytest.mark.parametrize("step", ["migrate.held", "fleet.migrate.migrated"])
def test_killed_in_the_middle_of_a_fleet(scene: Scene, step: str, victim: Victim) -> None:
    databases = [scene.create(f"fleet {number}") for number in range(COUNT)]
    scene.arm("worker", step, victim)
    operation = post(scene, "/api/migrations", {"files": FILES, "parallel": 2})
    scene.wait_restarted(victim)
    check(scene, databases, operation)


def test_killed_after_all_files_it_does_not_go_further(scene: Scene) -> None:
    """What was asked for is n files, not n more after each try."""
    database = scene.create("one")
    scene.arm("worker", "database.migrate.migrated", "worker")
    more = [*FILES, {"name": "4_d.up.sql", "sql": "DROP TABLE a;"}]
    asked = {"files": more, "n": 3}
    operation = post(scene, f"/api/databases/{database['id']}/migrations", asked)
    scene.wait_restarted("worker")
    check(scene, [database], operation)


@pytest.mark.parametrize("step", ["migrated", "migrate", "seeded"])
def test_killed_while_a_blueprint_is_applied(scene: Scene, step: str) -> None:
    database = scene.create("todos")
    scene.arm("api", f"database.blueprint.{step}", "api")
    path = f"/api/databases/{database['id']}/blueprint"
    operation = post(scene, path, {"blueprint": "todos", "seeds": "development"})
    scene.wait_restarted("api")
    done = outcome(scene, operation)
    assert done["status"] == "succeeded", done["error"]
    with scene.installation.superuser(dbname=database["database_name"]) as server:
        assert server.execute("SELECT count(*) FROM api.todos").fetchone() == (4,)
    scene.reconcile()
