"""Drivers: what runs the server of a cluster. A further one is a class here and a line in DRIVERS.

The ``process`` driver runs a postmaster on this machine. It is not a child of the control plane: it
goes on serving when the control plane stops or dies.
"""

import contextlib
import shlex
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tenantry.host import commands, packages, processes
from tenantry.pg.connections import ADMIN, Address

START_SECONDS = 120  # crash recovery included
_STOP_SECONDS = 60
_JEMALLOC = "narenas:1,thp:always,dirty_decay_ms:60000"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster's files, programs and sockets are."""

    name: str
    folder: Path
    address: Address
    bindir: Path
    log_dir: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def unfinished(self) -> Path:
        """Return the data folder while it is being created."""
        return self.folder / "data.new"

    @property
    def start_log(self) -> Path:
        """Return the log of what the server reports before its logging collector runs."""
        return self.log_dir / f"{self.name}-start.log"


class Driver(Protocol):
    """Runs servers. Every method is idempotent, and finds out the actual state by itself."""

    def pid(self, place: Place) -> int | None:
        """Return the postmaster's pid on this machine, None if it does not run."""

    async def initialise(self, place: Place) -> None:
        """Create an empty cluster in ``place.unfinished``."""

    async def start(self, place: Place, *, options: Sequence[str], deadline: float) -> None:
        """Start the server, and wait until it accepts connections.

        ``options`` are the postmaster's own, for this start only. Raises CommandFailed if it is not
        ready within ``deadline`` seconds.
        """

    async def stop(self, place: Place) -> None:
        """End all sessions and stop; nothing committed is lost ("fast" shutdown)."""

    async def end_orphans(self, place: Place) -> None:
        """Kill what works in the cluster's folders."""


class ProcessDriver:
    """Postmasters run by pg_ctl."""

    def pid(self, place: Place) -> int | None:
        pid = processes.read_pid(place.data / "postmaster.pid")
        return pid if _is_postmaster(place, pid) else None

    async def initialise(self, place: Place) -> None:
        await commands.run(
            [
                place.bindir / "initdb",
                f"--pgdata={place.unfinished}",
                f"--username={ADMIN}",
                "--auth=peer",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--data-checksums",
            ],
            deadline=START_SECONDS,
        )

    async def start(self, place: Place, *, options: Sequence[str], deadline: float) -> None:
        # Until init has reaped it, a killed postmaster is a zombie; kill(2), by which the next one
        # judges these files, reports it as alive, and init may take seconds.
        for lock in (
            place.data / "postmaster.pid",
            place.address.socket_dir / f".s.PGSQL.{place.address.port}.lock",
        ):
            if not _is_postmaster(place, processes.read_pid(lock)):
                lock.unlink(missing_ok=True)
        await commands.run(
            [
                place.bindir / "pg_ctl",
                f"--pgdata={place.data}",
                f"--log={place.start_log}",
                f"--timeout={deadline:.0f}",
                f"--options={shlex.join(options)}",
                "--wait",
                "start",
            ],
            env=_allocator(),
            deadline=deadline + 5,
        )

    async def stop(self, place: Place) -> None:
        await commands.run(
            [
                place.bindir / "pg_ctl",
                f"--pgdata={place.data}",
                "--mode=fast",
                f"--timeout={_STOP_SECONDS}",
                "--wait",
                "stop",
            ],
            deadline=_STOP_SECONDS + 5,
        )

    async def end_orphans(self, place: Place) -> None:
        # After kill -9 of a postmaster its backends still hold the shared memory for a moment, and
        # a new postmaster refuses to start beside them; and the initdb, pg_ctl or pgbackrest of a
        # killed process continues without it.
        for pid in _processes_of(place.data, place.unfinished):
            await processes.stop(pid, signal_number=signal.SIGQUIT, deadline=5)


PROCESS = "process"
DRIVERS: Mapping[str, Driver] = {PROCESS: ProcessDriver()}


def _is_postmaster(place: Place, pid: int | None) -> bool:
    return processes.started_by(pid, "postgres", place.data)


def _allocator() -> dict[str, str]:
    """Return the variables that make a program use jemalloc, where that is installed.

    A backend frees the rules that it has inherited, in pieces of 8 kB. glibc's free writes into
    each, so that each is copied first: 6 ms a login with 10,000 rules. jemalloc takes half a
    millisecond if its memory lies in huge pages, which fork(2) copies by the 2 MiB, and is kept
    rather than given back piecemeal. See docs/decisions/0008.
    """
    library = packages.find_jemalloc()
    if library is None:
        return {}
    return {"LD_PRELOAD": str(library), "MALLOC_CONF": _JEMALLOC}


def _processes_of(*folders: Path) -> Iterable[int]:
    """Return the processes that work in one of these folders, or have it in an argument."""
    options = ("", "--pgdata=", "--pg1-path=")
    reported = {f"{option}{folder}" for folder in folders for option in options}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                pid = int(entry.name)
                if (entry / "cwd").readlink() in folders or reported & {
                    *processes.command_line(pid)
                }:
                    yield pid
