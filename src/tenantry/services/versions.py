"""The running, installed and candidate versions of each part, and the problems with them.

apt replaces files under running servers. The old code stays in memory, and later loads new
libraries, which may not fit: after an upgrade of PostgreSQL new sessions can fail in PL/pgSQL and
extensions, while open sessions and those that need neither keep working.
"""

import asyncio
import contextlib
import json
import re
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psycopg

from tenantry.base.errors import MachineError, TenantryError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control.store import DATABASE
from tenantry.host import engines, files, packages, processes, versions, weaknesses
from tenantry.host.engines import upstream
from tenantry.host.versions import Package
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import PLATFORM, connect, fetch_value
from tenantry.services import optional_parts
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.fleet_file import CONTROL
from tenantry.services.observations.model import Measure, gauge
from tenantry.services.pooling.service import Pooler

_INFO = gauge(
    "tenantry_version_info",
    "1 for each part with the versions that run, are installed and would be installed",
    "part",
    "running",
    "installed",
    "candidate",
)
_OUTDATED = gauge("tenantry_part_outdated", "Whether something else is installed than runs", "part")
_REPLACED = gauge(
    "tenantry_part_replaced_files",
    "Programs and libraries that a part runs and that are not on disk any more",
    "part",
)
_FAILING = gauge("tenantry_new_sessions_fail", "Whether new sessions fail in PL/pgSQL", "part")
_WEAKNESSES = gauge(
    "tenantry_known_weaknesses", "Published weaknesses of the version that runs", "part"
)

_FRESH_SECONDS = 10.0
_PACKAGES_SECONDS = 3600.0
# Errors that say nothing about libraries: lost connections, rights, resources, shutdown.
_LOST = "08000"
_OF_THE_MOMENT = {"08", "42", "53", "57"}
_SUPERVISOR = "supervisor"
PROGRAMS = (_SUPERVISOR, "api", "worker")


# PostgreSQL's versioning policy (postgresql.org/support/versioning): the last minor release.
_END_OF_LIFE = {15: "2027-11-11", 16: "2028-11-09", 17: "2029-11-08", 18: "2030-11-14"}


@dataclass(frozen=True, slots=True)
class Major:
    """A major version of PostgreSQL: the installed release, and the package that apt offers."""

    major: int
    minor: str | None
    offered: str | None
    end_of_life: str

    @property
    def installed(self) -> bool:
        """Whether there is a server of it on this machine."""
        return self.minor is not None


@dataclass(frozen=True, slots=True)
class Remark:
    """A finding about a part, and what to do about it."""

    detail: str
    hint: str

    def __str__(self) -> str:
        return f"{self.detail} {self.hint}"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the platform. A version is None where it is unknown or nothing runs.

    ``replaced`` are the files that it runs and that are no longer on disk, ``fails`` is the error
    of a new session, ``weaknesses`` are the published ones of the running version. ``package`` is
    its apt package, if it has one.
    """

    name: str
    running: str | None = None
    installed: str | None = None
    candidate: str | None = None
    replaced: tuple[str, ...] = ()
    fails: str | None = None
    weaknesses: tuple[str, ...] = field(default=(), repr=False)
    package: str | None = None

    @property
    def outdated(self) -> bool:
        """Whether the running version or files differ from the installed ones."""
        differs = None not in (self.running, self.installed) and self.running != self.installed
        return differs or bool(self.replaced)

    def alerts(self) -> list[Remark]:
        """Return the findings about the running process that need attention."""
        found = []
        if self.fails:
            found.append(
                Remark(
                    f"New sessions of {self.name} fail ({self.fails}).",
                    "Restart it, unless TENANTRY_RESTART_BROKEN does.",
                )
            )
        if self.outdated:
            restart = "./tenantry down and ./tenantry up restart it to run the newer code."
            found.append(
                Remark(
                    f"{self.name} runs {self.running or 'files that were replaced'}"
                    + (f", and {self.installed} is installed." if self.installed else "."),
                    restart
                    if self.name == _SUPERVISOR
                    else f"It is restarted in TENANTRY_MAINTENANCE_WINDOW; or at once: {restart}",
                )
            )
        return found

    def advice(self) -> list[Remark]:
        """Return further findings: a newer package, published weaknesses."""
        found = []
        if self.candidate and self.installed and self.candidate != self.installed:
            found.append(
                Remark(
                    f"{self.name}: apt offers {self.candidate} for {self.installed}.",
                    f"As root, apt-get install --only-upgrade {self.package} upgrades it.",
                )
            )
        if self.weaknesses:
            first = ", ".join(self.weaknesses[:3])
            more = len(self.weaknesses) - 3
            found.append(
                Remark(
                    f"{self.name} {self.running or ''} has {first}"
                    + (f" and {more} more" if more > 0 else "")
                    + f", as known on {weaknesses.AS_OF}.",
                    f"As root, apt-get update and apt-get install --only-upgrade {self.package}"
                    " take the newest release that apt's sources have."
                    if self.package
                    else "./tenantry down and ./tenantry up, as root, take the newest release that"
                    " can be installed or built here.",
                )
            )
        return found


async def cluster(which: Cluster) -> Part:
    """Return what a cluster runs, and whether its new sessions work. Cheap: queries no packages."""
    pid = which.pid()
    if pid is None:
        return Part(which.name)
    part = Part(which.name, replaced=versions.replaced_files(pid))
    dbname = DATABASE if which.name == CONTROL else "postgres"
    try:
        async with connect(which.address, user=PLATFORM, dbname=dbname) as server:
            reported = str(await fetch_value(server, "SELECT current_setting('server_version')"))
            part = replace(
                part, running=_package_version(reported), weaknesses=_of_postgres(reported)
            )
            await server.execute("DO LANGUAGE plpgsql 'BEGIN END'")
    except psycopg.Error as error:
        if (error.sqlstate or _LOST)[:2] not in _OF_THE_MOMENT:
            return replace(part, fails=str(error).splitlines()[0])
    except TenantryError:
        pass  # other checks report whether it answers at all
    return part


def _package_version(reported: str) -> str:
    """Return the package version in ``15.18 (Debian 15.18-0+deb12u1)``, else the first word."""
    found = re.search(r"\(\w+ (\S+)\)", reported)
    return found[1] if found else reported.split(maxsplit=1)[0]


def _of_postgres(reported: str) -> tuple[str, ...]:
    major, minor, *_ = (*upstream(reported), 0)
    return tuple(weaknesses.of_postgres(major, minor))


def program(settings: Settings, name: str) -> Part:
    """Return one of the platform's own processes."""
    run = Home(settings.home).run
    pid = processes.read_pid(run / f"{name}.pid")
    if pid is None:
        return Part(name)
    with contextlib.suppress(OSError):
        running = (run / f"{name}.code").read_text().strip()
        return Part(name, running, versions.code(), replaced=versions.replaced_files(pid))
    return Part(name, replaced=versions.replaced_files(pid))


async def pooler(settings: Settings, which: Pooler) -> Part:
    """Return the pooler, with the best release that is installed here for comparison."""
    pid = which.pid()
    if pid is None:
        return Part("pooler")
    part = Part("pooler", replaced=versions.replaced_files(pid))
    try:
        engine = await engines.find_pgbouncer(settings.engines_dir)
        if versions.is_program(pid, engine.path):
            ran, running = engine, engine.release
        else:
            running = (await which.state()).version.removeprefix("PgBouncer ")
            ran = engines.PgBouncerEngine(upstream(running), engine.path)
    except TenantryError:
        return part
    return replace(
        part,
        running=running,
        installed=engine.release,
        weaknesses=tuple(each.cve for each in ran.weaknesses()),
    )


async def known_packages(file: Path, names: list[str], *, changed_at: float) -> dict[str, Package]:
    """Return these packages as apt reports them, or as it did within the hour to any process.

    The result is in ``file``, since apt takes long to answer, which each command would wait for.
    Raises CommandFailed if there is no apt.
    """
    if (noted := _noted(file, names, changed_at)) is not None:
        return noted
    found = await versions.packages(names)
    shown = {name: asdict(each) for name, each in found.items()}
    text = json.dumps({"changed_at": changed_at, "names": names, "packages": shown})
    with contextlib.suppress(OSError):  # only a user who cannot write asks apt again
        files.write_atomically(file, text, mode=0o644)
    return found


def _noted(file: Path, names: list[str], changed_at: float) -> dict[str, Package] | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        noted = json.loads(file.read_text())
        is_fresh = time.time() - file.stat().st_mtime < _PACKAGES_SECONDS
        if is_fresh and (noted["changed_at"], noted["names"]) == (changed_at, names):
            return {name: Package(**each) for name, each in noted["packages"].items()}
    return None


class Versions:
    """All parts' versions, read at most every ten seconds; packages when they changed or hourly."""

    def __init__(self, settings: Settings, fleet: Fleet, which: Pooler) -> None:
        self._settings = settings
        self._fleet = fleet
        self._pooler = which
        self._parts: list[Part] = []
        self._looked_at = -_FRESH_SECONDS
        self._packages: dict[str, Package] = {}
        self._packages_of = (0.0, -_PACKAGES_SECONDS)
        self._asking: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def look(self, *, wait: bool = False) -> list[Part]:
        """Return every part. Unless ``wait``, packages are as last known and refreshed later."""
        async with self._lock:
            if time.monotonic() - self._looked_at >= _FRESH_SECONDS:
                self._parts = [
                    *[await cluster(each) for each in self._fleet.every],
                    await pooler(self._settings, self._pooler),
                    *[program(self._settings, name) for name in self._programs()],
                ]
                self._looked_at = time.monotonic()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_packages())
        if wait:
            await self._asking
        return self._with_packages()

    async def majors(self) -> list[Major]:
        """Return the supported major versions that are installed, or that apt offers."""
        offers = await self._offers(versions.packages_changed_at())
        installed = {
            each.version: each for each in packages.installed_servers(self._settings.engines_dir)
        }
        found = []
        for major, end_of_life in _END_OF_LIFE.items():
            offered = offers.get(f"postgresql-{major}", Package(None, None)).candidate
            engine = installed.get(major)
            if engine is not None or offered is not None:
                minor = None if engine is None else await packages.release_of(engine)
                found.append(Major(major, minor, offered, end_of_life))
        return found

    def _programs(self) -> list[str]:
        return [*PROGRAMS, *optional_parts.wanted(self._settings)]

    async def _ask_packages(self) -> None:
        changed_at, asked_at = self._packages_of
        now = versions.packages_changed_at()
        if now == changed_at and time.monotonic() - asked_at < _PACKAGES_SECONDS:
            return
        self._packages = await self._offers(now)
        self._packages_of = now, time.monotonic()

    async def _offers(self, changed_at: float) -> dict[str, Package]:
        """Return the engines' packages by their names; nothing on a machine without apt."""
        names = [*(f"postgresql-{major}" for major in _END_OF_LIFE), "pgbouncer", "pgbackrest"]
        file = Home(self._settings.home).packages
        try:
            return await known_packages(file, names, changed_at=changed_at)
        except MachineError:
            return {}

    def _with_packages(self) -> list[Part]:
        majors = {each.name: each.bindir for each in self._fleet.every}
        found = []
        for part in self._parts:
            if part.name in majors:
                name = f"postgresql-{majors[part.name].parent.name}"
            elif part.name == "pooler":
                name = "pgbouncer"
            else:
                found.append(part)
                continue
            package = self._packages.get(name, Package(None, None))
            if part.name in majors:
                found.append(
                    replace(
                        part,
                        installed=package.installed,
                        candidate=package.candidate,
                        package=name,
                    )
                )
            elif package.installed is not None and package.installed == part.running:
                found.append(replace(part, candidate=package.candidate, package=name))
            else:
                found.append(part)
        backups = self._packages.get("pgbackrest", Package(None, None))
        return [
            *found,
            Part("pgBackRest", None, backups.installed, backups.candidate, package="pgbackrest"),
        ]


async def measures(found: Versions) -> list[Measure]:
    """Return the measures of versions, replaced files, failing sessions and weaknesses."""
    return [
        measure
        for part in await found.look()
        for measure in (
            _INFO(1, part.name, part.running or "", part.installed or "", part.candidate or ""),
            _OUTDATED(part.outdated, part.name),
            _REPLACED(len(part.replaced), part.name),
            _FAILING(part.fails is not None, part.name),
            _WEAKNESSES(len(part.weaknesses), part.name),
        )
    ]
