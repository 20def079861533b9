"""The processes ``rest``, ``rest-2`` and so on: serve the data API of all databases.

Until a signal or the supervisor's end stops it.
"""

import asyncio
import gc
import logging
import math
import sys
from contextlib import suppress

import uvicorn

from tenantry.base import logs, settings
from tenantry.base.home import Home
from tenantry.base.secrets import Seal
from tenantry.base.settings import Settings
from tenantry.control.store import ControlStore
from tenantry.rest.app import Application
from tenantry.rest.authentication import Authentication
from tenantry.rest.bodies import Bodies
from tenantry.rest.budget import Budget
from tenantry.rest.callers import Keys
from tenantry.rest.database import CONNECTIONS, DatabaseApi
from tenantry.rest.databases import Databases
from tenantry.rest.inspection import Inspection
from tenantry.rest.keys import fetch_keys
from tenantry.services.application_users.service import ApplicationUsers
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.data_api import process
from tenantry.services.data_api.model import ServedDatabase
from tenantry.services.data_api.serving import Serving
from tenantry.services.data_api.traffic import Traffic
from tenantry.services.observations.interpreting import observe
from tenantry.services.pooling.service import Pooler
from tenantry.services.requests import http_server
from tenantry.services.requests.proxies import Trusted

_MIB = 1024 * 1024


async def serve(here: Settings, name: str) -> None:
    """Serve on the port, and answer the platform on a Unix socket.

    The processes have equal parts of the memory for schemas and of a database's connections.
    """
    home, fleet = Home(here.home), Fleet(here)
    pooler = Pooler(here, fleet).address
    seal = Seal(home.seal_key.read_bytes())
    count = process.count(here)
    connections = math.ceil(CONNECTIONS / count)

    def make(served: ServedDatabase, keys: Keys) -> DatabaseApi:
        url = here.rest_url(served.database_name)
        return DatabaseApi(served, pooler, url, keys, connections=connections)

    async with ControlStore(fleet.control.address, largest=4) as store:
        budget = Budget(here.rest.cache_mb * _MIB // count)
        databases = Databases(Serving(store, seal), fetch_keys, budget, make)
        traffic = Traffic(name)
        users = ApplicationUsers(here.smtp if here.rest.mail else None, here.domain)
        authentication = Authentication(users, here.auth_url)
        app = Application(
            databases,
            Bodies(),
            traffic,
            authentication,
            Trusted.of(here),
            edge_domain=here.domain if here.edge else None,
        )
        config = http_server.configured(
            app, here, host=here.rest.host, port=here.rest.port, tls=here.rest_tls
        )
        inspection = Inspection(databases, traffic)
        inspected = uvicorn.Server(http_server.on_socket(inspection, process.socket_of(home, name)))
        tasks = [asyncio.create_task(databases.keep()), asyncio.create_task(inspected.serve())]
        try:
            await http_server.serve(config, here)
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)
            await users.close()
            await databases.close()


def main() -> None:
    logs.configure("rest")
    # A statement that fails ends its pipeline, and databases that are down would fill the log:
    # clients are answered.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    here, name = settings.load(), sys.argv[1]
    observe(Home(here.home), name)
    # Requests leave few cycles, and a full collection visits the schema caches of all databases.
    gc.set_threshold(10_000, 20, 20)
    http_server.run(serve(here, name), here, shares_port=process.count(here) > 1)
