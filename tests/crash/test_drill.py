"""Drills: what a good backup proves, what a damaged one sets off, and a worker that is killed."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from scene import Database, Scene, wait_for

from answers import data, problem
from clients import hurry
from harness import is_postmaster
from tenantry.host import processes

STEPS = ("read", "side_cluster.restored", "restore", "recover", "compare", "load", "check")


class Drilled:
    """A platform with a backup of a database in it."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.platform = self.scene.installation
        self.platform.environment |= {"TENANTRY_BACKUPS": "on", "TENANTRY_DRILL_TIME": "off"}

    def live(self) -> None:
        self.platform.up()
        hurry(self.platform)
        self.database = self.platform.create(name="shop")
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "CREATE TABLE goods (n int PRIMARY KEY, price numeric, at timestamptz)"
            )
            connection.execute(
                "INSERT INTO goods SELECT n, n / 7.0, now() FROM generate_series(1, 500) n"
            )
            # Of one file of its own in the backup, that nothing makes smaller.
            connection.execute(
                """
                CREATE TABLE photos AS
                SELECT n, decode(string_agg(md5(random()::text), ''), 'hex') AS photo
                FROM generate_series(1, 800) n, generate_series(1, 256) GROUP BY n
                """
            )
            connection.execute(
                "CREATE TABLE hidden (n int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY"
            )
        self.platform.back_up("shared-1", "--type", "full")

    @property
    def url(self) -> str:
        return str(self.database["connection_string"])

    def drill(self, *, check: bool = True) -> "tuple[int, str]":
        done = self.platform.tenantry("backup", "drill", "shop", check=check)
        return done.returncode, done.stderr

    def proofs(self) -> list[Database]:
        with self.platform.client() as api:
            found: list[Database] = data(api.get(f"/api/databases/{self.database['id']}/proofs"))
        return found

    def part(self) -> dict[str, Any]:
        with self.platform.client() as api:
            parts: list[dict[str, Any]] = api.get("/ready").json()["parts"]
        return next(part for part in parts if part["name"] == "drills")

    def nothing_is_left(self) -> bool:
        home = self.platform.home
        sockets = [path for path in (home / "run").iterdir() if path.name.startswith("side-")]
        with self.platform.superuser() as server:
            visitors = server.execute(
                "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'tenantry\\_visitor\\_%'"
                " AND coalesce(rolvaliduntil, 'infinity') = 'infinity'"
            ).fetchone()
        return [*(home / "scratch").iterdir(), *sockets] == [] and visitors == (0,)


@pytest.fixture(scope="module")
def drilled() -> Iterator[Drilled]:
    found = Drilled()
    try:
        found.live()
        yield found
    finally:
        found.scene.remove()


def test_a_good_backup_is_proven(drilled: Drilled) -> None:
    _, said = drilled.drill()
    assert "shop can be restored: 3 tables with 1,300 rows, 3 of them compared" in said
    (proof,) = drilled.proofs()
    assert proof["passed"]
    assert proof["error"] is None
    assert proof["moment"] < proof["at"]
    assert proof["compared"] == {
        "tables": 3,
        "rows": 1300,
        "equal_to_live": 3,
        "changing": 0,
        "too_large": 0,
        "amcheck": "passed",
        "changed": [],
        "lost": [],
    }
    assert drilled.nothing_is_left()
    assert drilled.part()["state"] == "up"
    reported = json.loads(drilled.platform.tenantry("backup", "proofs", "shop", "--json").stdout)
    assert reported == [proof]
    with drilled.platform.client() as api:
        (row,) = data(api.get("/api/audit-logs", params={"action": "database.drill"}))
        assert "tenantry_drills_failing 0.0" in api.get("/metrics").text
        nowhere = "/api/databases/00000000-0000-7000-8000-000000000000"
        problem(api.post(f"{nowhere}/drill"), 404)
        problem(api.get(f"{nowhere}/proofs"), 404)
        listed = api.get(f"/api/databases/{drilled.database['id']}/backups").json()
    assert row["resource_id"] == drilled.database["id"]
    last = listed["last_proof"]
    assert (last["at"], last["passed"]) == (proof["at"], True)
    assert last["age_seconds"] < 300


def test_killed_at_each_step_it_comes_to_its_end(drilled: Drilled) -> None:
    scene, folder = drilled.scene, drilled.platform.home / "crash"
    first, *others = STEPS
    scene.arm("worker", _name(first), "worker")
    with drilled.platform.client() as api:
        operation = data(api.post(f"/api/databases/{drilled.database['id']}/drill"), 202)
        problem(api.post(f"/api/databases/{drilled.database['id']}/drill"), 409)
    for step in (*others, None):
        wait_for("a killed worker", scene.struck)
        (folder / "struck").unlink()
        if step is not None:
            scene.arm("worker", _name(step), "worker")
    wait_for("a second proof", lambda: len(drilled.proofs()) == 2)
    assert drilled.proofs()[0]["passed"]
    assert drilled.proofs()[0]["id"] == operation["id"]
    wait_for("nothing left", drilled.nothing_is_left)


def _side_servers(drilled: Drilled) -> list[int]:
    """The servers that were started for an operation."""
    return list(filter(is_postmaster, processes.started_on(drilled.platform.home / "scratch")))


@pytest.mark.parametrize("first", ["down", "up"])
def test_what_a_killed_supervisor_leaves_is_ended(drilled: Drilled, first: str) -> None:
    """Nothing runs after ``down``, and ``up`` goes on with the operation."""
    platform, before = drilled.platform, len(drilled.proofs())
    pids = platform.pids()
    supervisor = int((platform.home / "run" / "supervisor.pid").read_text())
    drilled.scene.forget_strike()
    drilled.scene.arm("worker", "side_cluster.recovered", "worker")
    os.kill(supervisor, signal.SIGSTOP)  # it starts no other worker
    with platform.client() as api:
        operation = data(api.post(f"/api/databases/{drilled.database['id']}/drill"), 202)
    wait_for("a killed worker", drilled.scene.struck)
    os.kill(supervisor, signal.SIGKILL)
    drilled.scene.forget_strike()
    left = _side_servers(drilled)
    assert left
    if first == "down":
        platform.down()
        assert platform.processes() == []
    platform.up()
    assert not [pid for pid in left if processes.is_alive(pid)]
    if first == "up":
        assert platform.pids()["shared-1"] == pids["shared-1"]
        assert platform.pids()["pooler"] == pids["pooler"]
    wait_for("another proof", lambda: len(drilled.proofs()) == before + 1)
    assert drilled.proofs()[0]["passed"]
    assert drilled.proofs()[0]["id"] == operation["id"]
    wait_for("nothing left", drilled.nothing_is_left)


def test_nothing_of_an_operation_under_way_outlives_down(drilled: Drilled) -> None:
    before = len(drilled.proofs())
    with drilled.platform.client() as api:
        data(api.post(f"/api/databases/{drilled.database['id']}/drill"), 202)
    wait_for("a side server", lambda: _side_servers(drilled))
    drilled.platform.down()
    assert drilled.platform.processes() == []
    drilled.platform.up()
    wait_for("another proof", lambda: len(drilled.proofs()) == before + 1)
    assert drilled.proofs()[0]["passed"]


def _name(step: str) -> str:
    return step if "." in step else f"database.drill.{step}"


def test_a_flipped_byte_is_found_and_alerts(drilled: Drilled) -> None:
    repository = drilled.platform.home / "backups" / "repository" / "backup" / "shared-1"
    with drilled.platform.superuser() as server:
        (oid,) = server.execute(
            "SELECT oid FROM pg_database WHERE datname = %s", (drilled.database["database_name"],)
        ).fetchone() or (0,)
    photos = repository.glob(f"*F/pg_data/base/{oid}/*")
    flip(max(photos, key=lambda path: path.stat().st_size))
    code, said = drilled.drill(check=False)
    assert code == 1
    assert "checksum" in said or "decompress" in said, said
    failed = drilled.proofs()[0]
    assert not failed["passed"]
    assert failed["error"][:60] in said
    assert drilled.nothing_is_left()
    assert drilled.part()["state"] == "warning"
    with drilled.platform.client() as api:
        assert "tenantry_drills_failing 1.0" in api.get("/metrics").text
        (row, *_) = data(api.get("/api/audit-logs", params={"result": "failed"}))
    assert row["action"] == "database.drill"
    assert "drill.failed" in drilled.scene.log()
    drilled.platform.back_up("shared-1", "--type", "full")
    drilled.drill()
    assert drilled.part()["state"] == "up"


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
