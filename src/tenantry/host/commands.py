"""Running other programs: argument lists only, always with a deadline, output captured."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.errors import MachineError

_LAST_LINES = 15


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


class CommandFailed(MachineError):
    """A program ended badly, or not in time."""

    code = "command_failed"
    title = "A program that Tenantry runs failed"


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LAST_LINES:])


async def run(
    arguments: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    deadline: float = 60.0,
    check: bool = True,
) -> Completed:
    """Run a program to its end and return what it printed.

    ``env`` is added to this process's environment. ``deadline`` is in seconds;
    past it the program and its children are killed.

    Raises CommandFailed if it cannot be started, is too slow, or (with
    ``check``) ends with anything but 0.
    """
    name = Path(arguments[0]).name
    try:
        process = await asyncio.create_subprocess_exec(
            *map(str, arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(
            f"{name} could not be started: {error.strerror}.", hint="Run ./tenantry doctor."
        ) from error
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), deadline)
    except (TimeoutError, asyncio.CancelledError) as stop:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if isinstance(stop, asyncio.CancelledError):
            raise
        raise CommandFailed(f"{name} did not end within {deadline:.0f} seconds.") from None
    done = Completed(
        process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace")
    )
    if check and done.returncode != 0:
        said = _tail(done.stderr) or _tail(done.stdout) or "it printed nothing"
        raise CommandFailed(f"{name} ended with {done.returncode}: {said}")
    return done
