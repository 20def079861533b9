"""Doing something as the platform's own user, with the code under test, in a process of its own."""

import inspect
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from harness import Installation, as_service_user
from tenantry.services.repository.service import Repositories

_PROGRAM = """
import asyncio, importlib, json, sys
sys.path[:0] = json.loads(sys.argv[1])
act = getattr(importlib.import_module(sys.argv[2]), sys.argv[3])
from tenantry.base import settings
from tenantry.services.repository.service import Repositories
print(json.dumps(asyncio.run(act(Repositories(settings.load()), *sys.argv[4:])), default=str))
"""


def inside(platform: Installation, act: Callable[..., Awaitable[object]], *arguments: str) -> Any:
    """What a module's own coroutine function answers, given the repositories and arguments."""
    assert next(iter(inspect.signature(act).parameters.values())).annotation is Repositories
    tests = Path(__file__).parent
    paths = json.dumps([str(tests), str(Path(inspect.getfile(act)).parent)])
    words = [sys.executable, "-c", _PROGRAM, paths, act.__module__, act.__name__, *arguments]
    done = subprocess.run(
        words,
        env=platform.env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **as_service_user(),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
