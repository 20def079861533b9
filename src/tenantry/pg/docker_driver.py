"""The ``docker`` driver: each server is the first process of a container of its own.

The engine creates and removes containers, and changes their limits. All else is done without it,
so that a server is seen, reloaded and stopped while the engine is down: outside and inside, its
processes are the platform's user's, and its folders have the same paths.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tenantry.host import containers, files, processes
from tenantry.host.commands import CommandFailed
from tenantry.host.containers import Engine, EngineUnavailable
from tenantry.pg.drivers import (
    INITDB,
    START_SECONDS,
    STOP_SECONDS,
    UNLIMITED,
    Limits,
    Place,
    Usage,
    allocator,
    end_processes,
    usage_of,
)
from tenantry.pg.postgres_image import PostgresImages

_NETWORK = "tenantry"
_LOOK_SECONDS = 0.1
_PERIOD = 100_000  # microseconds, the kernel's usual one
_SHARED_BYTES = 1 << 30  # of shared memory in files, without a limit of memory
_STATUS_LINE = 7  # of postmaster.pid (pidfile.h), counted from 0
# What PostgreSQL reports before its logging collector runs is in the start log, as with pg_ctl.
_INTO_LOG = ("/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1')


class DockerDriver:
    """Postmasters in containers."""

    name = "docker"

    def __init__(self) -> None:
        self._images = PostgresImages()
        self._known: dict[Path, int] = {}  # postmasters by their data folders

    def pid(self, place: Place) -> int | None:
        # postmaster.pid has the pid inside, and is there as long as the server runs.
        known = self._known.get(place.data)
        if known is not None and _is_postmaster(place, known):
            return known
        if not (place.data / "postmaster.pid").exists():
            return None
        found = next(_postmasters(place), None)
        if found is not None:
            self._known[place.data] = found
        return found

    async def initialise(self, place: Place) -> None:
        command = [f"{place.bindir}/initdb", f"--pgdata={place.unfinished}", *INITDB]
        async with containers.engine() as engine:
            config = await self._config(engine, place, command, UNLIMITED)
            await engine.run(place.container_name, place.folder, config)
            async with _within(START_SECONDS, "initdb"):
                status = await engine.wait(place.container_name, place.folder)
            await engine.remove(place.container_name, place.folder)
        if status != 0:
            said = files.last_words(place.start_log)
            raise CommandFailed(f"initdb ended with {status}: {said}")

    async def start(
        self, place: Place, *, options: Sequence[str], deadline: float, limits: Limits
    ) -> None:
        command = [f"{place.bindir}/postgres", "-D", str(place.data), *options]
        async with containers.engine() as engine:
            config = await self._config(engine, place, command, limits)
            await engine.ensure_network(_NETWORK)
            # What it says is of the server that is about to start.
            (place.data / "postmaster.pid").unlink(missing_ok=True)
            await engine.run(
                place.container_name, place.folder, _published(config, place.address.port)
            )
            async with _within(deadline, "postgres"):
                while not _accepts_connections(place):
                    if (end := await engine.ended(place.container_name, place.folder)) is not None:
                        raise CommandFailed(f"postgres ended with {end.code}. {end.reason}".strip())
                    await asyncio.sleep(_LOOK_SECONDS)

    def can_limit(self, home: Path) -> bool:  # noqa: ARG002 (each container has its own)
        return True

    async def limit(self, place: Place, limits: Limits) -> bool:
        async with containers.engine() as engine:
            await engine.update(place.container_name, place.folder, _resources(limits))
        return True

    async def usage(self, place: Place) -> Usage | None:
        pid = self.pid(place)
        return None if pid is None else usage_of(pid)

    async def stop(self, place: Place) -> None:
        if (pid := self.pid(place)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
            async with _within(STOP_SECONDS, "postgres"):
                await processes.wait_gone(pid)
        with contextlib.suppress(EngineUnavailable):  # the next start replaces the container
            async with containers.engine() as engine:
                await engine.remove(place.container_name, place.folder)

    async def end_orphans(self, place: Place) -> None:
        await end_processes(place)
        async with containers.engine() as engine:
            await engine.remove(place.container_name, place.folder)

    async def _config(
        self, engine: Engine, place: Place, command: Sequence[str], limits: Limits
    ) -> dict[str, Any]:
        """Return the engine's configuration of a container without a network.

        Raises EngineUnavailable if the engine's containers cannot be used.
        """
        await engine.check()
        image = await self._images.ensure(engine, place.image, place.bindir, place.archiver)
        variables = {} if place.image else allocator()
        return {
            "Image": image,
            "User": f"{os.geteuid()}:{os.getegid()}",
            "Entrypoint": [*_INTO_LOG, str(place.start_log)],
            "Cmd": [*command],
            "Env": [f"{name}={value}" for name, value in variables.items()],
            "HostConfig": {
                **_resources(limits),
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "ReadonlyRootfs": True,
                "NetworkMode": "none",
                "RestartPolicy": {"Name": "no"},  # the supervisor starts it again
                "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],  # no quota counts core dumps
                "LogConfig": {"Type": "none"},
                "ShmSize": limits.memory_bytes or _SHARED_BYTES,
                "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=64m"},  # noqa: S108 (its own)
                "Mounts": [_mount(folder) for folder in _folders(place)],
            },
        }


def _published(config: dict[str, Any], port: int) -> dict[str, Any]:
    """Return the configuration with a network of which this port can be reached, by IPv4.

    Docker forwards IPv6 by a program of its own, and PostgreSQL would take its address for that of
    all these clients.
    """
    name = f"{port}/tcp"
    host = config["HostConfig"] | {
        "NetworkMode": _NETWORK,
        "PortBindings": {name: [{"HostIp": "0.0.0.0", "HostPort": str(port)}]},  # noqa: S104
    }
    return config | {"ExposedPorts": {name: {}}, "HostConfig": host}


def _resources(limits: Limits) -> dict[str, int]:
    """Return the engine's options. Those of memory and processes are left as they are if None."""
    quota = -1 if limits.cpus is None else round(limits.cpus * _PERIOD)  # -1: no limit any more
    found = {"CpuPeriod": _PERIOD, "CpuQuota": quota}
    if limits.memory_bytes is not None:
        # MemorySwap is of both together: no swap.
        found |= {"Memory": limits.memory_bytes, "MemorySwap": limits.memory_bytes}
    if limits.pids is not None:
        found["PidsLimit"] = limits.pids
    return found


def _folders(place: Place) -> Iterator[Path]:
    """Yield the folders that the server uses, created if needed: the engine would, as root."""
    for folder in (place.folder, place.address.socket_dir, place.log_dir, *place.shared):
        if not folder.exists():
            files.ensure_folder(folder)
        yield folder


def _mount(folder: Path) -> dict[str, str]:
    return {"Type": "bind", "Source": str(folder), "Target": str(folder)}


def _postmasters(place: Place) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_postmaster(place, int(entry.name)):
            yield int(entry.name)


def _is_postmaster(place: Place, pid: int) -> bool:
    # A child has the same arguments until it has given itself a title.
    return processes.started_by(pid, "postgres", place.data) and processes.is_first_inside(pid)


def _accepts_connections(place: Place) -> bool:
    try:
        lines = (place.data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return lines[_STATUS_LINE:] != [] and lines[_STATUS_LINE].strip() in {"ready", "standby"}


@asynccontextmanager
async def _within(seconds: float, program: str) -> AsyncIterator[None]:
    """Raise CommandFailed if the block takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise CommandFailed(f"{program} was not done within {seconds:.0f} seconds.") from error
