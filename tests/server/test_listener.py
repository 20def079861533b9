"""The listener of stopped instances, as clients and servers meet it. It needs no PostgreSQL."""

import asyncio
import shutil
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness import free_ports
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host.certificates import OwnAuthority
from tenantry.listener import Listener
from tenantry.services.clusters import listening
from tenantry.services.clusters.direct import MOST_UNFINISHED
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member

SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSS_REQUEST = struct.pack("!II", 8, 80877104)
SESSION = struct.pack("!II", 17, 196608) + b"user\0a\0\0\0"
SAID = "the instance shop-production-postgres is stopped"


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A fleet whose only instance is stopped, with a certificate, and no server anywhere."""
    root = Path(tempfile.mkdtemp(prefix="tnt-"))
    home = Home(root)
    home.tls.mkdir()
    home.run.mkdir()
    authority = OwnAuthority(home.ca_certificate, home.tls / "ca.key")
    authority.ensure()
    home.certificate.write_bytes(authority.issue(["localhost"]).render())
    found = Fleet(Settings(home=root))
    found.put(
        Member(
            name="db-shop",
            driver="process",
            port=free_ports(1)[0],
            kind="dedicated",
            wanted="stopped",
            container_name="shop-production-postgres",
        )
    )
    yield found
    shutil.rmtree(root)


@pytest.fixture
async def member(fleet: Fleet) -> AsyncIterator[Member]:
    """The instance, while the listener follows the fleet."""
    following = asyncio.create_task(Listener(fleet).follow())
    (member,) = fleet.stopped
    await until_listening(member, wanted=True)
    yield member
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


def is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


async def until_listening(member: Member, *, wanted: bool) -> None:
    while True:
        if is_listening(member.port) is wanted:
            return
        await asyncio.sleep(0.01)


async def refusal(member: Member, **options: str) -> str:
    with pytest.raises(psycopg.OperationalError) as refused:
        await psycopg.AsyncConnection.connect(
            make_conninfo(host="localhost", port=member.port, user="ann", dbname="shop", **options)
        )
    return str(refused.value)


async def answer(member: Member, sent: bytes) -> bytes:
    """What is answered until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", member.port)
    writer.write(sent)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-full"])
async def test_a_client_learns_which_instance_is_stopped(
    fleet: Fleet, member: Member, mode: str
) -> None:
    root = str(Home(fleet.settings.home).ca_certificate)
    said = await refusal(member, sslmode=mode, sslrootcert=root)
    assert f"FATAL:  {SAID}" in said
    assert "POST /api/databases/{id}/start" in said


async def test_psql_shows_it(member: Member) -> None:
    psql = await asyncio.create_subprocess_exec(
        "psql",
        f"host=127.0.0.1 port={member.port} user=ann dbname=shop sslmode=require",
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await psql.communicate()
    assert psql.returncode == 2
    assert SAID in said.decode()
    assert "HINT:" in said.decode()


async def test_each_packet_has_the_answer_of_postgresql(member: Member) -> None:
    plain = await answer(member, SESSION)
    assert plain.startswith(b"E")
    assert b"C57P03\0" in plain
    assert await answer(member, GSS_REQUEST + SESSION) == b"N" + plain
    assert await answer(member, struct.pack("!IIII", 16, 80877102, 1, 2)) == b""
    assert await answer(member, b"GET / HTTP/1.1\r\n\r\n") == b""
    # What follows unencrypted is no ClientHello, and is not answered as a session either.
    assert b"57P03" not in await answer(member, SSL_REQUEST + SESSION)


async def test_clients_that_send_nothing_add_up_to_so_many_and_keep_nobody_out(
    member: Member,
) -> None:
    silent = [
        await asyncio.open_connection("127.0.0.1", member.port) for _ in range(MOST_UNFINISHED)
    ]
    assert await answer(member, SESSION)
    # The oldest of them was ended, and no other.
    assert await silent[0][0].read() == b""
    for reader, writer in silent[1:]:
        writer.write(SESSION)
        assert await reader.read()
    for _, writer in silent:
        writer.transport.abort()


async def test_another_certificate_is_used_at_once(fleet: Fleet, member: Member) -> None:
    home = Home(fleet.settings.home)
    other = OwnAuthority(home.root / "other.crt", home.root / "other.key")
    other.ensure()
    home.certificate.write_bytes(other.issue(["localhost"]).render())
    said = await refusal(member, sslmode="verify-full", sslrootcert=str(home.root / "other.crt"))
    assert SAID in said


async def test_a_port_is_left_for_as_long_as_a_server_starts(fleet: Fleet, member: Member) -> None:
    home, cluster = Home(fleet.settings.home), fleet.of(member)
    async with listening.changing(home, cluster):
        await listening.left(cluster.address.port)
        assert not is_listening(member.port)
        with listening.may_listen(home, member.name) as may:
            assert not may
        with socket.create_server(("", member.port)):
            pass  # a server that does not start after all
    await until_listening(member, wanted=True)
    # One that does start has the port before the file says that it is to run.
    async with listening.changing(home, cluster):
        await listening.left(cluster.address.port)
        server = socket.create_server(("", member.port))
    fleet.put(member.model_copy(update={"wanted": "running"}))
    server.close()
    await until_listening(member, wanted=False)
    fleet.put(member)
    await until_listening(member, wanted=True)
    fleet.remove(member.name)
    await until_listening(member, wanted=False)
