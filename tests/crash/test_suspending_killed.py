"""Suspensions and wakes in which somebody is killed at each step: the pooler's clients get in."""

from collections.abc import Iterator
from itertools import product
from typing import Literal

import psycopg
import pytest
from scene import Part, Scene, wait_for

from answers import data
from clients import ask, hurry
from harness import is_postmaster
from suspending import is_suspended, stay_awake, suspend_soon
from tenantry.host import processes

pytestmark = pytest.mark.takes_minutes

Database = dict[str, str]
Victim = Literal["worker", "listener", "instance"]


@pytest.fixture(scope="module")
def own_scene() -> Iterator[Scene]:
    """An installation of its own, with instances."""
    scene = Scene(TENANTRY_INSTANCE_MEMORY_MB="128")
    try:
        scene.up()
        hurry(scene.installation)
        yield scene
    finally:
        scene.remove()


@pytest.fixture(scope="module")
def instance(own_scene: Scene) -> Database:
    body = {"name": "idle", "kind": "dedicated", "auto_suspend_seconds": 300}
    with own_scene.installation.client() as api:
        made: Database = data(api.post("/api/databases", json=body), 202)
        path = f"/api/operations/{made['operation_id']}"
        wait_for("the instance", lambda: data(api.get(path))["status"] == "succeeded")
    return made


def gets_in(instance: Database, string: str = "connection_string_pooled") -> bool:
    try:
        return ask(instance[string]) == 1
    except psycopg.OperationalError:
        return False


@pytest.mark.parametrize(
    ("step", "victim"),
    [
        *product(("listed", "led"), ("worker", "listener", "instance")),
        *product(("stopped",), ("worker", "listener")),
    ],
)
def test_a_suspension_is_cut_off(
    own_scene: Scene, instance: Database, step: str, victim: Victim
) -> None:
    cut_off(own_scene, instance, "worker", f"instance.suspend.{step}", victim)


@pytest.mark.parametrize("victim", ["worker", "listener", "instance"])
@pytest.mark.parametrize("step", ["started", "listed"])
def test_a_wake_is_cut_off(own_scene: Scene, instance: Database, step: str, victim: Victim) -> None:
    suspend_soon(own_scene.installation, instance)
    wait_for("its suspension", lambda: is_suspended(own_scene.installation, instance))
    cut_off(own_scene, instance, "listener", f"instance.wake.{step}", victim)


def cut_off(scene: Scene, instance: Database, part: Part, step: str, victim: Victim) -> None:
    here = scene.installation
    scene.arm(part, step, victim, f"clusters/{instance['cluster']}/data/postmaster.pid")
    if part == "worker":
        suspend_soon(here, instance)
        wait_for("the kill", scene.struck)
        stay_awake(here, instance)
    else:
        stay_awake(here, instance)
        gets_in(instance)
        wait_for("the kill", scene.struck)
    scene.forget_strike()
    wait_for("a client to get in", lambda: gets_in(instance))
    # From then on it is as if nothing had been.
    wait_for("its row", lambda: wanted(scene, instance) == "running")
    assert gets_in(instance)
    # By the pooler one gets in without the listener, which may only be about to run again.
    wait_for("a direct client to get in", lambda: gets_in(instance, "connection_string"))
    folder = here.home / "clusters" / instance["cluster"] / "data"
    assert len([pid for pid in processes.started_on(folder) if is_postmaster(pid)]) == 1
    all_is_there(scene)


def wanted(scene: Scene, instance: Database) -> str:
    with scene.installation.control() as control:
        row = control.execute(
            "SELECT wanted FROM clusters WHERE name = %s", (instance["cluster"],)
        ).fetchone()
    assert row is not None
    return str(row[0])


def all_is_there(scene: Scene) -> None:
    """Wait until all parts are there again."""
    wait_for("the API", scene.installation.is_ready)
    wait_for("the worker", lambda: "worker" in scene.installation.pids())
