"""``tenantry up`` killed while it makes an installation: the next one finishes it."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from harness import Installation

KILLS = 5
LONGEST = 7.0  # seconds: by then it is up


@pytest.fixture
def fresh() -> Iterator[Installation]:
    installation = Installation()
    try:
        yield installation
    finally:
        installation.remove()


def test_killed_again_and_again_while_it_comes_up(fresh: Installation) -> None:
    delays = sorted(random.uniform(0.3, LONGEST) for _ in range(KILLS))  # noqa: S311 (no secret)
    print("killed after", delays)  # shown if it fails
    for delay in delays:
        with subprocess.Popen(
            [sys.executable, "-m", "tenantry.cli", "up"],
            env=fresh.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
        ) as up:
            time.sleep(delay)
            os.kill(up.pid, signal.SIGKILL)
            _, reported = up.communicate()
        # Had it given up by itself, it would have said why.
        assert up.returncode == -signal.SIGKILL, reported.decode()
    fresh.up()
    database = fresh.create()
    assert database["password"]
    assert all(part["state"] == "running" for part in fresh.status()["parts"])
