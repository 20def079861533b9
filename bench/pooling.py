"""What the pooled port costs and saves with 1,000 clients.

Four ways to one database on one server take turns: the platform's pooled port, a plain
PgBouncer of the same settings, one that also has its users in a file instead of looking them
up, and PostgreSQL directly; with clients that stay (`pgbench -c 1000`), and with clients that
connect for each transaction (`-C`). All over TLS.
"""

import configparser
import os
import re
import resource
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from support import (
    Aim,
    Installation,
    Report,
    as_service_user,
    free_ports,
    installation,
    machine,
    run,
    say,
)

MOST_BACKENDS = 25
SHARE_OF_PLAIN = 0.97
DIRECT_ROLE, DIRECT_PASSWORD = "direct", "direct"
MODES: dict[str, list[str]] = {"persistent": [], "connect_per_transaction": ["--connect"]}


@dataclass(frozen=True, slots=True)
class Load:
    """How much of it; ``scale`` is pgbench's."""

    clients: int
    seconds: int
    pairs: int
    scale: int


@dataclass(frozen=True, slots=True)
class Way:
    """A way to the database."""

    port: int
    database: str
    username: str
    password: str
    pooler: int | None = None  # its pid

    def pgbench(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["pgbench", *arguments, self.database],
            env=os.environ
            | {
                "PGHOST": "localhost",
                "PGPORT": str(self.port),
                "PGUSER": self.username,
                "PGPASSWORD": self.password,
                "PGSSLMODE": "require",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


# ── the ways ─────────────────────────────────────────────────────────────────


@contextmanager
def ways(here: Installation, load: Load) -> Iterator[dict[str, Way]]:
    """The platform's pooled port and its peers, to a new database with data."""
    made = here.create(maxConnections=100)
    name, user, password = made["database_name"], made["username"], made["password"]
    straight = Way(here.pg_port, name, user, password)
    finished(straight.pgbench("--initialize", "--quiet", "--scale", str(load.scale)))
    with here.superuser() as server:
        # The tenant's own role is limited, as it should be.
        server.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                sql.Identifier(DIRECT_ROLE), sql.Literal(DIRECT_PASSWORD), sql.Identifier(user)
            )
        )
    settings = platform_settings(here)
    with ExitStack() as stack:
        plain, pid = stack.enter_context(pgbouncer(here, "plain", settings))
        use_file(here, settings, name, user)
        filed, filed_pid = stack.enter_context(pgbouncer(here, "filed", settings))
        yield {
            "tenantry": Way(here.pool_port, name, user, password, here.pids()["pooler"]),
            "plain": Way(plain, name, user, password, pid),
            "plain_with_file": Way(filed, name, user, password, filed_pid),
            "direct": Way(here.pg_port, name, DIRECT_ROLE, DIRECT_PASSWORD),
        }


def allow_connections(here: Installation, most: int) -> None:
    """Have the server take so many, for the direct clients; it is one server for all ways."""
    here.down()
    custom = here.home / "clusters" / "shared-1" / "data" / "custom.conf"
    custom.write_text(f"max_connections = {most}\n")
    here.up()


def platform_settings(here: Installation) -> configparser.ConfigParser:
    """Those of the platform's pooler, but for its rules and its tenants' own limits."""
    settings = configparser.ConfigParser(interpolation=None)
    lines = (here.home / "pooler" / "pgbouncer.ini").read_text().splitlines()
    settings.read_string("\n".join(line for line in lines if not line.startswith("%include")))
    for name in ("auth_hba_file", "unix_socket_dir", "unix_socket_mode"):
        del settings["pgbouncer"][name]
    settings["pgbouncer"]["auth_type"] = "scram-sha-256"
    return settings


def use_file(
    here: Installation, settings: configparser.ConfigParser, database: str, username: str
) -> None:
    """Name the one database and its user in files, where the platform looks a user up."""
    users = here.home / "users.txt"
    with here.superuser() as server:
        found = server.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (username,)
        ).fetchone()
        assert found is not None
    users.write_text(f'"{username}" "{found[0]}"\n')
    settings["databases"] = {database: settings["databases"]["*"].partition(" auth_user=")[0]}
    del settings["pgbouncer"]["auth_query"]
    settings["pgbouncer"]["auth_file"] = str(users)


@contextmanager
def pgbouncer(
    here: Installation, name: str, settings: configparser.ConfigParser
) -> Iterator[tuple[int, int]]:
    """The platform's own program with these settings. Yields its port and its pid."""
    [port] = free_ports(1)
    ini = here.home / f"{name}.ini"
    settings["pgbouncer"].update(
        listen_port=str(port),
        logfile=str(here.home / "logs" / f"{name}.log"),
        pidfile=str(here.home / "run" / f"{name}.pid"),
    )
    with ini.open("w") as file:
        settings.write(file)
    program = Path(f"/proc/{here.pids()['pooler']}/exe").readlink()
    with subprocess.Popen([program, "--quiet", ini], **as_service_user()) as process:
        try:
            yield port, process.pid
        finally:
            process.terminate()


# ── the measurements ─────────────────────────────────────────────────────────


def finished(process: "subprocess.Popen[str]") -> str:
    """What a program said that had to succeed."""
    said, complained = process.communicate(timeout=300)
    assert process.returncode == 0, complained[-2000:]
    return said


def started(way: Way, options: Iterable[str], load: Load) -> "subprocess.Popen[str]":
    """pgbench with ``options`` for ``load.seconds``."""
    common = ["--no-vacuum", f"--scale={load.scale}", f"--time={load.seconds}"]
    return way.pgbench(*common, *options)


def reads(mode: str, load: Load) -> list[str]:
    """Options of pgbench: that many clients that read."""
    return ["--select-only", "--jobs=4", f"--client={load.clients}", *MODES[mode]]


def rate(way: Way, options: Iterable[str], load: Load) -> float:
    """Transactions a second; without the time to connect where clients stay."""
    found = re.search(r"^tps = ([0-9.]+)", finished(started(way, options, load)), re.MULTILINE)
    assert found is not None
    return float(found[1])


def pss_mib(pids: list[int]) -> float:
    """The memory of these processes, what they share counted once (proc(5), smaps_rollup)."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since it was listed
        total += int(text.partition("\nPss:")[2].split()[0])
    return total / 1024


def footprint(here: Installation, way: Way, mode: str, load: Load) -> dict[str, float]:
    """The most backends, and the most memory, in a run of its own: looking takes time."""
    most, memory, pooler = 0, 0.0, 0.0
    with here.superuser() as server:
        end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
        server.execute(end, (way.database,))
        process = started(way, reads(mode, load), load)
        while process.poll() is None:
            query = "SELECT pid FROM pg_stat_activity WHERE datname = %s"
            pids = [pid for (pid,) in server.execute(query, (way.database,))]
            most, memory = max(most, len(pids)), max(memory, pss_mib(pids))
            pooler = max(pooler, pss_mib([way.pooler] if way.pooler else []))
            time.sleep(0.5)
    finished(process)
    return {
        "backends": most,
        "backends_pss_mib": round(memory, 1),
        "pooler_pss_mib": round(pooler, 1),
    }


def compare(here: Installation, to: dict[str, Way], mode: str, load: Load) -> dict[str, Any]:
    """Every way in turn, again and again, so that a noise hits all of them alike."""
    rates: dict[str, list[float]] = {name: [] for name in to}
    for turn in range(load.pairs):
        # Who goes first has no advantage in the long run.
        for name in list(to)[:: 1 if turn % 2 == 0 else -1]:
            rates[name].append(rate(to[name], reads(mode, load), load))
        reported = ", ".join(f"{name} {each[-1]:,.0f}/s" for name, each in rates.items())
        say(f"{mode} {turn + 1} of {load.pairs}: {reported}")
    figures: dict[str, Any] = {}
    for peer in ("plain", "plain_with_file"):
        pairs = zip(rates["tenantry"], rates[peer], strict=True)
        ratios = [round(ours / theirs, 4) for ours, theirs in pairs]
        figures[f"ratio_to_{peer}"] = statistics.median(ratios)
        figures[f"ratios_to_{peer}"] = ratios
    for name, each in rates.items():
        figures[name] = {
            "transactions_per_second": round(statistics.median(each)),
            "in_each_run": [round(one) for one in each],
        } | footprint(here, to[name], mode, load)
    return figures


def memory(figures: dict[str, float]) -> float:
    return figures["backends_pss_mib"] + figures["pooler_pss_mib"]


def benchmark(quick: bool) -> Report:
    load = Load(100, 3, 3, 1) if quick else Load(1000, 10, 7, 10)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    results: dict[str, Any] = {"load": asdict(load)}
    aims = []
    with installation(warm_pool=2) as here:
        of = machine(here)
        allow_connections(here, load.clients + 200)
        with ways(here, load) as to:
            for mode in MODES:
                found = results[mode] = compare(here, to, mode, load)
                ours, direct = found["tenantry"], found["direct"]
                aims += [
                    Aim.at_least(f"{mode}: rate / plain", found["ratio_to_plain"], SHARE_OF_PLAIN),
                    Aim.at_most(f"{mode}: backends", ours["backends"], MOST_BACKENDS),
                    Aim.at_most(f"{mode}: memory / direct", memory(ours) / memory(direct), 1),
                ]
    return Report(of, results, aims)


if __name__ == "__main__":
    run("pooling", __doc__, benchmark)
