"""Processes by their pid files."""

import subprocess
import sys
from pathlib import Path

from tenantry.host import processes


def test_a_pid_file_of_a_part_names_that_part_only(tmp_path: Path) -> None:
    """Also of one of several that have a port in common; the kernel gives a pid to others later."""
    package = tmp_path / "tenantry"
    package.mkdir()
    (package / "__main__.py").write_text("import sys\nsys.stdin.read()\n")
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tenantry", name],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path)},
            stdin=subprocess.PIPE,
        )
        for name in ("rest", "rest-2")
    ]
    first, second = tmp_path / "rest.pid", tmp_path / "rest-2.pid"
    try:
        first.write_text(f"{started[0].pid}\n")
        second.write_text(f"{started[1].pid}\n")
        found = [processes.pid_of_part(each) for each in (first, second)]
        assert found == [each.pid for each in started]
        second.write_text(f"{started[0].pid}\n")
        assert processes.pid_of_part(second) is None
    finally:
        for each in started:
            each.communicate()
    assert processes.pid_of_part(first) is None
    assert processes.pid_of_part(tmp_path / "api.pid") is None
