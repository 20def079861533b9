"""The process of the AI cache as the rest of the platform sees it.

It runs while there is a site.
"""

import asyncio
from pathlib import Path

from tenantry.base.errors import Unavailable
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.services.sites import process

NAME = "cache"
_SECONDS = 2.0


def is_wanted(home: Home) -> bool:
    """Whether the process has to run: whether any site's Redis has."""
    return any(each.is_wanted() for each in process.every(home))


def every(here: Settings) -> list[str]:  # noqa: ARG001 (as the data API's, which has several)
    """Return the process's name, whether or not it has to run."""
    return [NAME]


def wanted(here: Settings) -> list[str]:
    """Return the process's name, if it has to run."""
    return [NAME] if is_wanted(Home(here.home)) else []


def socket_of(home: Home) -> Path:
    """Return the Unix socket on which the process answers the platform."""
    return home.run / f"{NAME}.sock"


async def check(here: Settings) -> None:
    """Raise Unavailable unless the process takes connections."""
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(here.cache.host, here.cache.port)
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"The AI cache does not answer: {error}.") from error
    writer.close()
