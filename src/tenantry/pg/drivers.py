"""Drivers: what runs the server of a cluster. Which ones there are is in ``pg/clusters.py``.

The ``process`` driver runs a postmaster on this machine. It is not a child of the control plane: it
goes on serving when the control plane stops or dies.
"""

import asyncio
import contextlib
import datetime as dt
import shlex
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from tenantry.base.errors import MachineError
from tenantry.host import cgroups, commands, packages, processes
from tenantry.pg.connections import ADMIN, Address

log = structlog.get_logger()

START_SECONDS = 120  # crash recovery included
STOP_SECONDS = 60
_READY_SECONDS = 0.005
_STATUS_LINE = 7  # LOCK_FILE_LINE_PM_STATUS, from 0
INITDB = (  # options for every new cluster
    f"--username={ADMIN}",
    "--auth=peer",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--data-checksums",
)
_JEMALLOC = "narenas:1,thp:always,dirty_decay_ms:60000"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster's files, programs and sockets are.

    ``home`` is the installation's; None for a cluster that has no limits. A container is named
    ``container_name``, and runs from ``image``, or if that is None from one with the programs in
    ``bindir`` and pgBackRest, its ``archiver``; ``shared`` are the folders that it also uses, and
    ``folder``, ``log_dir`` and the socket's folder are its own.
    """

    name: str
    folder: Path
    address: Address
    bindir: Path
    log_dir: Path
    home: Path | None = field(default=None, kw_only=True)
    container_name: str = field(default="", kw_only=True)
    image: str | None = field(default=None, kw_only=True)
    shared: tuple[Path, ...] = field(default=(), kw_only=True)
    archiver: Path = field(default=packages.PGBACKREST, kw_only=True)

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


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a server may take of this machine; None is no limit of its own."""

    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = None


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a running server has taken since it started, with all its processes.

    ``memory_bytes`` is what it takes now; what its processes share counts once.
    """

    cpu_seconds: float
    memory_bytes: int
    started_at: dt.datetime


class Driver(Protocol):
    """Runs servers. Every method is idempotent, and finds out the actual state by itself."""

    name: str

    def pid(self, place: Place) -> int | None:
        """Return the postmaster's pid on this machine, None if it does not run."""

    async def initialise(self, place: Place) -> None:
        """Create an empty cluster in ``place.unfinished``."""

    async def start(
        self, place: Place, *, options: Sequence[str], deadline: float, limits: Limits
    ) -> None:
        """Start the server within ``limits``, and wait until it accepts connections.

        ``options`` are the postmaster's own, for this start only. Raises CommandFailed if it is not
        ready within ``deadline`` seconds.
        """

    def can_limit(self, home: Path) -> bool:
        """Whether limits of servers of the installation in ``home`` are enforced."""

    async def limit(self, place: Place, limits: Limits) -> bool:
        """Put other limits of a running server in force. Return whether they are enforced."""

    async def usage(self, place: Place) -> Usage | None:
        """Return what the server takes; None if it does not run."""

    async def stop(self, place: Place) -> None:
        """End all sessions and stop; nothing committed is lost ("fast" shutdown)."""

    async def end_orphans(self, place: Place) -> None:
        """Kill what works in the cluster's folders."""


class ProcessDriver:
    """Postmasters run by pg_ctl."""

    name = "process"

    def pid(self, place: Place) -> int | None:
        pid = processes.read_pid(place.data / "postmaster.pid")
        return pid if _is_postmaster(place, pid) else None

    async def initialise(self, place: Place) -> None:
        await commands.run(
            [
                place.bindir / "initdb",
                f"--pgdata={place.unfinished}",
                *INITDB,
            ],
            deadline=START_SECONDS,
        )

    async def start(
        self,
        place: Place,
        *,
        options: Sequence[str],
        deadline: float,
        limits: Limits,
    ) -> None:
        # Until init has reaped it, a killed postmaster is a zombie; kill(2), by which the next one
        # judges these files, reports it as alive, and init may take seconds.
        for lock in (
            place.data / "postmaster.pid",
            place.address.socket.with_name(f"{place.address.socket.name}.lock"),
        ):
            if not _is_postmaster(place, processes.read_pid(lock)):
                lock.unlink(missing_ok=True)
        starting = asyncio.ensure_future(
            commands.run(
                [
                    place.bindir / "pg_ctl",
                    f"--pgdata={place.data}",
                    f"--log={place.start_log}",
                    f"--timeout={deadline:.0f}",
                    f"--options={shlex.join(options)}",
                    "--wait",
                    "start",
                ],
                env=allocator(),
                deadline=deadline + 5,
            )
        )
        try:
            # pg_ctl itself looks ten times a second.
            while not starting.done() and not _is_ready(place):
                await asyncio.wait([starting], timeout=_READY_SECONDS)
        finally:
            starting.cancel()  # the server has a session of its own
            ended = await asyncio.gather(starting, return_exceptions=True)
        if isinstance(ended[0], Exception):
            raise ended[0]
        await self.limit(place, limits)

    def can_limit(self, home: Path) -> bool:
        groups = cgroups.find(home)
        return groups is not None and groups.has_limits

    async def limit(self, place: Place, limits: Limits) -> bool:
        pid = self.pid(place)
        groups = None if place.home is None else cgroups.find(place.home)
        if pid is None or groups is None or not groups.has_limits or limits == UNLIMITED:
            return False
        group = _group(place)
        try:
            groups.ensure(group, limits=True)
            groups.limit(
                group, cpus=limits.cpus, memory_bytes=limits.memory_bytes, pids=limits.pids
            )
            groups.add(group, [pid])  # what it forks from now on is in it, too
            groups.add(group, processes.children(pid))
        except MachineError as error:
            log.warning("limits.not_in_force", cluster=place.name, error=str(error))
            return False
        return True

    async def usage(self, place: Place) -> Usage | None:
        pid = self.pid(place)
        return None if pid is None else usage_of(pid)

    async def stop(self, place: Place) -> None:
        await commands.run(
            [
                place.bindir / "pg_ctl",
                f"--pgdata={place.data}",
                "--mode=fast",
                f"--timeout={STOP_SECONDS}",
                "--wait",
                "stop",
            ],
            deadline=STOP_SECONDS + 5,
        )

    async def end_orphans(self, place: Place) -> None:
        await end_processes(place)
        if place.home is not None and (groups := cgroups.find(place.home)) is not None:
            groups.remove(_group(place))


PROCESS = ProcessDriver.name


async def end_processes(place: Place) -> None:
    """Kill the processes that work in the cluster's folders."""
    # After kill -9 of a postmaster its backends still hold the shared memory for a moment, and
    # a new postmaster refuses to start beside them; and the initdb, pg_ctl or pgbackrest of a
    # killed process continues without it.
    for pid in _processes_of(place.data, place.unfinished):
        await processes.stop(pid, signal_number=signal.SIGQUIT, deadline=5)


def _is_ready(place: Place) -> bool:
    """Whether a server has written into its file that it accepts connections (miscadmin.h)."""
    with contextlib.suppress(OSError):
        lines = (place.data / "postmaster.pid").read_text().splitlines()
        return [each.strip() for each in lines[_STATUS_LINE:]] in (["ready"], ["standby"])
    return False


def _group(place: Place) -> str:
    return f"instances/{place.name}"


def _is_postmaster(place: Place, pid: int | None) -> bool:
    return processes.started_by(pid, "postgres", place.data)


def usage_of(postmaster: int) -> Usage | None:
    """Return what a postmaster and its children take; None if it is gone."""
    children = processes.children(postmaster)
    if (own := processes.use(postmaster)) is None:
        return None
    uses = [own, *(use for pid in children if (use := processes.use(pid)) is not None)]
    return Usage(
        cpu_seconds=own.of_ended_seconds + sum(use.cpu_seconds for use in uses),
        memory_bytes=sum(map(processes.share_of_memory, (postmaster, *children))),
        started_at=processes.started_at(own),
    )


def allocator() -> dict[str, str]:
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
