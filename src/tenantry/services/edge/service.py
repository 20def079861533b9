"""Runs the edge, a Traefik, and keeps what it serves as it has to be.

Invariants. A configuration is a whole file, moved into place; it counts only once the edge was seen
to answer by it, with its certificates: until then a file says that it was not, also after a crash.
One that the edge does not take is replaced by the previous one. Only one process changes it at a
time: who has put an allowlist in force knows that no older one replaces it.
"""

import asyncio
import fcntl
import hashlib
import os
import secrets
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from tenantry.base.errors import MachineError, Unavailable
from tenantry.base.events import EdgeConfigured, EdgeStarted, emit
from tenantry.base.home import Home
from tenantry.base.pausing import pause
from tenantry.base.settings import Settings
from tenantry.host import environment, files, processes, tcp
from tenantry.pg.tls import shown_certificate
from tenantry.services.caching import process as caching
from tenantry.services.clusters import sql_routes
from tenantry.services.clusters.fleet_file import FleetFile
from tenantry.services.clusters.sql_routes import SqlRoute
from tenantry.services.data_api import process as data_api
from tenantry.services.edge import plan
from tenantry.services.edge.certificates import EdgeCertificates
from tenantry.services.edge.plan import Backend, EdgeConfig
from tenantry.services.edge.sql_plan import can_be_reached

NAME = "edge"
_START_SECONDS, _CHANGE_SECONDS, _POLL_SECONDS = 30.0, 15.0, 0.05
_ASK_SECONDS, _CHECK_SECONDS, _STOP_SECONDS = 2.0, 2.0, 10.0
_LOOPBACK = "127.0.0.1"
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # by default all of the CA bundle is read


class Edge:
    """The edge of an installation. Its process outlives ours."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._pid_file = self._home.run / f"{NAME}.pid"
        self._owed = self._home.run / f"{NAME}.unread"
        self.certificates = EdgeCertificates(settings)

    @property
    def log_file(self) -> Path:
        return self._home.logs / f"{NAME}.log"

    # ── the process ──────────────────────────────────────────────────────────

    def pid(self) -> int | None:
        """Return its pid, if it runs."""
        pid = processes.read_pid(self._pid_file)
        return pid if processes.started_by(pid, "traefik", self._home.edge) else None

    async def ensure_running(self) -> bool:
        """Write its files, and start it if it is down. Return whether it was started.

        Raises MachineError with the last lines of its log.
        """
        files.ensure_folder(self._home.edge)
        ensure_key(self._home)
        self.certificates.ensure_some()
        async with self._alone():
            is_new = await self._ensure_started()
        if not is_new:
            await self.keep()
        return is_new

    async def _ensure_started(self) -> bool:
        config = self._config()
        with files.until_read(self._home.run / f"{NAME}-start.unread") as unread:
            changed = files.ensure_file(config.static_file, plan.static(config))
            self._adopt()
            if (changed or unread) and self.pid() is not None:
                await self.stop()
            is_new = self.pid() is None
            if is_new:
                files.ensure_file(config.dynamic_file, plan.dynamic(config))
                await self._start(config)
        return is_new

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Let no other process change the configuration for the duration of the block."""
        with (self._home.run / f"{NAME}.lock").open("a") as lock:
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                await asyncio.sleep(_POLL_SECONDS)
            yield

    async def _start(self, config: EdgeConfig) -> None:
        self._forget_ended()
        program = environment.find_traefik()
        if program is None:
            raise MachineError("Traefik is not installed.", hint="Run ./tenantry install-edge.")
        pid = self._spawn(program, config.static_file)
        # For a moment it has no arguments yet, by which it is recognized.
        while processes.is_alive(pid) and processes.command_line(pid) == [""]:
            await pause(_POLL_SECONDS)
        files.write_atomically(self._pid_file, f"{pid}\n", mode=0o644)
        if not await self._in_force(config, _START_SECONDS):
            await self.stop()
            raise MachineError(
                f"The edge did not start.\n{files.last_words(self.log_file)}",
                hint=f"Its log is {self.log_file}.",
            )
        self._owed.unlink(missing_ok=True)
        emit(EdgeStarted("traefik"))

    def _forget_ended(self) -> None:
        """Let the kernel forget the last one, if this process has started it."""
        with suppress(FileNotFoundError, ValueError, ChildProcessError):
            os.waitpid(int(self._pid_file.read_text()), os.WNOHANG)

    def _spawn(self, program: Path, static_file: Path) -> int:
        with self.log_file.open("ab") as log:
            return os.posix_spawn(
                program,
                [str(program), f"--configFile={static_file}"],
                # Only what it needs: TRAEFIK_… variables would configure it.
                {"PATH": os.defpath, "HOME": str(self._home.edge)},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                ],
                setsid=True,
            )

    def _adopt(self) -> None:
        """Note the pid of one whose starter was killed before it could."""
        if self.pid() is None:
            for pid in processes.started_on(self._home.edge):
                if processes.is_own(pid) and processes.started_by(pid, "traefik", "--configFile"):
                    files.write_atomically(self._pid_file, f"{pid}\n", mode=0o644)

    async def stop(self) -> None:
        """Stop it; requests have some seconds to end."""
        self._adopt()
        if (pid := self.pid()) is not None:
            await processes.stop(pid, signal_number=signal.SIGTERM, deadline=_STOP_SECONDS)

    # ── what it serves ───────────────────────────────────────────────────────

    async def keep(self) -> None:
        """Put what it has to serve in force, if that has changed or was not seen to be.

        The worker calls it periodically. Raises MachineError if the edge does not take it.
        """
        if self.pid() is None:
            return  # who starts it writes the files
        async with self._alone():
            await self._keep()

    async def _keep(self) -> None:
        config = self._config()
        wanted, before = plan.dynamic(config), _text(config.dynamic_file)
        if before == wanted and not self._owed.exists():
            return
        with files.until_read(self._owed):
            files.ensure_file(config.dynamic_file, wanted)
            if not await self._in_force(config, _CHANGE_SECONDS):
                if before and before != wanted and _text(config.dynamic_file) == wanted:
                    files.write_atomically(config.dynamic_file, before)
                raise MachineError(
                    "The edge does not serve by its new configuration; the old one is back.\n"
                    f"{files.last_words(self.log_file)}",
                    hint=f"Its log is {self.log_file}.",
                )
        emit(EdgeConfigured("traefik"))

    def connections_to(self, port: int) -> set[int]:
        """Return the local ports of its connections to a port of this machine."""
        pid = self.pid()
        own = set() if pid is None else processes.sockets(pid)
        return {
            each.port for each in tcp.connections() if each.peer[1] == port and each.inode in own
        }

    def clients(self, port: int) -> set[str]:
        """Return the addresses of the clients at one of its ports."""
        return {each.peer[0] for each in tcp.connections() if each.port == port}

    async def check(self) -> None:
        """Raise Unavailable unless it serves by the configuration in place."""
        config = self._config()
        if not await self._in_force(config, _CHECK_SECONDS, shown=False):
            raise Unavailable(f"The edge does not answer: see {self.log_file}.")

    async def _in_force(self, config: EdgeConfig, seconds: float, *, shown: bool = True) -> bool:
        """Whether it serves by the file in place, and its certificates if ``shown``, in some time.

        The file may change meanwhile: the worker and the supervisor write it.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while True:
            answers = await self._answers(config, _text(config.dynamic_file))
            if answers and (not shown or await self._shows_certificates(config)):
                return True
            if self.pid() is None or clock() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)

    async def _answers(self, config: EdgeConfig, dynamic: str) -> bool:
        """Whether the edge answers at the revision of this configuration, at each port."""
        path = f"{plan.REVISIONS}/{plan.revision_of(dynamic)}"
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient(
                verify=_NO_TLS, trust_env=False, timeout=_ASK_SECONDS
            ) as client:
                for port in config.revision_ports:
                    answer = await client.get(f"http://{_LOOPBACK}:{port}{path}")
                    if answer.status_code != httpx.codes.OK or answer.text != "OK":
                        return False
                return True
        return False

    async def _shows_certificates(self, config: EdgeConfig) -> bool:
        """Whether it shows those of the configuration, or those that have replaced them since."""
        wanted = {fingerprint for _, fingerprint in config.certificates}
        for each in self.certificates.every:
            held = self.certificates.held(each)
            try:
                shown = await shown_certificate(
                    _LOOPBACK, config.https_port, postgres=False, name=each.asked
                )
            except Unavailable:
                return False
            if hashlib.sha256(shown).hexdigest() not in {*wanted, held and held.fingerprint}:
                return False
        return True

    def _config(self) -> EdgeConfig:
        here, home = self._settings, self._home
        held = [(each.file, self.certificates.held(each)) for each in self.certificates.every]
        rest = Backend(here.rest.host, here.rest.port, here.rest_tls)
        cache = Backend(here.cache.host, here.cache.port, here.cache_tls)
        over_http = here.acme.directory is not None and here.acme.dns_hook is None
        return EdgeConfig(
            folder=home.edge,
            domain=here.domain,
            http_port=here.edge_http_port,
            https_port=here.edge_https_port,
            key=_key(home),
            api=Backend(here.api.host, here.api.port, here.api_tls),
            rest=rest if data_api.is_wanted(home) else None,
            cache=cache if caching.is_wanted(home) else None,
            challenge_port=here.challenge_port if over_http else None,
            certificates=tuple((file, each.fingerprint) for file, each in held if each),
            roots=self._roots(),
            proxies=tuple(str(each) for each in here.proxy_networks),
            backend_idle_seconds=here.api.idle_seconds,
            sql_port=here.edge_sql_port if here.edge_sql else None,
            sql=tuple(self._sql()) if here.edge_sql else (),
        )

    def _sql(self) -> list[SqlRoute]:
        """Return the ways to instances, without those that have changed since they were noted."""
        try:
            members = FleetFile(self._settings).members()
        except MachineError:
            return []  # nobody knows whose port it is
        there = {(each.name, each.port) for each in members if can_be_reached(each)}
        return [each for each in sql_routes.read(self._home) if (each.cluster, each.port) in there]

    def _roots(self) -> str:
        """Return what verifies our own servers that have TLS; "" if none has."""
        here = self._settings
        if not (here.api_tls or here.rest_tls or here.cache_tls):
            return ""
        return self._home.ca_certificate.read_text()


def ensure_key(home: Home) -> None:
    """Create the key by which the edge proves itself, unless there is one."""
    if not home.edge_key.exists():
        files.write_atomically(home.edge_key, secrets.token_hex(32), mode=0o600)


def _key(home: Home) -> str:
    try:
        return home.edge_key.read_text().strip()
    except FileNotFoundError:
        raise MachineError(
            f"{home.edge_key} is gone, and the endpoints know no other key.",
            hint="Stop and start the platform: ./tenantry down, ./tenantry up.",
        ) from None


def address_of(here: Settings) -> str:
    """Return where the edge serves, for a person."""
    *ports, last = here.edge_ports
    return f"{here.edge_url('*')}, ports {', '.join(map(str, ports))} and {last}"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
