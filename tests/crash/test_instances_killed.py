"""Instances whose worker is killed at every step: each is whole, or nothing is left of it."""

from collections.abc import Iterator
from functools import partial

import psycopg
import pytest
from scene import Database, wait_for
from sweep import RisingScene, Row, risen

from clients import ENDPOINTS, ask

pytestmark = pytest.mark.takes_minutes


@pytest.fixture(scope="module")
def scene() -> Iterator[RisingScene]:
    """An installation of its own: its worker is killed all the time."""
    with risen(TENANTRY_INSTANCE_MEMORY_MB="128") as found:
        yield found


def created(scene: RisingScene, name: str) -> Row:
    """The operation that creates an instance."""
    body = {"name": name, "kind": "dedicated"}
    answer = scene.ask("POST", "/api/databases", json=body)
    assert answer is not None
    assert answer.status_code == 202, answer.text
    made: Row = answer.json()["data"]
    return {"id": made["operation_id"], "asked": made}


def changed(scene: RisingScene, database: Database, verb: str) -> Row:
    return scene.started(f"/api/databases/{database['id']}/{verb}")


def is_served(database: Database) -> bool:
    try:
        return all(ask(database[endpoint]) == 1 for endpoint in ENDPOINTS)
    except psycopg.OperationalError:
        return False


def test_it_is_created_stopped_started_and_restarted(scene: RisingScene) -> None:
    def look() -> None:
        assert ask(scene.bystander["connection_string"]) == 1

    database = scene.killed_everywhere(partial(created, scene, "whole"), look)["asked"]
    assert is_served(database)
    scene.killed_everywhere(partial(changed, scene, database, "stop"), look)
    assert database["cluster"] not in scene.installation.pids()
    assert not is_served(database)
    scene.killed_everywhere(partial(changed, scene, database, "start"), look)
    assert is_served(database)
    scene.killed_everywhere(partial(changed, scene, database, "restart"), look)
    assert is_served(database)
    scene.arm("api", "delete.instance", "api")
    scene.ask("DELETE", f"/api/databases/{database['id']}")
    wait_for("the kill", scene.struck)
    scene.forget_strike()
    wait_for("the API", scene.installation.is_ready)
    scene.reconcile()
    nothing_is_left(scene, database)


def configured(scene: RisingScene, database: Database, **parameters: str) -> Row:
    """The restart of an instance with other parameters."""
    answer = scene.ask(
        "PATCH",
        f"/api/databases/{database['id']}/settings",
        json={"parameters": parameters, "restart": True},
    )
    assert answer is not None
    assert answer.status_code == 202, answer.text
    found: Row = answer.json()["data"]
    return {"id": found["operation_id"], "asked": found}


def operation_of(answered: Row) -> Row:
    """The restart that has begun with a change."""
    return {"id": answered["operation_id"], "asked": answered["asked"]}


def parameters_of(scene: RisingScene, database: Database) -> Row:
    answer = scene.ask("GET", f"/api/databases/{database['id']}/settings")
    assert answer is not None
    found: Row = answer.json()["data"]
    assert found["pending_restart"] == []
    own: Row = found["parameters"]
    return own


def test_it_serves_with_its_former_parameters_or_with_new_ones(scene: RisingScene) -> None:
    def look() -> None:
        assert ask(scene.bystander["connection_string"]) == 1

    made = created(scene, "set")
    scene.ended(made)
    database = made["asked"]
    own = {"max_worker_processes": "9", "work_mem": "9MB"}
    path = f"/api/databases/{database['id']}"
    scene.ask("PATCH", f"{path}/settings", json={"parameters": own})
    # An extension whose library waits for the same restart is there in the end.
    extending = partial(scene.started, f"{path}/extensions", name="pg_prewarm", restart=True)
    scene.killed_everywhere(lambda: operation_of(extending()), look)
    assert is_served(database)
    assert ask(database["connection_string"], "SHOW max_worker_processes") == "9"
    assert ask(database["connection_string"], "SELECT platform_extensions.pg_prewarm('pg_class')")
    assert parameters_of(scene, database) == own

    # One that keeps the server from starting.
    begin = partial(configured, scene, database, max_locks_per_transaction="100000000")
    done = scene.killed(begin, look)
    assert (done["status"], "max_locks" in done["error"]["detail"]) == ("failed", True)
    wait_for("it", partial(is_served, database))
    assert ask(database["connection_string"], "SHOW max_worker_processes") == "9"
    assert ask(database["connection_string"], "SHOW max_locks_per_transaction") == "256"
    assert parameters_of(scene, database) == own

    # The API dies between the commit and what follows it.
    for event, value in (("configure.committed", "7MB"), ("configure.listed", "6MB")):
        scene.arm("api", event, "api")
        scene.ask(
            "PATCH",
            f"/api/databases/{database['id']}/settings",
            json={"parameters": {"work_mem": value}},
        )
        wait_for("the kill", scene.struck)
        scene.forget_strike()
        wait_for("the API", scene.installation.is_ready)
        scene.pass_once()
        assert ask(database["connection_string"], "SHOW work_mem") == value
    # It dies amid the removal of the extension: a repeated request completes it.
    scene.arm("api", "extension.dropped", "api")
    scene.ask("DELETE", f"{path}/extensions/pg_prewarm")
    wait_for("the kill", scene.struck)
    scene.forget_strike()
    wait_for("the API", scene.installation.is_ready)
    answer = scene.ask("DELETE", f"{path}/extensions/pg_prewarm")
    assert answer is not None
    assert (answer.status_code, answer.json()["data"]["pending_restart"]) == (200, True)
    scene.delete(database["id"])
    wait_for("its end", lambda: database["cluster"] not in scene.installation.pids())


@pytest.mark.parametrize("event", ["instance.create.started", "instance.create.database"])
def test_nothing_is_left_of_one_that_is_given_up(scene: RisingScene, event: str) -> None:
    started: list[Row] = []

    def begin() -> Row:
        started.append(created(scene, "given-up"))
        return started[0]

    scene.cancelled_at(event, begin, lambda: None)
    nothing_is_left(scene, started[0]["asked"])


def nothing_is_left(scene: RisingScene, database: Database) -> None:
    home, name = scene.installation.home, database["cluster"]
    assert not (home / "clusters" / name).exists()
    assert not (home / "run" / name).exists()
    assert name not in scene.installation.pids()
    members = home / "clusters.json"
    assert not members.exists() or name not in members.read_text()
    with scene.installation.control() as control:
        found = control.execute("SELECT 1 FROM clusters WHERE name = %s", (name,)).fetchone()
        assert found is None
