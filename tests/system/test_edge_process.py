"""The edge as a process, without a platform behind it: its start, its end, its certificates."""

import asyncio
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pebble import pebble

from harness import free_ports
from tenantry.base.errors import MachineError, Unavailable
from tenantry.base.home import Home
from tenantry.base.setting_groups import Acme
from tenantry.base.settings import Settings
from tenantry.host import environment, files, processes
from tenantry.host.certificates import OWN
from tenantry.services.clusters import sql_routes
from tenantry.services.clusters.members import MEMBERS, Member
from tenantry.services.clusters.sql_routes import SqlRoute
from tenantry.services.data_api import process as data_api
from tenantry.services.edge import plan
from tenantry.services.edge.service import Edge
from tenantry.services.network.plan import EDGE

DOMAIN = "tenantry.test"
SHOP = f"shop.db.{DOMAIN}"
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
HOOK = """#!/usr/bin/python3
import json, os, sys, urllib.request
name, value = os.environ["TENANTRY_ACME_NAME"], os.environ["TENANTRY_ACME_VALUE"]
with open("{log}", "a") as log:
    print(*sys.argv[1:], name, file=log)
body = json.dumps({{"host": name + ".", "value": value}}).encode()
path = {{"set": "set-txt", "remove": "clear-txt"}}[sys.argv[1]]
urllib.request.urlopen("http://127.0.0.1:{port}/" + path, data=body)
"""


def settings(home: Path, **more: object) -> Settings:
    http_port, https_port, challenge_port = free_ports(3)
    ports = {
        "edge_http_port": http_port,
        "edge_https_port": https_port,
        "edge_challenge_port": challenge_port,
    }
    return Settings(home=home, domain=DOMAIN, edge=True, **(ports | more))  # type: ignore[arg-type]


@contextmanager
def standing(here: Settings) -> Iterator[Edge]:
    """The edge of a home with what ``up`` puts there, killed at the end."""
    home = Home(here.home)
    for folder in (home.tls, home.run, home.logs):
        files.ensure_folder(folder)
    edge = Edge(here)
    try:
        yield edge
    finally:
        for pid in processes.started_on(home.edge):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a shorter path than pytest's, as homes need it."""
    with tempfile.TemporaryDirectory(prefix="tnt-") as made:
        yield Path(made)


@pytest.fixture
def here(place: Path) -> Settings:
    return settings(place)


async def test_it_is_started_once_and_stopped(here: Settings) -> None:
    with standing(here) as edge:
        assert await edge.ensure_running()
        pid = edge.pid()
        assert pid is not None
        assert not await edge.ensure_running()
        assert edge.pid() == pid
        await edge.check()
        await edge.stop()
        assert edge.pid() is None
        with pytest.raises(Unavailable):
            await edge.check()


async def test_one_whose_starter_was_killed_is_found_again(here: Settings) -> None:
    with standing(here) as edge:
        await edge.ensure_running()
        pid = edge.pid()
        (here.home / "run" / "edge.pid").unlink()  # as before it was written
        assert not await edge.ensure_running()
        assert edge.pid() == pid


async def test_what_it_reads_at_its_start_only_starts_it_again(here: Settings) -> None:
    with standing(here) as edge:
        await edge.ensure_running()
        pid = edge.pid()
        static = here.home / "edge" / "traefik.yml"
        static.write_text(static.read_text().replace("WARN", "DEBUG"))
        assert await edge.ensure_running()
        assert edge.pid() != pid


async def test_a_part_that_starts_has_its_route_without_a_restart(here: Settings) -> None:
    with standing(here) as edge:
        await edge.ensure_running()
        pid, routes = edge.pid(), here.home / "edge" / "routes.yml"
        assert '"rest"' not in routes.read_text()
        (here.home / "run" / "rest.wanted").touch()
        assert data_api.is_wanted(Home(here.home))
        await edge.keep()
        assert '"rest"' in routes.read_text()
        assert edge.pid() == pid
        assert not (here.home / "run" / "edge.unread").exists()


async def test_what_it_does_not_take_is_put_back(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with standing(here) as edge:
        await edge.ensure_running()
        routes = here.home / "edge" / "routes.yml"
        before = routes.read_text()
        monkeypatch.setattr(plan, "dynamic", lambda _: "# revision 0123456789abcdef\n{")
        monkeypatch.setattr("tenantry.services.edge.service._CHANGE_SECONDS", 0.5)
        with pytest.raises(MachineError, match="the old one is back"):
            await edge.keep()
        assert routes.read_text() == before
        monkeypatch.undo()
        # It was not seen to be in force: that is looked at again.
        assert (here.home / "run" / "edge.unread").exists()
        await edge.keep()
        assert not (here.home / "run" / "edge.unread").exists()


@pytest.fixture
def by_name(place: Path) -> Settings:
    """The settings of an edge that leads to one instance, which admits 127.0.0.9 only."""
    sql_port, port = free_ports(2)
    here = settings(place, edge_sql=True, edge_sql_port=sql_port)
    shop = Member(name="shop", driver="process", port=port, kind="dedicated", container_name="shop")
    Home(place).fleet.write_bytes(MEMBERS.dump_json((shop,)))
    route = SqlRoute(cluster="shop", host=SHOP, port=port, networks=("127.0.0.9/32",))
    sql_routes.write(Home(place), [route])
    return here


def hello(name: str) -> bytes:
    """What a client says first to open TLS for a name."""
    said = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said, server_hostname=name).do_handshake()
    return said.read()


def reached(
    here: Settings, name: str = SHOP, *, address: str = "127.0.0.9", asks: bytes = SSL_REQUEST
) -> bytes | None:
    """What an instance's server receives, by the edge, of a client that asks for a name.

    None if the client is refused.
    """
    (route,) = sql_routes.read(Home(here.home))
    with (
        socket.create_server(("127.0.0.1", route.port)) as server,
        socket.create_connection(
            ("127.0.0.1", here.edge_sql_port), timeout=20, source_address=(address, 0)
        ) as client,
    ):
        if asks:
            client.sendall(asks)
            assert client.recv(1) == b"S"
        client.sendall(hello(name))
        ready, _, _ = select.select([server, client], [], [], 20)
        if client in ready:
            with suppress(ConnectionError):
                # A TLS alert where the edge takes it for HTTPS.
                assert client.recv(100)[:1] in {b"", b"\x15"}
            return None
        with server.accept()[0] as accepted:
            accepted.settimeout(20)
            assert accepted.getpeername()[0] == str(EDGE.network_address)
            if asks:
                assert accepted.recv(8) == asks
                accepted.sendall(b"S")
            return accepted.recv(10_000)


async def is_reached(here: Settings, **client: Any) -> bool:
    received = await asyncio.to_thread(partial(reached, here, **client))
    assert received is None or SHOP.encode() in received
    return received is not None


async def test_a_name_leads_to_its_instance_and_its_list_is_obeyed(by_name: Settings) -> None:
    with standing(by_name) as edge:
        await edge.ensure_running()
        await edge.check()
        pid, home = edge.pid(), Home(by_name.home)
        for asks in (SSL_REQUEST, b""):  # as libpq does by default, and with sslnegotiation=direct
            assert await is_reached(by_name, asks=asks)
            assert not await is_reached(by_name, asks=asks, address="127.0.0.1")
            assert not await is_reached(by_name, asks=asks, name=f"crm.db.{DOMAIN}")
        (route,) = sql_routes.read(home)
        for networks in (None, ("127.0.0.1/32",)):
            sql_routes.write(home, [route.model_copy(update={"networks": networks})])
            await edge.keep()
            assert await is_reached(by_name, address="127.0.0.1")
        assert not await is_reached(by_name)
        # Without an instance at the port there is no way to it, whatever the file says.
        home.fleet.write_text("[]")
        await edge.keep()
        assert not await is_reached(by_name, address="127.0.0.1")
        assert edge.pid() == pid


async def test_a_client_that_waits_is_not_let_in_by_a_former_list(
    by_name: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "HELLO_SECONDS", 1)
    with standing(by_name) as edge:
        await edge.ensure_running()
        address = ("127.0.0.1", by_name.edge_sql_port)
        with (
            socket.create_connection(address, timeout=20) as silent,
            socket.create_connection(address, timeout=20) as slow,
        ):
            slow.sendall(SSL_REQUEST)
            assert slow.recv(1) == b"S"
            slow.sendall(hello(SHOP)[:20])
            for each in (silent, slow):
                with suppress(ConnectionError):
                    assert await asyncio.to_thread(each.recv, 1) == b""


async def test_its_connections_are_recognized(by_name: Settings) -> None:
    with standing(by_name) as edge:
        await edge.ensure_running()
        (route,) = sql_routes.read(Home(by_name.home))
        with (
            socket.create_server(("127.0.0.1", route.port)) as server,
            socket.create_connection(
                ("127.0.0.1", by_name.edge_sql_port), timeout=20, source_address=("127.0.0.9", 0)
            ) as client,
        ):
            client.sendall(hello(SHOP))
            with (
                server.accept()[0] as by_edge,
                socket.create_connection(("127.0.0.1", route.port)),
            ):
                assert edge.connections_to(route.port) == {by_edge.getpeername()[1]}
                assert edge.clients(by_name.edge_sql_port) == {"127.0.0.9"}


async def test_a_start_that_fails_says_why_and_leaves_nothing(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with standing(here) as edge:
        monkeypatch.setattr(environment, "find_traefik", lambda: None)
        with pytest.raises(MachineError, match="not installed") as missing:
            await edge.ensure_running()
        assert missing.value.hint == "Run ./tenantry install-edge."
        monkeypatch.undo()
        with (
            socket.create_server(("", here.edge_https_port)),
            pytest.raises(MachineError, match="address already in use"),
        ):
            await edge.ensure_running()
        assert edge.pid() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the right")
def test_what_root_starts_as_another_user_can_listen_on_low_ports() -> None:
    program = """if True:
        import os, socket, subprocess, sys
        from tenantry.host import capabilities
        with capabilities.low_ports_kept():
            os.setgid(65534)
            os.setuid(65534)
        assert capabilities.passes_on_low_ports()
        listens = "import socket; socket.create_server(('127.0.0.1', 79))"
        subprocess.run(["/usr/bin/python3", "-c", listens], check=True)
        try:
            os.chown("/", 0, 0)
        except PermissionError:
            sys.exit(7)
    """
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7


async def test_an_authority_certifies_the_names_through_the_edge_and_all_databases_by_dns(
    place: Path,
) -> None:
    trusted, log = place / "trusted.pem", place / "hook.log"
    with pebble(place, trusted) as authority:
        home = place / "home"
        acme = Acme(directory=authority.directory, ca_file=trusted, http_port=authority.http_port)
        over_http = settings(home, acme=acme, edge_http_port=authority.http_port)
        with standing(over_http) as edge:
            await edge.ensure_running()
            fixed, rest = edge.certificates.every
            assert sources(edge) == [OWN, OWN]
            await edge.certificates.keep()
            assert sources(edge) == [authority.directory, OWN]
            held = edge.certificates.held(fixed)
            assert held is not None
            assert held.names == {f"{name}.{DOMAIN}" for name in ("api", "console", "cache")}
            await edge.keep()
            assert "TENANTRY_ACME_DNS_HOOK" in str(edge.certificates.status()[1].warning)
            await edge.stop()
        hook = place / "hook"
        hook.write_text(HOOK.format(log=log, port=authority.dns_management))
        hook.chmod(0o755)
        by_dns = over_http.model_copy(update={"acme": acme.model_copy(update={"dns_hook": hook})})
        with standing(by_dns) as edge:
            await edge.ensure_running()
            await edge.certificates.keep()
            assert sources(edge) == [authority.directory] * 2
            held = edge.certificates.held(rest)
            assert held is not None
            assert held.names == {f"*.rest.{DOMAIN}"}
            await edge.keep()
            record = f"_acme-challenge.rest.{DOMAIN}"
            assert log.read_text().splitlines() == [f"set {record}", f"remove {record}"]


async def test_an_authority_that_is_down_is_asked_less_and_less(place: Path) -> None:
    (closed,) = free_ports(1)
    acme = Acme(directory=f"https://localhost:{closed}/dir")
    with standing(settings(place, acme=acme)) as edge:
        files.ensure_folder(place / "edge")
        with pytest.raises(MachineError, match="does not answer"):
            await edge.certificates.keep()
        await edge.certificates.keep()  # not before five minutes have passed
        fixed, rest = edge.certificates.status()
        assert (fixed.failures, rest.failures) == (1, 0)
        assert "does not answer" in str(fixed.error)
        assert sources(edge) == [OWN, OWN]


def sources(edge: Edge) -> list[str]:
    return [each.source for each in edge.certificates.status()]
