"""Find or build a pgBackRest that knows the releases of PostgreSQL on this machine.

It refuses a server that is newer than itself, and Debian 12's 2.45 knows PostgreSQL up to 15. So,
as for PgBouncer (engines.py), the engine is the newest of the package and a backport. See
docs/decisions/0114-a-second-major-of-postgresql.md.
"""

import os
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tenantry.base.errors import MachineError
from tenantry.host import backports, commands, engines, packages
from tenantry.host.engines import upstream
from tenantry.host.packages import PGBACKREST, Say

# Its first release that knows a major version of PostgreSQL.
_KNOWN_FROM = {15: (2, 41), 16: (2, 48), 17: (2, 53, 1), 18: (2, 55)}
_NAME = "pgbackrest"
_BUILD_PACKAGES = (
    "build-essential",
    "libbz2-dev",
    "liblz4-dev",
    "libpq-dev",
    "libssl-dev",
    "libxml2-dev",
    "libyaml-dev",
    "libzstd-dev",
    "meson",
    "pkg-config",
    "zlib1g-dev",
)
_SEARCH_AGAIN = 24 * 3600.0
_ENGLISH = {"LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class PgBackRestEngine:
    """A pgBackRest of this machine."""

    version: tuple[int, ...]
    path: Path

    @property
    def release(self) -> str:
        return ".".join(map(str, self.version))

    def knows(self, major: int) -> bool:
        """Whether it can back up a server of this major version of PostgreSQL."""
        first = _KNOWN_FROM.get(major)
        return first is not None and self.version >= first


def find_pgbackrest(engines_dir: Path) -> PgBackRestEngine | None:
    """Return the newest pgBackRest that is installed or built; None if there is none."""
    built = tuple(sorted(engines_dir.glob(f"{_NAME}-*/{_NAME}")))
    try:
        changed_at = PGBACKREST.stat().st_mtime_ns
    except FileNotFoundError:
        changed_at = None
    return _newest(built, PGBACKREST, changed_at)


# The fleet asks several times a second, for each cluster.
@lru_cache(maxsize=8)
def _newest(
    built: tuple[Path, ...], packaged: Path, changed_at: int | None
) -> PgBackRestEngine | None:
    found = [
        PgBackRestEngine(upstream(program.parent.name.partition("-")[2]), program)
        for program in built
        if program.stat().st_uid in {0, os.geteuid()}
    ]
    if changed_at is not None:
        found.append(PgBackRestEngine(_ask(packaged), packaged))
    return max(found, key=lambda each: each.version, default=None)


def program(engines_dir: Path) -> Path:
    """Return the program, or where the package would have it."""
    engine = find_pgbackrest(engines_dir)
    return PGBACKREST if engine is None else engine.path


def _ask(path: Path) -> tuple[int, ...]:
    """Return the version of a program; () if it does not run. Takes milliseconds."""
    try:
        done = subprocess.run(
            [path, "version"], capture_output=True, text=True, timeout=10, check=False, env={}
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return upstream(done.stdout.removeprefix("pgBackRest "))


async def ensure_pgbackrest(engines_dir: Path, say: Say, *, newest: int | None = None) -> None:
    """Install pgBackRest if missing, and build a newer one if a server here needs that.

    ``newest`` is the newest major version to be backed up, by default of the installed ones. If no
    source is new enough, or it cannot be built, that is reported: older servers are backed up, and
    new ones of that version are refused. A search is repeated after a day.

    Raises MachineError if it is missing and only root could install it.
    """
    await packages.install_pgbackrest(say)
    if newest is None:
        newest = max((each.version for each in packages.installed_servers(engines_dir)), default=0)
    searched = engines_dir / f"{_NAME}-searched"
    if not newest or _is_known(engines_dir, newest) or _is_recent(searched):
        return
    if not engines.may_write(engines_dir):
        return
    async with packages.locked(engines_dir / "lock"):
        if not _is_known(engines_dir, newest):  # another process may have built it meanwhile
            await _search(engines_dir, newest, say)
            searched.touch()


def _is_known(engines_dir: Path, major: int) -> bool:
    engine = find_pgbackrest(engines_dir)
    return engine is not None and engine.knows(major)


def _is_recent(searched: Path) -> bool:
    try:
        return 0 <= time.time() - searched.stat().st_mtime < _SEARCH_AGAIN
    except FileNotFoundError:
        return False


async def _search(engines_dir: Path, newest: int, say: Say) -> None:
    say(f"Looking for a pgBackRest that knows PostgreSQL {newest}")
    absent = await packages.missing(_BUILD_PACKAGES)
    if absent and os.geteuid() != 0:
        say(f"One could be built here, after `{packages.command_for(absent)}`.")
        return
    for suite in backports.suites():
        try:
            if await _backport(engines_dir, suite, newest, say):
                return
        except MachineError as error:
            say(f"No pgBackRest can be had from {suite}: {error.detail.strip().splitlines()[-1]}")


async def _backport(engines_dir: Path, suite: str, newest: int, say: Say) -> bool:
    """Build pgBackRest from a suite's source package, if that knows this version of PostgreSQL.

    Raises MachineError where the suite, its files or the build fail.
    """
    with backports.workshop(engines_dir) as folder:
        sources = await backports.SourcePackages.of(suite, folder)
        version = await sources.newest(_NAME)
        if not PgBackRestEngine(upstream(version), PGBACKREST).knows(newest):
            return False
        description = await sources.download(_NAME, version)
        await packages.install_missing(_BUILD_PACKAGES, say)
        say(f"Building pgBackRest {version} from the sources of {suite}")
        await _build(description, folder / "engine")
        backports.keep(folder / "engine", engines_dir / f"{_NAME}-{version}")
    return True


async def _build(description: Path, engine: Path) -> None:
    """Compile the source package of a ``.dsc`` into the new folder ``engine``."""
    source = description.with_name("source")
    built = description.with_name("built")
    await commands.run(["dpkg-source", "--extract", description, source], env=_ENGLISH)
    flags = await commands.run(["dpkg-buildflags", "--export=cmdline"], env=_ENGLISH)
    variables = dict(each.split("=", 1) for each in shlex.split(flags.stdout))
    await commands.run(
        ["meson", "setup", "--buildtype=release", built, source],
        env={**_ENGLISH, **variables},
        deadline=180,
    )
    await commands.run(["ninja", "-C", built, f"src/{_NAME}"], env=_ENGLISH, deadline=900)
    _collect(built, engine)
    if not _ask(engine / _NAME):
        raise MachineError("pgBackRest was built, but does not run.")


def _collect(built: Path, engine: Path) -> None:
    engine.mkdir(mode=0o755)
    shutil.copy2(built / "src" / _NAME, engine / _NAME)
