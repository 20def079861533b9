"""A whole installation for tests with a home and ports of its own, used as users do."""

import contextlib
import datetime as dt
import json
import os
import pwd
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast

import httpx
import psycopg
from psycopg.rows import TupleRow

from tenantry.host import cgroups, processes

SERVICE_USER = "tenantry"
DEADLINE = 240  # a machine may have much else to do

# Trusts nobody, for what is asked without TLS: httpx reads all of a CA bundle otherwise, which
# takes longer than most of our answers.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# Of the backups of each day and the drill of each night, which would else begin amid some test.
NOT_SOON = f"{dt.datetime.now(dt.UTC) + dt.timedelta(hours=12):%H:%M}"


# Below those that outgoing connections take.
_FIRST_PORT, _LAST_PORT = 20_000, 32_000
_reserved: dict[int, socket.socket] = {}


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, and that no other test process is given meanwhile."""
    return [adjacent_ports(1)[0] for _ in range(count)]


def adjacent_ports(count: int) -> range:
    """So many of them, one after the other."""
    while True:
        first = random.randrange(_FIRST_PORT, _LAST_PORT - count)  # noqa: S311 (no secret)
        ports = range(first, first + count)
        taken = [port for port in ports if _reserve(port)]
        if len(taken) == count:
            return ports
        give_back(taken)


def _reserve(port: int) -> bool:
    """Keep other test processes off a port, until ``give_back`` or the end of this one.

    By a name that only one process can have (unix(7), abstract sockets): of an installation's
    ports, some are listened at late or never.
    """
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0tenantry-tests-{port}")
        with socket.socket() as probe:
            probe.bind(("", port))
    except OSError:
        name.close()
        return False
    _reserved[port] = name
    return True


def give_back(ports: Iterable[int]) -> None:
    """Let other tests have these ports."""
    for port in ports:
        if (name := _reserved.pop(port, None)) is not None:
            name.close()


@dataclass
class Installation:
    """One home. ``environment`` adds to what its programs are started with, each of which is
    given ``patience`` seconds."""

    environment: dict[str, str] = field(default_factory=dict)
    patience: float = DEADLINE
    home: Path = field(init=False)
    api_port: int = field(init=False)
    pg_port: int = field(init=False)
    pool_port: int = field(init=False)
    rest_port: int = field(init=False)
    cache_port: int = field(init=False)
    redis_port: int = field(init=False)
    site_ports: range = field(init=False)
    instance_ports: range = field(init=False)
    _brought_up: ClassVar[int] = 0
    _supervisors: list["subprocess.Popen[bytes]"] = field(init=False, default_factory=list)
    _clients: list[httpx.Client] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        # Not below pytest's own folders: the service user cannot enter those.
        self.home = Path(tempfile.mkdtemp(prefix="tnt-"))
        self._own_home()
        self.api_port, self.pg_port, self.pool_port, *more = free_ports(5)
        self.rest_port, self.cache_port = more
        self.site_ports, self.instance_ports = adjacent_ports(20), adjacent_ports(20)
        self.redis_port = self.site_ports[0]

    def _own_home(self) -> None:
        self.home.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(self.home, SERVICE_USER, SERVICE_USER)

    @property
    def env(self) -> dict[str, str]:
        own = {
            "TENANTRY_HOME": str(self.home),
            "TENANTRY_API_PORT": str(self.api_port),
            "TENANTRY_PG_PORT": str(self.pg_port),
            "TENANTRY_POOL_PORT": str(self.pool_port),
            "TENANTRY_REST_PORT": str(self.rest_port),
            "TENANTRY_CACHE_PORT": str(self.cache_port),
            "TENANTRY_REDIS_PORT": str(self.redis_port),
            "TENANTRY_INSTANCE_PORTS": f"{self.instance_ports[0]}-{self.instance_ports[-1]}",
            "TENANTRY_MEMORY_MB": "1024",
            "TENANTRY_DISK_RESERVE_MB": "0",  # homes are in memory
            "TENANTRY_WARM_POOL": "4",
            "TENANTRY_POOL_MEMORY_MB": "64",  # the least, so that little fills it
            "TENANTRY_BLUEPRINTS": str(Path(__file__).parent / "blueprints"),
            "TENANTRY_BACKUPS": "off",  # hundreds of tests archive nothing; those of backups do
            "TENANTRY_BACKUP_TIME": NOT_SOON,
            "TENANTRY_DRILL_TIME": NOT_SOON,
            # All tests are at one address, and many are there to be refused.
            "TENANTRY_RATE_FAILURES": "100000",
            "TENANTRY_RATE_LOGINS": "100000",
        }
        return {**os.environ, **own, **self.environment}

    # ── endpoints ────────────────────────────────────────────────────────────────

    def tenantry(
        self, *arguments: str, check: bool = True, stdin: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run the CLI of the code under test."""
        done = subprocess.run(
            [sys.executable, "-m", "tenantry.cli", *arguments],
            env=self.env,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=self.patience,
            check=False,
            cwd="/",
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"tenantry {' '.join(arguments)} ended with {done.returncode}\n"
                f"{done.stdout}\n{done.stderr}\n{self.log_tail()}"
            )
        return done

    def up(self) -> None:
        """Have it up and ready, in the foreground of a process that logs as ``--detach`` does.

        As a service manager does it: one start of the program, where ``--detach`` takes two.
        """
        Installation._brought_up += 1
        log = self._own_log()
        with log.open("a") as file, tempfile.TemporaryFile() as reported:
            supervisor = subprocess.Popen(
                [sys.executable, "-m", "tenantry.cli", "up"],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=reported,
                stderr=file,
                start_new_session=True,
                cwd="/",
            )
            self._supervisors.append(supervisor)
            deadline = time.monotonic() + self.patience
            # Where everything is, which it says when all is ready.
            while not os.fstat(reported.fileno()).st_size:
                if supervisor.poll() or time.monotonic() > deadline:
                    raise AssertionError(f"tenantry up did not become ready\n{self.log_tail()}")
                time.sleep(0.02)

    def _own_log(self) -> Path:
        """The platform's log, there already and the service user's."""
        log = self.home / "logs" / "tenantry.log"
        log.parent.mkdir(mode=0o700, exist_ok=True)
        log.touch()
        if os.geteuid() == 0:
            for path in (log.parent, log):
                shutil.chown(path, SERVICE_USER, SERVICE_USER)
        return log

    @classmethod
    def take_brought_up(cls) -> int:
        """How many have been brought up in this process since this was asked last."""
        count, Installation._brought_up = Installation._brought_up, 0
        return count

    def down(self) -> None:
        self.tenantry("down")

    def reconcile(self) -> None:
        """Have the worker's pass of every minute made now, besides."""
        self._as_worker("await reconcile(platform)")

    def check_ownership(self) -> None:
        """Have the worker look into all databases that are due."""
        self._as_worker("while await platform.ownership.check_next(): pass")

    def add_cluster_if_full(self) -> None:
        """Have the worker look whether another cluster is needed."""
        self._as_worker("await platform.cluster_additions.add_if_full()")

    def _as_worker(self, statement: str) -> None:
        program = (
            "import asyncio; from tenantry.base import settings;"
            " from tenantry.services.platform import open_platform;"
            " from tenantry.worker import reconcile\n"
            "async def once():\n"
            "    async with open_platform(settings.load()) as platform:\n"
            f"        {statement}\n"
            "asyncio.run(once())"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=self.patience,
            check=False,
            cwd="/",
            **as_service_user(),
        )
        assert done.returncode == 0, done.stderr

    def status(self) -> dict[str, Any]:
        reported: dict[str, Any] = json.loads(self.tenantry("status", "--json", check=False).stdout)
        return reported

    def warnings(self, cluster: str = "shared-1") -> str:
        """What ``status`` warns of at a cluster."""
        clusters = self.status()["clusters"]
        return " ".join(next(each for each in clusters if each["name"] == cluster)["warnings"])

    def pids(self) -> dict[str, int]:
        """The pid of each part that runs, by its pid file: ``status`` takes a second for it."""
        run = self.home / "run"
        postmasters = {
            path.parts[-3]: path for path in self.home.glob("clusters/*/data/postmaster.pid")
        }
        files = {"supervisor": run / "supervisor.pid"} | postmasters
        names = ("pooler", "edge", "api", "worker", "cache", "listener")
        files |= {name: run / f"{name}.pid" for name in names}
        files |= {path.stem: path for path in run.glob("rest*.pid")}
        found = {name: processes.read_pid(path) for name, path in files.items()}
        return {name: pid for name, pid in found.items() if pid is not None}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    def client(self, key: str | None = None) -> httpx.Client:
        """An HTTP client with an API key, the administrator's if none is given."""
        return self.anonymous({"X-API-Key": key or self.key})

    def anonymous(
        self, headers: Mapping[str, str] | None = None, *, address: str | None = None
    ) -> httpx.Client:
        """An HTTP client that proves nothing but by these headers.

        ``address`` is one of 127.0.0.0/8, from which it connects. A client that is still open when
        the installation is removed is closed then.
        """
        transport = httpx.HTTPTransport(verify=NO_TLS, local_address=address)
        client = httpx.Client(
            base_url=self.url, headers=headers, timeout=60, trust_env=False, transport=transport
        )
        self._clients.append(client)
        return client

    def get(self, path: str) -> httpx.Response:
        """What anybody is answered, without a key."""
        return httpx.get(f"{self.url}{path}", timeout=30, trust_env=False, verify=NO_TLS)

    def is_ready(self) -> bool:
        """Whether it answers, and says that it is."""
        try:
            return self.get("/ready").is_success
        except httpx.HTTPError:
            return False

    def create(self, **asked: object) -> dict[str, Any]:
        """A new database, by the API."""
        named = asked if "name" in asked else {"friendlyName": "Test", **asked}
        with self.client() as client:
            answer = client.post("/api/databases", json=named)
        assert answer.status_code == 201, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def delete_databases(self) -> None:
        """Delete what modules of tests leave: hundreds of databases take gigabytes."""
        with self.client() as api, ThreadPoolExecutor(4) as some:
            rows = api.get("/api/databases", params={"limit": "500"}).json()["data"]
            list(some.map(lambda row: api.delete(f"/api/databases/{row['id']}"), rows))

    def superuser(
        self, cluster: str = "shared-1", dbname: str = "postgres"
    ) -> psycopg.Connection[TupleRow]:
        """The local administrator's way into a cluster."""
        port = {"control": 5432, "shared-1": self.pg_port}.get(cluster) or self.ports()[cluster]
        return psycopg.connect(
            host=str(self.home / "run" / cluster),
            port=port,
            user="tenantry_admin",
            dbname=dbname,
            autocommit=True,
        )

    def ports(self) -> dict[str, int]:
        """The port of each cluster that runs, as its postmaster shows."""
        return {
            path.parts[-3]: int(path.read_text().splitlines()[3])
            for path in self.home.glob("clusters/*/data/postmaster.pid")
        }

    def control(self) -> psycopg.Connection[TupleRow]:
        """The control database, as its owner."""
        return self.superuser("control", "tenantry_control")

    def cluster(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """What became of a command on a cluster, once no other operation has that to itself."""
        deadline = time.monotonic() + self.patience
        while True:
            done = self.tenantry("cluster", *words, check=False)
            if "to itself" not in done.stderr or time.monotonic() > deadline:
                return done
            time.sleep(0.2)

    def back_up(self, cluster: str, *words: str) -> dict[str, Any]:
        """Back a cluster up, and wait until this very moment is one that can be restored.

        Returns what its operation shows.
        """
        done = self.cluster("backup", cluster, *words, "--json")
        assert done.returncode == 0, done.stderr
        reported: dict[str, Any] = json.loads(done.stdout)["result"]
        self.wait_restorable(cluster)
        return reported

    def wait_restorable(self, cluster: str) -> None:
        """Return when this very moment is one that can be restored from the newest backup."""
        held = json.loads(self.tenantry("cluster", "backups", cluster, "--json").stdout)
        ended = max(dt.datetime.fromisoformat(each["finished_at"]) for each in held["backups"])
        # It ended within that second, nobody knows when.
        first = ended + dt.timedelta(seconds=1)
        time.sleep(max(0.0, (first - dt.datetime.now(dt.UTC)).total_seconds()))

    # ── what exists ────────────────────────────────────────────────────────────

    def inventory(self) -> tuple[set[str], set[str]]:
        """The tenants' roles and databases that the shared cluster holds."""
        with self.superuser() as server:
            roles = {
                row[0]
                for row in server.execute(
                    "SELECT rolname FROM pg_roles WHERE rolname LIKE 'user\\_%'"
                )
            }
            databases = {
                row[0]
                for row in server.execute(
                    "SELECT datname FROM pg_database WHERE datname LIKE 'tenant\\_%'"
                )
            }
        return roles, databases

    def rows(self) -> list[Mapping[str, Any]]:
        """The control database's rows of databases."""
        with self.control() as control:
            cursor = control.execute("SELECT to_jsonb(d) FROM databases d")
            return [row[0] for row in cursor.fetchall()]

    def role_rows(self) -> list[Mapping[str, Any]]:
        """The control database's rows of databases' further roles."""
        with self.control() as control:
            cursor = control.execute("SELECT to_jsonb(r) FROM database_roles r")
            return [row[0] for row in cursor.fetchall()]

    def api_logins(self) -> set[str]:
        """The logins of the data APIs that the control database has a row of."""
        with self.control() as control:
            return {name for (name,) in control.execute("SELECT authenticator FROM data_apis")}

    # ── end ──────────────────────────────────────────────────────────────────

    def log_tail(self) -> str:
        log = self.home / "logs" / "tenantry.log"
        return "\n".join(log.read_text().splitlines()[-20:]) if log.exists() else ""

    def processes(self) -> list[int]:
        """Every process that has this home in its arguments or works in it."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                reported = (entry / "cmdline").read_text() + str((entry / "cwd").readlink())
                environ = (entry / "environ").read_text(errors="replace")
            except OSError:
                continue
            if str(self.home) in reported or f"TENANTRY_HOME={self.home}" in environ:
                found.append(int(entry.name))
        return found

    def destroy(self) -> None:
        """A disaster: all of its processes end at once, and all of its files are gone."""
        self.kill_all()
        shutil.rmtree(self.home)
        self.home.mkdir()
        self._own_home()

    def kill_all(self) -> None:
        """All ends at once, and whatever was being started meanwhile."""
        while pids := self.processes():
            for pid in pids:
                kill(pid, signal.SIGKILL)
        while self._supervisors:
            self._supervisors.pop().wait()

    def remove(self) -> None:
        """End all at once, and delete the home."""
        for client in self._clients:
            client.close()
        pids = self.pids()
        for part in (
            "supervisor",
            "api",
            "worker",
            "rest",
            "cache",
        ):  # they would start the others again
            kill(pids.get(part), signal.SIGKILL)
        # Unlike after SIGKILL no shared memory of theirs is left.
        postmasters = [pid for pid in self.processes() if is_postmaster(pid)]
        for pid in postmasters:
            kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + 10
        while any(map(processes.is_alive, postmasters)) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill_all()
        cgroups.remove(self.home)
        shutil.rmtree(self.home, ignore_errors=True)
        give_back((self.api_port, self.pg_port, self.pool_port, self.rest_port, self.cache_port))
        give_back((*self.site_ports, *self.instance_ports))


class Removable(Protocol):
    """What can be shared between modules."""

    def remove(self) -> None:
        """End it, and delete its files."""


T = TypeVar("T", bound=Removable)


class Shared:
    """What modules of one test process use one after the other; at most one is there at a time.

    An installation takes a tenth of a processor while nobody uses it.
    """

    def __init__(self) -> None:
        self._there: dict[Callable[[], Removable], Removable] = {}

    def get(self, make: Callable[[], T]) -> T:
        """What ``make`` makes, or has made before if nothing else was asked for since."""
        if make not in self._there:
            self.release()
            self._there[make] = make()
        return cast("T", self._there[make])

    def release(self) -> None:
        """Remove what is there."""
        while self._there:
            self._there.popitem()[1].remove()


SHARED = Shared()


def kill(pid: int | None, number: signal.Signals) -> None:
    """Send a signal to a process, if there is one."""
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, number)


def is_postmaster(pid: int) -> bool:
    """Whether this is a PostgreSQL server, and not one of its own children."""
    return Path((processes.command_line(pid) or [""])[0]).name == "postgres"


def as_service_user() -> dict[str, Any]:
    """Arguments for subprocess: run as the platform's own user, if we are root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(SERVICE_USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
