"""The requirements of this machine before the platform starts.

Each check returns a finding, so that ``doctor`` shows them all; ``up`` refuses to start upon the
first problem (``require``).
"""

import os
import pwd
import shlex
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenantry.base.errors import MachineError
from tenantry.base.sizes import readable
from tenantry.host import capabilities, commands, files

_MIB = 1 << 20
_GIB = 1 << 30
LEAST_SPACE = 1 * _GIB  # of a new installation
LEAST_TO_START = 24 * _MIB  # of one that has data: a segment of write-ahead log, and more
LITTLE_SPACE = 5 * _GIB
MAKE_ROOM = (
    "Enlarge the file system, or move backups to another disk with TENANTRY_BACKUP_DIR:"
    " docs/how-to/when-the-disk-is-full.md."
)
_LISTENING = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, and for a warning or a problem what to do about it."""

    level: Literal["ok", "warning", "problem"]
    subject: str
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """An address that a part of the platform is about to listen on; ``setting`` changes it.

    Root, or its service, can give a part the right to listen on a low port (``may_be_low``).
    """

    part: str
    host: str
    number: int
    setting: str
    may_be_low: bool = False


async def examine(home: Path, ports: Iterable[Port], *, user: str | None = None) -> list[Finding]:
    """Return all findings. ``user`` is the one everything will run as, when root starts it.

    ``ports`` are those of the parts that do not run yet.
    """
    of_user = check_user(user)
    return [
        of_user,
        *([await check_home(home, user)] if of_user.level == "ok" else []),
        check_space(home),
        *(check_port(port) for port in ports),
    ]


def require(findings: Iterable[Finding]) -> None:
    """Raise the problems among ``findings`` as one MachineError."""
    problems = [finding for finding in findings if finding.level == "problem"]
    if len(problems) == 1:
        raise MachineError(problems[0].detail, hint=problems[0].hint)
    if problems:
        lines = [f"- {problem.detail} {problem.hint}" for problem in problems]
        raise MachineError(
            "\n".join(["Several things are in the way:", *lines]),
            hint="Fix them, and run this again.",
        )


def check_user(user: str | None) -> Finding:
    """Check that the user is not root: PostgreSQL refuses that, and nothing of ours needs it."""
    try:
        account = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    except KeyError:
        return Finding(
            "problem", "user", f"There is no user {user}.", "As root, ./tenantry up makes it."
        )
    if account.pw_uid == 0:
        return Finding(
            "problem",
            "user",
            "PostgreSQL cannot run as root.",
            "Start it with ./tenantry up, which runs everything as the user tenantry.",
        )
    return Finding("ok", "user", f"Everything runs as {account.pw_name}.")


async def check_home(home: Path, user: str | None) -> Finding:
    """Whether that user can work in the home, and owns what is in it."""
    name = user or pwd.getpwuid(os.geteuid()).pw_name
    for place, needs in _needs(home).items():
        if not await _allowed(place, needs, user):
            detail = f"{place} is not {name}'s to {', '.join(needs)}."
            return Finding("problem", "home", detail, _give(place, home, name))
    return Finding("ok", "home", f"{home} is {name}'s to use.")


def _give(place: Path, home: Path, name: str) -> str:
    """Return what to do about a place in a home that is not a user's."""
    if place == home:
        return f"Give {name} the right to it, or set TENANTRY_HOME to another folder."
    options = "-R " if place.is_dir() else ""
    return f"As root: chown {options}{name}: {shlex.quote(str(place))}"


_TESTS = {"own": "-O", "read": "-r", "write to": "-w", "enter": "-x"}


def _needs(home: Path) -> dict[Path, tuple[str, ...]]:
    needs = {
        home: ("read", "write to", "enter"),
        home / "tenantry.env": ("read",),
        home / "clusters": ("own",),
    }
    return {path: what for path, what in needs.items() if path.exists()}


async def _allowed(place: Path, needs: Iterable[str], user: str | None) -> bool:
    """Ask the kernel, as that user: modes alone do not show groups, ACLs and read-only disks."""
    become: list[str] = []
    if user:
        group = pwd.getpwnam(user).pw_gid
        become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups"]
    for need in needs:
        answer = await commands.run([*become, "test", _TESTS[need], place], check=False)
        if answer.returncode != 0:
            return False
    return True


def check_space(home: Path) -> Finding:
    """Whether the servers have space to start in; warn before it runs out.

    An installation that has data starts with very little: what refuses it is an outage.
    """
    free = files.free_bytes(home)
    detail = f"{readable(free)} are free where {home} is."
    if free >= LITTLE_SPACE:
        return Finding("ok", "disk", detail)
    if (home / "clusters").is_dir():
        level: Literal["warning", "problem"] = "warning" if free >= LEAST_TO_START else "problem"
        return Finding(level, "disk", detail, MAKE_ROOM)
    return Finding(
        "warning" if free >= LEAST_SPACE else "problem",
        "disk",
        detail,
        f"At least {readable(LEAST_SPACE)} is needed, and more for data: free some, or set "
        "TENANTRY_HOME to a folder on a larger disk.",
    )


def check_port(port: Port) -> Finding:
    """Whether the port is free to listen on, and if not, which process listens."""
    subject = f"port {port.number}"
    elsewhere = f"or set {port.setting} to another port"
    given = port.may_be_low and (os.geteuid() == 0 or capabilities.passes_on_low_ports())
    if port.number < _first_open_port() and not given:
        by_service = ", or run it as a service: tenantry service install" if port.may_be_low else ""
        return Finding(
            "problem",
            subject,
            f"Only root may listen on port {port.number} ({port.part}).",
            f"Set {port.setting} to {_first_open_port()} or above{by_service}.",
        )
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as our servers do
        try:
            probe.bind((port.host, port.number))
        except OSError as error:
            holder = _holder(port.number)
            why = f"is used by {holder}" if holder else f"cannot be had: {error.strerror}"
            return Finding(
                "problem",
                subject,
                f"Port {port.number}, which {port.part} needs, {why}.",
                f"Stop that program, {elsewhere}.",
            )
    return Finding("ok", subject, f"Port {port.number} is free for {port.part}.")


def _first_open_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _holder(port: int) -> str:
    """Return the process that listens on ``port``, if this user may see it; "" if none does."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else ():
            _, local, _, state, _, _, _, uid, _, inode, *_ = line.split()
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                return _process_with_socket(inode) or f"a process of {_user_name(int(uid))}"
    return ""


def _process_with_socket(inode: str) -> str:
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) == f"socket:[{inode}]":
                process = descriptor.parents[1]
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # another user's, or ended meanwhile
    return ""


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
