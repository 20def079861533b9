"""A cluster's backup and its retention, killed: one backup is made, nothing needed goes."""

import contextlib
import datetime as dt
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from scene import Scene, wait_for

from clients import hurry
from inside import inside
from tenantry.base.events import Event, StepDone, subscribe
from tenantry.host import processes
from tenantry.services.repository.service import Repositories


@pytest.fixture(scope="module")
def backed() -> Iterator[Scene]:
    """A platform with a full backup of its control cluster, and none of its own under way."""
    scene = Scene()
    scene.installation.environment |= {"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "0"}
    try:
        scene.installation.up()
        hurry(scene.installation)
        outcome(scene, started(scene))
        yield scene
    finally:
        scene.remove()


def path(scene: Scene) -> str:
    with scene.installation.client() as api:
        rows = api.get("/api/clusters").json()["data"]
    return f"/api/clusters/{next(row['id'] for row in rows if row['name'] == 'control')}/backups"


def started(scene: Scene, kind: str = "incr") -> str:
    """Where a backup that was asked for is followed, once no other operation has the cluster."""
    found: list[str] = []

    def is_started() -> bool:
        with scene.installation.client() as api:
            answer = api.post(path(scene), json={"type": kind})
        found.extend([answer.headers["Location"]] if answer.status_code == 202 else [])
        return bool(found)

    wait_for("a backup that begins", is_started)
    return found[0]


def outcome(scene: Scene, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        with scene.installation.client() as api:
            found.update(api.get(where).json()["data"])
        return found["finished_at"] is not None

    wait_for("the end of a backup", has_ended)
    return found


def labels(scene: Scene) -> list[str]:
    with scene.installation.client() as api:
        return [each["label"] for each in api.get(path(scene)).json()["data"]["backups"]]


@pytest.mark.parametrize("step", ["made", "back_up", "expire"])
def test_a_killed_worker_makes_one_backup(backed: Scene, step: str) -> None:
    before = labels(backed)
    backed.arm("worker", f"cluster.backup.{step}", "worker")
    done = outcome(backed, started(backed))
    assert (backed.installation.home / "crash" / "struck").exists()
    assert done["status"] == "succeeded", done
    (new,) = set(labels(backed)) - set(before)
    assert [each["label"] for each in done["result"]["backups"]] == [new]


def test_what_a_killed_worker_left_running_is_taken_for_its_own(backed: Scene) -> None:
    before = labels(backed)
    where = started(backed)
    wait_for("pgBackRest to run", lambda: running(backed), every=0.002)
    left = running(backed)
    signal_all(left, signal.SIGSTOP)  # or it may be done before the next worker is there
    try:
        backed.kill("worker")
        backed.wait_restarted("worker")
        assert running(backed) == left
    finally:
        signal_all(left, signal.SIGCONT)
    done = outcome(backed, where)
    assert done["status"] == "succeeded", done
    (new,) = set(labels(backed)) - set(before)
    assert [each["label"] for each in done["result"]["backups"]] == [new]


def running(scene: Scene) -> list[int]:
    """pgBackRest, making a backup."""
    return [
        pid
        for pid in scene.installation.processes()
        if {"backup", "--stanza=control"} <= {*processes.command_line(pid)}
    ]


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


async def expire(repositories: Repositories, strikes: str) -> object:
    """Remove what a window of no time does not need; with ``strikes``, killed at the first."""

    def strike(event: Event) -> None:
        if strikes and isinstance(event, StepDone):
            os.kill(os.getpid(), signal.SIGKILL)

    subscribe(strike)
    await repositories.expire("control", window=dt.timedelta(0))
    (held,) = await repositories.contents("control")
    problems = await repositories.pgbackrest.verify("control", repository=1)
    missing = await repositories.missing(held)
    return [[each.label for each in held.backups], problems, missing]


def test_a_retention_killed_at_each_step_leaves_what_is_needed(backed: Scene) -> None:
    """After each of the backups that go, and after the log that only they needed."""
    platform = backed.installation
    outcome(backed, started(backed, "full"))
    platform.wait_restorable("control")  # before, this moment needs the older ones
    before = labels(backed)
    for left in range(len(before) - 1, 0, -1):
        with pytest.raises(AssertionError):
            inside(platform, expire, "strikes")
        assert labels(backed)[-1:] == before[-1:]
        assert len(labels(backed)) == left
    with pytest.raises(AssertionError):
        inside(platform, expire, "strikes")  # by now only the log goes
    assert inside(platform, expire, "") == [before[-1:], [], 0]
