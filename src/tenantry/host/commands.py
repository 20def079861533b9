"""Run other programs: argument lists only, always with a deadline, output captured."""

import asyncio
import contextlib
import os
import pwd
import resource
import signal
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tenantry.base.errors import MachineError
from tenantry.host import processes

_LAST_LINES = 15
_LAST_BYTES = 64 * 1024  # of standard error
_MOST_OUTPUT = 64 * 1024 * 1024
_LOOK_SECONDS = 0.5
_KILLED_SECONDS = 1.0  # for a killed program to end
_NICE = 10  # a tenth of the processor while other processes need all of it


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Talk:
    """A running program: its input, what it prints, and the end of its standard error."""

    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    stderr: "asyncio.Task[bytes]"


class CommandFailed(MachineError):
    """A program failed, or did not end in time."""

    code = "command_failed"
    title = "A program that Tenantry runs failed"


class _TooMuchOutput(Exception):
    """A program prints more than is kept in memory."""


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LAST_LINES:])


async def run(
    arguments: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    inherit: bool = True,
    gently: bool = False,
    cwd: Path | None = None,
    deadline: float = 60.0,
    memory: int | None = None,
    check: bool = True,
    on_error_line: Callable[[str], None] | None = None,
    while_running: Callable[[], Awaitable[None]] | None = None,
    stdin: str | Path | None = None,
    into: Path | None = None,
    as_owner_of: Path | None = None,
) -> Completed:
    """Run a program to its end and return what it printed.

    ``env`` is added to this process's environment, or is all that the program gets if it does not
    ``inherit``. One that is run ``gently`` gives way to other processes on processors and disks.
    ``deadline`` is in seconds; past it the program and its children are killed. ``memory`` is how
    many bytes of address space it may take, and each of its children. It may print 64 MiB on
    standard output; of standard error the end is kept. ``on_error_line`` is called with each line
    of its standard error as it comes, of which only the last ones are returned then;
    ``while_running`` is called about twice a second. ``stdin`` is its input, or the file that has
    it; ``into`` is a new file, readable only for this user, that gets all its standard output. If
    root runs it ``as_owner_of`` a file or folder, it runs as that one's user.

    Raises CommandFailed if it cannot be started, is too slow, prints too much, or (with ``check``)
    ends with anything but 0.
    """
    name = Path(arguments[0]).name
    environment = {**(os.environ if inherit else _mark()), **(env or {})}
    process = await _start(
        arguments, environment, cwd, stdin=stdin, into=into, as_owner_of=as_owner_of
    )
    if gently:
        _step_back(process.pid)
    if memory is not None:
        _limit_memory(process.pid, memory)
    talks = (
        asyncio.create_task(_all_of(process.stdout)),
        asyncio.create_task(_lines_of(process.stderr, on_error_line)),
        asyncio.create_task(_feed(process.stdin, stdin if isinstance(stdin, str) else None)),
    )
    watching = None if while_running is None else asyncio.create_task(_again(while_running))
    try:
        stdout, stderr = await _output(name, process, talks, deadline)
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    done = Completed(
        process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace")
    )
    if check and done.returncode != 0:
        said = _tail(done.stderr) or _tail(done.stdout) or "it printed nothing"
        raise CommandFailed(f"{name} ended with {done.returncode}: {said}")
    return done


async def _output(
    name: str,
    process: asyncio.subprocess.Process,
    talks: Iterable["asyncio.Task[Any]"],
    deadline: float,
) -> tuple[bytes, bytes]:
    """Return what a program printed once it has ended; it is killed if that takes too long."""
    try:
        async with asyncio.timeout(deadline):
            stdout, stderr, _ = await asyncio.gather(*talks)
            await process.wait()
    except (TimeoutError, asyncio.CancelledError, _TooMuchOutput) as stop:
        await _kill(process, talks)
        if isinstance(stop, asyncio.CancelledError):
            raise
        if isinstance(stop, _TooMuchOutput):
            raise CommandFailed(f"{name} printed more than {_MOST_OUTPUT:,} bytes.") from None
        raise CommandFailed(f"{name} did not end within {deadline:.0f} seconds.") from None
    return stdout, stderr


async def _start(
    arguments: Sequence[str | Path],
    environment: Mapping[str, str],
    cwd: Path | None,
    *,
    stdin: str | Path | None,
    into: Path | None,
    as_owner_of: Path | None,
) -> asyncio.subprocess.Process:
    try:
        with (
            _input(stdin) as source,
            contextlib.nullcontext(asyncio.subprocess.PIPE) if into is None else _new(into) as out,
        ):
            return await asyncio.create_subprocess_exec(
                *map(str, arguments),
                stdin=source,
                stdout=out,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                cwd=cwd or ("/" if as_owner_of else None),  # root may be where others cannot enter
                start_new_session=True,
                **_identity(as_owner_of),
            )
    except OSError as error:
        raise CommandFailed(
            f"{Path(arguments[0]).name} could not be started: {error.strerror}.",
            hint="Run ./tenantry doctor.",
        ) from error


async def _kill(process: asyncio.subprocess.Process, talks: Iterable["asyncio.Task[Any]"]) -> None:
    """Kill a program and its children, and wait for their end, for a limited time."""
    with contextlib.suppress(ProcessLookupError):
        _end(process)
    for talk in talks:
        talk.cancel()
    await asyncio.gather(*talks, return_exceptions=True)
    # Its pipes have to be read to their end: asyncio waits for that, too.
    end = asyncio.gather(_end_of(process.stdout), _end_of(process.stderr), process.wait())
    # A process that waits for an unresponsive file system ends only when that responds.
    try:
        await asyncio.wait_for(end, _KILLED_SECONDS)
    except TimeoutError:
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001


def _input(stdin: str | Path | None) -> AbstractContextManager[int | BinaryIO]:
    if isinstance(stdin, Path):
        return stdin.open("rb")
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    return contextlib.nullcontext(nothing if stdin is None else pipe)


def _new(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _identity(owner_of: Path | None) -> dict[str, Any]:
    """Return the arguments with which root starts a program as another user."""
    if owner_of is None or os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwuid(owner_of.stat().st_uid)
    except (FileNotFoundError, KeyError):
        return {}
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}


def _mark() -> dict[str, str]:
    """Return the variable by which a supervisor finds the processes started below it."""
    home = os.environ.get(processes.OF_HOME)
    return {} if home is None else {processes.OF_HOME: home}


def _step_back(session: int) -> None:
    """Give the processes of a session a lower priority than all others.

    The disk's priority follows from the processor's (ionice(1)). Where the kernel groups processes
    by session, one's niceness only counts within it, and the group has its own (sched(7),
    autogroup).
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PGRP, session, _NICE)
    with contextlib.suppress(OSError):
        Path(f"/proc/{session}/autogroup").write_text(str(_NICE))


def _limit_memory(pid: int, most: int) -> None:
    """Limit the memory of a started program and its children (prlimit(2)); no core is written."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


async def _feed(stream: asyncio.StreamWriter | None, text: str | None) -> None:
    if stream is None or text is None:
        return
    # A program that stops reading has a reason of its own, and reports it.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(text.encode())
        await stream.drain()
    stream.close()


async def _all_of(stream: asyncio.StreamReader | None) -> bytes:
    """Return all that a program prints. Raises _TooMuchOutput."""
    found = bytearray()
    while stream is not None and (piece := await stream.read(_LAST_BYTES)):
        found += piece
        if len(found) > _MOST_OUTPUT:
            raise _TooMuchOutput
    return bytes(found)


async def _end_of(stream: asyncio.StreamReader | None) -> bytes:
    """Return the last 64 KiB that a program prints."""
    found = bytearray()
    while stream is not None and (piece := await stream.read(_LAST_BYTES)):
        found += piece
        del found[:-_LAST_BYTES]
    return bytes(found)


async def _lines_of(
    stream: asyncio.StreamReader | None, heard: Callable[[str], None] | None
) -> bytes:
    if stream is None or heard is None:
        return await _end_of(stream)
    last: deque[bytes] = deque(maxlen=_LAST_LINES)
    while line := await _line_of(stream):
        last.append(line)
        heard(line.decode(errors="replace").rstrip("\n"))
    return b"".join(last)


async def _line_of(stream: asyncio.StreamReader) -> bytes:
    """Return the next line; one that is too long for the buffer comes in pieces."""
    try:
        return await stream.readuntil()
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as long:
        return await stream.read(long.consumed or 1)


async def _again(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        # A failed progress report must not fail the program.
        with contextlib.suppress(Exception):
            await look()


@asynccontextmanager
async def talking(
    arguments: Sequence[str | Path], *, env: Mapping[str, str], memory: int, deadline: float
) -> AsyncIterator[Talk]:
    """Run a program for a block that talks to it by its pipes; in the end it is killed.

    It gets ``env`` and nothing else of this environment; ``memory`` and ``deadline`` are as in
    ``run``. Raises CommandFailed if it cannot be started.
    """
    process = await _start(
        arguments, {**_mark(), **env}, None, stdin="", into=None, as_owner_of=None
    )
    _limit_memory(process.pid, memory)
    ending = asyncio.get_running_loop().call_later(deadline, _end, process)
    heard = asyncio.create_task(_end_of(process.stderr))
    try:
        if process.stdin is None or process.stdout is None:
            raise TypeError("a program that is talked to has pipes")
        yield Talk(process.stdin, process.stdout, heard)
    finally:
        ending.cancel()
        await _kill(process, [heard])


def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
