"""The version of a program that runs, is installed, and would be installed by apt."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tenantry
from tenantry.host import commands

_PLAIN = {"LC_ALL": "C"}
_DPKG_STATUS = Path("/var/lib/dpkg/status")
_DPKG_LOCK = Path("/var/lib/dpkg/lock-frontend")
_APT_LISTS = Path("/var/lib/apt/lists")
_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
_ENVIRONMENT = re.compile(r"-([0-9a-f]{16})/lib/")
_NOT_FILES = ("/dev/zero", "/SYSV", "/memfd:", "/anon_hugepage")


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package: the installed version, and the one that apt would install."""

    installed: str | None
    candidate: str | None


def read_policy(text: str) -> dict[str, Package]:
    """Return the packages in the output of ``apt-cache policy``, by name."""
    found = {}
    for name, rest in re.findall(r"^(\S+):\n((?: .*\n?)*)", text, re.MULTILINE):
        values = {
            key: None if value == "(none)" else value
            for key, value in re.findall(r"^ {2}(Installed|Candidate): (.+)$", rest, re.MULTILINE)
        }
        found[name] = Package(values.get("Installed"), values.get("Candidate"))
    return found


async def packages(names: Sequence[str]) -> dict[str, Package]:
    """Return these packages, by name; from apt's own lists, without a network.

    It takes apt up to a second of processor time, at a low priority. Raises CommandFailed if there
    is no apt.
    """
    shown = await commands.run(["apt-cache", "policy", *names], env=_PLAIN, gently=True)
    return read_policy(shown.stdout)


def packages_changed_at() -> float:
    """Return when packages or apt's lists last changed; earlier results are outdated."""
    times = [path.stat().st_mtime for path in (_DPKG_STATUS, _APT_LISTS) if path.exists()]
    return max(times, default=0.0)


def packages_are_changing(*, lock: Path = _DPKG_LOCK, locks: Path = Path("/proc/locks")) -> bool:
    """Whether apt or dpkg is at work, so that programs and their libraries may not match yet.

    Only root can try the lock itself; its holder is visible to all users (proc(5)).
    """
    try:
        inode = str(lock.stat().st_ino)
        return any(
            field.rpartition(":")[2] == inode
            for line in locks.read_text().splitlines()
            for field in line.split()
            if field.count(":") == 2  # noqa: PLR2004 (major:minor:inode)
        )
    except OSError:
        return False


def replaced_files(pid: int, *, proc: Path = Path("/proc")) -> tuple[str, ...]:
    """Return the programs and libraries that a process runs and that are not on disk any more.

    An upgrade of a package replaces its files; a process that has loaded the old ones continues
    with them, and loads the new ones from then on. Empty if the process is gone, or another user's.
    """
    try:
        lines = (proc / str(pid) / "maps").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ()
    found = set()
    for line in lines:  # address perms offset device inode path (proc(5))
        fields = line.split(maxsplit=5)
        path = fields[5] if len(fields) > 5 else ""  # noqa: PLR2004
        if "x" in fields[1] and path.endswith(" (deleted)") and not path.startswith(_NOT_FILES):
            found.add(path.removesuffix(" (deleted)"))
    return tuple(sorted(found))


def is_program(pid: int, program: Path) -> bool:
    """Whether a process runs the very file that is there now; True if this cannot be found out."""
    try:
        return Path(f"/proc/{pid}/exe").readlink() == program.resolve()
    except OSError:
        return True


def code() -> str:
    """Return the version of the platform's code that is installed now: ``0.3.0+3f2a91bc``.

    The part behind the plus sign distinguishes two builds of a release, by their folder: an
    environment is named by its contents (host.environment). Raises OSError if the code is missing.
    """
    # Through the link to the environment, which may lead elsewhere by now.
    folder = Path(tenantry.__file__).resolve().parent
    version = _VERSION.search((folder / "__init__.py").read_text())
    build = _ENVIRONMENT.search(str(folder))
    name = build[1] if build else hashlib.sha256(str(folder).encode()).hexdigest()
    return f"{version[1] if version else 'unknown'}+{name[:8]}"
