"""Clients that connect to the Redis of a site and do not log in: they would take its connections.

Redis has no time limit for that. One connection to each process is held open, so that they can be
disconnected also when they have taken all others.
"""

import asyncio
from contextlib import suppress

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from tenantry.base.home import Home
from tenantry.services.sites import process, redis_client
from tenantry.services.sites.process import SiteProcess

_Running = tuple[SiteProcess, int]  # and its port: that of the shared one can be another later

log = structlog.get_logger()

_LOGIN_SECONDS = 10  # since they connected
_PAUSE_SECONDS = 5.0


async def watch(home: Home) -> None:
    """Disconnect whoever does not log in to any site's Redis, until cancelled."""
    held: dict[_Running, redis.Redis] = {}
    try:
        while True:
            running = [
                (each, port)
                for each in process.every(home)
                if each.pid() is not None and (port := each.port()) is not None
            ]
            for gone in held.keys() - set(running):
                await held.pop(gone).aclose()
            for each in running:
                if each not in held:
                    held[each] = redis_client.client_of(*each)
                # It is just starting, ends, or all connections are taken.
                with suppress(RedisError, OSError):
                    await _disconnect(each[0], held[each])
            await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        for client in held.values():
            await client.aclose()


async def _disconnect(site: SiteProcess, client: redis.Redis) -> None:
    # The default user is off: who has it has not logged in.
    silent = [
        each["id"]
        for each in await client.client_list()
        if each["user"] == "default" and int(each["age"]) >= _LOGIN_SECONDS
    ]
    for identifier in silent:
        # Unless it has just logged in.
        await client.client_kill_filter(_id=identifier, user="default")
    if silent:
        log.info("site.silent_clients_disconnected", site=site.name, count=len(silent))
