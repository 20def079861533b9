"""The platform comes back by itself, soon and wholly, from harder blows than one."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from psycopg import sql
from scene import WARM, Scene, Victim, wait_for

from harness import DEADLINE, as_service_user, kill

LARGEST_POOL = 8


def test_a_pool_full_of_dead_connections_keeps_nobody_waiting(scene: Scene) -> None:
    path = f"/api/databases/{scene.bystander['id']}/stats"

    def crowd() -> bool:
        with scene.installation.client() as client, concurrent.futures.ThreadPoolExecutor() as many:
            list(many.map(client.get, [path] * 100))
        with scene.installation.superuser() as server:
            (held,) = server.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE usename = 'tenantry_platform' AND datname = 'postgres'"
            ).fetchone() or (0,)
        return int(held) >= LARGEST_POOL

    wait_for("a large pool", crowd)
    scene.kill("shared-1")
    wait_for("PostgreSQL", lambda: scene.can_log_in(scene.bystander))
    began = time.monotonic()
    answer = scene.ask("GET", path)
    assert answer is not None
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("victim", ["control", "shared-1", "pooler"])
def test_killed_as_often_as_it_comes_up(scene: Scene, victim: Victim) -> None:
    scene.remember_pids()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        kill(scene.pid(victim), signal.SIGKILL)
        time.sleep(0.01)
    scene.wait_ready()
    scene.reconcile()
    scene.check_still_works()


def test_one_that_cannot_be_repaired_does_not_keep_the_others_waiting(scene: Scene) -> None:
    """The first's name is taken by a database that is not the platform's to change."""
    names = ("tenant_crash0000000a", "tenant_crash0000000b")
    taken = sql.Identifier(names[0])
    with scene.installation.superuser() as server, scene.installation.control() as control:
        server.execute(sql.SQL("CREATE DATABASE {}").format(taken))
        try:
            for name in names:
                control.execute(
                    "INSERT INTO databases (id, cluster_id, database_name, username, status)"
                    " SELECT gen_random_uuid(), id, %s, %s, 'creating' FROM clusters"
                    " WHERE name = 'shared-1'",
                    (name, name.replace("tenant", "user")),
                )
            scene.pass_once()
            statuses = {row["database_name"]: row["status"] for row in scene.installation.rows()}
            assert [statuses[name] for name in names] == ["creating", "warm"]
        finally:
            server.execute(sql.SQL("DROP DATABASE {}").format(taken))
    scene.reconcile()


@pytest.fixture
def pooler_hangs(scene: Scene) -> Iterator[None]:
    pooler = scene.pid("pooler")
    assert pooler is not None
    scene.have_exactly_enough_warm()
    os.kill(pooler, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pooler, signal.SIGCONT)
        scene.check_still_works()


@pytest.mark.usefixtures("pooler_hangs")
def test_the_pool_is_refilled_though_the_pooler_hangs(scene: Scene) -> None:
    for name in ("one", "another"):
        scene.create(name)
        wait_for("a full pool", lambda: scene.count_warm() >= WARM, seconds=4)


@pytest.mark.usefixtures("pooler_hangs")
def test_a_deletion_comes_to_its_end_though_the_pooler_hangs(scene: Scene) -> None:
    database = scene.create("goes")
    scene.delete(database["id"])
    wait_for("the removal", lambda: database["username"] not in scene.installation.inventory()[0])


def test_whoever_asks_a_pooler_that_hangs_is_reported(scene: Scene) -> None:
    pooler = scene.pid("pooler")
    assert pooler is not None

    def ask_until_it_fails(_: int) -> int:
        with scene.installation.client() as client:
            while (answer := client.get("/api/pooler")).is_success:
                pass
            return answer.status_code

    with concurrent.futures.ThreadPoolExecutor(8) as many:
        reported = many.map(ask_until_it_fails, range(8))
        time.sleep(0.5)
        os.kill(pooler, signal.SIGSTOP)  # in the middle of answering some of them
        try:
            assert list(reported) == [503] * 8
        finally:
            os.kill(pooler, signal.SIGCONT)


def test_a_worker_that_has_lost_its_supervisor_ends(scene: Scene) -> None:
    """However early it happens: here before these have even begun."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tenantry", "worker"],
            env=scene.installation.env,
            stdin=subprocess.PIPE,
            cwd="/",
            **as_service_user(),
        )
        for _ in range(4)
    ]
    try:
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.close()
        assert [worker.wait(timeout=DEADLINE) for worker in workers] == [0] * 4
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    scene.check_still_works()
