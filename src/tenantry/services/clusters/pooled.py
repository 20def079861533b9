"""The way of the pooler to an instance's server, which does not end while the server is suspended.

PostgreSQL removes its Unix socket when it stops, and makes another one when it starts. So the
pooler connects to a symbolic link in a folder of the platform's. It leads to the server's socket,
with nothing in between, or to one where the listener waits for a connection to wake the server. It
is replaced whole: a connection meets the one or the other.
"""

from pathlib import Path

from tenantry.base.home import Home
from tenantry.host import files
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import Address


def address(home: Home, cluster: Cluster) -> Address:
    """Return the address that the pooler has of a cluster."""
    if cluster.kind != "dedicated":
        return cluster.address
    return Address(home.run / f"{cluster.name}.pooled", cluster.address.port)


def waking(home: Home, cluster: Cluster) -> Path:
    """Return the Unix socket at which the listener waits for connections of an instance."""
    return address(home, cluster).socket_dir / "waking"


def lead_to_server(home: Home, cluster: Cluster) -> None:
    """Lead the pooler's next connections to the server."""
    if cluster.kind == "dedicated":
        _lead(home, cluster, cluster.address.socket)


def lead_to_listener(home: Home, cluster: Cluster) -> None:
    """Lead the pooler's next connections to the listener."""
    _lead(home, cluster, waking(home, cluster))


def _lead(home: Home, cluster: Cluster, target: Path) -> None:
    link = address(home, cluster).socket
    files.ensure_folder(link.parent)
    if link.is_symlink() and link.readlink() == target:
        return
    new = link.with_name("new")
    new.unlink(missing_ok=True)  # of a process that was killed
    new.symlink_to(target)
    new.replace(link)
