"""Killed while a data API is enabled or disabled: it is there with its keys, or wholly gone."""

from uuid import uuid4

import pytest
from scene import Database, Scene

ENABLE = ["data_api.prepared", "data_api.login", "data_api.recorded", "request.committed"]
DISABLE = ["data_api_disable.promised", "role_delete.closed", "role_delete.role"]


def path(database: Database) -> str:
    return f"/api/databases/{database['id']}/data-api"


def status(scene: Scene, database: Database) -> int:
    answer = scene.ask("GET", path(database))
    assert answer is not None
    return answer.status_code


def logins(scene: Scene, database: Database) -> int:
    with scene.installation.superuser() as server:
        name = f"{database['username']}__authenticator"
        found = server.execute("SELECT FROM pg_roles WHERE rolname = %s AND rolcanlogin", (name,))
        return found.rowcount


@pytest.mark.parametrize("step", ENABLE)
def test_killed_while_it_is_enabled(scene: Scene, step: str) -> None:
    database = scene.create("has an api")
    scene.fill(database)
    key = {"Idempotency-Key": str(uuid4())}
    scene.arm("api", step, "api")
    users: dict[str, object] = {"auth": {}}
    assert scene.ask("PUT", path(database), json=users, headers=key) is None
    scene.wait_restarted("api")
    scene.reconcile()
    done = step == "request.committed"
    assert status(scene, database) == (200 if done else 404)
    assert logins(scene, database) == done
    again = scene.ask("PUT", path(database), json=users, headers=key)
    assert again is not None
    assert again.status_code == 200, again.text
    assert again.json()["data"]["anon_key"]
    assert logins(scene, database) == 1
    scene.check_filled(database)
    scene.check_still_works()


@pytest.mark.parametrize("step", DISABLE)
def test_killed_while_it_is_disabled(scene: Scene, step: str) -> None:
    database = scene.create("has an api")
    made = scene.ask("PUT", path(database), json={})
    assert made is not None
    assert made.status_code == 200, made.text
    scene.arm("api", step, "api")
    assert scene.ask("DELETE", path(database)) is None
    scene.wait_restarted("api")
    scene.reconcile()
    assert status(scene, database) == 404
    assert logins(scene, database) == 0
    scene.check_still_works()
