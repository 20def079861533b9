"""Suspending an idle instance, and waking it.

The invariant: while an instance is to run, suspended or not, a connection that the pooler makes
reaches the server or the listener, and the listener passes it on to the server. So a suspension has
these steps, under the lock of the cluster:

1. the fleet's file says ``suspended``: from now on the listener wakes what connects, and so does
   whoever begins an operation, which none has meanwhile;
2. the pooler is led to the listener;
3. nobody is at the server, who can only have come before; otherwise all is put back;
4. the server stops.

A wake starts the server, leads the pooler to it, and writes the file. Where the file says
``suspended`` and the server runs, and nobody has the lock, a process was killed in between: the
listener wakes the instance.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from tenantry.base.errors import Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.host import processes
from tenantry.pg import presence
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import ADMIN, connect
from tenantry.services.clusters import listening, pooled
from tenantry.services.clusters.fleet import Fleet

SUSPEND = "instance.suspend"
WAKE = "instance.wake"

_LISTENER_SECONDS = 10.0  # it may have to be started
_LOGIN_SECONDS = 2.0  # for one who began to log in to be seen, or gone
_LOOK_SECONDS = 0.02


async def wake(fleet: Fleet, cluster: Cluster) -> None:
    """Start the server of a suspended instance; one that is wanted otherwise is left as it is.

    Raises MachineError if it does not start.
    """
    home = Home(fleet.settings.home)
    async with listening.changing(home, cluster):
        member = fleet.member(cluster.name)
        if member is None or member.wanted == "stopped":
            return
        if member.wanted == "suspended":
            # A server that was killed has left its file.
            was_stopped = not (cluster.data / "postmaster.pid").exists()
            await fleet.start(fleet.of(member), was_stopped=was_stopped)
            emit(StepDone(WAKE, "started", cluster.name))
            fleet.change(member, wanted="running")
            emit(StepDone(WAKE, "listed", cluster.name))
        elif cluster.pid() is not None:
            pooled.lead_to_server(home, cluster)


async def ensure_awake(fleet: Fleet, name: str) -> None:
    """Wake a cluster if it is a suspended instance. Raises MachineError if it does not start."""
    member = fleet.member(name)
    if member is not None and member.wanted == "suspended":
        await wake(fleet, fleet.of(member))


async def suspend(
    fleet: Fleet, cluster: Cluster, while_idle: Callable[[], AbstractAsyncContextManager[bool]]
) -> bool:
    """Stop the server of an instance that runs, if nobody is there. Return whether it was stopped.

    ``while_idle`` yields whether no operation needs it; none begins until the context is left, and
    whoever begins one looks into the fleet's file only then.

    Raises Unavailable if the server does not answer, or there is no listener.
    """
    home = Home(fleet.settings.home)
    async with listening.changing(home, cluster):
        member = fleet.member(cluster.name)
        if member is None or member.wanted != "running" or cluster.pid() is None:
            return False
        suspended = member.model_copy(update={"wanted": "suspended"})
        async with while_idle() as is_idle:
            if not is_idle or not fleet.change(member, wanted="suspended"):
                return False
        stopping = False
        try:
            emit(StepDone(SUSPEND, "listed", cluster.name))
            await _await_listener(home, cluster)
            pooled.lead_to_listener(home, cluster)
            emit(StepDone(SUSPEND, "led", cluster.name))
            # Who connects from now on waits at the listener, and starts the server again.
            if await _is_empty(cluster):
                stopping = True
                await cluster.stop()
                emit(StepDone(SUSPEND, "stopped", cluster.name))
        finally:
            if not stopping:
                pooled.lead_to_server(home, cluster)
                fleet.change(suspended, wanted="running")
        return stopping


async def _await_listener(home: Home, cluster: Cluster) -> None:
    """Wait until somebody would wake the instance. Raises Unavailable."""
    deadline = time.monotonic() + _LISTENER_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(pooled.waking(home, cluster)))  # it wakes nothing: it sends nothing
            return
        await asyncio.sleep(_LOOK_SECONDS)
    raise Unavailable("There is no listener that would wake it.", hint="See ./tenantry status.")


async def _is_empty(cluster: Cluster) -> bool:
    """Whether nobody is at a server, nor logging in: that may end within a moment."""
    async with connect(cluster.address, user=ADMIN) as server:
        # This connection was accepted after all that had come before.
        deadline = time.monotonic() + _LOGIN_SECONDS
        while time.monotonic() < deadline:
            seen = await presence.look(server)
            if seen.tenants or seen.others:
                return False
            if len(processes.children(cluster.pid())) <= seen.processes:
                return True
            await asyncio.sleep(_LOOK_SECONDS)
    return False
