"""Programs of ours that read untrusted input, each in a process of its own.

The input may be hostile: it may make them need more memory than there is, or take hours. A child
has a memory limit, can be killed, and blocks no other work. It reports its result as one JSON
object on standard output, and its progress in lines on standard error.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

from tenantry.host import commands
from tenantry.host.commands import CommandFailed

MEMORY_BYTES = 2**30


async def run(
    module: ModuleType,
    *arguments: str | Path,
    env: Mapping[str, str],
    memory: int = MEMORY_BYTES,
    deadline: float,
    on_error_line: Callable[[str], None] | None = None,
    while_running: Callable[[], Awaitable[None]] | None = None,
) -> dict[str, Any]:
    """Run a module of ours as a program, with ``env`` and nothing else of this environment.

    Returns the object that it prints. Raises CommandFailed as ``commands.run``, and if it prints no
    JSON object.
    """
    printed = await output(
        module,
        *arguments,
        env=env,
        memory=memory,
        deadline=deadline,
        on_error_line=on_error_line,
        while_running=while_running,
    )
    return read(module, printed)


async def output(
    module: ModuleType,
    *arguments: str | Path,
    env: Mapping[str, str],
    memory: int = MEMORY_BYTES,
    deadline: float,
    stdin: str | None = None,
    on_error_line: Callable[[str], None] | None = None,
    while_running: Callable[[], Awaitable[None]] | None = None,
) -> str:
    """Run a module as ``run`` does, and return what it prints. Raises CommandFailed."""
    done = await commands.run(
        [*_program(module), *arguments],
        env={**env, **_path()},
        inherit=False,  # a PG… variable of this environment would redirect the connection
        memory=memory,
        deadline=deadline,
        stdin=stdin,
        on_error_line=on_error_line,
        while_running=while_running,
    )
    return done.stdout


def talking(
    module: ModuleType, *, memory: int, deadline: float
) -> AbstractAsyncContextManager[commands.Talk]:
    """Run a module for a block that talks to it, as ``commands.talking``."""
    return commands.talking(_program(module), env=_path(), memory=memory, deadline=deadline)


def _program(module: ModuleType) -> list[str]:
    return [sys.executable, "-P", "-m", module.__name__]


def _path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def read(module: ModuleType, printed: str) -> dict[str, Any]:
    """Return the JSON object that a module printed. Raises CommandFailed."""
    try:
        reported = json.loads(printed)
    except ValueError:
        reported = None
    if not isinstance(reported, dict):
        raise CommandFailed(f"{module.__name__} did not say what came of it.")
    return reported
