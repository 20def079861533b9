"""The ``process`` driver: a cluster as a data folder and a postmaster on this machine.

The postmaster is not a child of the control plane: it goes on serving when the control plane stops
or dies. Every method is idempotent, and finds out the actual state by itself.
"""

import contextlib
import os
import shlex
import shutil
import signal
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.errors import MachineError
from tenantry.base.events import ClusterStarted, emit
from tenantry.host import commands, files, log_files, packages, processes
from tenantry.pg import server_log
from tenantry.pg.connections import ADMIN, Address

_START_SECONDS = 120  # crash recovery included
_STOP_SECONDS = 60
_SYSTEM_ID = struct.Struct("=Q")  # the first member of ControlFileData (pg_control.h)
_JEMALLOC = "narenas:1,thp:always,dirty_decay_ms:60000"


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """The rendered files of a cluster; ``rules`` are None where somebody else maintains them."""

    parameters: str
    identities: str
    rules: str | None


@dataclass(frozen=True, slots=True)
class ProcessCluster:
    """One PostgreSQL server run by pg_ctl."""

    name: str
    folder: Path
    address: Address
    bindir: Path
    log_dir: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def held(self) -> Path:
        """Return the file that marks a cluster being replaced, which must not start."""
        return self.folder / "held"

    @property
    def _unfinished(self) -> Path:
        return self.folder / "data.new"

    def pid(self) -> int | None:
        """Return the postmaster's pid, None if it does not run."""
        pid = processes.read_pid(self.data / "postmaster.pid")
        return pid if self._is_postmaster(pid) else None

    def _is_postmaster(self, pid: int | None) -> bool:
        return processes.started_by(pid, "postgres", self.data)

    def system_id(self) -> int | None:
        """Return the system identifier of a running cluster, from its control file; else None."""
        if self.pid() is None:
            return None  # its files may be damaged
        with (self.data / "global" / "pg_control").open("rb") as file:
            (found,) = _SYSTEM_ID.unpack(file.read(_SYSTEM_ID.size))
        return int(found)

    async def ensure_initialised(self, rules: str) -> bool:
        """Create the data folder, with these rules, if missing. A crash leaves no partial one."""
        if self.data.exists():
            return False
        files.ensure_folder(self.folder)
        unfinished = self._unfinished
        if others := [each.name for each in files.entries(self.folder) if each != unfinished]:
            raise MachineError(
                f"{self.data} is gone, and beside it there is {', '.join(sorted(others))}.",
                hint="An empty cluster in its place would hide what is lost: put it back.",
            )
        await self._end_orphans()
        if unfinished.exists():
            shutil.rmtree(unfinished)
        await commands.run(
            [
                self.bindir / "initdb",
                f"--pgdata={unfinished}",
                f"--username={ADMIN}",
                "--auth=peer",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--data-checksums",
            ],
            deadline=_START_SECONDS,
        )
        files.write_atomically(unfinished / "pg_hba.conf", rules)
        unfinished.rename(self.data)
        return True

    async def ensure_filled(self, fill: Callable[[Path], Awaitable[None]]) -> bool:
        """Create the data folder by ``fill`` if missing; an interrupted one is created again."""
        if self.data.exists():
            return False
        files.ensure_folder(self.folder)
        await self._end_orphans()
        if self._unfinished.exists():
            shutil.rmtree(self._unfinished)
        await fill(self._unfinished)
        self._unfinished.rename(self.data)
        return True

    def ensure_files(self, wanted: ClusterFiles) -> bool:
        """Write exactly these files. Returns whether a running server must reload them."""
        changed = [
            files.ensure_file(self.data / "postgresql.conf", wanted.parameters),
            files.ensure_file(self.data / "pg_ident.conf", wanted.identities),
        ]
        if wanted.rules is not None:
            changed.append(files.ensure_file(self.data / "pg_hba.conf", wanted.rules))
        return any(changed)

    def reload(self) -> None:
        """Make the server read its files again (SIGHUP)."""
        if (pid := self.pid()) is not None:
            os.kill(pid, signal.SIGHUP)

    async def ensure_running(
        self, *, options: Sequence[str] = (), deadline: float = _START_SECONDS
    ) -> bool:
        """Start the server unless it runs, and wait until it accepts connections.

        Returns whether it was started. ``options`` are the postmaster's own, for this start only.
        Raises MachineError with the log's last lines if it is not ready within ``deadline``
        seconds.
        """
        if self.pid() is not None:
            return False
        files.ensure_folder(self.address.socket_dir)
        await self._end_orphans()
        # Until init has reaped it, a killed postmaster is a zombie; kill(2), by which the next one
        # judges these files, reports it as alive, and init may take seconds.
        for lock in (
            self.data / "postmaster.pid",
            self.address.socket_dir / f".s.PGSQL.{self.address.port}.lock",
        ):
            if not self._is_postmaster(processes.read_pid(lock)):
                lock.unlink(missing_ok=True)
        try:
            await commands.run(
                [
                    self.bindir / "pg_ctl",
                    f"--pgdata={self.data}",
                    f"--log={self.start_log}",
                    f"--timeout={deadline:.0f}",
                    f"--options={shlex.join(options)}",
                    "--wait",
                    "start",
                ],
                env=_allocator(),
                deadline=deadline + 5,
            )
        except commands.CommandFailed as error:
            raise MachineError(
                f"The cluster {self.name} did not start.\n{self.last_words()}",
                hint=f"Its logs are in {self.log_dir}.",
            ) from error
        emit(ClusterStarted(self.name))
        return True

    async def stop(self) -> None:
        """End all sessions and stop; nothing committed is lost ("fast" shutdown)."""
        if self.pid() is None:
            return
        await commands.run(
            [
                self.bindir / "pg_ctl",
                f"--pgdata={self.data}",
                "--mode=fast",
                f"--timeout={_STOP_SECONDS}",
                "--wait",
                "stop",
            ],
            deadline=_STOP_SECONDS + 5,
        )

    async def remove(self) -> None:
        """Kill the server and all processes that work in its folder, and delete all its files."""
        await self._end_orphans()
        for folder in (self.folder, self.address.socket_dir):
            await files.remove_folder(folder)

    def last_words(self) -> str:
        """Return the end of the server's newest log; "" if there is none."""
        log = self.newest_log(start=True)
        return server_log.readable(files.last_words(log)) if log else ""

    def logs(self) -> list[Path]:
        """Return the files that the server's logging collector has written.

        Where it writes JSON, the output of programs that the server runs is in separate files
        (.log).
        """
        found = [path for path in self.log_dir.glob(f"{self.name}-*.log") if path != self.start_log]
        return [*found, *self._entries()]

    def _entries(self) -> list[Path]:
        return [*self.log_dir.glob(f"{self.name}-*.json")]

    @property
    def start_log(self) -> Path:
        """Return the log of what the server reports before its logging collector runs."""
        return self.log_dir / f"{self.name}-start.log"

    def newest_log(self, *, start: bool = False) -> Path | None:
        """Return the newest file of entries; with ``start``, the start log also counts."""
        paths = self._entries() or self.logs()
        found = log_files.by_age([*paths, *([self.start_log] if start else [])])
        return found[-1] if found else None

    def entries_from(self, name: str) -> list[Path]:
        """Return this file of entries and those begun after it; all, if it is gone."""
        found = log_files.by_age(self._entries())
        names = [path.name for path in found]
        return found[names.index(name) :] if name in names else found

    async def _end_orphans(self) -> None:
        # After kill -9 of a postmaster its backends still hold the shared memory for a moment, and
        # a new postmaster refuses to start beside them; and the initdb, pg_ctl or pgbackrest of a
        # killed process continues without it.
        for pid in _processes_of(self.data, self._unfinished):
            await processes.stop(pid, signal_number=signal.SIGQUIT, deadline=5)


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
    arguments = {f"{option}{folder}" for folder in folders for option in options}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                pid = int(entry.name)
                if (entry / "cwd").readlink() in folders or arguments & {
                    *processes.command_line(pid)
                }:
                    yield pid
