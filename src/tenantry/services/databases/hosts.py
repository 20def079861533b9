"""The hosts of direct connections: an instance has a name of its own, if that can be verified.

The name is computed from the instance's and from the domain, so nothing has to follow when either
changes. The certificate in service decides whether it is shown: whatever a string says, clients
with ``sslmode=verify-full`` accept. See docs/decisions/0103.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host import certificates, files
from tenantry.services.clusters import sql_routes


@dataclass(frozen=True, slots=True)
class Host:
    """A host of direct connections; ``detail`` says why it is not the instance's own name."""

    name: str
    port: int
    detail: str | None = None


def direct_host(settings: Settings, container_name: str | None, port: int) -> Host:
    """Return the host for direct connections to an instance; None is a shared cluster.

    ``port`` is its server's own; the host's is the edge's if that has a way there.
    """
    below = settings.instance_domain
    if container_name is None or below is None:
        return Host(settings.domain, port)
    own, home = f"{container_name}.{below}", Home(settings.home)
    if certificates.covers(_certified(home.certificate).value(), own):
        routed = settings.edge_sql and any(each.host == own for each in sql_routes.read(home))
        return Host(own, settings.edge_sql_port if routed else port)
    return Host(
        settings.domain,
        port,
        f"The certificate in service is not for {own}, so the host is {settings.domain}."
        " Whoever runs the platform can change that: docs/how-to/run-dedicated-instances.md.",
    )


@lru_cache(maxsize=64)
def _certified(path: Path) -> files.Remembered[frozenset[str]]:
    return files.Remembered(path, _names, missing=frozenset())


def _names(text: bytes) -> frozenset[str]:
    try:
        return certificates.ServerCertificate.parse(text).names
    except ValueError:  # it is damaged: the worker replaces it
        return frozenset()
