"""The platform as a service of systemd: the unit is rendered, checked and installed."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tenantry.base.errors import InvalidInput, MachineError
from tenantry.host import cgroups, commands, files
from tenantry.host.packages import Say

UNITS = Path("/etc/systemd/system")
_RUNNING = Path("/run/systemd/system")  # sd_booted(3)
_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Unit:
    """The values that the unit of one installation is made from.

    ``program`` is the ``tenantry`` in the environment's link, so that an upgrade reaches it;
    ``environment`` holds the TENANTRY_… settings, ``folders`` are those outside the home that the
    platform writes to. ``delegates``: the service may have control groups of its own.
    ``low_ports``: what it runs can listen on ports below 1024.
    """

    name: str
    home: Path
    program: Path
    user: str
    environment: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    delegates: bool = False
    low_ports: bool = False

    @property
    def file(self) -> str:
        return f"{self.name}.service"


_TEMPLATE = """\
[Unit]
Description=Tenantry: PostgreSQL for many tenants ({home})
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
User={user}
{environment}
ExecStart={program} up
# The API and the worker restart; PostgreSQL and PgBouncer keep serving.
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2

# SIGTERM has the supervisor stop all parts in order. Should it die instead, they
# go on serving tenants, and the supervisor that follows takes them over again.
KillMode=process
TimeoutStopSec=120
# One backend that the kernel killed for memory is PostgreSQL's to deal with.
OOMPolicy=continue

LimitNOFILE=65536
TasksMax=infinity
{groups}

NoNewPrivileges=yes
{capabilities}
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome={protect_home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""

_PROTECTED = "ProtectControlGroups=yes"
# The platform's groups are below the service's own, which must have no process then. So a service
# that is started again beside running servers needs DelegateSubgroup=, which systemd 254 brought.
_DELEGATED = f"Delegate=cpu memory pids\nDelegateSubgroup={cgroups.PLATFORM}"
_DELEGATES_SINCE = 254


_NO_CAPABILITIES = "CapabilityBoundingSet="
_LOW_PORTS = "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE"


def render(unit: Unit) -> str:
    """Return the unit file.

    Raises InvalidInput for a value that contains a control character.
    """
    settings = {**unit.environment, "TENANTRY_HOME": str(unit.home)}
    environment = "\n".join(
        f"Environment={_quote(f'{name}={value}')}" for name, value in sorted(settings.items())
    )
    # A home in one of these would otherwise be hidden from the service.
    in_a_home = unit.home.is_relative_to("/home") or unit.home.is_relative_to("/root")
    program = _quote(str(unit.program)).replace("$", "$$")
    # A folder whose disk is not mounted must not keep the service from starting.
    others = (_quote(f"-{folder}") for folder in unit.folders)
    writable = " ".join([_quote(str(unit.home)), *others])
    return _TEMPLATE.format(
        home=_percent(str(unit.home)),
        user=unit.user,
        environment=environment,
        program=program,
        writable=writable,
        groups=_DELEGATED if unit.delegates else _PROTECTED,
        capabilities=_LOW_PORTS if unit.low_ports else _NO_CAPABILITIES,
        protect_home="no" if in_a_home else "yes",
    )


def _percent(text: str) -> str:
    """Return ``text`` without anything that systemd would expand or end the line at."""
    if not text.isprintable():
        raise InvalidInput(f"A unit file cannot hold {text!r}.")
    return text.replace("%", "%%")


def _quote(text: str) -> str:
    """Return ``text`` as one word of a unit file (systemd.syntax(7))."""
    escaped = _percent(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


async def install(unit: Unit, say: Say, *, units: Path = UNITS) -> None:
    """Write the unit, let systemd check it, and start it now and at every boot.

    Where systemd does not run (a container), it is written and checked only.

    Raises MachineError if we are not root, or systemd rejects the unit, which is then removed
    again.
    """
    _require_root("install")
    path = units / unit.file
    before = path.read_text() if path.exists() else None
    unit = replace(unit, delegates=await _version() >= _DELEGATES_SINCE)
    files.write_atomically(path, render(unit), mode=0o644)
    try:
        await _verify(path)
    except MachineError:
        _put_back(path, before)
        raise
    say(f"Wrote {path}")
    if not is_running():
        say(f"systemd does not run here. Where it does: systemctl enable --now {unit.file}")
        return
    await commands.run(["systemctl", "daemon-reload"])
    await commands.run(["systemctl", "enable", "--now", unit.file], deadline=_START_SECONDS)
    say(f"{unit.file} runs, and starts at every boot. Its log: journalctl -u {unit.name}")


async def uninstall(name: str, say: Say, *, units: Path = UNITS) -> None:
    """Stop the service and remove its unit; the home stays. Without a unit, say so."""
    _require_root("uninstall")
    path = units / f"{name}.service"
    if not path.exists():
        say(f"There is no {path.name}.")
        return
    if is_running():
        # A little longer than the unit gives its processes to stop.
        await commands.run(["systemctl", "disable", "--now", path.name], deadline=150)
    path.unlink()
    if is_running():
        await commands.run(["systemctl", "daemon-reload"])
    say(f"Removed {path}")


def is_installed(name: str, home: Path, *, units: Path = UNITS) -> bool:
    """Whether there is a unit of this name, and it is that of this home."""
    try:
        return (
            f"Environment={_quote(f'TENANTRY_HOME={home}')}\n"
            in (units / f"{name}.service").read_text()
        )
    except FileNotFoundError:
        return False


def is_running() -> bool:
    """Whether systemd runs this machine."""
    return _RUNNING.is_dir()


def _require_root(verb: str) -> None:
    if os.geteuid() != 0:
        raise MachineError(
            f"Only root can {verb} a service.", hint=f"Run: sudo ./tenantry service {verb}"
        )


async def _version() -> int:
    """Return the version of systemd; 0 if it is not known."""
    try:
        printed = (await commands.run(["systemctl", "--version"])).stdout
    except commands.CommandFailed:
        return 0
    found = re.match(r"systemd ([0-9]+)", printed)
    return int(found[1]) if found else 0


async def _verify(path: Path) -> None:
    if shutil.which("systemd-analyze"):
        await commands.run(["systemd-analyze", "verify", "--man=no", path])


def _put_back(path: Path, before: str | None) -> None:
    if before is None:
        path.unlink()
    else:
        files.write_atomically(path, before, mode=0o644)
