"""PostgreSQL killed in the middle of a statement, with the process that works on it."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from scene import Database, Scene

from tenantry.host import processes

# How long the statement may work before the blow, in seconds: both last some 50 ms.
DELAYS = [0.0, 0.01, 0.03]
_MOST_TRIES = 5
_MOST_SECONDS = 10.0  # until the worker does it, if it is not done with the request

T = TypeVar("T")


def killed_within(scene: Scene, statement: str, delay: float, act: Callable[[], T]) -> T:
    """What ``act`` returned when the server was killed while a process of its did ``statement``.

    On a busy machine that may pass unseen; then it is done again.
    """
    for _ in range(_MOST_TRIES):
        blow = _Blow(scene, statement, delay)
        blow.start()
        found = act()
        blow.join(_MOST_SECONDS)
        blow.too_late.set()
        blow.join()
        if blow.fell:
            return found
    pytest.fail(f"{statement} was never seen")


class _Blow(threading.Thread):
    def __init__(self, scene: Scene, statement: str, delay: float) -> None:
        super().__init__()
        self.too_late = threading.Event()
        self.fell = False
        self._scene, self._statement, self._delay = scene, statement, delay
        scene.remember_pids()

    def run(self) -> None:
        postmaster = self._scene.pid("shared-1")
        assert postmaster is not None
        while not (at_work := self._at_work(postmaster)):
            if self.too_late.wait(0.0005):
                return
        time.sleep(self._delay)
        # The postmaster first: it would start its server again by itself.
        os.kill(postmaster, signal.SIGKILL)
        for pid in at_work:
            with suppress(ProcessLookupError):  # it may have seen the end of its postmaster
                os.kill(pid, signal.SIGKILL)
        self._scene.has_struck()
        self.fell = True

    def _at_work(self, postmaster: int) -> list[int]:
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [
            int(pid)
            for pid in children
            if " ".join(processes.command_line(int(pid))).rstrip().endswith(self._statement)
        ]


@pytest.mark.parametrize("delay", DELAYS)
def test_killed_in_the_middle_of_create_database(scene: Scene, delay: float) -> None:
    scene.have_exactly_enough_warm()
    database = killed_within(
        scene, "CREATE DATABASE", delay, lambda: scene.create("wakes the worker")
    )
    scene.wait_restarted("shared-1")
    scene.reconcile()
    assert scene.can_log_in(database)
    scene.check_still_works()


@pytest.mark.parametrize("delay", DELAYS)
def test_killed_in_the_middle_of_drop_database(scene: Scene, delay: float) -> None:
    def delete() -> tuple[Database, httpx.Response | None]:
        database = scene.create("goes")
        scene.fill(database)
        return database, scene.ask("DELETE", f"/api/databases/{database['id']}")

    database, answer = killed_within(scene, "DROP DATABASE", delay, delete)
    assert answer is not None
    assert answer.status_code in {200, 202}
    scene.wait_restarted("shared-1")
    scene.reconcile()
    assert scene.listed("goes") == []
    assert not scene.can_log_in(database)
    scene.check_still_works()
