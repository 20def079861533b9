"""Control groups: shares and limits of processor time, memory and processes (cgroups(7)).

An installation has a folder of groups, its subtree, which the platform's user may write to:

=================================  ============================================================
``MOUNT/tenantry/ID``              created by ``prepare`` as root, in each hierarchy of version 1
                                   or in the one of version 2; ID is derived from the home
the folder of the systemd unit     version 2, where the unit has ``Delegate=`` and
                                   ``DelegateSubgroup=platform``
=================================  ============================================================

The platform's own processes are in the group ``platform`` of the subtree. A process of version 2
can be moved only within a subtree that it was started in.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.errors import MachineError

PLATFORM = "platform"
DEFAULT_WEIGHT = 100  # of version 2; weights are from 1 to 10,000

_MOUNTS = Path("/proc/self/mounts")
_OWN = Path("/proc/self/cgroup")
_ALL = "tenantry"
_ALL_WEIGHT = 1000  # all installations count as much as ten processes outside of groups
_CONTROLLERS = ("cpu", "memory", "pids")
_ACCOUNTING = "cpuacct"  # version 1 only; version 2 counts in the controller cpu
_SHARES = 1024  # of version 1, at the default weight
_PERIOD = 100_000  # microseconds
_DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of a group have used since it was created, and have now."""

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Groups:
    """The subtree of an installation; ``folders`` has it for each controller.

    ``is_unified``: there is one hierarchy for all controllers, that of version 2. A group is named
    by its path, such as ``databases/tenant_x``. Methods raise MachineError if the kernel refuses.
    """

    is_unified: bool
    folders: Mapping[str, Path]

    @property
    def has_limits(self) -> bool:
        """Whether groups can have limits; otherwise they only have weights."""
        needed = {*_CONTROLLERS, *([] if self.is_unified else [_ACCOUNTING])}
        return needed <= self.folders.keys()

    def ensure(self, name: str, *, limits: bool = False) -> None:
        """Create a group with a weight, and those above it; ``limits``: with all controllers."""
        wanted = tuple(self.folders) if limits else ("cpu",)
        with _explained():
            for controller in wanted:
                path = self.folders[controller] / name
                if self.is_unified:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _enable(path.parent, [controller])
                path.mkdir(parents=True, exist_ok=True)

    def set_weight(self, name: str, weight: int) -> None:
        """Set a group's share of the processors, relative to the groups beside it."""
        with _explained():
            _set_weight(self.folders["cpu"] / name, weight, is_unified=self.is_unified)

    def limit(
        self, name: str, *, cpus: float | None, memory_bytes: int | None, pids: int | None
    ) -> None:
        """Set the limits of a group that was created with ``limits``; None removes a limit."""
        none = "max" if self.is_unified else -1
        quota = none if cpus is None else max(1000, round(cpus * _PERIOD))
        memory = none if memory_bytes is None else memory_bytes
        if self.is_unified:
            self._write("cpu", name, "cpu.max", f"{quota} {_PERIOD}")
            self._write("memory", name, "memory.max", memory)
        else:
            self._write("cpu", name, "cpu.cfs_quota_us", quota)
            self._write("memory", name, "memory.limit_in_bytes", memory)
        self._write("pids", name, "pids.max", "max" if pids is None else pids)

    def add(self, name: str, pids: Iterable[int]) -> None:
        """Move processes into a group; those that have ended are skipped."""
        files = [path / "cgroup.procs" for path in self._folders_of(name)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError), _explained():
                for file in files:
                    _write(file, pid)

    def members(self, name: str) -> set[int]:
        """Return the processes in a group; none if there is no such group."""
        try:
            return {int(pid) for pid in _read(self.folders["cpu"] / name / "cgroup.procs").split()}
        except FileNotFoundError:
            return set()

    def usage(self, name: str) -> Usage:
        """Return what a group that was created with ``limits`` uses."""
        with _explained():
            if self.is_unified:
                lines = _read(self.folders["cpu"] / name / "cpu.stat").splitlines()
                cpu = int(dict(line.split() for line in lines)["usage_usec"]) / 1e6
                memory = _read(self.folders["memory"] / name / "memory.current")
            else:
                cpu = int(_read(self.folders[_ACCOUNTING] / name / "cpuacct.usage")) / 1e9
                memory = _read(self.folders["memory"] / name / "memory.usage_in_bytes")
        return Usage(cpu, int(memory))

    def names(self, parent: str) -> set[str]:
        """Return the names of the groups in another one, without its own name."""
        with contextlib.suppress(FileNotFoundError):
            return {path.name for path in (self.folders["cpu"] / parent).iterdir() if path.is_dir()}
        return set()

    def remove(self, name: str) -> bool:
        """Remove a group and those in it. Return whether it is gone: not while it has processes."""
        return all(list(map(_remove, self._folders_of(name))))

    def _folders_of(self, name: str) -> list[Path]:
        """Return the folders of a group, one for each hierarchy that it is in."""
        paths = dict.fromkeys(folder / name for folder in self.folders.values())
        return [path for path in paths if path.is_dir()]

    def _write(self, controller: str, name: str, file: str, value: object) -> None:
        with _explained():
            _write(self.folders[controller] / name / file, value)


def prepare(home: Path, *, owner: tuple[int, int] | None = None) -> None:
    """Create the subtree of the installation in ``home``, and enter its group ``platform``.

    As root, for ``owner`` (a user and a group, by id), before this process becomes that user. For
    others only what the systemd unit delegates can be prepared. Where the machine does not permit
    it nothing is changed that does harm: ``missing`` says why.
    """
    with contextlib.suppress(OSError):
        is_unified, tops = _hierarchies()
        if owner is not None:
            for top in dict.fromkeys(tops.values()):
                with contextlib.suppress(OSError):
                    _prepare_below(top, home, owner, tops, is_unified=is_unified)
        elif is_unified and (delegated := _delegated(tops["cpu"])):
            _enable(delegated, tops)


def remove(home: Path) -> None:
    """Remove the subtree, except groups that have processes; as root, also an empty top."""
    with contextlib.suppress(OSError):
        _, tops = _hierarchies()
        for top in dict.fromkeys(tops.values()):
            _remove(top / _subtree(home))
            with contextlib.suppress(OSError):
                (top / _ALL).rmdir()


def find(home: Path) -> Groups | None:
    """Return the groups of the installation in ``home``; None if there are none (``missing``)."""
    found = _look(home)
    return found if isinstance(found, Groups) else None


def missing(home: Path) -> str | None:
    """Return why there are no groups, as a sentence; None if there are."""
    found = _look(home)
    return None if isinstance(found, Groups) else found


def _look(home: Path) -> Groups | str:
    try:
        is_unified, tops = _hierarchies()
    except OSError:
        return "No hierarchy of control groups with the controller cpu is mounted here."
    folders = {controller: top / _subtree(home) for controller, top in tops.items()}
    if not folders["cpu"].is_dir() and is_unified and (delegated := _delegated(tops["cpu"])):
        folders = dict.fromkeys(folders, delegated)
    if not folders["cpu"].is_dir():
        return (
            f"{folders['cpu']} does not exist: root creates it at tenantry up where it may, and"
            " systemd from version 254 delegates a folder to the service."
        )
    if not os.access(folders["cpu"], os.W_OK):
        return f"This user may not write to {folders['cpu']}."
    return Groups(is_unified, {each: path for each, path in folders.items() if path.is_dir()})


def _hierarchies() -> tuple[bool, dict[str, Path]]:
    """Return whether it is one, of version 2, and where each controller is mounted.

    Raises OSError if there is no controller cpu.
    """
    mounts = [line.split() for line in _MOUNTS.read_text().splitlines()]
    first = {
        controller: Path(where)
        for _, where, kind, options, *_ in mounts
        if kind == "cgroup"
        for controller in (*_CONTROLLERS, _ACCOUNTING)
        if controller in options.split(",")
    }
    if "cpu" in first:
        return False, first
    for _, where, kind, *_ in mounts:
        if kind == "cgroup2":
            there = (Path(where) / "cgroup.controllers").read_text().split()
            if "cpu" in there:
                return True, {each: Path(where) for each in _CONTROLLERS if each in there}
    raise FileNotFoundError(errno.ENOENT, "no controller cpu")


def _prepare_below(
    top: Path, home: Path, owner: tuple[int, int], tops: Mapping[str, Path], *, is_unified: bool
) -> None:
    """Create the subtree in one hierarchy, and enter its group ``platform`` where cpu is."""
    subtree = top / _subtree(home)
    own = subtree / PLATFORM
    for folder in (subtree.parent, subtree, own):
        if is_unified:
            _enable(folder.parent, tops)
        folder.mkdir(exist_ok=True)
        os.chown(folder, *owner)
        for name in _DELEGATED:
            if (folder / name).exists():
                os.chown(folder / name, *owner)
    if top == tops["cpu"]:
        _set_weight(subtree.parent, _ALL_WEIGHT, is_unified=is_unified)
        _write(own / "cgroup.procs", os.getpid())


def _subtree(home: Path) -> Path:
    return Path(_ALL) / hashlib.sha256(str(home).encode()).hexdigest()[:12]


def _delegated(top: Path) -> Path | None:
    """Return the folder that systemd has delegated to the unit that this process is of, if any."""
    own = next((line[3:] for line in _OWN.read_text().splitlines() if line.startswith("0::")), "")
    group = top / own.lstrip("/")
    return group.parent if group.name == PLATFORM and os.access(group.parent, os.W_OK) else None


def _set_weight(folder: Path, weight: int, *, is_unified: bool) -> None:
    if is_unified:
        _write(folder / "cpu.weight", weight)
    else:
        _write(folder / "cpu.shares", weight * _SHARES // DEFAULT_WEIGHT)


def _enable(folder: Path, controllers: Iterable[str]) -> None:
    """Enable controllers for the groups in a folder of version 2."""
    _write(folder / "cgroup.subtree_control", " ".join(f"+{each}" for each in controllers))


def _remove(folder: Path) -> bool:
    """Remove a group and those in it, as far as they have no processes."""
    try:
        below = [Path(each.path) for each in os.scandir(folder) if each.is_dir()]
        for each in below:
            _remove(each)
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn the kernel's refusal into a MachineError, except of a process that has ended."""
    try:
        yield
    except ProcessLookupError:
        raise
    except OSError as error:
        raise MachineError(f"{error.filename}: {error.strerror}") from error


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii")


def _write(path: Path, value: object) -> None:
    try:
        # These are the kernel's files: nothing is created, and each write is one command.
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, f"{value}\n".encode())
        finally:
            os.close(handle)
    except OSError as error:
        error.filename = str(path)
        raise
