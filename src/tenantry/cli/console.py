"""``tenantry console``: where the web console is, and how to reach it from another machine."""

import getpass
import socket
from urllib.parse import urlsplit

from tenantry.base import local_api
from tenantry.cli import output
from tenantry.cli.client import address
from tenantry.cli.entry_point import Json

_PORTS = {"http": 80, "https": 443}


def console(as_json: Json = False) -> None:
    """Print the address of the web console, and the ssh command that forwards it.

    Example:

        tenantry console
    """
    url = f"{address().rstrip('/')}/"
    forward = _forward(url)
    if as_json:
        output.as_json({"url": url, "ssh": forward})
        return
    output.line(url)
    if forward is not None:
        output.note(f"It listens on this machine only. From another one: {forward}")
        output.note(f"Then open {url} there.")


def _forward(url: str) -> str | None:
    """Return the command that forwards the console's port; None if others reach it without."""
    parts = urlsplit(url)
    if not local_api.is_loopback(parts.hostname or ""):
        return None
    port = parts.port or _PORTS[parts.scheme]
    domain = local_api.load().domain
    host = socket.gethostname() if local_api.is_loopback(domain) else domain
    return f"ssh -L {port}:127.0.0.1:{port} {getpass.getuser()}@{host}"
