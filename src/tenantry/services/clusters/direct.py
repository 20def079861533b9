"""The direct port of an instance whose server is not at it: a client is refused, or passed on.

While the server is stopped, a client learns that. An instance that is suspended, and woken by
direct connections too, has its port here always: TLS ends here, the allowlist is that of the
server's own rule file, and the session goes on at the server's Unix socket, at which the password
is asked for.
"""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from socket import SO_KEEPALIVE, SOL_SOCKET, socket

import structlog

from tenantry.base.errors import TenantryError
from tenantry.base.home import Home
from tenantry.base.pausing import pause
from tenantry.host import files
from tenantry.pg import hba, names, startup
from tenantry.pg.startup import Packet, Request
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.relaying import Relay

log = structlog.get_logger()

MOST_UNFINISHED = 200  # clients at a port, at once, that have not asked for a session yet
_PART = 5  # of the server's connections can be those of unfinished logins, for a moment
_YOUNG_SECONDS = 0.15
_EACH = 2  # sessions for each connection of the server's, as PostgreSQL has processes
_CLIENT_SECONDS = 10.0  # from the connection until it is passed on or refused
_NO_DESCRIPTOR_SECONDS = 1.0
_BLOCK = 64 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Certificate = Callable[[], ssl.SSLContext | None]


@dataclass(eq=False, slots=True)
class _Session:
    """A session that is passed on.

    ``asked_at`` is when the server was asked to admit it, None before and once that has.
    """

    username: str
    address: str
    task: asyncio.Task[None]
    asked_at: float | None = None


class DirectPort:
    """The port of one instance, whose server ``relay`` reaches."""

    def __init__(self, fleet: Fleet, name: str, relay: Relay, certificate: Certificate) -> None:
        self._fleet = fleet
        self._name = name
        self._relay = relay
        self._certificate = certificate
        self._clients: set[asyncio.Task[None]] = set()
        self._unfinished: dict[asyncio.Task[None], str] = {}  # with their addresses
        self._sessions: set[_Session] = set()
        rules = Home(fleet.settings.home).clusters / name / "data" / "pg_hba.conf"
        self._rules = files.Remembered[hba.NetworkRules](
            rules, lambda text: hba.NetworkRules(text.decode()), missing=hba.NetworkRules("")
        )
        self._rules_seen: hba.NetworkRules | None = None

    async def serve(self, port: socket) -> None:
        """Answer clients at a port until this is cancelled. Sessions that are passed on go on."""
        loop = asyncio.get_running_loop()
        with port:
            while True:
                try:
                    client, address = await loop.sock_accept(port)
                except OSError:
                    await pause(_NO_DESCRIPTOR_SECONDS)
                    continue
                if len(self._unfinished) >= MOST_UNFINISHED:
                    _end_oldest(self._unfinished)
                task = asyncio.create_task(self._answer(client, str(address[0])))
                self._clients.add(task)
                self._unfinished[task] = str(address[0])
                task.add_done_callback(self._forget)
                await asyncio.sleep(0)  # accepting awaits nothing while clients are in line

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._clients.discard(task)
        self._unfinished.pop(task, None)

    def end_sessions(self) -> None:
        """End those that the server's rules do not admit any more, and surplus unfinished logins.

        A login that is not finished takes one of the server's places, and this address is known
        here only (``services/login_floods.py``).
        """
        rules = self._rules.value()
        if rules is not self._rules_seen:
            self._rules_seen = rules
            for each in self._sessions:
                if not rules.admit(each.username, each.address):
                    each.task.cancel()
        old = time.monotonic() - _YOUNG_SECONDS
        found = [(each.asked_at, each) for each in self._sessions if each.asked_at is not None]
        found = sorted((pair for pair in found if pair[0] < old), key=lambda pair: pair[0])
        pending = {each.task: each.address for _, each in found}
        while pending and len(pending) > self._places() // _PART:
            _end_oldest(pending)

    def _places(self) -> int:
        """Return how many connections the server has."""
        member = self._fleet.member(self._name)
        if member is None:
            return 0
        return self._fleet.sizing_of(self._fleet.of(member)).max_connections

    async def _answer(self, client: socket, address: str) -> None:
        """Serve one client; one that speaks another protocol, or is slow, gets no answer."""
        with suppress(OSError, EOFError, ValueError):
            async with asyncio.timeout(_CLIENT_SECONDS) as patience:
                found = await self._converse(client, address)
                if found is not None:
                    patience.reschedule(None)
                    await self._pass_on(*found)

    async def _converse(
        self, client: socket, address: str
    ) -> tuple[Streams, Packet, str, str] | None:
        """Return a session that is to be passed on, with its role; None if it was refused."""
        loop = asyncio.get_running_loop()
        receive = partial(_receive, client)
        with ExitStack() as owned:
            owned.enter_context(client)
            # As PostgreSQL: else a client whose machine is gone has its session for ever.
            client.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
            packet = await startup.read(receive)
            if packet.asks is Request.GSS:
                await loop.sock_sendall(client, b"N")
                packet = await startup.read(receive)
            context = self._certificate()
            if packet.asks is Request.TLS and context is not None:
                await loop.sock_sendall(client, b"S")
                owned.pop_all()  # the transport closes it
                return await self._converse_encrypted(client, address, context)
            if packet.asks is Request.SESSION:
                await loop.sock_sendall(client, self._refusal() or _not_admitted(address))
            elif packet.asks is Request.CANCEL:
                await self._cancel(packet)
        return None

    async def _converse_encrypted(
        self, client: socket, address: str, context: ssl.SSLContext
    ) -> tuple[Streams, Packet, str, str] | None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, client, ssl=context, ssl_shutdown_timeout=_CLIENT_SECONDS
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        with ExitStack() as owned:
            owned.callback(_abort, writer)
            packet = await startup.read(reader.readexactly)
            if packet.asks is Request.CANCEL:
                await self._cancel(packet)
            elif packet.asks is Request.SESSION:
                if (refusal := self._refusal()) is None:
                    username = packet.username()
                    if self._admits(username, address):
                        owned.pop_all()
                        return (reader, writer), packet, username, address
                    refusal = _not_admitted(address)
                writer.write(refusal)
            writer.close()
            await writer.wait_closed()
        return None

    def _admits(self, username: str, address: str) -> bool:
        # At the Unix socket the platform's roles need no password: the rules refuse them, and so
        # does this.
        return not names.is_platforms(username) and self._rules.value().admit(username, address)

    async def _pass_on(self, client: Streams, packet: Packet, username: str, address: str) -> None:
        """Connect a client to the server, which is woken, until one of them ends the session."""
        task = asyncio.current_task()
        with ExitStack() as owned:
            owned.callback(_abort, client[1])
            if task is None:
                raise RuntimeError("It runs in a task.")
            self._unfinished.pop(task, None)
            session = _Session(username, address, task)
            self._sessions.add(session)
            owned.callback(self._sessions.discard, session)
            try:
                sock = await self._relay.connected()
            except TenantryError as error:
                log.warning("instance.not_woken", cluster=self._name, error=str(error))
                return
            server = await asyncio.open_unix_connection(sock=sock)
            owned.callback(server[1].transport.abort)
            session.asked_at = time.monotonic()
            server[1].write(packet.sent)
            async with asyncio.TaskGroup() as copying:
                copying.create_task(_copy(client[0], server[1]))
                copying.create_task(_answer_of(server[0], client[1], session))

    async def _cancel(self, packet: Packet) -> None:
        """Pass a request on that cancels a query, if there is a server to ask."""
        with suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(str(self._relay.server))
            with closing(writer):
                writer.write(packet.sent)
                await reader.read()

    def _refusal(self) -> bytes | None:
        """Return the answer to a session, None if it is to be passed on."""
        member = self._fleet.member(self._name)
        state = "gone" if member is None else member.wanted
        if member is not None and (
            state == "running" or (state == "suspended" and member.forwards)
        ):
            if len(self._sessions) < _EACH * self._places():
                return None
            # Those that wait for the server, or have not logged in, count.
            return startup.refusal(
                startup.TOO_MANY_CONNECTIONS,
                "sorry, too many clients already",
                "Close connections that nobody uses.",
            )
        name = self._name if member is None else member.container_name or member.name
        start = "started by tenantry db start, or by POST /api/databases/{id}/start."
        return startup.refusal(
            startup.CANNOT_CONNECT_NOW,
            f"the instance {name} is {state}",
            f"A connection to the pooler, at port {self._fleet.settings.pool.port}, wakes it. It"
            f" is also {start}"
            if state == "suspended"
            else f"It is {start}",
        )


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy what comes from one end to the other, and close that."""
    with suppress(OSError):
        try:
            while block := await source.read(_BLOCK):
                sink.write(block)
                await sink.drain()
        finally:
            sink.close()
        await sink.wait_closed()


async def _answer_of(
    server: asyncio.StreamReader, client: asyncio.StreamWriter, session: _Session
) -> None:
    """Copy what the server says, and note when it has admitted the client, or refused it."""
    with suppress(OSError, EOFError):
        await startup.until_admitted(server.readexactly, client)
    session.asked_at = None
    await _copy(server, client)


def _abort(client: asyncio.StreamWriter) -> None:
    with suppress(AttributeError):  # Python 3.11 raises it for a transport that was closed twice
        client.transport.abort()


def _end_oldest(found: dict[asyncio.Task[None], str]) -> None:
    """End the oldest client of the address with the most; the addresses are in that order."""
    most, _ = Counter(found.values()).most_common(1)[0]
    oldest = next(task for task, address in found.items() if address == most)
    del found[oldest]
    oldest.cancel()


async def _receive(client: socket, size: int) -> bytes:
    """Return the next bytes, exactly so many. Raises EOFError if there are fewer."""
    loop = asyncio.get_running_loop()
    received = b""
    while len(received) < size:
        block = await loop.sock_recv(client, size - len(received))
        if not block:
            raise EOFError
        received += block
    return received


def _not_admitted(address: str) -> bytes:
    return startup.refusal(
        startup.NOT_AUTHORIZED,
        f"no encrypted session is admitted for this role from {address}",
        "Ask for TLS (sslmode=require), and add the address to the allowlist.",
    )
