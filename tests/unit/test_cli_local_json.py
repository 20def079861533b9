"""Commands that need no API: what the platform's code logs never mixes with their result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Each of them reads the settings; the program here logs an event as soon as one does.
PROGRAM = """
import structlog
from tenantry.base import settings
load = settings.load
def logging(*arguments):
    structlog.get_logger().warning("test.event")
    return load(*arguments)
settings.load = logging
from tenantry.cli.main import run
run()
"""


@pytest.mark.parametrize(
    "command",
    [
        "status --json",
        "doctor --json",
        "uninstall --json",
        "tls status --json",
        "tls ca --json",
        "cluster retained --json",
        "cluster restore shared-1 --dry-run --json",
        "recover --from /nowhere --json",
        "logs api",
        "down",
    ],
)
def test_events_of_a_local_command_go_to_standard_error(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command.split()],
        env={**os.environ, "TENANTRY_HOME": str(tmp_path / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "test.event" in done.stderr
    assert "Traceback" not in done.stderr
    if done.stdout:
        json.loads(done.stdout)
