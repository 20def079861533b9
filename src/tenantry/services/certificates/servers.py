"""The running servers with a TLS port, and how each takes up another certificate."""

import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.serialization import Encoding

from tenantry.base.errors import Unavailable
from tenantry.base.home import Home
from tenantry.base.local_api import reached_at
from tenantry.base.settings import Settings
from tenantry.host import processes
from tenantry.host.certificates import ServerCertificate
from tenantry.pg import tls
from tenantry.pg.clusters import Cluster
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.pooling.service import Pooler
from tenantry.services.sites import process as sites
from tenantry.services.sites.process import SiteProcess


@dataclass(frozen=True, slots=True)
class Server:
    """A running server with a TLS port."""

    name: str
    port: int
    reload: Callable[[], Awaitable[None]]
    host: str = "127.0.0.1"
    postgres: bool = True


class Servers:
    """The servers of an installation that present its certificate."""

    def __init__(self, settings: Settings, fleet: Fleet, pooler: Pooler) -> None:
        self._settings = settings
        self._fleet = fleet
        self._pooler = pooler

    def running(self) -> list[Server]:
        """Return the servers that run now."""

        async def reload_cluster(cluster: Cluster) -> None:
            self._fleet.ensure_certificate(cluster)
            cluster.reload()

        servers = [
            Server(each.name, each.address.port, partial(reload_cluster, each))
            for each in self._fleet.of_tenants
            if each.pid() is not None
        ]
        if self._pooler.pid() is not None:
            servers.append(Server("pooler", self._settings.pool.port, self._pooler.reload))
        return [*servers, *self._http_servers(), *self._sites()]

    def _sites(self) -> Iterator[Server]:
        home = Home(self._settings.home)
        for each in sites.every(home):
            if (port := each.port()) is not None and each.pid() is not None:
                reload = partial(_reload_site, home, each, port)
                yield Server(f"site-{port}", port, reload, postgres=False)

    def _http_servers(self) -> Iterator[Server]:
        here = self._settings
        for name, host, port, has_tls in (
            ("api", here.api.host, here.api.port, here.api_tls),
            ("rest", here.rest.host, here.rest.port, here.rest_tls),
            ("cache", here.cache.host, here.cache.port, here.cache_tls),
        ):
            files = Home(here.home).run.glob(f"{name}*.pid")  # the data API has several
            pids = [pid for each in files if (pid := processes.pid_of_part(each))]
            if has_tls and pids:
                local = reached_at(host)
                reload = partial(_reload_http, pids, local, port)
                yield Server(name, port, reload, host=local, postgres=False)


async def _reload_http(pids: Sequence[int], host: str, port: int) -> None:
    # Raises Unavailable if none serves yet.
    await tls.shown_certificate(host, port, postgres=False)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)


async def _reload_site(home: Home, site: SiteProcess, port: int) -> None:
    # The client takes a while to import, in every process that starts.
    from tenantry.services.sites.redis_client import reload_certificate  # noqa: PLC0415

    await reload_certificate(home, site, port)


async def shows(server: Server, wanted: ServerCertificate) -> bool:
    """Whether a server presents this certificate."""
    try:
        shown = await tls.shown_certificate(server.host, server.port, postgres=server.postgres)
    except Unavailable:
        return False
    return shown == wanted.leaf.public_bytes(Encoding.DER)
