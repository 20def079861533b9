"""The socket at which an instance that is suspended is woken, and the connections made there.

Only connections that the pooler makes while the server does not run, or is being suspended, come
here. Each is passed on to the server, byte by byte, until it ends; the platform has the pooler
replace it (``services/instances/suspending.py``).
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from tenantry.base.errors import Conflict, TenantryError
from tenantry.base.home import Home
from tenantry.base.pausing import pause
from tenantry.host import files
from tenantry.pg.clusters import Cluster
from tenantry.services.clusters import listening, pooled
from tenantry.services.clusters.fleet import Fleet

log = structlog.get_logger()

_BLOCK = 64 * 1024
_BACKLOG = 1024
_SERVER_SECONDS = 60.0  # the pooler gives up after 15
_RETRY_SECONDS = 0.05
_NO_DESCRIPTOR_SECONDS = 1.0


class Relay:
    """The socket of one instance. ``wake`` starts its server, as it is wanted, or raises."""

    def __init__(self, fleet: Fleet, cluster: Cluster, wake: Callable[[], Awaitable[None]]) -> None:
        self._fleet = fleet
        self._name = cluster.name
        self._home = Home(fleet.settings.home)
        self._socket = pooled.waking(self._home, cluster)
        self.server = cluster.address.socket
        self._wake = wake
        self._waking: asyncio.Task[None] | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Accept connections until this is cancelled; those that are there then go on."""
        loop = asyncio.get_running_loop()
        with self._bound() as listening:
            while True:
                try:
                    client, _ = await loop.sock_accept(listening)
                except OSError:
                    await pause(_NO_DESCRIPTOR_SECONDS)
                    continue
                client.setblocking(False)
                task = asyncio.create_task(self._pass_on(client))
                self._passing.add(task)
                task.add_done_callback(self._passing.discard)

    def is_there(self) -> bool:
        """Whether the socket is in its folder, where the pooler looks for it."""
        return self._socket.exists()

    async def wake(self) -> None:
        """Have the server started, once for all who wait for it. Raises TenantryError."""
        if self._waking is None or self._waking.done():
            self._waking = asyncio.ensure_future(self._wake())
        await asyncio.shield(self._waking)

    def _bound(self) -> socket.socket:
        files.ensure_folder(self._socket.parent)
        new = self._socket.with_name("waking.new")
        new.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX)
        bound.setblocking(False)
        bound.bind(str(new))
        new.chmod(0o600)
        bound.listen(_BACKLOG)
        new.replace(self._socket)  # of one that was killed
        return bound

    async def _pass_on(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with client, suppress(OSError):
            if not (first := await loop.sock_recv(client, _BLOCK)):
                return  # it asked only whether somebody listens
            try:
                server = await self.connected()
            except TenantryError as error:
                log.warning("instance.not_woken", cluster=self._name, error=str(error))
                return
            with server:
                await loop.sock_sendall(server, first)
                await asyncio.gather(_copy(client, server), _copy(server, client))

    async def connected(self) -> socket.socket:
        """Return a connection to the server, once it runs. Raises TenantryError."""
        deadline = time.monotonic() + _SERVER_SECONDS
        while True:
            # No suspension begins in the block, and one that begins after it sees the connection.
            with listening.may_listen(self._home, self._name) as may:
                if may and self._wanted() == "running" and (server := self._connect()) is not None:
                    return server
            await self.wake()
            if self._wanted() in {None, "stopped"} or time.monotonic() > deadline:
                raise Conflict("The instance is stopped, or does not answer.")
            await pause(_RETRY_SECONDS)

    def _wanted(self) -> str | None:
        member = self._fleet.member(self._name)
        return None if member is None else member.wanted

    def _connect(self) -> socket.socket | None:
        server = socket.socket(socket.AF_UNIX)
        try:
            server.setblocking(False)
            server.connect(str(self.server))  # at once, or not at all (unix(7))
        except OSError:
            server.close()
            return None
        return server


async def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy what comes from one end to the other, its end included."""
    loop = asyncio.get_running_loop()
    try:
        while block := await loop.sock_recv(source, _BLOCK):
            await loop.sock_sendall(sink, block)
    finally:
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
