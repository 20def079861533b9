"""Processes that outlive us: found by pid file, awaited by pidfd, ended with a deadline."""

import asyncio
import contextlib
import datetime as dt
import os
import re
import resource
import signal
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

# The variable with the home whose supervisor started a process. It also finds processes in sessions
# and process groups of their own, and those whose parents are gone.
OF_HOME = "TENANTRY_CHILD_OF"

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SOCKET = re.compile(r"socket:\[(\d+)\]")  # proc(5), /proc/pid/fd


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What a process has used so far; ``began`` differs between processes with the same pid.

    ``began`` is in ticks since the boot. ``of_ended_seconds`` is what children that have ended had
    used. ``memory_bytes`` is its own: neither shared memory nor files.
    """

    began: int
    cpu_seconds: float
    memory_bytes: int
    of_ended_seconds: float = 0.0


def read_pid(path: Path) -> int | None:
    """Return the pid on the first line of a pid file, if that process lives."""
    try:
        pid = int(path.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None
    return pid if is_alive(pid) else None


def is_alive(pid: int) -> bool:
    """Whether a process has this pid and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def children(pid: int | None) -> list[int]:
    """Return the processes that this one has forked (proc(5)); none if it is gone."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def memory(pid: int) -> int | None:
    """Return the bytes of memory that a process has now (VmRSS of proc(5)); None if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(sizes[0]) * 1024 if sizes else None


def use(pid: int) -> ProcessUse | None:
    """Return what a process has used (proc(5): stat and statm); None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        statm = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return None
    words = stat.rpartition(")")[2].split()  # the third field and on
    _, resident, shared, *_ = map(int, statm.split())
    return ProcessUse(
        began=int(words[19]),
        cpu_seconds=(int(words[11]) + int(words[12])) / _TICKS,
        memory_bytes=(resident - shared) * _PAGE,
        of_ended_seconds=(int(words[13]) + int(words[14])) / _TICKS,
    )


def started_at(used: ProcessUse) -> dt.datetime:
    """Return when a process began (proc(5): the boot is btime of stat)."""
    stat = Path("/proc/stat").read_text()
    boot = next(int(line.split()[1]) for line in stat.splitlines() if line.startswith("btime "))
    return dt.datetime.fromtimestamp(boot + used.began / _TICKS, dt.UTC)


def share_of_memory(pid: int) -> int:
    """Return a process's proportional share of memory in bytes (Pss of proc(5)); 0 if it is gone.

    Together the shares of processes are what they take: a page that n of them share counts n-th.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    sizes = [int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")]
    return sum(sizes) * 1024


def command_line(pid: int) -> list[str]:
    """Return the arguments that a process was started with; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def started_by(pid: int | None, program: str, argument: Path | str) -> bool:
    """Whether ``pid`` is ``program`` run on ``argument``, and not another with a reused pid."""
    if pid is None:
        return False
    words = command_line(pid)
    return bool(words) and program in words[0] and any(str(argument) in word for word in words[1:])


def pid_of_part(file: Path) -> int | None:
    """Return the pid of the supervisor's child that this file is named after; None if it is gone.

    Another process may have got the pid since.
    """
    pid = read_pid(file)
    if pid is None or command_line(pid)[1:] != ["-m", "tenantry", file.stem]:
        return None
    return pid


def data_bytes(pid: int) -> int:
    """Return what RLIMIT_DATA limits of a process (VmData of proc(5)).

    Raises FileNotFoundError or ProcessLookupError if there is none.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmData:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def is_first_inside(pid: int) -> bool:
    """Whether a process is the first one of a pid namespace below ours (NSpid of proc(5))."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    inside = [line.split()[2:] for line in status.splitlines() if line.startswith("NSpid:")]
    return any(pids[-1:] == ["1"] for pids in inside)


def started_on(argument: Path) -> list[int]:
    """Return the processes with this file or folder, or one below it, in their arguments."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and int(entry.name) != os.getpid()
        if any(str(argument) in word for word in command_line(int(entry.name)))
    ]


def descending_from(home: Path) -> set[int]:
    """Return the processes that were started below a supervisor of ``home`` (``OF_HOME``)."""
    mark = f"{OF_HOME}={home}"
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            # The environment of another user's process cannot be read, and it is none of ours.
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_text(errors="replace").split("\0"):
                    found.add(int(entry.name))
    return found


def sockets(pid: int) -> set[int]:
    """Return the inodes of the sockets that a process of this user has open."""
    found = set()
    with contextlib.suppress(OSError):  # it has ended
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # it was closed meanwhile
                if opened := _SOCKET.fullmatch(str(entry.readlink())):
                    found.add(int(opened[1]))
    return found


def is_own(pid: int) -> bool:
    """Whether a process belongs to the user that this one runs as."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
    except (FileNotFoundError, ProcessLookupError):
        return False


def has_ancestor(pid: int, ancestors: Collection[int]) -> bool:
    """Whether a process is one of these, or descends from one."""
    while pid > 1:
        if pid in ancestors:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return False


async def wait_gone(pid: int) -> None:
    """Return when the process has ended; it need not be our child (pidfd_open(2))."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.get_running_loop().create_future()

    def notify() -> None:
        if not ended.done():
            ended.set_result(None)

    asyncio.get_running_loop().add_reader(handle, notify)
    try:
        await ended
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)


async def stop(pid: int, *, signal_number: int = signal.SIGTERM, deadline: float = 20.0) -> bool:
    """Ask a process to end, kill it after ``deadline`` seconds; return whether that was needed."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)
    try:
        await asyncio.wait_for(wait_gone(pid), deadline)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await wait_gone(pid)
        return True
    return False


def leave_no_core_dumps() -> None:
    """Disable core dumps of this process and those it starts: no quota counts them.

    Each of a server's has the size of its shared memory. Its owner may raise the limit again.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


async def lifeline() -> None:
    """Return when the parent process is gone: standard input has reached its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        await reader.read()
    finally:
        transport.close()
