"""The socket at which suspended instances are woken, with anything for a server."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.pg.clusters import Cluster
from tenantry.services.clusters import pooled
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member
from tenantry.services.clusters.relaying import Relay


class Instance:
    """An instance whose server answers with what it hears, and starts when it is woken."""

    def __init__(self, home: Path) -> None:
        self.home = Home(home)
        self.member = Member(name="db-shop", driver="process", port=5500, kind="dedicated")
        self.fleet = Fleet(Settings(home=home))
        self.fleet.put(self.member.model_copy(update={"wanted": "suspended"}))
        self.cluster: Cluster = self.fleet.of(self.member)
        self.cluster.address.socket_dir.mkdir(parents=True)
        self.woken = 0
        self.broken = False
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.server: asyncio.Server | None = None

    async def wake(self) -> None:
        self.woken += 1
        await self.may_start.wait()
        if self.broken:
            raise MachineError("It does not start.")
        if self.server is None:
            self.server = await asyncio.start_unix_server(answer, self.cluster.address.socket)
            self.fleet.put(self.member)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As the pooler does, wherever it is led."""
        return await asyncio.open_unix_connection(pooled.address(self.home, self.cluster).socket)


async def until(holds: Callable[[], object]) -> None:
    while True:
        if holds():
            return
        await asyncio.sleep(0.001)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(1 << 16):
        writer.write(block.upper())
        await writer.drain()
    writer.write(b"bye")
    writer.close()


@pytest.fixture
async def instance() -> AsyncIterator[Instance]:
    with tempfile.TemporaryDirectory(prefix="tnt-") as folder:
        made = Instance(Path(folder))
        pooled.lead_to_listener(made.home, made.cluster)
        serving = asyncio.create_task(Relay(made.fleet, made.cluster, made.wake).serve())
        await until(pooled.waking(made.home, made.cluster).exists)
        yield made
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        if made.server is not None:
            made.server.close()


async def test_a_connection_wakes_the_server_and_is_passed_on(instance: Instance) -> None:
    reader, writer = await instance.connect()
    sent = b"select " * 100_000
    writer.write(sent)
    assert await reader.readexactly(len(sent)) == sent.upper()
    writer.write_eof()
    assert await reader.read() == b"bye"
    writer.close()
    assert instance.woken == 1


async def test_who_waits_together_wakes_it_once(instance: Instance) -> None:
    instance.may_start.clear()
    several = [await instance.connect() for _ in range(20)]
    for _, writer in several:
        writer.write(b"a")
    await until(lambda: instance.woken)
    instance.may_start.set()
    for reader, writer in several:
        assert await reader.readexactly(1) == b"A"
        writer.close()
    assert instance.woken <= 2


async def test_a_connection_without_a_byte_wakes_nothing(instance: Instance) -> None:
    _, writer = await instance.connect()
    writer.close()
    reader, writer = await instance.connect()
    writer.write(b"a")
    assert await reader.readexactly(1) == b"A"
    writer.close()
    assert instance.woken == 1


async def test_one_that_does_not_start_closes_the_connection(instance: Instance) -> None:
    instance.broken = True
    reader, writer = await instance.connect()
    writer.write(b"a")
    assert await reader.read() == b""
    writer.close()
    instance.broken = False
    reader, writer = await instance.connect()
    writer.write(b"a")
    assert await reader.readexactly(1) == b"A"
    writer.close()


async def test_the_pooler_is_led_to_the_server_once_that_runs(instance: Instance) -> None:
    await instance.wake()
    pooled.lead_to_server(instance.home, instance.cluster)
    pooled.lead_to_server(instance.home, instance.cluster)
    reader, writer = await instance.connect()
    writer.write(b"a")
    assert await reader.readexactly(1) == b"A"
    writer.close()
    assert instance.woken == 1
    assert pooled.address(instance.home, instance.cluster).socket.readlink() == (
        instance.cluster.address.socket
    )
