"""The process ``listener``: it answers for instances whose servers do not run.

At the direct ports of those that are stopped it completes TLS, says so, and how they are started:
it knows no passwords. Those that are suspended it wakes, when the pooler connects, or a client that
the allowlist admits. One process serves all; the supervisor runs it while any instance is stopped
or suspended, or may be suspended.
"""

import asyncio
import errno
import signal
import socket
import ssl
from contextlib import suppress

import psycopg
import structlog

from tenantry.base import logs, settings
from tenantry.base.errors import MachineError, TenantryError
from tenantry.base.home import Home
from tenantry.base.pausing import pause
from tenantry.host import files
from tenantry.host.processes import lifeline
from tenantry.pg.clusters import Cluster
from tenantry.services.clusters import listener, listening, pooled, suspending
from tenantry.services.clusters.direct import Certificate, DirectPort
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member
from tenantry.services.clusters.relaying import Relay

log = structlog.get_logger()

_LOOK_SECONDS = 0.1


class Listener:
    """What listens for the instances of a fleet whose servers do not."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        home = Home(fleet.settings.home)
        self._certificate = files.Remembered[ssl.SSLContext | None](
            home.certificate, lambda _: _read_certificate(home), missing=None
        )
        self._instances: dict[str, _Instance] = {}

    async def follow(self) -> None:
        """Listen for the instances that do not, until this is cancelled."""
        while True:
            with suppress(MachineError):  # the file of the fleet is damaged: as it was
                self.look()
            await pause(_LOOK_SECONDS)

    def look(self) -> None:
        """Begin to listen where an instance has stopped, and end it where one is to start."""
        members = {each.name: each for each in self._fleet.members() if each.kind == "dedicated"}
        for name in self._instances.keys() - members.keys():
            self._instances.pop(name).close()
        for name, member in members.items():
            if name not in self._instances:
                self._instances[name] = _Instance(self._fleet, member, self._certificate.value)
            self._instances[name].look(member)


class _Instance:
    """The port of an instance, and the socket at which the pooler wakes it."""

    def __init__(self, fleet: Fleet, member: Member, certificate: Certificate) -> None:
        self._fleet = fleet
        self._name = member.name
        self._home = Home(fleet.settings.home)
        self._relay = Relay(fleet, fleet.of(member), self._wake)
        self._direct = DirectPort(fleet, member.name, self._relay, certificate)
        self._at_port: asyncio.Task[None] | None = None
        self._at_socket: asyncio.Task[None] | None = None
        self._waking: asyncio.Task[None] | None = None
        self._is_new = True

    def look(self, member: Member) -> None:
        """Listen as its state requires."""
        cluster = self._fleet.of(member)
        if member.wanted != "suspended" and member.auto_suspend_seconds is None:
            if member.wanted == "running" and not (
                self._is_new or self._at_port or self._at_socket
            ):
                return
            self._leave_socket()
        elif self._at_socket is None or self._at_socket.done() or not self._relay.is_there():
            self._leave_socket()  # the folder was removed, or there was no room for it
            self._at_socket = asyncio.create_task(self._relay.serve())
        with listening.may_listen(self._home, self._name) as may:
            if may and member.wanted == "suspended":
                self._look_at_suspended(cluster)
            if not (member.forwards or self._is_free(member, cluster, may=may)):
                self._leave_port()
            elif self._at_port is None or self._at_port.done():
                # Its server may not have stopped yet, or the one before have left the port.
                with suppress(OSError):
                    self._at_port = asyncio.create_task(self._direct.serve(_bound(member.port)))
            # Whoever changes it now may start a server that wants the port.
            self._is_new = self._is_new and not may
        self._direct.end_sessions()

    def _is_free(self, member: Member, cluster: Cluster, *, may: bool) -> bool:
        """Whether no server is at the port, nor wants to be there."""
        if member.wanted != "running":
            return may and cluster.pid() is None
        # One that was started without a port has none until its next start, whoever changes it.
        return (self._at_port is not None or (self._is_new and may)) and cluster.is_without_port()

    def _look_at_suspended(self, cluster: Cluster) -> None:
        if cluster.pid() is None:
            # Also after the folder of the sockets was removed.
            pooled.lead_to_listener(self._home, cluster)
        elif self._waking is None or self._waking.done():
            # What suspended it or woke it was killed in between.
            self._waking = asyncio.create_task(self._wake_again())

    async def _wake_again(self) -> None:
        try:
            await self._relay.wake()
        except (TenantryError, psycopg.Error) as error:
            log.warning("instance.not_woken", cluster=self._name, error=str(error))

    async def _wake(self) -> None:
        member = self._fleet.member(self._name)
        if member is not None:
            if not member.forwards:
                self._leave_port()
                await asyncio.sleep(0)  # the port is closed then, for which the start would wait
            await suspending.wake(self._fleet, self._fleet.of(member))

    def close(self) -> None:
        """Listen no more: the instance is gone."""
        self._leave_port()
        self._leave_socket()

    def _leave_port(self) -> None:
        if self._at_port is not None:
            self._at_port.cancel()
            self._at_port = None

    def _leave_socket(self) -> None:
        if self._at_socket is not None:
            self._at_socket.cancel()
            self._at_socket = None


def _read_certificate(home: Home) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(home.certificate)
    return context


def _bound(port: int) -> socket.socket:
    """Return a socket that listens at all addresses, as PostgreSQL does. Raises OSError."""
    try:
        bound = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise
        bound = socket.create_server(("", port))  # a machine without IPv6
    bound.setblocking(False)
    return bound


async def serve() -> None:
    logs.configure(listener.NAME)
    following = asyncio.create_task(Listener(Fleet(settings.load())).follow())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, following.cancel)
    ended = asyncio.create_task(lifeline())
    ended.add_done_callback(lambda _: following.cancel())
    with suppress(asyncio.CancelledError):
        await following
    ended.cancel()


def main() -> None:
    asyncio.run(serve())
