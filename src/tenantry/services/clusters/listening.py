"""Who may change a cluster, and who has the port of an instance.

Who starts, stops or deletes a cluster locks a file of it: the supervisor and operations would take
the server that the other one is starting for what a dead one has left, or for stopped.

PostgreSQL can take over no socket, so the listener at the ports of stopped instances has to close
its own before a server starts. It has a port only while the instance's file is not locked.
"""

import asyncio
import fcntl
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

from tenantry.base.home import Home
from tenantry.host import files, reachability
from tenantry.pg.clusters import Cluster

_PAUSE_SECONDS = 0.02
_START_SECONDS = 30.0
_MOST_SECONDS = 5.0  # then somebody else has the port, and PostgreSQL says so


def lock_of(home: Home, name: str) -> Path:
    """Return the file that is locked while a cluster is started, stopped or deleted."""
    return home.run / f"{name}.lock"


@asynccontextmanager
async def changing(home: Home, cluster: Cluster) -> AsyncIterator[None]:
    """Let nobody else start, stop or delete a cluster for the duration of the block."""
    files.ensure_folder(home.run)
    with lock_of(home, cluster.name).open("a") as lock:
        await _until(lambda: _try(lock, fcntl.LOCK_EX))
        yield


async def left(port: int) -> None:
    """Wait until the listener has left the port of an instance that is being changed."""
    await _until(lambda: not reachability.listening(port), seconds=_MOST_SECONDS)


async def taken(port: int) -> None:
    """Wait until somebody listens on a port: the listener, which may have to be started."""
    await _until(lambda: bool(reachability.listening(port)), seconds=_START_SECONDS)


@contextmanager
def may_listen(home: Home, name: str) -> Iterator[bool]:
    """Yield whether the listener may have an instance's port; no change begins in the block."""
    with lock_of(home, name).open("a") as lock:
        yield _try(lock, fcntl.LOCK_SH)


async def _until(holds: Callable[[], bool], *, seconds: float = math.inf) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return
        await asyncio.sleep(_PAUSE_SECONDS)


def _try(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
