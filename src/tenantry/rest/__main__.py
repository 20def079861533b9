"""``python -m tenantry.rest``: serve the data API of all databases.

Until a signal or the supervisor's end stops it.
"""

import asyncio
import logging
from contextlib import suppress

import uvicorn

from tenantry.base import logs, settings
from tenantry.base.home import Home
from tenantry.base.secrets import Seal
from tenantry.base.settings import Settings
from tenantry.control.store import ControlStore
from tenantry.rest.app import Application
from tenantry.rest.bodies import Bodies
from tenantry.rest.budget import Budget
from tenantry.rest.callers import Keys
from tenantry.rest.database import DatabaseApi
from tenantry.rest.databases import Databases
from tenantry.rest.inspection import Inspection
from tenantry.rest.keys import fetch_keys
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.data_api import process
from tenantry.services.data_api.model import ServedDatabase
from tenantry.services.data_api.serving import Serving
from tenantry.services.data_api.traffic import Traffic
from tenantry.services.observations.interpreting import observe
from tenantry.services.pooling.service import Pooler
from tenantry.services.requests import http_server

_MIB = 1024 * 1024


async def serve(here: Settings) -> None:
    """Serve on the port, and answer the platform on a Unix socket."""
    home, fleet = Home(here.home), Fleet(here)
    pooler = Pooler(here, fleet).address
    seal = Seal(home.seal_key.read_bytes())

    def make(served: ServedDatabase, keys: Keys) -> DatabaseApi:
        url = here.rest_url(served.database_name)
        return DatabaseApi(served, pooler, url, keys)

    async with ControlStore(fleet.control.address, largest=4) as store:
        budget = Budget(here.rest.cache_mb * _MIB)
        databases = Databases(Serving(store, seal), fetch_keys, budget, make)
        traffic = Traffic()
        app = Application(databases, Bodies(), traffic, here.proxy_networks)
        config = http_server.configured(
            app, here, host=here.rest.host, port=here.rest.port, tls=here.rest_tls
        )
        inspected = uvicorn.Server(_inspection(home, Inspection(databases, traffic)))
        tasks = [asyncio.create_task(databases.keep()), asyncio.create_task(inspected.serve())]
        try:
            await http_server.serve(config, here)
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)
            await databases.close()


def _inspection(home: Home, app: Inspection) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        uds=str(process.socket_of(home)),
        lifespan="off",
        log_config=None,
        access_log=False,
    )


def main() -> None:
    logs.configure("rest")
    # A statement that fails ends its pipeline, and databases that are down would fill the log:
    # clients are answered.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    here = settings.load()
    observe(Home(here.home), "rest")
    http_server.run(serve(here), here)


if __name__ == "__main__":
    main()
