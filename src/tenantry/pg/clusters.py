"""A cluster: its folder and files, and the verbs that its driver carries out."""

import os
import shutil
import signal
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenantry.base.errors import MachineError
from tenantry.base.events import ClusterStarted, emit
from tenantry.host import commands, files, log_files
from tenantry.pg import server_log
from tenantry.pg.docker_driver import DockerDriver
from tenantry.pg.drivers import (
    START_SECONDS,
    UNLIMITED,
    Driver,
    Limits,
    Place,
    ProcessDriver,
)

Kind = Literal["control", "shared", "dedicated"]

DRIVERS: Mapping[str, Driver] = {each.name: each for each in (ProcessDriver(), DockerDriver())}
_SYSTEM_ID = struct.Struct("=Q")  # the first member of ControlFileData (pg_control.h)


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """The rendered files of a cluster; ``rules`` are None where somebody else maintains them."""

    parameters: str
    identities: str
    rules: str | None


@dataclass(frozen=True, slots=True)
class Cluster(Place):
    """One PostgreSQL server, run by its driver within its limits. Its methods are idempotent.

    ``parameters`` are those that its owner has set, by name. Without ``has_port`` it listens at its
    Unix socket only.
    """

    driver: Driver
    limits: Limits = UNLIMITED
    parameters: tuple[tuple[str, str], ...] = ()
    kind: Kind = "shared"
    has_port: bool = True

    @property
    def held(self) -> Path:
        """Return the file that marks a cluster being replaced, which must not start."""
        return self.folder / "held"

    def pid(self) -> int | None:
        """Return the postmaster's pid, None if it does not run."""
        return self.driver.pid(self)

    def is_without_port(self) -> bool:
        """Whether a running server listens on no network port, as its file shows (miscadmin.h)."""
        lines = self._lines()
        # LOCK_FILE_LINE_LISTEN_ADDR is final once LOCK_FILE_LINE_PM_STATUS is there.
        return any(lines[7:8]) and not lines[5] and self.pid() is not None

    def accepts_connections(self) -> bool:
        """Whether the server runs and accepts connections, as its file shows (miscadmin.h)."""
        status = "".join(self._lines()[7:8]).strip()  # LOCK_FILE_LINE_PM_STATUS
        return status in {"ready", "standby"} and self.pid() is not None

    def _lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

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
        found = files.entries(self.folder)
        if others := [each.name for each in found if each != self.unfinished]:
            raise MachineError(
                f"{self.data} is gone, and beside it there is {', '.join(sorted(others))}.",
                hint="An empty cluster in its place would hide what is lost: put it back.",
            )
        await self._clear_unfinished()
        await self.driver.initialise(self)
        files.write_atomically(self.unfinished / "pg_hba.conf", rules)
        self.unfinished.rename(self.data)
        return True

    async def _clear_unfinished(self) -> None:
        await self.driver.end_orphans(self)
        if self.unfinished.exists():
            shutil.rmtree(self.unfinished)

    async def ensure_filled(self, fill: Callable[[Path], Awaitable[None]]) -> bool:
        """Create the data folder by ``fill`` if missing; an interrupted one is created again."""
        if self.data.exists():
            return False
        files.ensure_folder(self.folder)
        await self._clear_unfinished()
        await fill(self.unfinished)
        self.unfinished.rename(self.data)
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
        self,
        *,
        options: Sequence[str] = (),
        deadline: float = START_SECONDS,
        was_stopped: bool = False,
    ) -> bool:
        """Start the server unless it runs, and wait until it accepts connections.

        Returns whether it was started. ``options`` are the postmaster's own, for this start only.
        Of a server that ``was_stopped``, not killed, nothing can be left that works in its folder.
        Raises MachineError with the log's last lines if it is not ready within ``deadline``
        seconds.
        """
        if self.pid() is not None:
            return False
        files.ensure_folder(self.address.socket_dir)
        if not was_stopped:
            await self.driver.end_orphans(self)
        try:
            await self.driver.start(self, options=options, deadline=deadline, limits=self.limits)
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
        await self.driver.stop(self)

    async def remove(self) -> None:
        """Kill the server and all processes that work in its folder, and delete all its files."""
        await self.driver.end_orphans(self)
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
