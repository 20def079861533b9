"""The process ``cache``: serve the AI cache of all sites.

Until a signal or the supervisor's end stops it.
"""

import asyncio
import os
from contextlib import suppress

import uvicorn

from tenantry.base import logs, settings
from tenantry.base.home import Home
from tenantry.base.secrets import Seal
from tenantry.base.settings import Settings
from tenantry.cache.app import create_app, create_platform_app
from tenantry.cache.sites import Sites
from tenantry.control.store import ControlStore
from tenantry.services.cache_usage.counting import Counts, Writing
from tenantry.services.caching import process
from tenantry.services.caching.lookups import Lookups
from tenantry.services.caching.proxying import Proxy
from tenantry.services.caching.upstreams import Upstreams
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.observations.interpreting import observe
from tenantry.services.requests import http_server
from tenantry.services.requests.proxies import Trusted
from tenantry.services.sites import silence
from tenantry.services.sites.serving import SiteServing


async def serve(here: Settings) -> None:
    """Serve on the port, and answer the platform on a Unix socket."""
    home = Home(here.home)
    proxy = Proxy(Upstreams(), Seal(home.seal_key.read_bytes()))
    async with ControlStore(Fleet(here).control.address, largest=2) as store:
        counts = Counts()
        writing = Writing(store, counts)
        sites = Sites(SiteServing(store, home), counts, Lookups(here))
        config = http_server.configured(
            create_app(sites, proxy, Trusted.of(here)),
            here,
            host=here.cache.host,
            port=here.cache.port,
            tls=here.cache_tls,
        )
        asked = uvicorn.Server(
            http_server.on_socket(create_platform_app(sites), process.socket_of(home))
        )
        tasks = [
            asyncio.create_task(work)
            for work in (silence.watch(home), writing.keep(), asked.serve())
        ]
        try:
            await http_server.serve(config, here)
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)
            await writing.write()


def main() -> None:
    # Searches run in threads already. With numpy's own ones, which wait for each other, a busy
    # machine did a tenth of them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    logs.configure(process.NAME)
    here = settings.load()
    observe(Home(here.home), process.NAME)
    http_server.run(serve(here), here)
