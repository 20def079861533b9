"""Install packages from apt without starting Debian's own servers.

Installing ``postgresql-15`` or ``pgbouncer`` the usual way starts a server on the very port that
ours needs. So while we install, ``policy-rc.d`` refuses every start, and a drop-in keeps
postgresql-common from creating its ``main`` cluster. Both are removed afterwards; servers that were
there before are not touched.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import shlex
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.errors import MachineError
from tenantry.host import commands

Say = Callable[[str], None]

SUPPORTED = range(15, 19)  # the majors of PostgreSQL that Tenantry is tested with
PGBACKREST = Path("/usr/bin/pgbackrest")  # the path in its package
CHROMIUM = Path("/usr/bin/chromium")  # the same
_LIBRARY = Path("/usr/lib/postgresql")
_SHARE = Path("/usr/share/postgresql")
_PROGRAMS = ("initdb", "pg_ctl", "postgres", "psql")
_LOCK = Path("/run/tenantry-packages.lock")
_PLAIN = {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}  # messages in English, no questions
_NO_CLUSTER = "create_main_cluster = off\n"
_POLICY = "usr/sbin/policy-rc.d"
_MARK = "# Tenantry installs packages; their servers must not start. Void without it.\n"
_DROP_IN = "etc/postgresql-common/createcluster.d/tenantry.conf"


@dataclass(frozen=True, slots=True)
class PostgresEngine:
    """An installed PostgreSQL: its major version, and the folder of its programs."""

    version: int
    bindir: Path


def find_postgres(
    engines_dir: Path, version: int | None = None, *, library: Path = _LIBRARY
) -> PostgresEngine:
    """Return the newest installed PostgreSQL that is supported, or exactly ``version``.

    It is a package's, or one that the administrator has put into the engines folder. A cluster that
    exists needs its own major version, whatever was installed since.

    Raises MachineError if there is none.
    """
    wanted = SUPPORTED if version is None else (version,)
    for major in sorted(wanted, reverse=True):
        if _is_complete(packaged := library / str(major) / "bin"):
            return PostgresEngine(major, packaged)
        built = engines_dir / "postgresql" / str(major) / "bin"  # of its prefix
        if _is_complete(built) and _may_run(built):
            return PostgresEngine(major, built)
    name = f"PostgreSQL {SUPPORTED[0]} or newer" if version is None else f"PostgreSQL {version}"
    hint = (
        "./tenantry up installs it." if version is None else f"apt-get install postgresql-{version}"
    )
    raise MachineError(f"{name} is not installed.", hint=f"As root, {hint}")


def _is_complete(bindir: Path) -> bool:
    return all((bindir / name).exists() for name in _PROGRAMS)


def _may_run(bindir: Path) -> bool:
    """Whether no other user could have put the programs there: root runs psql, too."""
    return all((bindir / name).stat().st_uid in {0, os.geteuid()} for name in _PROGRAMS)


def bindir_of(engines_dir: Path, version: int) -> Path:
    """Return the folder of the programs of a major version, whether they are installed or not."""
    with contextlib.suppress(MachineError):
        return find_postgres(engines_dir, version).bindir
    return _LIBRARY / str(version) / "bin"


def installed_servers(engines_dir: Path, *, library: Path = _LIBRARY) -> list[PostgresEngine]:
    """Return the supported releases with installed server programs, oldest first."""
    found = []
    for major in SUPPORTED:
        with contextlib.suppress(MachineError):
            found.append(find_postgres(engines_dir, major, library=library))
    return found


def extensions_of(engines_dir: Path, version: int, *, share: Path = _SHARE) -> set[str]:
    """Return the names of the extensions that are installed for a major version."""
    bindir = bindir_of(engines_dir, version)
    folders = [share / str(version)]
    if bindir.is_relative_to(engines_dir):
        folders = [bindir.parent / "share", bindir.parent / "share" / "postgresql"]
    return {each.stem for folder in folders for each in folder.glob("extension/*.control")}


async def release_of(engine: PostgresEngine) -> str:
    """Return the release of an installed server, such as 15.18. Raises CommandFailed."""
    done = await commands.run([engine.bindir / "postgres", "--version"], env=_PLAIN)
    return done.stdout.split()[2]


def installed_clients(engines_dir: Path, *, library: Path = _LIBRARY) -> list[PostgresEngine]:
    """Return the releases with installed client programs, oldest first, even without a server."""
    majors = {int(each.name) for each in library.glob("*") if each.name.isdecimal()}
    found = {
        each: PostgresEngine(each, library / str(each) / "bin")
        for each in majors
        if (library / str(each) / "bin" / "pg_restore").exists()
    }
    for each in installed_servers(engines_dir, library=library):
        if (each.bindir / "pg_restore").exists():
            found.setdefault(each.version, each)
    return [found[version] for version in sorted(found)]


async def ensure_postgres(engines_dir: Path, say: Say) -> PostgresEngine:
    """Find PostgreSQL, or install the newest supported one that apt offers.

    Raises MachineError if apt has none, or if only root could install it.
    """
    if not await _was_killed():
        with contextlib.suppress(MachineError):
            return find_postgres(engines_dir)
    await refresh()
    offered = [major for major in SUPPORTED if await candidate(f"postgresql-{major}")]
    if not offered:
        raise MachineError(
            f"apt offers no PostgreSQL from {SUPPORTED[0]} to {SUPPORTED[-1]}.",
            hint="Run apt-get update, or add PostgreSQL's own apt repository: "
            "apt-get install postgresql-common && "
            "/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh",
        )
    await install([f"postgresql-{offered[-1]}"], say)
    return find_postgres(engines_dir)


def has_pgbackrest() -> bool:
    """Whether pgBackRest's package is installed."""
    return PGBACKREST.exists()


async def install_pgbackrest(say: Say) -> None:
    """Install pgBackRest if missing. Raises MachineError if only root could install it."""
    if has_pgbackrest() and not await _was_killed():
        return
    if os.geteuid() != 0:
        raise MachineError(
            "pgBackRest, which makes the backups, is not installed.",
            hint=f"Only root can install it: {command_for(['pgbackrest'])}; "
            "or set TENANTRY_BACKUPS=off and have no backups.",
        )
    await install(["pgbackrest"], say)


def find_jemalloc() -> Path | None:
    """Return the library of the package libjemalloc2, if it is installed."""
    return next(Path("/usr/lib").glob("*/libjemalloc.so.2"), None)


def find_eatmydata() -> Path | None:
    """Return the library of the package libeatmydata1, if it is installed.

    A program that is started with it loaded does not wait for the disk (fsync(2) does nothing).
    """
    return next(Path("/usr/lib").glob("*/libeatmydata.so"), None)


def no_fsync() -> dict[str, str]:
    """Return the variables that make a program skip fsync, where the library for it is installed.

    pgBackRest calls fsync(2) for each file, and there are 300 of every excluded database.
    """
    library = find_eatmydata()
    return {} if library is None else {"LD_PRELOAD": str(library)}


async def ensure_libraries(say: Say) -> None:
    """Install libraries that make programs faster, if permitted; all run without them, too.

    See pg/clusters.py for jemalloc, and pg/pgbackrest.py for eatmydata.
    """
    if os.geteuid() != 0:
        return
    for found, package in ((find_jemalloc(), "libjemalloc2"), (find_eatmydata(), "libeatmydata1")):
        if found is None:
            try:
                await install([package], say)
            except MachineError:
                say(f"Going on without {package}, which apt does not install.")


async def ensure_nftables(say: Say) -> None:
    """Install nft if missing. Raises MachineError if only root could install it."""
    if await missing(["nftables"]):
        await install(["nftables"], say)


async def ensure_docker(say: Say) -> None:
    """Install Docker if missing, and start none. Raises MachineError if only root could."""
    if await missing(["docker.io"]):
        await install(["docker.io"], say)


async def ensure_chromium(say: Say) -> None:
    """Install the browser for tests if missing. Raises MachineError if only root could."""
    if await missing([CHROMIUM.name]):
        await install([CHROMIUM.name], say)


async def refresh() -> None:
    """Fetch apt's lists again, if permitted. One broken source is no reason to stop."""
    if os.geteuid() == 0:
        options = ["-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=0"]
        with contextlib.suppress(commands.CommandFailed):
            await _apt_get(*options, "update", deadline=120)


async def _apt_get(*arguments: str, deadline: float) -> None:
    """Run apt-get, after any other apt of this machine: a new machine upgrades itself first."""
    give_up = time.monotonic() + _WAIT_FOR_APT
    command = ["apt-get", "-o", f"DPkg::Lock::Timeout={_WAIT_FOR_APT}", *arguments]
    while True:
        try:
            await commands.run(command, env=_PLAIN, deadline=deadline)
        except commands.CommandFailed as error:
            # apt waits for dpkg's lock, but not for those of its lists and its archives.
            if "Could not get lock" not in error.detail or time.monotonic() > give_up:
                raise
            await asyncio.sleep(1)
        else:
            return


async def candidate(package: str) -> str | None:
    """Return the version of ``package`` that apt would install, or None."""
    policy = await commands.run(["apt-cache", "policy", package], env=_PLAIN, check=False)
    return read_candidate(policy.stdout)


def read_candidate(policy: str) -> str | None:
    """Return the candidate in the output of ``apt-cache policy`` about one package."""
    found = re.search(r"^ {2}Candidate: (\S+)$", policy, re.MULTILINE)
    return found[1] if found and found[1] != "(none)" else None


async def missing(packages: Sequence[str]) -> list[str]:
    """Return those of ``packages`` that are not installed."""
    known = await commands.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *packages],
        env=_PLAIN,
        check=False,
    )
    there = {line.split()[1] for line in known.stdout.splitlines() if line.startswith("installed ")}
    return [package for package in packages if package not in there]


_WAIT_FOR_APT = 300  # seconds
_INSTALL = ("install", "--yes", "--no-install-recommends")


def command_for(packages: Sequence[str]) -> str:
    """Return the command that installs ``packages`` without starting a server of Debian's."""
    install_them = shlex.join(["apt-get", *_INSTALL, *packages])
    if not any(package.startswith("postgresql-") for package in packages):
        return f"sudo {install_them}"
    drop_in = Path("/") / _DROP_IN
    return (
        f"sudo sh -c 'mkdir -p {drop_in.parent} && "
        f"echo {_NO_CLUSTER.strip()} > {drop_in} && {install_them}'"
    )


async def install_missing(packages: Sequence[str], say: Say) -> None:
    """Install those of ``packages`` that are not installed. Raises as ``install``."""
    if absent := await missing(packages):
        await install(absent, say)


async def install(packages: Sequence[str], say: Say) -> None:
    """Install ``packages`` from apt, and start nothing.

    Raises MachineError with the command to run if we are not root, or with apt's own message if it
    fails.
    """
    if os.geteuid() != 0:
        raise MachineError(
            f"These packages are missing: {', '.join(packages)}.",
            hint=f"Only root can install them: {command_for(packages)}",
        )
    say(f"Installing {', '.join(packages)} with apt")
    async with locked(_LOCK):
        with no_servers():
            # A killed installation leaves dpkg incomplete; this completes it.
            await commands.run(["dpkg", "--configure", "-a"], env=_PLAIN, deadline=300)
            keep = "Dpkg::Options::=--force-confold"
            await _apt_get("-o", keep, *_INSTALL, *packages, deadline=1200)


async def disable_service(name: str) -> None:
    """Keep the service of a package from starting at the next boot."""
    await commands.run(["deb-systemd-helper", "disable", f"{name}.service"], check=False)
    await commands.run(["update-rc.d", name, "disable"], check=False)


@contextlib.contextmanager
def no_servers(root: Path = Path("/")) -> Iterator[None]:
    """In the block, no package starts a server or creates a PostgreSQL cluster.

    The files that it creates have no effect once this process is gone, and are removed by the next
    installation, so a kill leaves no machine whose services never start again. ``root`` is the
    machine's, except in tests.
    """
    policy = root / _POLICY
    before = policy.with_name("policy-rc.d.before-tenantry")
    drop_in = root / _DROP_IN
    _restore(root, before)
    if os.path.lexists(policy):
        policy.rename(before)
    try:
        policy.write_text(
            "#!/bin/sh\n"
            f"{_MARK}"
            f"[ -d /proc/{os.getpid()} ] && exit 101\n"
            f'[ -x {before} ] && exec {before} "$@"\n'
            "exit 0\n"
        )
        policy.chmod(0o755)
        drop_in.parent.mkdir(parents=True, exist_ok=True)  # Debian's own file includes it
        drop_in.write_text(_NO_CLUSTER)
        yield
    finally:
        drop_in.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            drop_in.parent.rmdir()  # unless it holds files that are not ours
        policy.unlink(missing_ok=True)
        _restore(root, before)


async def _was_killed() -> bool:
    """Whether an installation of ours was killed; waits for one that is under way.

    A second one beside it would upgrade installed packages under servers that run.
    """
    if was_interrupted() and os.geteuid() == 0:
        async with locked(_LOCK):
            return was_interrupted()
    return was_interrupted()


def was_interrupted(root: Path = Path("/")) -> bool:
    """Whether an installation of ours is under way, or was killed: files may be missing yet."""
    policy = root / _POLICY
    return policy.is_file() and _MARK in policy.read_text(errors="replace")


def _restore(root: Path, before: Path) -> None:
    """Restore the original ``policy-rc.d``; delete one of ours that a kill left."""
    if os.path.lexists(before):
        before.rename(root / _POLICY)
    elif was_interrupted(root):
        (root / _POLICY).unlink()


@contextlib.asynccontextmanager
async def locked(path: Path, *, deadline: float = 900.0) -> AsyncIterator[None]:
    """Hold the lock file ``path``, which one process of this machine can hold at a time.

    Raises MachineError if another holds it for longer than ``deadline`` seconds.
    """
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        await _lock(handle, path, deadline)
        yield
    finally:
        os.close(handle)


async def _lock(handle: int, path: Path, deadline: float) -> None:
    give_up = time.monotonic() + deadline
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise MachineError(
                    f"Another process has been holding {path} for {deadline:.0f} seconds.",
                    hint="Wait for it to end, or stop it.",
                ) from None
        await asyncio.sleep(0.2)  # flock(2) can be neither awaited nor cancelled in a thread
