"""The platform as a service of systemd: the unit is rendered, checked and installed."""

import os
import re
import shutil
from collections.abc import Iterable, Mapping
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
    ``site_table`` is the packet filter's table for allowlists of sites, which root's program sets
    when the platform asks for it at a socket; None is no such program.
    """

    name: str
    home: Path
    program: Path
    user: str
    environment: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    delegates: bool = False
    low_ports: bool = False
    site_table: str | None = None

    @property
    def file(self) -> str:
        return f"{self.name}.service"

    @property
    def files(self) -> dict[str, str]:
        """Its unit files by their names: that of the service first."""
        if self.site_table is None:
            return {self.file: render(self)}
        service, socket = _files_of_filter(self.name)
        return {self.file: render(self), service: render_filter(self), socket: render_socket(self)}


def _files_of_filter(name: str) -> tuple[str, str]:
    return f"{name}-sites@.service", f"{name}-sites.socket"


def socket_of_filter(home: Path) -> Path:
    """Return the socket at which the platform in this home asks root's program."""
    return home / "allowlists.sock"


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

# Accept=yes starts the program once for each connection, and it ends with its answer.
_SOCKET = """\
[Unit]
Description=Tenantry: allowlists of sites ({home})

[Socket]
ListenStream={path}
SocketUser={user}
SocketMode=0600
Accept=yes
MaxConnections=4
RemoveOnStop=yes
# However often it is asked, it must not end.
TriggerLimitIntervalSec=0

[Install]
WantedBy=sockets.target
"""

# As root, since nobody else can set rules of the packet filter, and able to do only that.
_FILTER = """\
[Unit]
Description=Tenantry: set the allowlists of sites ({home})
CollectMode=inactive-or-failed

[Service]
Type=oneshot
StandardInput=socket
StandardOutput=socket
StandardError=journal
ExecStart={python} -I -m tenantry.filtering {table}
TimeoutStartSec=30

NoNewPrivileges=yes
CapabilityBoundingSet=CAP_NET_ADMIN
ProtectSystem=strict
ProtectHome={protect_home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
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
    # A folder whose disk is not mounted must not keep the service from starting.
    others = (_quote(f"-{folder}") for folder in unit.folders)
    writable = " ".join([_quote(str(unit.home)), *others])
    return _TEMPLATE.format(
        home=_percent(str(unit.home)),
        user=unit.user,
        environment=environment,
        program=_command(unit.program),
        writable=writable,
        groups=_DELEGATED if unit.delegates else _PROTECTED,
        capabilities=_LOW_PORTS if unit.low_ports else _NO_CAPABILITIES,
        protect_home=_protect_home(unit),
    )


def render_socket(unit: Unit) -> str:
    """Return the unit file of the socket at which root's program is asked. Raises as ``render``."""
    path = _percent(str(socket_of_filter(unit.home)))  # a whole line, without quotes
    return _SOCKET.format(home=_percent(str(unit.home)), path=path, user=unit.user)


def render_filter(unit: Unit) -> str:
    """Return the unit file of root's program. Raises as ``render``."""
    return _FILTER.format(
        home=_percent(str(unit.home)),
        python=_command(unit.program.with_name("python")),
        table=unit.site_table,
        protect_home=_protect_home(unit),
    )


def _command(program: Path) -> str:
    return _quote(str(program)).replace("$", "$$")


def _protect_home(unit: Unit) -> str:
    # A home in one of these would otherwise be hidden from the service.
    in_a_home = unit.home.is_relative_to("/home") or unit.home.is_relative_to("/root")
    return "no" if in_a_home else "yes"


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
    unit = replace(unit, delegates=await _version() >= _DELEGATES_SINCE)
    paths = {units / name: text for name, text in unit.files.items()}
    before = {path: path.read_text() if path.exists() else None for path in paths}
    for path, text in paths.items():
        files.write_atomically(path, text, mode=0o644)
    try:
        await _verify(paths)
    except MachineError:
        for path, text_before in before.items():
            _put_back(path, text_before)
        raise
    say(f"Wrote {', '.join(map(str, paths))}")
    started = [name for name in unit.files if "@" not in name]
    if not is_running():
        say(f"systemd does not run here. Where it does: systemctl enable --now {' '.join(started)}")
        return
    await commands.run(["systemctl", "daemon-reload"])
    await commands.run(["systemctl", "enable", "--now", *started], deadline=_START_SECONDS)
    say(f"{unit.file} runs, and starts at every boot. Its log: journalctl -u {unit.name}")


async def uninstall(name: str, say: Say, *, units: Path = UNITS) -> None:
    """Stop the service and remove its units; the home stays. Without a unit, say so."""
    _require_root("uninstall")
    of_filter = (units / each for each in _files_of_filter(name))
    paths = [path for path in (units / f"{name}.service", *of_filter) if path.exists()]
    if not paths:
        say(f"There is no {name}.service.")
        return
    if is_running():
        started = [path.name for path in paths if "@" not in path.name]
        # A little longer than the unit gives its processes to stop.
        await commands.run(["systemctl", "disable", "--now", *started], deadline=150)
    for path in paths:
        path.unlink()
    if is_running():
        await commands.run(["systemctl", "daemon-reload"])
    say(f"Removed {', '.join(map(str, paths))}")


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


async def _verify(paths: Iterable[Path]) -> None:
    if shutil.which("systemd-analyze"):
        await commands.run(["systemd-analyze", "verify", "--man=no", *paths])


def _put_back(path: Path, before: str | None) -> None:
    if before is None:
        path.unlink()
    else:
        files.write_atomically(path, before, mode=0o644)
