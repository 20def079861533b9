"""What a site's Redis does for a backup and a restore, by its platform user."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import ResponseError

from tenantry.base.errors import MachineError
from tenantry.services.site_backups.model import Contents
from tenantry.services.sites import redis_client
from tenantry.services.sites.process import SiteProcess

_POLL_SECONDS = 0.1
_SAVING = "rdb_bgsave_in_progress"
_BUSY = "in progress"  # what it answers while it already writes a copy, or its file again


async def contents(process: SiteProcess, port: int) -> Contents:
    """Return what a site has now. Raises Unavailable."""
    async with redis_client.connected(process, port) as client:
        info: dict[str, Any] = await client.info("memory")
        server = redis_client.version_in(await client.info("server"))
        return Contents(int(info["used_memory"]), int(await client.dbsize()), str(server))


async def save(process: SiteProcess, port: int, report: Callable[[float], Awaitable[None]]) -> None:
    """Write a copy of a site's data, of one moment, to ``process.dump``.

    A child of its process does so, while clients are served. Raises Unavailable, MachineError.
    """
    async with redis_client.connected(process, port) as client:
        while True:
            info: dict[str, Any] = await client.info("persistence")
            if info[_SAVING] or info["aof_rewrite_in_progress"]:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            process.dump.unlink(missing_ok=True)
            try:
                await client.bgsave(schedule=False)
            except ResponseError as error:
                if _BUSY not in str(error):
                    raise
                continue
            break
        while (info := await client.info("persistence"))[_SAVING]:
            total = info.get("current_save_keys_total") or 1
            await report(info.get("current_save_keys_processed", 0) / total)
            await asyncio.sleep(_POLL_SECONDS)
    if info["rdb_last_bgsave_status"] != "ok" or not process.dump.exists():
        raise MachineError(
            "The site's Redis could not write a copy of its data.",
            hint=f"Its log is {process.log_file.name}: the disk may be full.",
        )


async def loaded(process: SiteProcess, port: int, folder: str) -> int | None:
    """Return how many keys a site serves from this folder; None while it does not yet.

    Raises Unavailable.
    """
    async with redis_client.connected(process, port) as client:
        info: dict[str, Any] = await client.info("persistence")
        if info["loading"]:
            return None
        present = await client.config_get("appenddirname")
        return int(await client.dbsize()) if present.get("appenddirname") == folder else None
