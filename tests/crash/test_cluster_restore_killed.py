"""A restore of a whole cluster, killed at its steps: the old or the new one is in service."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from clients import hurry
from harness import Installation

DYING = Path(__file__).parents[1] / "system" / "dying"
BEFORE = ("restored", "recovered", "asking")
AFTERWARDS = ("put_aside", "decided", "reconciled")


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    found = Installation({"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "0"})
    try:
        found.up()
        hurry(found)
        found.back_up("shared-1")
        yield found
    finally:
        found.remove()


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


def check_nothing_is_left(platform: Installation) -> None:
    names = {each.name for each in folder(platform).iterdir()}
    assert {name for name in names if not name.startswith("before-")} == {"data"}
    assert not [*platform.home.glob("run/shared-1-*")]


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
    for step in BEFORE:
        killed_at(platform, step, *words)
        assert is_whole(folder(platform) / "data")
        assert not (folder(platform) / "restore.json").exists()
    platform.up()
    check_nothing_is_left(platform)
    assert count() == (0,)

    platform.down()
    for step in AFTERWARDS:
        killed_at(platform, step, *words)
        decided = json.loads((folder(platform) / "restore.json").read_text())
        new = "data" if decided["in_service"] else "restored/data"
        assert is_whole(folder(platform) / new)
    platform.up()
    check_nothing_is_left(platform)
    assert not (folder(platform) / "restore.json").exists()
    assert count() == (100,)
    kept = json.loads(platform.tenantry("cluster", "kept", "--json").stdout)
    assert len(kept) == len(AFTERWARDS)
    assert all(is_whole(Path(each["path"])) for each in kept)
    with platform.control() as control:
        (told,) = control.execute(
            "SELECT count(*) FROM audit_logs WHERE action = 'cluster.restored'"
        ).fetchone() or (0,)
    assert told >= 1
