"""The Redis processes of sites, as the supervisor and the files in the home see them.

A process has to run as long as its folder has a configuration. The supervisor, which does not use
the control database, starts those; the platform writes and deletes the files. Sites with the
isolation ``shared`` have one process together, in a folder of that name.
"""

import asyncio
import contextlib
import re
import resource
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.ids import parse_id
from tenantry.base.secrets import Secret
from tenantry.control.sites import SiteRow
from tenantry.host import commands, files, processes
from tenantry.host.reachability import listening
from tenantry.host.redis_engines import RedisEngine, RedisVersion, find_redis
from tenantry.services.sites import plan
from tenantry.services.sites.model import (
    SHARED,
    Site,
    digest,
    platform_password,
    process_name,
    socket_of,
)
from tenantry.services.sites.plan import Place

_START_SECONDS, _POLL_SECONDS = 10.0, 0.02
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class SiteProcess:
    """The process of a site, whose ``name`` is its id; or that of all shared ones.

    ``port`` is None before the configuration was ever written.
    """

    home: Home
    name: str

    @classmethod
    def of(cls, home: Home, row: "SiteRow | Site") -> Self:
        """Return the process of a site."""
        return cls(home, process_name(row.id, row.isolation))

    @property
    def folder(self) -> Path:
        return self.home.sites / self.name

    @property
    def config(self) -> Path:
        return self.folder / "redis.conf"

    @property
    def dump(self) -> Path:
        """Where Redis writes a copy of its data for a backup (BGSAVE)."""
        return self.folder / "dump.rdb"

    @property
    def log_file(self) -> Path:
        return self.home.logs / f"site-{self.name}.log"

    def port(self) -> int | None:
        """Return its TLS port; None if it has no configuration."""
        return self._number("tls-port")

    def _number(self, name: str) -> int | None:
        """Return a parameter of its configuration; None if it has none."""
        try:
            found = re.search(rf"^{name} (\d+)$", self.config.read_text(), re.MULTILINE)
        except FileNotFoundError:
            return None
        return int(found[1]) if found else None

    def is_wanted(self) -> bool:
        """Whether it has to run."""
        return self.config.exists()

    def pid(self) -> int | None:
        """Return its pid, if it runs."""
        pid = processes.read_pid(self.folder / "redis.pid")
        return pid if processes.started_by(pid, "-server", self.folder) else None

    async def ensure_running(self) -> bool:
        """Start it, if it is down and has to run. Return whether it was started.

        Raises MachineError with the last lines of its log.
        """
        port = self.port()
        if port is None or self.pid() is not None:
            return False
        engine = await find_redis()
        socket = socket_of(self.home, port)
        socket.unlink(missing_ok=True)
        self.dump.unlink(missing_ok=True)  # it would be loaded by one that keeps nothing itself
        try:
            await commands.run([engine.path, self.config], deadline=_START_SECONDS)
            await self.answering()
            self.limit_memory()
        except MachineError as error:
            raise MachineError(
                f"The site on port {port} did not start. {error.detail}\n"
                f"{files.last_words(self.log_file)}",
                hint=f"Its log is {self.log_file}.",
            ) from error
        return True

    async def answering(self) -> None:
        """Wait until it answers: the daemon that the program leaves does not report that.

        Raises MachineError if it takes too long.
        """
        socket = socket_of(self.home, self.port() or 0)
        clock = asyncio.get_running_loop().time
        deadline = clock() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(socket)
                writer.close()
                return
            if clock() > deadline:
                raise MachineError("It does not answer.")
            await asyncio.sleep(_POLL_SECONDS)

    def limit_memory(self) -> None:
        """Limit the memory of the process. One that needs more ends, and is started again."""
        pid, maxmemory = self.pid(), self._number("maxmemory")
        if pid is None or maxmemory is None:
            return
        # It has just ended, or a file of it was just replaced.
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            kept = sum(path.stat().st_size for path in self.folder.rglob("*.aof.*"))
            most = plan.most_process_bytes(
                maxmemory, stored=kept, present=processes.data_bytes(pid)
            )
            _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
            resource.prlimit(pid, resource.RLIMIT_DATA, (most, hard))

    def is_open(self) -> bool:
        """Whether it listens on other addresses than those of this machine only."""
        port = self.port()
        found = [] if port is None else listening(port)
        return any(not ip_address(each).is_loopback for each in found)

    async def stop(self) -> None:
        """Stop it, after it has written what it has to keep."""
        if (pid := self.pid()) is not None:
            await processes.stop(pid, signal_number=signal.SIGTERM, deadline=_STOP_SECONDS)

    def ensure_files(self, rows: Sequence[SiteRow], engine: RedisEngine) -> bool:
        """Write its files, for these sites, if they differ; from then on it has to run.

        Return whether any did.
        """
        socket = socket_of(self.home, rows[0].port)
        place = Place(self.folder, socket, self.home.certificate, self.log_file)
        files.ensure_folder(self.folder)
        # The users first: it must not run without them.
        acl = plan.render_acl(self.users(rows, engine.version), digest(self.password))
        changed = files.ensure_file(place.acl_file, acl)
        return files.ensure_file(place.config, plan.render_config(rows, place)) or changed

    @property
    def password(self) -> Secret:
        """The password of its platform user."""
        return platform_password(self.home.seal_key.read_bytes(), self.name)

    def users(self, rows: Sequence[SiteRow], server: RedisVersion) -> dict[str, list[str]]:
        """Return the rules of its users, but the platform user, by name."""
        seal_key = self.home.seal_key.read_bytes()
        hashes = {row.id: digest(platform_password(seal_key, row.id)) for row in rows}
        return plan.users(rows, server, hashes)

    async def remove(self) -> None:
        """Stop it for good, and delete its folder with its data. It may be gone in part."""
        port = self.port()
        self.config.unlink(missing_ok=True)  # first: the supervisor does not start it again
        await self.stop()
        if port is not None:
            socket_of(self.home, port).unlink(missing_ok=True)
        self.log_file.unlink(missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)


def every(home: Home) -> list[SiteProcess]:
    """Return the processes of all sites with a folder."""
    names = [folder.name for folder in files.entries(home.sites)]
    return [SiteProcess(home, name) for name in names if name == SHARED or parse_id(name)]


def count(home: Home) -> tuple[int, int]:
    """Return how many processes run, and how many have to."""
    found = every(home)
    return sum(each.pid() is not None for each in found), sum(each.is_wanted() for each in found)
