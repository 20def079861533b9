"""A cluster that is added while its worker is killed: it is whole, or nothing is left of it."""

from collections.abc import Iterator

import pytest
from scene import wait_for
from sweep import RisingScene, risen

from clients import ENDPOINTS, ask

NAME = "shared-2"


@pytest.fixture
def scene() -> Iterator[RisingScene]:
    """An installation of its own: a cluster cannot be removed again."""
    with risen(TENANTRY_MEMORY_MB="1536") as found:
        yield found


def is_ready(scene: RisingScene, name: str = NAME) -> bool | None:
    """Whether the cluster takes databases; None if there is none."""
    with scene.installation.client() as api:
        rows = {row["name"]: row for row in api.get("/api/clusters").json()["data"]}
    return rows[name]["ready"] if name in rows else None


def test_it_is_added_wherever_its_worker_is_killed(scene: RisingScene) -> None:
    def look() -> None:
        if not is_ready(scene):
            with scene.installation.client() as api:
                early = api.post("/api/databases", json={"name": "early", "cluster": NAME})
                another = api.post("/api/clusters", json={})
            assert early.status_code == 422, early.text
            assert another.status_code == 409, another.text

    scene.killed_everywhere(lambda: scene.started("/api/clusters"), look, statements=True)
    assert is_ready(scene)
    database = scene.installation.create(name="there", cluster=NAME)
    for endpoint in ENDPOINTS:
        assert ask(database[endpoint]) == 1
    # The platform adds another one by itself once both are full, and not before.
    scene.installation.add_cluster_if_full()
    assert is_ready(scene, "shared-3") is None
    with scene.installation.control() as control:
        control.execute("UPDATE clusters SET max_databases = 1")
    scene.installation.add_cluster_if_full()
    wait_for("a third cluster", lambda: is_ready(scene, "shared-3"))


@pytest.mark.parametrize("event", ["cluster.add.created", "cluster.add.hardened"])
def test_nothing_is_left_of_one_that_is_given_up(scene: RisingScene, event: str) -> None:
    scene.cancelled_at(event, lambda: scene.started("/api/clusters"), lambda: None)
    home = scene.installation.home
    assert is_ready(scene) is None
    assert not (home / "clusters" / NAME).exists()
    assert not (home / "run" / NAME).exists()
    assert not (home / "clusters.json").exists()
    assert NAME not in scene.installation.pids()
    again = scene.ended(scene.started("/api/clusters"))
    assert again["status"] == "succeeded", again
