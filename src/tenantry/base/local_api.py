"""The home of this machine's own installation, and the address of its API.

The CLI needs no other settings. Loading all settings takes a sixth of a second, so they are loaded
only if something here is not in its usual form.
"""

import ipaddress
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

# sun_path holds 107 bytes (unix(7)); the longest name under home is
# /run/<cluster>/.s.PGSQL.<port>, and a cluster's name is at most 16 characters long; that of an
# instance, whose folder for the pooler ends with .pooled, is at most 9.
LONGEST_HOME = 70

_PREFIX = "tenantry_"
_HOST = r"[a-z0-9]+([.-][a-z0-9]+)*"
_MOST_PORT = 65_535
LONGEST_HOST = 253  # characters (RFC 1035)


@dataclass(frozen=True, slots=True)
class LocalApi:
    """One installation's home and domain, and the address and port that its API listens on."""

    home: Path
    domain: str = "localhost"
    host: str = "127.0.0.1"
    port: int = 3000

    @property
    def tls(self) -> bool:
        """Whether the API uses TLS: whenever other machines can reach it."""
        return not is_loopback(self.host)

    @property
    def url(self) -> str:
        """The API's URL for a client on this machine."""
        host = reached_at(self.host)
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


def reached_at(host: str) -> str:
    """Return where programs of this machine reach what listens on an address."""
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def default_home() -> Path:
    """Return the default home.

    For root it is the home in which this program is installed, so that a link to the program is
    enough, or else the system's folder; for other users it is in the XDG data folder.
    """
    if os.geteuid() == 0:
        environment = Path(sys.prefix)
        installed = environment.name == "venv" and environment.is_symlink()
        return environment.parent if installed else Path("/var/lib/tenantry")
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "tenantry"


def load() -> LocalApi:
    """Return the API's settings in force.

    Raises MachineError naming each setting that cannot be used, and why.
    """
    try:
        found = _read()
    except (OSError, RuntimeError):
        found = None
    if found is not None:
        return found
    from tenantry.base import settings  # noqa: PLC0415 (it takes longer than a whole command)

    return settings.load().local_api


def _read() -> LocalApi | None:
    """Return the same from variables and file in their usual form; None if anything is unusual."""
    said = {name.lower(): value for name, value in os.environ.items()}
    home = Path(said.get(f"{_PREFIX}home") or default_home()).expanduser().absolute()
    file = home / "tenantry.env"
    if file.is_file():
        from dotenv import dotenv_values  # noqa: PLC0415 (most homes have no such file)

        written = dotenv_values(file, encoding="utf8")
        below = {name.lower(): value or "" for name, value in written.items()}
        if f"{_PREFIX}home" in below:
            return None
        said = below | said
    usual = LocalApi(home)
    domain = said.get(f"{_PREFIX}domain", usual.domain)
    host = said.get(f"{_PREFIX}api_host", usual.host)
    port = said.get(f"{_PREFIX}api_port", str(usual.port))
    if len(str(home)) > LONGEST_HOME or len(domain) > LONGEST_HOST:
        return None
    if not re.fullmatch(_HOST, domain):
        return None
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) <= _MOST_PORT:
        return None
    return LocalApi(home, domain, host, int(port))
