"""100 sites on one machine: their memory and processor while idle, and how long `up` takes.

Beside them, in the same run, as many plain redis-servers with nothing but a Unix socket: the least
that a Redis for each site can take. Both are never there at the same time, as they would share
memory. `--quick` has 5 of each.
"""

import asyncio
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from support import (
    Aim,
    Api,
    Installation,
    Report,
    adjacent_ports,
    computed,
    installation,
    machine,
    resident,
    run,
    say,
    summary,
)
from tenantry.base.home import Home
from tenantry.host import processes
from tenantry.host.redis_engines import find_redis
from tenantry.services.sites import process
from tenantry.services.sites.model import socket_of

COUNT, IDLE_SECONDS = 100, 60.0
PATIENCE = 120.0  # seconds for all processes to answer
MEMORY_MB, CLIENTS = 16, 20  # of a site; all together have to fit the budget
MIB = 1024 * 1024
MOST_MEMORY = 1.25  # times that of a plain server
MOST_OF_A_CORE = 0.25  # of all sites together, with the AI cache that serves them
MOST_UP_SECONDS = 10.0  # that the sites add to `up`, until they answer


@dataclass(frozen=True, slots=True)
class Idle:
    """What processes take while nothing happens."""

    processes: int
    memory_mib: float
    share_of_a_core: float


def idle(pids: Callable[[], Sequence[int]], seconds: float) -> Idle:
    """Measure processes that are no children of each other, once they have rested as long."""
    time.sleep(seconds)
    found = pids()
    before, began = sum(map(computed, found)), time.monotonic()
    time.sleep(seconds)
    used = (sum(map(computed, found)) - before) / (time.monotonic() - began)
    return Idle(len(found), round(sum(map(resident, found)) / MIB, 1), round(used, 4))


def platform_pids(here: Installation) -> list[int]:
    """The processes of the platform itself, without those that are children of others."""
    pids = list(here.pids().values())
    below = {child for pid in pids for child in processes.children(pid)}
    return [pid for pid in pids if pid not in below]


def site_pids(here: Installation) -> list[int]:
    return [pid for each in process.every(Home(here.home)) if (pid := each.pid()) is not None]


# ── answers ──────────────────────────────────────────────────────────────────


def await_answers(sockets: Iterable[Path]) -> None:
    """Return once every Redis answers on its Unix socket, if only that it asks for a password."""
    give_up = time.monotonic() + PATIENCE
    for each in sockets:
        while not answers(each):
            if time.monotonic() > give_up:
                raise TimeoutError(f"{each} does not answer")
            time.sleep(0.005)


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def sockets_of(here: Installation) -> list[Path]:
    home = Home(here.home)
    ports = (each.port() for each in process.every(home))
    return [socket_of(home, port) for port in ports if port is not None]


# ── the two ──────────────────────────────────────────────────────────────────


@contextmanager
def plain_servers(count: int, folder: Path) -> Iterator[tuple[list[int], float]]:
    """So many redis-servers: their pids, and the seconds until all of them answered."""
    program = asyncio.run(find_redis()).path
    options = ["--port", "0", "--save", "", "--dir", str(folder), "--maxmemory", f"{MEMORY_MB}mb"]
    paths = [folder / f"{number}.sock" for number in range(count)]
    began, servers = time.monotonic(), list[subprocess.Popen[bytes]]()
    try:
        servers += [
            subprocess.Popen(
                [program, *options, "--unixsocket", path], stdout=subprocess.DEVNULL, cwd="/"
            )
            for path in paths
        ]
        await_answers(paths)
        yield [each.pid for each in servers], time.monotonic() - began
    finally:
        for each in servers:
            each.kill()
        for each in servers:
            each.wait()


def create_sites(here: Installation, count: int) -> list[float]:
    """Create so many sites, one after the other. Returns the seconds that each took."""
    seconds = []
    with Api(here) as api:
        for number in range(count):
            began = time.perf_counter()
            status, answer = api(
                "POST",
                "/api/sites",
                name=f"bench-{number}",
                memory_mb=MEMORY_MB,
                max_clients=CLIENTS,
            )
            if status != 201:
                raise RuntimeError(answer)
            seconds.append(time.perf_counter() - began)
    await_answers(sockets_of(here))
    return seconds


def restarted(here: Installation) -> tuple[float, float]:
    """The seconds that `up` takes after `down`, and until every site answers, too."""
    here.down()
    began = time.monotonic()
    here.up()
    up = time.monotonic() - began
    await_answers(sockets_of(here))
    return up, time.monotonic() - began


def benchmark(quick: bool) -> Report:
    count, seconds = (5, 5.0) if quick else (COUNT, IDLE_SECONDS)
    settings = {
        "TENANTRY_REDIS_PORT": str(adjacent_ports(count)[0]),
        "TENANTRY_REDIS_MEMORY_MB": str(count * MEMORY_MB),
    }
    with installation(warm_pool=0, **settings) as here:
        about = machine(here) | {"redis": str(asyncio.run(find_redis()).version)}
        up_alone, _ = restarted(here)
        alone = idle(lambda: platform_pids(here), seconds)
        say(f"without sites: up in {up_alone:.1f} s")
        created = create_sites(here, count)
        say(f"{count} sites")
        up, answering = restarted(here)
        say(f"with sites: up in {up:.1f} s, all of them answer after {answering:.1f} s")
        beside = idle(lambda: platform_pids(here), seconds)
        sites = idle(lambda: site_pids(here), seconds)
        here.down()
        with (
            tempfile.TemporaryDirectory(prefix="tnt-plain-") as folder,
            plain_servers(count, Path(folder)) as (pids, started),
        ):
            plain = idle(lambda: pids, seconds)
    results: dict[str, object] = {
        "sites": asdict(sites) | {"create": summary(created)},
        "plain redis-servers": asdict(plain) | {"until_all_answer_seconds": round(started, 2)},
        "platform without sites": asdict(alone) | {"up_seconds": round(up_alone, 1)},
        "platform with sites": asdict(beside)
        | {"up_seconds": round(up, 1), "until_all_answer_seconds": round(answering, 1)},
    }
    more = sites.share_of_a_core + beside.share_of_a_core - alone.share_of_a_core
    aims = [
        Aim.at_most(
            "memory of a site, in times of a plain redis-server",
            sites.memory_mib / sites.processes / (plain.memory_mib / plain.processes),
            MOST_MEMORY,
        ),
        Aim.at_most("share of a core that all sites take while idle", more, MOST_OF_A_CORE),
        Aim.at_most(
            "seconds that the sites add to up, until all answer",
            answering - up_alone,
            MOST_UP_SECONDS,
        ),
    ]
    return Report(about, results, aims)


if __name__ == "__main__":
    run("sites", __doc__.partition("\n")[0], benchmark)
