"""Restores of a cluster and of a site, killed at their steps: the old or the new one is served."""

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis
from scene import wait_for
from sweep import RisingScene, Row, risen

from clients import eventually, redis_answers, redis_client
from harness import Installation

DYING = Path(__file__).parents[1] / "system" / "dying"
# The others are those of the operation, too.
BEFORE = "asking"  # both servers run where nobody finds them
AFTERWARDS = "put_aside"  # neither folder has the name


@pytest.fixture(scope="module")
def scene() -> Iterator[RisingScene]:
    with risen(TENANTRY_BACKUPS="on") as found:
        found.installation.back_up("shared-1")
        # The worker's rounds would do it once, and have the cluster to themselves meanwhile.
        eventually(lambda: found.installation.cluster("verify", "shared-1").returncode == 0)
        yield found


@pytest.fixture
def platform(scene: RisingScene) -> Installation:
    return scene.installation


def folder(platform: Installation) -> Path:
    return platform.home / "clusters" / "shared-1"


def killed_at(platform: Installation, step: str, *words: str) -> None:
    environment = dict(platform.environment)
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(DYING), *([before] if before else [])])
    platform.environment |= {"DIE_AT": step, "PYTHONPATH": path}
    done = platform.tenantry("cluster", "restore", "shared-1", "--yes", *words, check=False)
    platform.environment = environment
    assert done.returncode == -signal.SIGKILL, (step, done.stderr)


def is_whole(data: Path) -> bool:
    return (data / "global/pg_control").exists() and (data / "PG_VERSION").exists()


def in_service(platform: Installation) -> Path:
    """The folder that is the cluster's, by what is decided."""
    decision = folder(platform) / "restore.json"
    if decision.exists() and not json.loads(decision.read_text())["in_service"]:
        restored = folder(platform) / "restored/data"
        if restored.exists():
            return restored
    return folder(platform) / "data"


def check_nothing_is_left(platform: Installation) -> None:
    names = {each.name for each in folder(platform).iterdir()}
    assert {name for name in names if not name.startswith("before-")} == {"data"}
    assert not [*platform.home.glob("run/shared-1-*")]


def test_the_worker_is_killed_at_all_that_it_does(scene: RisingScene) -> None:
    platform = scene.installation
    database = scene.create("wrecked")
    scene.fill(database)
    with scene.connect(database["connection_string"]) as connection:
        (moment,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
        connection.execute("COMMIT; DELETE FROM kept")

    def look() -> None:
        assert is_whole(in_service(platform))

    with platform.client() as api:
        rows = {row["name"]: row["id"] for row in api.get("/api/clusters").json()["data"]}
    path = f"/api/clusters/{rows['shared-1']}/restore"
    scene.killed_everywhere(lambda: scene.started(path, to=moment.isoformat()), look)
    wait_for("the new one", lambda: scene.can_log_in(database))
    scene.check_filled(database)
    scene.check_filled(scene.bystander)
    check_nothing_is_left(platform)
    platform.tenantry("cluster", "discard", "shared-1", "--yes")


def test_the_old_or_the_new_one_is_in_service(platform: Installation) -> None:
    database = platform.create(name="app")

    def write(query: str) -> None:
        with psycopg.connect(database["connection_string"], connect_timeout=15) as connection:
            connection.execute(query.encode())

    def count() -> object:
        with psycopg.connect(database["connection_string"], connect_timeout=15) as connection:
            return connection.execute("SELECT count(*) FROM kept").fetchone()

    write("CREATE TABLE kept AS SELECT generate_series(1, 100) AS n")
    with platform.superuser() as server:
        (moment,) = server.execute("SELECT clock_timestamp()").fetchone() or (None,)
    write("DELETE FROM kept")
    words = ["--to", str(moment)]
    platform.down()
    killed_at(platform, BEFORE, *words)
    assert is_whole(folder(platform) / "data")
    assert not (folder(platform) / "restore.json").exists()
    platform.up()
    check_nothing_is_left(platform)
    assert count() == (0,)

    platform.down()
    killed_at(platform, AFTERWARDS, *words)
    assert not (folder(platform) / "data").exists()
    assert is_whole(in_service(platform))
    platform.up()
    check_nothing_is_left(platform)
    assert not (folder(platform) / "restore.json").exists()
    assert count() == (100,)
    (kept,) = json.loads(platform.tenantry("cluster", "retained", "--json").stdout)
    assert is_whole(Path(kept["path"]))
    with platform.control() as control:
        (reported,) = control.execute(
            "SELECT count(*) FROM audit_logs WHERE action = 'cluster.restored'"
        ).fetchone() or (0,)
    assert reported >= 1


# ── sites of the AI cache ────────────────────────────────────────────────────


def site_value(scene: RisingScene, site: Row) -> str | None:
    """What a site has under its key ``a``, once its process answers."""
    found: list[str | None] = []

    def read() -> bool:
        if not redis_answers(site["redis_url"]):
            return False
        try:
            with redis_client(site["redis_url"], ssl_cert_reqs="none") as client:
                found.append(client.get(f"{site['key_prefix']}a"))
        except redis.RedisError:
            return False
        return True

    wait_for("an answer of the site", read)
    folder = scene.installation.home / "sites" / site["id"]
    assert (folder / "redis.conf").exists()
    return found[-1]


def set_value(site: Row, value: str) -> None:
    with redis_client(site["redis_url"], ssl_cert_reqs="none") as client:
        client.set(f"{site['key_prefix']}a", value)


def test_a_site_that_is_restored(scene: RisingScene) -> None:
    body: dict[str, object] = {"name": "kept", "memory_mb": 8, "persistence": "aof"}
    made = scene.ask("POST", "/api/sites", json=body)
    assert made is not None
    site: Row = made.json()["data"]
    path = f"/api/sites/{site['id']}"
    set_value(site, "before")
    done = scene.ended(scene.started(f"{path}/backups"))
    assert done["status"] == "succeeded", done
    set_value(site, "after")

    def look() -> None:
        assert site_value(scene, site) in {"before", "after"}

    scene.cancelled_at("site.restore.stopped", partial(scene.started, f"{path}/restore"), look)
    wait_for("what it was", lambda: site_value(scene, site) == "after")
    scene.killed_everywhere(partial(scene.started, f"{path}/restore"), look)
    assert site_value(scene, site) == "before"
    folder = scene.installation.home / "sites" / site["id"]
    left = [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()]
    assert len(left) == 1
    assert not (folder / "dump.rdb").exists()
    gone = scene.ask("DELETE", path)
    assert gone is not None
    assert not folder.exists()
