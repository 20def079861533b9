"""Logins at the direct port of an instance that is woken by them, with anything for a server."""

import asyncio
import shutil
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harness import free_ports
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host.certificates import OwnAuthority
from tenantry.listener import Listener
from tenantry.pg import hba
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SSL_REQUEST = struct.pack("!II", 8, 80877103)
ASKED = b"R" + struct.pack("!II", 8, 10)  # for a password
ADMITTED = b"R" + struct.pack("!II", 8, 0)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A fleet whose only instance is awake, and has its direct port at the listener."""
    root = Path(tempfile.mkdtemp(prefix="tnt-"))
    home = Home(root)
    home.tls.mkdir()
    home.run.mkdir()
    authority = OwnAuthority(home.ca_certificate, home.tls / "ca.key")
    authority.ensure()
    home.certificate.write_bytes(authority.issue(["localhost"]).render())
    (port,) = free_ports(1)
    made = Fleet(Settings(home=root))
    made.put(
        Member(
            name="db-shop",
            driver="process",
            port=port,
            kind="dedicated",
            memory_mb=128,
            auto_suspend_seconds=300,
            auto_suspend_direct="wake",
        )
    )
    cluster = made.of(made.members()[0])
    cluster.address.socket_dir.mkdir(parents=True)
    cluster.data.mkdir(parents=True)
    (cluster.data / "pg_hba.conf").write_text(
        hba.render(hba.instance_rules(["x"], [], [], [(each, ()) for each in hba.ANYWHERE]))
    )
    yield made
    shutil.rmtree(root)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a server that asks for a password, and admits whoever sends anything."""
    (length,) = struct.unpack("!I", await reader.readexactly(4))
    await reader.readexactly(length - 4)
    writer.write(ASKED)
    try:
        while block := await reader.read(100):
            writer.write(ADMITTED if block == b"password" else block)
    finally:
        writer.transport.abort()


@pytest.fixture
async def port(fleet: Fleet) -> AsyncIterator[int]:
    (member,) = fleet.members()
    server = await asyncio.start_unix_server(serve, fleet.of(member).address.socket)
    following = asyncio.create_task(Listener(fleet).follow())
    before = asyncio.all_tasks() - {following}
    yield member.port
    server.close()
    for _ in range(2):  # what passes sessions on, and what is left of these
        rest = asyncio.all_tasks() - before - {asyncio.current_task()}
        for each in rest:
            each.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


async def asking(port: int) -> Client:
    """A client that has asked for a session."""
    while True:
        with suppress(ConnectionRefusedError):  # the listener may be about to begin
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
    writer.write(SSL_REQUEST)
    assert await reader.readexactly(1) == b"S"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    await writer.start_tls(context)
    content = b"user\0ann\0\0"
    writer.write(struct.pack("!II", 8 + len(content), 196608) + content)
    return reader, writer


async def connected(port: int) -> Client:
    """A client that is asked for a password."""
    reader, writer = await asking(port)
    assert await reader.readexactly(len(ASKED)) == ASKED
    return reader, writer


async def test_logins_that_are_not_finished_are_ended_and_sessions_are_not(
    fleet: Fleet, port: int
) -> None:
    places = fleet.sizing_of(fleet.of(fleet.members()[0])).max_connections
    sessions = [await connected(port) for _ in range(places // 5 + 1)]
    for reader, writer in sessions:
        writer.write(b"password")
        assert await reader.readexactly(len(ADMITTED)) == ADMITTED
    unfinished = [await connected(port) for _ in range(places // 5 + 1)]
    assert await unfinished[0][0].read() == b""
    for reader, writer in sessions:
        writer.write(b"more")
        assert await reader.readexactly(4) == b"more"
    for reader, writer in unfinished[1:]:
        writer.write(b"password")
        assert await reader.readexactly(len(ADMITTED)) == ADMITTED
    for _, writer in (*sessions, *unfinished):
        writer.transport.abort()
