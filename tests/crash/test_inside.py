"""PostgreSQL killed in the middle of a statement, with the process that works on it."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from scene import Scene, wait_for

from tenantry.host import processes

# How long the statement may work before the blow, in seconds: both last some 50 ms.
DELAYS = [0.0, 0.01, 0.03]


def kill_within(scene: Scene, statement: str, delay: float) -> threading.Thread:
    """Wait in the background for a server process to begin ``statement``, and kill the server."""
    scene.remember_pids()
    postmaster = scene.pid("shared-1")
    assert postmaster is not None
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children")

    at_work: list[int] = []

    def begun() -> bool:
        at_work[:] = [
            int(pid)
            for pid in children.read_text().split()
            if " ".join(processes.command_line(int(pid))).rstrip().endswith(statement)
        ]
        return bool(at_work)

    def kill() -> None:
        wait_for(statement, begun, every=0.0005)
        time.sleep(delay)
        # The postmaster first: it would start its server anew by itself.
        for pid in (postmaster, *at_work):
            os.kill(pid, signal.SIGKILL)
        scene.has_struck()

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.parametrize("delay", DELAYS)
def test_killed_in_the_middle_of_create_database(scene: Scene, delay: float) -> None:
    scene.have_exactly_enough_warm()
    killing = kill_within(scene, "CREATE DATABASE", delay)
    database = scene.create("wakes the worker")
    killing.join()
    scene.wait_restarted("shared-1")
    scene.converge()
    assert scene.can_log_in(database)
    scene.check_still_works()


@pytest.mark.parametrize("delay", DELAYS)
def test_killed_in_the_middle_of_drop_database(scene: Scene, delay: float) -> None:
    database = scene.create("goes")
    scene.fill(database)
    killing = kill_within(scene, "DROP DATABASE", delay)
    answer = scene.ask("DELETE", f"/api/databases/{database['id']}")
    killing.join()
    assert answer is not None
    assert answer.status_code in {200, 202}
    scene.wait_restarted("shared-1")
    scene.converge()
    assert scene.listed("goes") == []
    assert not scene.can_log_in(database)
    scene.check_still_works()
