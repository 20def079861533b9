"""Find or build the best PgBouncer for this machine.

Drivers' default prepared statements need PgBouncer 1.21, and 1.26.1 closes a hole
(CVE-2026-107350), but Debian 12 offers 1.18. So the engine is the best of what is installed, what
apt would install, and a backport: the source package of a newer Debian, fetched and verified by apt
with the machine's own sources and keys (only the suite is another), and built into the engines
folder. Each try has a deadline and the next follows when it fails. See
docs/decisions/0002-engines.md.
"""

import contextlib
import gzip
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.errors import MachineError
from tenantry.host import backports, commands, packages, weaknesses
from tenantry.host.packages import Say

REQUIRED = (1, 21)
WANTED = (1, 26, 1)
_BUILD_PACKAGES = ("build-essential", "libc-ares-dev", "libevent-dev", "libssl-dev", "pkg-config")
_DAY = 24 * 3600.0
_SEARCH_AGAIN = _DAY
_PACKAGED = Path("/usr/sbin/pgbouncer")
_PACKAGED_CHANGELOG = Path("/usr/share/doc/pgbouncer/changelog.Debian.gz")
_ENGLISH = {"LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class PgBouncerEngine:
    """A PgBouncer that runs on this machine.

    ``package`` is the version of the Debian package that it is, or was built from ("" if it is
    neither), and ``fixed`` holds the CVEs its changelog names.
    """

    version: tuple[int, ...]
    path: Path
    package: str = ""
    fixed: frozenset[str] = frozenset()

    @property
    def release(self) -> str:
        """Return its version as Debian compares versions."""
        return self.package or ".".join(map(str, self.version))

    def built_in(self, engines_dir: Path) -> bool:
        """Whether it was built here, so that no package manager updates it."""
        return engines_dir in self.path.parents

    def weaknesses(self) -> list[weaknesses.Weakness]:
        """Return its known weaknesses, without those that Debian has fixed in its release."""
        return [
            weakness
            for weakness in weaknesses.PGBOUNCER
            if weakness.began_in <= self.version < weakness.ended_in
            and weakness.cve not in self.fixed
        ]

    def warnings(self) -> list[str]:
        """Return the same, a sentence each."""
        return [
            f"PgBouncer {self.release} has {weakness.cve}: {weakness.allows} "
            f"(ended in {'.'.join(map(str, weakness.ended_in))})."
            for weakness in self.weaknesses()
        ]


async def find_pgbouncer(engines_dir: Path) -> PgBouncerEngine:
    """Return the best PgBouncer that is installed or built.

    Raises MachineError if there is none from 1.21 on.
    """
    best = await _best(engines_dir)
    if best is None:
        raise MachineError(
            " ".join(["There is no PgBouncer from 1.21 on.", *await _faults(engines_dir)]),
            hint="As root, ./tenantry up installs one.",
        )
    return best


async def ensure_pgbouncer(engines_dir: Path, say: Say) -> PgBouncerEngine:
    """Return the best available PgBouncer; install or build it if needed.

    One that is sufficient but not the wanted version is used as it is, and a better one is searched
    for at most daily. So is a newer source of one that was built here: apt upgrades what it has
    installed, but not what was built here.

    Raises MachineError, with what to do, if none from 1.21 on is available.
    """
    if settled := await _settled(engines_dir):
        return settled
    if may_write(engines_dir):
        async with packages.locked(engines_dir / "lock"):
            if not await _settled(engines_dir):  # another process may have done it meanwhile
                await _search(engines_dir, say)
                (engines_dir / "searched").touch()
    return await find_pgbouncer(engines_dir)


async def _settled(engines_dir: Path) -> PgBouncerEngine | None:
    """Return the best that is here, if there is no reason to search for a better one now."""
    best = await _best(engines_dir)
    if best is None or _searched_lately(engines_dir):
        return best
    return best if best.version >= WANTED and not best.built_in(engines_dir) else None


def may_write(engines_dir: Path) -> bool:
    """Create the engines folder if missing; return whether this process may build there."""
    with contextlib.suppress(OSError):
        engines_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
    return os.access(engines_dir, os.W_OK)


def _searched_lately(engines_dir: Path) -> bool:
    days = days_since_search(engines_dir)
    return days is not None and 0 <= days * _DAY < _SEARCH_AGAIN


def days_since_search(engines_dir: Path) -> float | None:
    """Return how long ago a better PgBouncer was last searched for; None if never."""
    try:
        return (time.time() - (engines_dir / "searched").stat().st_mtime) / _DAY
    except FileNotFoundError:
        return None


# Engines on this machine


async def _best(engines_dir: Path) -> PgBouncerEngine | None:
    """Return the newest engine from 1.21 on that runs; of equals the one built last."""
    best: PgBouncerEngine | None = None
    for program, package, fixed in _candidates(engines_dir):
        version = await _version(program) if _may_run(program) else ()
        if version >= REQUIRED and (best is None or version > best.version):
            best = PgBouncerEngine(version, program, package, fixed)
    return best


def _candidates(engines_dir: Path) -> Iterator[tuple[Path, str, frozenset[str]]]:
    """Yield each PgBouncer on this machine, with its Debian version and the CVEs fixed in it."""
    records = engines_dir.glob("pgbouncer-*/engine.json")
    for record in sorted(records, key=lambda path: path.stat().st_mtime, reverse=True):
        known = json.loads(record.read_text())
        yield record.with_name("pgbouncer"), known["package"], frozenset(known["mended"])
    found = Path(shutil.which("pgbouncer") or _PACKAGED)
    if found == _PACKAGED and _PACKAGED_CHANGELOG.exists():
        with gzip.open(_PACKAGED_CHANGELOG, "rt", errors="replace") as file:
            yield found, *read_changelog(file.read())
    elif found.exists():
        yield found, "", frozenset()


def _may_run(program: Path) -> bool:
    """Whether a program is safe for root: no other user could have put it there."""
    return program.stat().st_uid in {0, os.geteuid()}


async def _faults(engines_dir: Path) -> list[str]:
    """Return why each PgBouncer on this machine was rejected, a sentence each."""
    faults = []
    for program, _, _ in _candidates(engines_dir):
        if not _may_run(program):
            faults.append(f"{program} belongs to another user.")
            continue
        try:
            said = await _ask_version(program)
        except commands.CommandFailed as error:
            faults.append(f"{program} does not run: {error.detail}")
        else:
            faults.append(f"{program} is {said}.")
    return faults


async def _version(program: Path) -> tuple[int, ...]:
    """Return the version of ``program``; () if it does not run."""
    try:
        return upstream(await _ask_version(program))
    except commands.CommandFailed:
        return ()


async def _ask_version(program: Path) -> str:
    said = await commands.run([program, "--version"], deadline=10)
    return said.stdout.partition("\n")[0].removeprefix("PgBouncer ")


def upstream(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with.

    ``1.24.1-1+deb13u2`` is (1, 24, 1), invalid text is ().
    """
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def read_changelog(changelog: str) -> tuple[str, frozenset[str]]:
    """Return the newest version in a Debian changelog, and every CVE that it names."""
    head = re.match(r"\S+ \(([^)]+)\)", changelog)
    return (head[1] if head else ""), frozenset(re.findall(r"CVE-\d{4}-\d+", changelog))


# Available engines


async def _search(engines_dir: Path, say: Say) -> None:
    """Install or build the best available engine, and report why an attempt failed.

    Raises MachineError if none is left after that.
    """
    say("Looking for the best PgBouncer that can be had")
    await packages.refresh()
    # An installed one is the administrator's: an upgrade would restart their server.
    absent = await packages.missing(["pgbouncer"])
    offered = (await packages.candidate("pgbouncer") or "") if absent else ""
    failures: list[str] = []
    if upstream(offered) < WANTED and await _can_build(say):
        for suite in backports.suites():
            try:
                if await _backport(engines_dir, suite, offered, say):
                    break
            except MachineError as error:
                say(f"No newer PgBouncer can be had from {suite}.")
                failures.append(f"{suite}: {error.detail.strip().splitlines()[-1]}")
    await _install_offered(offered, await _best(engines_dir), failures, say)


async def _can_build(say: Say) -> bool:
    absent = await packages.missing(_BUILD_PACKAGES)
    if absent and os.geteuid() != 0:
        say(f"A newer PgBouncer could be built here, after `{packages.command_for(absent)}`.")
        return False
    return True


async def _install_offered(
    offered: str, best: PgBouncerEngine | None, failures: list[str], say: Say
) -> None:
    """Install apt's PgBouncer if none better is here; ``failures`` says why none was built."""
    if best and (os.geteuid() != 0 or not await backports.is_newer(offered, best.release)):
        return
    if upstream(offered) >= REQUIRED:
        await packages.install(["pgbouncer"], say)
        await packages.disable_service("pgbouncer")
    elif best is None:
        build = packages.command_for(_BUILD_PACKAGES)
        raise MachineError(
            f"There is no PgBouncer from 1.21 on: apt offers {offered or 'none'}, and none of a "
            f"newer release could be built{''.join(f'; {each}' for each in failures)}.",
            hint="Check that apt reaches its mirror, or add PostgreSQL's own apt repository."
            + (f" A user can build one after: {build}" if os.geteuid() != 0 else ""),
        )


async def _backport(engines_dir: Path, suite: str, offered: str, say: Say) -> bool:
    """Build PgBouncer from a suite's source package, if that is newer than all others.

    Raises MachineError where the suite, its files or the build fail.
    """
    with backports.workshop(engines_dir) as folder:
        sources = await backports.SourcePackages.of(suite, folder)
        version = await sources.newest("pgbouncer")
        best = await _best(engines_dir)
        for known in (offered, best.release if best else ""):
            if not await backports.is_newer(version, known):
                return False
        if upstream(version) < REQUIRED:
            return False
        description = await sources.download("pgbouncer", version)
        await packages.install_missing(_BUILD_PACKAGES, say)
        say(f"Building PgBouncer {version} from the sources of {suite}")
        await _build(description, folder / "engine")
        backports.keep(folder / "engine", engines_dir / f"pgbouncer-{version}")
    return True


async def _build(description: Path, engine: Path) -> None:
    """Compile the source package of a ``.dsc`` into the new folder ``engine``."""
    source = description.with_name("source")
    await commands.run(["dpkg-source", "--extract", description, source], env=_ENGLISH)
    # Debian's own flags: a daemon that faces the network is built hardened.
    flags = await commands.run(
        ["dpkg-buildflags", "--export=cmdline"], env={"DEB_BUILD_MAINT_OPTIONS": "hardening=+all"}
    )
    options = ["--with-cares", "--without-pam", *shlex.split(flags.stdout)]
    await commands.run(["./configure", *options], cwd=source, deadline=180)
    jobs = f"--jobs={os.cpu_count()}"
    await commands.run(["make", jobs, "pgbouncer"], cwd=source, deadline=600)
    _collect(source, engine)
    if await _version(engine / "pgbouncer") < REQUIRED:
        raise MachineError("PgBouncer was built, but does not run.")


def _collect(source: Path, engine: Path) -> None:
    """Copy the program from a built source tree, and record what its changelog says."""
    engine.mkdir(mode=0o755)
    shutil.copy2(source / "pgbouncer", engine / "pgbouncer")
    package, fixed = read_changelog((source / "debian" / "changelog").read_text())
    record = {"package": package, "mended": sorted(fixed)}
    (engine / "engine.json").write_text(json.dumps(record, indent=2) + "\n")
