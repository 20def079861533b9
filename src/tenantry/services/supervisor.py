"""Supervision of the platform's processes: restart those that die, and stop them in order.

The clusters, the pooler, the edge and the sites of the AI cache are daemons that are watched by
pidfd; the API, the worker, and what runs only while it is wanted (the data API, ``rest``,
``rest-2``…, the AI cache, ``cache``, its ``embedder``, and the ``listener`` of stopped instances)
are children. A child's standard input is its lifeline: when the supervisor ends, however it does,
the child reads the end of it and stops. What serves tenants keeps running.
"""

import asyncio
import contextlib
import fcntl
import math
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
import structlog

from tenantry.base.errors import Deferred, MachineError, TenantryError
from tenantry.base.events import (
    ProcessDied,
    ProcessRestarted,
    ProcessStarted,
    ProcessStopped,
    StartFailed,
    emit,
    subscribe,
)
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host import files, log_files, processes, versions
from tenantry.host.engines import find_pgbouncer
from tenantry.host.reserve import Reserve
from tenantry.pg.clusters import Cluster
from tenantry.services import optional_parts
from tenantry.services.alerts.parts import PartsWatch
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.local_parts import LocalParts
from tenantry.services.optional_parts import Part
from tenantry.services.sites import process as sites
from tenantry.services.sites.process import SiteProcess

log = structlog.get_logger()

_ASKED_TO_END = (0, -signal.SIGTERM)
_CHILD_SECONDS = 20  # a running request or job may finish
_WORK_SECONDS = 10  # the work of an operation is repeated anyway
_SLOWEST_RESTART = 30.0
_REPEATED_SECONDS = 300.0
_WELL_SECONDS = 10.0  # a process that ran for so long counts as healthy
_LOGS_SECONDS = 1.0
_FLEET_SECONDS = 1.0
_WANTED_SECONDS = 0.5


@dataclass(slots=True)
class Watch:
    """A daemon that must run while it is wanted: how to find its pid and how to start it."""

    name: str
    pid: Callable[[], int | None]
    ensure: Callable[[], Awaitable[object]]
    is_wanted: Callable[[], bool] = lambda: True


@dataclass(slots=True)
class _Backoff:
    """The delay before the next start: none at first, then increasing up to 30 seconds."""

    delay: float = 0.0
    started: float = field(default_factory=time.monotonic)

    async def wait(self, stopping: asyncio.Event) -> None:
        lived = time.monotonic() - self.started
        self.delay = 0.0 if lived > _WELL_SECONDS else min(_SLOWEST_RESTART, self.delay * 2 + 0.1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), self.delay)
        self.started = time.monotonic()


@dataclass(slots=True)
class _Failures:
    """The failed starts of a process: one that repeats itself is reported every five minutes."""

    last: str = ""
    at: float = -math.inf

    def is_news(self, text: str) -> bool:
        # What servers write has the time and the process in it.
        text, now = re.sub(r"[0-9]+", "0", text), time.monotonic()
        if text == self.last and now - self.at < _REPEATED_SECONDS:
            return False
        self.last, self.at = text, now
        return True


class Supervisor:
    """The supervisor of a home; there is one per home, which holds the lock on its pid file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._fleet = Fleet(settings)
        self._pooler = LocalParts(settings).pooler
        self._edge = LocalParts(settings).edge
        self._stopping = asyncio.Event()
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._parts = PartsWatch(settings)

    async def run(self) -> None:
        """Watch everything until SIGTERM or SIGINT, then stop everything in order.

        SIGHUP restarts its children, and nothing else.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._restart_children)
        self._note_code("supervisor")
        subscribe(self._parts.observe)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_clusters(tasks))
            pooler = Watch("pooler", self._pooler.pid, self._ensure_pooler)
            tasks.create_task(self._keep_daemon(pooler))
            if self._settings.edge:
                edge = Watch("edge", self._edge.pid, self._edge.ensure_running)
                tasks.create_task(self._keep_daemon(edge))
            for name in ("api", "worker"):
                tasks.create_task(self._keep_child(name))
            for part in optional_parts.PARTS:
                for child in part.every(self._settings):
                    is_wanted = partial(self._is_needed, part, child)
                    tasks.create_task(self._keep_while_wanted(child, is_wanted))
            tasks.create_task(self._keep_sites(tasks))
            tasks.create_task(self._keep_logs_small())
            tasks.create_task(self._parts.keep(self._stopping))
        await stop_daemons(self._settings)

    async def _keep_clusters(self, tasks: asyncio.TaskGroup) -> None:
        """Watch every cluster while it is to run, also those that are added or started later."""
        watched: dict[str, asyncio.Task[None]] = {}
        while not self._stopping.is_set():
            try:
                found = self._fleet.wanted
            except MachineError as error:
                emit(StartFailed("clusters", str(error)))
                found = []
            for cluster in found:
                if cluster.name not in watched or watched[cluster.name].done():
                    watch = Watch(
                        cluster.name,
                        cluster.pid,
                        partial(self._ensure_cluster, cluster),
                        partial(self._is_wanted, cluster.name),
                    )
                    watched[cluster.name] = tasks.create_task(self._keep_daemon(watch))
            await self._pause(_FLEET_SECONDS)

    async def _ensure_cluster(self, cluster: Cluster) -> None:
        if Reserve(self._home.reserve).make_room():
            log.warning("disk.reserve_used", cluster=cluster.name)
        await self._fleet.ensure_wanted(cluster)

    def _is_wanted(self, name: str) -> bool:
        try:
            return any(each.name == name for each in self._fleet.wanted)
        except MachineError:  # its file is damaged: nothing was stopped
            return True

    async def _keep_sites(self, tasks: asyncio.TaskGroup) -> None:
        """Watch the process of every site, also of those that are created later."""
        watched: set[SiteProcess] = set()

        async def keep(site: SiteProcess) -> None:
            watch = Watch(f"site-{site.port()}", site.pid, site.ensure_running, site.is_wanted)
            await self._keep_daemon(watch)
            watched.discard(site)

        while not self._stopping.is_set():
            for site in sites.every(self._home):
                if site not in watched and site.is_wanted():
                    watched.add(site)
                    tasks.create_task(keep(site))
            await self._pause(_WANTED_SECONDS)

    def _is_needed(self, part: Part, name: str) -> bool:
        return name in part.wanted(self._settings)

    async def _ensure_pooler(self) -> None:
        # A better one than at the start of this process may be installed by now.
        engine = await find_pgbouncer(self._settings.engines_dir)
        await self._pooler.ensure_running(engine.path)

    async def _keep_daemon(self, watch: Watch) -> None:
        """Start a daemon whenever it does not run, until it is not wanted any more."""
        await self._keep_running(watch)
        if not self._stopping.is_set():
            emit(ProcessStopped(watch.name))

    async def _keep_running(self, watch: Watch) -> None:
        backoff, failures = _Backoff(), _Failures()
        while not self._stopping.is_set() and watch.is_wanted():
            if (pid := watch.pid()) is not None:
                await self._first(processes.wait_gone(pid), self._stopping.wait())
                if self._stopping.is_set() or not watch.is_wanted():
                    return
                emit(ProcessDied(watch.name))
            await backoff.wait(self._stopping)
            if self._stopping.is_set() or not watch.is_wanted():
                return
            try:
                await watch.ensure()
                emit(ProcessStarted(watch.name))
                failures = _Failures()
            except (TenantryError, psycopg.Error, OSError) as error:
                if failures.is_news(str(error)):
                    emit(StartFailed(watch.name, str(error)))

    async def _keep_while_wanted(self, name: str, wanted: Callable[[], bool]) -> None:
        """Run a child whenever, and as long as, it is wanted."""
        while not self._stopping.is_set():
            if wanted():
                await self._keep_child(name, wanted)
                if not self._stopping.is_set():
                    emit(ProcessStopped(name))
            await self._pause(_WANTED_SECONDS)

    async def _keep_child(self, name: str, wanted: Callable[[], bool] | None = None) -> None:
        """Run a child until the supervisor stops, or it is not wanted any more (None: always).

        Its name is its argument too: files of its own have it.
        """
        backoff, died = _Backoff(), False
        while not self._stopping.is_set() and (wanted is None or wanted()):
            # The parent's end of the pipe stays open for as long as this process lives.
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tenantry",
                name,
                stdin=asyncio.subprocess.PIPE,
                env={
                    **os.environ,
                    "TENANTRY_HOME": str(self._settings.home),
                    processes.OF_HOME: str(self._settings.home),
                },
            )
            self._children[name] = child
            self._note_code(name)
            files.write_atomically(self._home.run / f"{name}.pid", f"{child.pid}\n", mode=0o644)
            if died:
                emit(ProcessStarted(name))
            ends: list[Awaitable[object]] = [child.wait(), self._stopping.wait()]
            if wanted is not None:
                ends.append(self._until_not(wanted))
            await self._first(*ends)
            if self._stopping.is_set() or not (wanted is None or wanted()):
                await self._end_child(child)
                return
            died = child.returncode not in _ASKED_TO_END
            if not died:
                emit(ProcessRestarted(name, "asked to"))
            else:
                emit(ProcessDied(name, child.returncode))
            await backoff.wait(self._stopping)

    async def _until_not(self, wanted: Callable[[], bool]) -> None:
        while wanted() and not self._stopping.is_set():
            await self._pause(_WANTED_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until the supervisor stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _keep_logs_small(self) -> None:
        """Limit the logs here, so that a worker or an API that only fails cannot fill the disk."""
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(bound_logs, self._home, self._fleet)
            except OSError as error:
                log.warning("logs.not_bounded", error=str(error))
            await self._pause(_LOGS_SECONDS)

    def _note_code(self, name: str) -> None:
        files.write_atomically(self._home.run / f"{name}.code", versions.code() + "\n", mode=0o644)

    @staticmethod
    async def _first(*waits: Awaitable[object]) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    async def _end_child(child: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), _CHILD_SECONDS)
        except TimeoutError:
            child.kill()
            await child.wait()

    def _restart_children(self) -> None:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.terminate()


def bound_logs(home: Home, fleet: Fleet) -> None:
    """Delete or truncate the oversized logs of every part, side clusters' included."""
    for cluster in fleet.every:
        log_files.delete_oldest(cluster.logs(), log_files.MOST_OF_A_SERVER)
    for path in (
        home.logs / "tenantry.log",
        home.logs / "pooler.log",
        home.logs / "edge.log",
        *home.logs.glob("site-*.log"),
    ):
        log_files.cut(path, log_files.MOST_OF_A_FILE)
    for path in (
        *home.logs.rglob("*-start.log"),
        *home.scratch.glob("*/cluster/*-start.log"),
    ):
        log_files.cut(path, log_files.MOST_OF_A_START)


async def stop_daemons(settings: Settings) -> None:
    """Stop the processes of operations, the edge, the sites, the pooler, then the clusters.

    Nothing of this home runs afterwards, except the caller. Parts that do not run are skipped.
    """
    await end_leftovers(settings)
    await LocalParts(settings).edge.stop()
    await asyncio.gather(*(each.stop() for each in sites.every(Home(settings.home))))
    await LocalParts(settings).pooler.stop()
    with Deferred() as failures:
        for cluster in reversed(Fleet(settings).every):
            with failures.deferred():
                await cluster.stop()
    await _end_work(settings)  # pgBackRest archives on, for a moment, after its server has stopped


async def end_leftovers(settings: Settings) -> None:
    """End the processes that a killed supervisor has left, except those that serve tenants.

    These are its children, which may not have noticed yet, the programs that they have run, and the
    temporary clusters of their operations. The operations resume from their last step when
    there is a worker again.
    """
    run = Home(settings.home).run
    for name in ("api", "worker", *optional_parts.every(settings)):
        if (pid := processes.pid_of_part(run / f"{name}.pid")) is not None:
            await processes.stop(pid, deadline=_CHILD_SECONDS)
    if not settings.edge:
        await LocalParts(settings).edge.stop()
    await _end_work(settings)


async def _end_work(settings: Settings) -> None:
    """End the programs and the temporary clusters of operations."""
    while work := _work(settings):
        await asyncio.gather(
            *(
                processes.stop(pid, signal_number=number, deadline=_WORK_SECONDS)
                for pid, number in work.items()
            )
        )


def _work(settings: Settings) -> dict[int, signal.Signals]:
    """Return the processes of operations, each with the signal that ends it quickly."""
    home = Home(settings.home)
    daemons = [each.pid() for each in Fleet(settings).every] + [LocalParts(settings).pooler.pid()]
    spared = {os.getpid(), *(pid for pid in daemons if pid is not None)}
    found = processes.descending_from(settings.home)
    for folder in (home.clusters, home.scratch, home.pgbackrest):
        found |= {pid for pid in processes.started_on(folder) if _is_program(pid)}
    found = {pid for pid in found if processes.is_own(pid) and processes.is_alive(pid)}
    return {
        # At SIGTERM a postmaster waits until its clients leave (manual, section 19.5).
        pid: signal.SIGINT if _is_program(pid, "postgres") else signal.SIGTERM
        for pid in found
        # A server's children end with it.
        if not processes.has_ancestor(pid, spared | (found - {pid}))
    }


def _is_program(pid: int, *names: str) -> bool:
    """Whether a process is one of these programs; by default PostgreSQL's server or pgBackRest."""
    words = processes.command_line(pid)
    return bool(words) and Path(words[0]).name in (names or ("postgres", "pgbackrest"))


def running_pid(settings: Settings) -> int | None:
    """Return the pid of this home's supervisor, if one runs: it holds the lock on its pid file."""
    try:
        with Home(settings.home).supervisor_pid.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0) or None
    except (FileNotFoundError, ValueError):
        pass
    return None


def running(settings: Settings) -> list[str]:
    """Return the names of what runs of this home: its supervisor, clusters, pooler, edge, sites."""
    pids = {cluster.name: cluster.pid() for cluster in Fleet(settings).every}
    local = LocalParts(settings)
    pids |= {"supervisor": running_pid(settings), "pooler": local.pooler.pid()}
    pids["edge"] = local.edge.pid()
    pids |= {f"site-{each.port()}": each.pid() for each in sites.every(Home(settings.home))}
    return [name for name, pid in pids.items() if pid is not None]


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Be this home's only supervisor for the duration of the block.

    Raises MachineError if another one runs.
    """
    path = Home(settings.home).supervisor_pid
    files.ensure_folder(path.parent)
    # Never replaced, only written: the lock belongs to the file itself.
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MachineError(
                f"Tenantry already runs in {settings.home}.", hint="See ./tenantry status."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)
