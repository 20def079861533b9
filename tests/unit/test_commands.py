"""Running programs: with which variables, and how much in the way of others."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tenantry.host import commands
from tenantry.host.commands import CommandFailed


async def test_a_program_may_be_given_nothing_of_our_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGBACKREST_REPO1_PATH", "/elsewhere")
    inherited = await commands.run(["/usr/bin/env"], env={"TZ": "UTC"})
    assert {"PGBACKREST_REPO1_PATH=/elsewhere", "TZ=UTC"} <= set(inherited.stdout.splitlines())
    clean = await commands.run(["/usr/bin/env"], env={"TZ": "UTC"}, inherit=False)
    assert clean.stdout.splitlines() == ["TZ=UTC"]


async def test_what_runs_gently_gives_way_with_all_its_children() -> None:
    # It is reported of the priority when it runs already, and asks its child for it in the end.
    script = "while [ $(nice) = $0 ]; do :; done; nice; cat /proc/self/autogroup 2>&- || true"
    here = str(os.getpriority(os.PRIO_PROCESS, 0))
    done = await commands.run(["/bin/sh", "-c", script, here], gently=True, deadline=60)
    niceness, *group = done.stdout.splitlines()
    assert niceness == "10"
    assert all(each.endswith(" nice 10") for each in group)  # where the kernel has groups


async def test_what_prints_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_MOST_OUTPUT", 1024 * 1024)
    with pytest.raises(commands.CommandFailed, match="printed more than"):
        await commands.run(["/usr/bin/yes"], deadline=60)


async def test_of_standard_error_the_end_is_kept() -> None:
    script = "yes | head -c 1000000 >&2; echo last >&2"
    done = await commands.run(["/bin/sh", "-c", script])
    assert len(done.stderr) <= 64 * 1024
    assert done.stderr.endswith("last\n")


async def test_what_takes_too_much_memory_fails() -> None:
    program = "import time; time.sleep(0.2); b = bytearray(2**30)"
    command = [sys.executable, "-c", program]
    assert (await commands.run(command, memory=2**31)).returncode == 0
    with pytest.raises(commands.CommandFailed, match="MemoryError"):
        await commands.run(command, memory=2**29)


async def test_one_whose_end_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one that waits for a file system; here another session's holds its pipes open."""
    monkeypatch.setattr(commands, "_KILLED_SECONDS", 0.01)
    script = "setsid sleep 600 & echo $!; wait"
    began: list[str] = []
    with pytest.raises(CommandFailed, match="did not end within"):
        await commands.run(
            ["/bin/sh", "-c", f"({script}) >&2"], deadline=1, on_error_line=began.append
        )
    os.kill(int(began[0]), 0)  # still there
    os.kill(int(began[0]), signal.SIGKILL)


async def test_a_file_is_the_input_of_a_program(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(bytes(range(256)) * 4096)  # more than a pipe holds, and no text
    await commands.run(["/bin/cat"], stdin=source, into=copy)
    assert copy.read_bytes() == source.read_bytes()
    with pytest.raises(CommandFailed, match="cat could not be started: No such file"):
        await commands.run(["/bin/cat"], stdin=tmp_path / "none")
