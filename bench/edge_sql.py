"""What the edge adds to a connection to an instance by its host name, and the memory that it takes.

One process with TLS stands for all instances. A connection is opened, and a byte is echoed, at its
port and by the first and the last of many host names, each with an allowlist of three networks, in
turns. Then an allowlist is changed, until the edge obeys; and a hundred connections stay open while
the platform looks whose sessions they are.
"""

import asyncio
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from support import MIB, Aim, Report, free_ports, hardware, run, say, summary

# isort: split
# support has put the tests' folder on the path.
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host import files, processes
from tenantry.host.certificates import OwnAuthority
from tenantry.services.clusters import sql_routes
from tenantry.services.clusters.members import MEMBERS, Member
from tenantry.services.clusters.sql_routes import SqlRoute
from tenantry.services.edge.service import Edge

DOMAIN = "tenantry.test"
SIZES, ROUNDS, CHANGES, OPEN = (1, 500, 2_000), 300, 10, 100
MOST_ADDED_MS, MOST_MEMORY_MIB, MOST_SECONDS, MOST_LOOK_MS = 3.0, 160.0, 5.0, 200.0


class Echo:
    """A server with TLS that sends back what it receives."""

    def __init__(self, certificate: Path, port: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._port = port
        self._loop = asyncio.new_event_loop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while block := await reader.read(100):
                writer.write(block)

    @contextmanager
    def running(self) -> Iterator[None]:
        place = ("127.0.0.1", self._port)
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        start = asyncio.start_server(self._serve, *place, ssl=self._context, backlog=1000)
        asyncio.run_coroutine_threadsafe(start, self._loop).result()
        yield
        self._loop.call_soon_threadsafe(self._end)
        thread.join()

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_soon(self._loop.stop)


def opened(trusted: ssl.SSLContext, port: int, name: str) -> ssl.SSLSocket:
    """A connection that a byte has been sent over, and back."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    secured = trusted.wrap_socket(plain, server_hostname=name)
    secured.sendall(b"x")
    assert secured.recv(1) == b"x"
    return secured


def host(number: int) -> str:
    return f"i{number}.db.{DOMAIN}"


def put(home: Home, count: int, port: int, *, networks: tuple[str, ...]) -> None:
    """Have so many instances, all at one port."""
    fleet = tuple(
        Member(name=f"i{n}", driver="process", port=port, kind="dedicated", container_name=f"i{n}")
        for n in range(count)
    )
    home.fleet.write_bytes(MEMBERS.dump_json(fleet))
    routes = [
        SqlRoute(cluster=each.name, host=host(n), port=port, networks=networks)
        for n, each in enumerate(fleet)
    ]
    sql_routes.write(home, routes)


async def measured(
    here: Settings, edge: Edge, count: int, port: int, rounds: int
) -> dict[str, object]:
    home = Home(here.home)
    trusted = ssl.create_default_context(cafile=home.ca_certificate)
    found: dict[str, list[float]] = {"direct": [], "first": [], "last": []}
    changes = []
    for number in range(CHANGES):
        networks = ("127.0.0.0/8", "192.0.2.0/24", f"198.51.100.{number}/32")
        put(home, count, port, networks=networks)
        began = time.perf_counter()
        await edge.keep()
        changes.append(time.perf_counter() - began)
    for _ in range(rounds):
        for way, at, name in (
            ("direct", port, host(0)),
            ("first", here.edge_sql_port, host(0)),
            ("last", here.edge_sql_port, host(count - 1)),
        ):
            began = time.perf_counter()
            opened(trusted, at, name).close()
            found[way].append(time.perf_counter() - began)
    held = [opened(trusted, here.edge_sql_port, host(0)) for _ in range(OPEN)]
    began = time.perf_counter()
    assert len(edge.connections_to(port)) >= OPEN
    assert edge.clients(here.edge_sql_port) == {"127.0.0.1"}
    look = time.perf_counter() - began
    for each in held:
        each.close()
    memory = (processes.memory(edge.pid() or 0) or 0) / MIB
    say(f"{count} host names: {memory:.0f} MiB, {max(changes):.2f} s for a change at most")
    return {
        **{way: summary(seconds) for way, seconds in found.items()},
        "change_seconds": round(max(changes), 2),
        "look_ms": round(look * 1000, 1),
        "memory_mib": round(memory, 1),
    }


def benchmark(quick: bool) -> Report:
    sizes, rounds = ((1, 50), 30) if quick else (SIZES, ROUNDS)
    http, https, challenge, sql_port, port = free_ports(5)
    with tempfile.TemporaryDirectory(prefix="tnt-") as place:
        home = Home(Path(place))
        here = Settings(
            home=home.root,
            domain=DOMAIN,
            edge=True,
            edge_http_port=http,
            edge_https_port=https,
            edge_challenge_port=challenge,
            edge_sql=True,
            edge_sql_port=sql_port,
        )
        for folder in (home.tls, home.run, home.logs):
            files.ensure_folder(folder)
        edge = Edge(here)
        results = asyncio.run(_at_sizes(here, edge, sizes, port, rounds))
    return Report(hardware(), results, list(_aims(results[str(sizes[-1])])))


async def _at_sizes(
    here: Settings, edge: Edge, sizes: tuple[int, ...], port: int, rounds: int
) -> dict[str, object]:
    home = Home(here.home)
    files.ensure_folder(home.edge)
    edge.certificates.ensure_some()
    certificate = home.root / "server.pem"
    authority = OwnAuthority(home.ca_certificate, home.tls / "ca.key")
    certificate.write_bytes(authority.issue([f"*.db.{DOMAIN}"]).render())
    try:
        await edge.ensure_running()
        with Echo(certificate, port).running():
            return {str(count): await measured(here, edge, count, port, rounds) for count in sizes}
    finally:
        await edge.stop()


def _aims(found: object) -> Iterator[Aim]:
    assert isinstance(found, dict)
    added = found["last"]["p50_ms"] - found["direct"]["p50_ms"]
    yield Aim.at_most("added to the median of a connection, in ms", added, MOST_ADDED_MS)
    yield Aim.at_most("memory, in MiB", found["memory_mib"], MOST_MEMORY_MIB)
    yield Aim.at_most("seconds until a change is obeyed", found["change_seconds"], MOST_SECONDS)
    yield Aim.at_most("ms to look at a hundred sessions", found["look_ms"], MOST_LOOK_MS)


if __name__ == "__main__":
    run("edge_sql", __doc__, benchmark)
