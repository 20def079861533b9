"""Allowlists of sites, obeyed by the kernel: in network namespaces of the test's own.

The test's thread has one with a site's Redis, and another is beside it, from which clients come.
"""

import asyncio
import datetime as dt
import os
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import resources
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest
from networks import (
    EVERYBODY,
    HERE,
    ONE,
    ONE_6,
    OTHER,
    OTHER_6,
    PORT,
    Elsewhere,
    network,
    run,
    said,
)

from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control import audit, sites, whitelist
from tenantry.control.sites import SiteRow
from tenantry.control.store import DATABASE, MIGRATIONS, ControlStore
from tenantry.control.whitelist import NewEntry
from tenantry.host import nftables, processes, reachability, site_filter, systemd
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.services.migrations import service as migrations
from tenantry.services.migrations.folder import load
from tenantry.services.requests.service import Caller
from tenantry.services.sites.allowlists import SiteAllowlists
from tenantry.services.sites.filtering import SiteFilter
from tenantry.services.sites.process import SiteProcess
from tenantry.services.sites.service import Sites

TABLE = site_filter.table(5432)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with network() as found:
        yield found


@pytest.fixture
def home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="tenantry-test-", dir="/dev/shm"))
    made = Home(folder)
    for each in (made.run, made.logs, made.tls, made.sites):
        each.mkdir()
    made.seal_key.write_bytes(b"k" * 32)
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)),
    )
    made.certificate.write_text(key.read_text() + certificate.read_text())
    yield made
    shutil.rmtree(folder)


@dataclass
class Direct:
    """A caller of the verbs, without a request."""

    store: ControlStore
    actor: audit.Actor = audit.PLATFORM

    async def idempotent(self, _: Any, work: Any) -> Any:
        async with self.store.transaction(self.actor) as tx:
            return await work(tx, None)

    def transaction(self) -> Any:
        return self.store.transaction(self.actor)


@dataclass
class Scene:
    """A site with its process, as the platform and the supervisor have it."""

    store: ControlStore
    home: Home
    site: uuid.UUID
    process: SiteProcess
    filter: SiteFilter
    sites: Sites
    lists: SiteAllowlists

    @property
    def caller(self) -> Caller:
        return cast(Caller, Direct(self.store))

    async def start(self) -> None:
        """Start its process, as the supervisor does."""
        assert await self.process.ensure_running()

    async def kill(self) -> None:
        pid = self.process.pid()
        assert pid
        os.kill(pid, 9)
        await processes.wait_gone(pid)

    async def reached_from(self) -> str:
        site = await self.sites.show(audit.PLATFORM, self.site)
        reach = await self.filter.reach(site)
        assert (reach.why is not None) == (reach.reached_from == "this_machine")
        return reach.reached_from

    async def allow(self, network: str, end: dt.datetime | None = None) -> tuple[uuid.UUID, int]:
        """Allow a network. Return its entry, and how many connections ended."""
        entry = NewEntry(ip_network(network), None, end)
        added = await self.lists.add(self.caller, self.site, entry)
        return added.entry.id, added.ended_sessions

    @asynccontextmanager
    async def root(self) -> AsyncIterator[list[int]]:
        """Answer at the socket as systemd does: the program, once for each connection."""
        started: list[int] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "tenantry.filtering", TABLE),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            started.append(program.pid)
            answer, _ = await program.communicate(await reader.read())
            writer.write(answer)
            writer.close()

        at = systemd.socket_of_filter(self.home.root)
        server = await asyncio.start_unix_server(serve, at)
        try:
            yield started
        finally:
            server.close()
            at.unlink()


@contextmanager
def removed_at_the_end(process: SiteProcess) -> Iterator[None]:
    try:
        yield
    finally:
        if (pid := process.pid()) is not None:
            os.kill(pid, 9)


def row_of(name: str, port: int) -> SiteRow:
    now = dt.datetime.now(dt.UTC)
    return SiteRow(
        id=uuid.uuid4(),
        customer_id=None,
        name=name,
        status="active",
        port=port,
        memory_mb=8,
        max_clients=50,
        eviction="volatile-lru",
        persistence="none",
        semantic="exact",
        isolation="dedicated",
        settings={},
        networks=None,
        password_hash=b"p" * 32,
        key_hash=name.encode(),
        created_at=now,
        updated_at=now,
    )


@pytest.fixture
async def scene(store: ControlStore, home: Home, elsewhere: Elsewhere) -> AsyncIterator[Scene]:
    del elsewhere  # first: the process shall be in its network
    row = row_of("shop", PORT)
    async with store.transaction(audit.PLATFORM) as tx:
        await sites.insert(tx, row)
    site_filter_ = SiteFilter(store, home)
    verbs = Sites(Settings(home=home.root, engines=None), store, site_filter_)
    lists = SiteAllowlists(store, home, verbs, site_filter_)
    process = SiteProcess.of(home, row)
    made = Scene(store, home, row.id, process, site_filter_, verbs, lists)
    with removed_at_the_end(process):
        await verbs.ensure(row.id)
        await made.start()
        yield made


def flush() -> None:
    """As a restart of Debian's service nftables does."""
    run(str(nftables.PROGRAM), "flush", "ruleset")


async def test_a_site_is_open_only_while_its_rules_are_in_force(
    scene: Scene, elsewhere: Elsewhere
) -> None:
    assert (await scene.reached_from(), elsewhere.reaches()) == ("everywhere", EVERYBODY)
    # Nobody can set rules: it is closed, whatever its list admits.
    held = elsewhere.connect(ONE)
    assert said(held) == "open"
    assert (await scene.allow(ONE))[1] == 1
    assert said(held) == "ended"
    assert (await scene.reached_from(), elsewhere.reaches()) == ("this_machine", set())
    async with scene.root() as started:
        await scene.lists.keep()
        assert (await scene.reached_from(), elsewhere.reaches()) == ("allowlist", {ONE})
        await scene.allow("fd77::2/127")
        assert elsewhere.reaches() == {ONE, ONE_6, OTHER_6}
        socket.create_connection(("127.0.0.1", PORT), 5).close()
        socket.create_connection((HERE, PORT), 5).close()  # this machine, by another address
        # In force already: root's program is not started for nothing.
        asked = len(started)
        await scene.lists.keep()
        await scene.filter.apply()
        assert len(started) == asked
        # Somebody else deletes the rules.
        flush()
        await scene.lists.keep()
        assert elsewhere.reaches() == {ONE, ONE_6, OTHER_6}
        # It begins closed, whatever ended it.
        await scene.kill()
        await scene.start()
        assert elsewhere.reaches() == set()
        await scene.lists.keep()
        assert elsewhere.reaches() == {ONE, ONE_6, OTHER_6}
    held = elsewhere.connect(ONE)
    assert said(held) == "open"
    flush()
    await scene.lists.keep()
    assert said(held) == "ended"
    assert (await scene.reached_from(), elsewhere.reaches()) == ("this_machine", set())
    assert reachability.listening(PORT) == ["127.0.0.1", "::1"]
    socket.create_connection(("127.0.0.1", PORT), 5).close()


async def test_what_others_refuse_is_no_mark(scene: Scene, elsewhere: Elsewhere) -> None:
    """An unreachable route, or a rule for all of this machine's own connections."""
    run("ip", "route", "add", "unreachable", "127.128.0.0/9", "table", "local")
    await scene.allow(ONE)
    assert (await scene.reached_from(), elsewhere.reaches()) == ("this_machine", set())


async def test_whoever_is_removed_is_disconnected(scene: Scene, elsewhere: Elsewhere) -> None:
    async with scene.root():
        entry, _ = await scene.allow(ONE)
        other, ended = await scene.allow(OTHER)
        assert ended == 0
        held, stays = elsewhere.connect(ONE), elsewhere.connect(OTHER)
        assert (said(held), said(stays)) == ("open", "open")
        shown = await scene.lists.preview(audit.PLATFORM, scene.site, [entry_of(OTHER)])
        assert [(each.address, each.endpoint, each.sessions) for each in shown.endings] == [
            (ONE, "redis", 1)
        ]
        removed = await scene.lists.remove(scene.caller, scene.site, entry)
        assert (removed.opens, removed.ended_sessions) == (False, 1)
        assert said(held) == "ended"
        assert stays.poll() is None
        elsewhere.let_go()
        assert elsewhere.reaches() == {OTHER}
        # The last one.
        removed = await scene.lists.remove(scene.caller, scene.site, other)
        assert (removed.opens, removed.ended_sessions) == (True, 0)
        assert (await scene.reached_from(), elsewhere.reaches()) == ("everywhere", EVERYBODY)


def entry_of(network: str) -> NewEntry:
    return NewEntry(ip_network(network), None, None)


async def test_a_list_that_has_expired_admits_nobody(scene: Scene, elsewhere: Elsewhere) -> None:
    async with scene.root():
        await scene.allow(ONE, dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
        await scene.lists.keep()
        held = elsewhere.connect(ONE)
        assert said(held) == "open"
        async with scene.store.transaction(audit.PLATFORM) as tx:
            await tx.execute("UPDATE site_whitelist SET expires_at = now() - interval '1 s'")
        await scene.lists.keep()
        assert said(held) == "ended"
        assert elsewhere.reaches() == set()


async def test_what_root_cannot_set_leaves_it_closed(
    scene: Scene, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene.root() as started:
        await scene.allow(ONE)
        assert elsewhere.reaches() == {ONE}
        monkeypatch.setattr(sys, "executable", "/bin/false")
        await scene.allow(OTHER)
        monkeypatch.undo()
        assert (await scene.reached_from(), elsewhere.reaches()) == ("this_machine", set())
        # After a failure it is not tried again each second, unless the lists have changed.
        asked = len(started)
        monkeypatch.setattr(sys, "executable", "/bin/false")
        await scene.lists.keep()
        await scene.lists.keep()
        assert len(started) == asked + 1
        monkeypatch.undo()
        await scene.allow(ONE_6)
        assert elsewhere.reaches() == {ONE, OTHER, ONE_6}


async def test_changes_at_once_leave_the_last_one_in_force(
    scene: Scene, elsewhere: Elsewhere
) -> None:
    async with scene.root():
        entries = [[entry_of(f"10.77.0.{number}")] for number in (2, 3, 4, 3, 2)]
        await asyncio.gather(
            *(scene.lists.replace(scene.caller, scene.site, each) for each in entries)
        )
        (left,) = await scene.lists.entries(audit.PLATFORM, scene.site)
        assert elsewhere.reaches() == {str(left.network.network_address)} & EVERYBODY
        assert await scene.reached_from() == "allowlist"


async def test_lists_of_earlier_releases_become_entries_and_go_back(
    store: ControlStore, address: Address
) -> None:
    found: dict[str, list[str] | None] = {
        "open": None,
        "listed": ["192.0.2.0/24", "2001:db8::1/128"],
        "expired": [],
    }
    async with store.transaction(audit.PLATFORM) as tx:
        for number, (name, its) in enumerate(found.items()):
            await sites.insert(tx, row_of(name, PORT + number))
            (site,) = [each.id for each in await sites.every(tx) if each.name == name]
            for network in its or (["198.51.100.1"] if its == [] else []):
                await whitelist.put(tx, site, entry_of(network), whitelist.SITES)
            if its == []:
                await tx.execute(
                    "UPDATE site_whitelist SET expires_at = now() WHERE site_id = %s", (site,)
                )
    folder = resources.files(MIGRATIONS)
    async with connect(address, user=ADMIN, dbname=DATABASE, search_path="public") as admin:
        before = max(each.version for each in load(folder) if each.version < 67)
        await migrations.goto(admin, folder, before)
        kept = await (await admin.execute("SELECT name, networks::text[] FROM sites")).fetchall()
        # One whose entries have all expired must not be open then.
        assert dict(kept) == found | {"open": [], "expired": ["192.0.2.1/32"]}
        await migrations.up(admin, folder)
    async with store.transaction(audit.PLATFORM) as tx:
        again = {
            each.name: None if each.networks is None else [str(its) for its in each.networks]
            for each in await sites.every(tx)
        }
    assert again == found | {"expired": ["192.0.2.1/32"]}
