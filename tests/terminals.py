"""The program on a terminal of its own."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping


def on_a_terminal(
    *arguments: str,
    typed: str = "",
    no_color: bool = False,
    env: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run ``tenantry`` on a terminal; its exit code, and what stood there."""
    ours, theirs = pty.openpty()
    given = {**(env or os.environ), "TERM": "xterm", **({"NO_COLOR": "1"} if no_color else {})}
    program = "from tenantry.cli.main import run; run()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=given,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    seen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            seen += os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
    os.close(ours)
    return process.wait(60), seen.decode()
