"""The processes of the data API as the rest of the platform sees them.

They run while any database has a data API. The supervisor, which does not use the control database,
learns that from a file that the worker creates and removes. Enabling an API creates it at once.

All listen on the same port, among which the kernel distributes connections (``SO_REUSEPORT``).
"""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import httpx

from tenantry.base.errors import Unavailable
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host import files, processes, processors
from tenantry.services.data_api import traffic
from tenantry.services.observations.model import Measure


class Markers(Protocol):
    """What knows which databases have a data API."""

    async def markers(self) -> dict[str, str]: ...


NAME = "rest"
_MOST_BY_DEFAULT = 4
_SECONDS = 2.0
_MOST_TRIES, _PAUSE_SECONDS = 100, 0.1
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # by default all of the CA bundle is read


def count(here: Settings) -> int:
    """Return how many processes there are: by default one for two processors, and four at most.

    The other processors are for PostgreSQL, which each request needs too.
    """
    return here.rest.processes or max(1, min(processors.count() // 2, _MOST_BY_DEFAULT))


def every(here: Settings) -> list[str]:
    """Return the names of all processes, whether or not they have to run."""
    return [NAME, *(f"{NAME}-{number}" for number in range(2, count(here) + 1))]


def wanted(here: Settings) -> list[str]:
    """Return the names of the processes that have to run."""
    return every(here) if is_wanted(Home(here.home)) else []


def socket_of(home: Home, name: str) -> Path:
    """Return the Unix socket on which a process answers the platform."""
    return home.run / f"{name}.sock"


def is_wanted(home: Home) -> bool:
    """Whether the processes have to run."""
    return _mark(home).exists()


async def note_wanted(home: Home, source: Markers) -> None:
    """Note whether the processes have to run. Raises Unavailable."""
    wanted, mark = bool(await source.markers()), _mark(home)
    if wanted and not mark.exists():
        files.write_atomically(mark, "")
    elif not wanted:
        mark.unlink(missing_ok=True)


async def begin(home: Home) -> None:
    """Have the processes run, and wait until the first answers, for some seconds at most.

    Does nothing without a supervisor, which starts it later.
    """
    supervisor = processes.read_pid(home.supervisor_pid)
    if supervisor is None:
        return
    if not is_wanted(home):
        files.write_atomically(_mark(home), "")
    for _ in range(_MOST_TRIES):
        with suppress(Unavailable):
            await check(home, NAME)
            return
        await asyncio.sleep(_PAUSE_SECONDS)


async def check(home: Home, name: str) -> None:
    """Raise Unavailable unless a process answers."""
    await _get(home, name, "live")


async def measures(here: Settings) -> list[Measure]:
    """Return what the processes have counted; nothing of those that do not run."""

    async def of(name: str) -> list[Measure]:
        try:
            return traffic.decoded(await _get(Home(here.home), name, "measures"))
        except Unavailable:
            return []

    found = await asyncio.gather(*map(of, wanted(here)))
    return [each for some in found for each in some]


async def _get(home: Home, name: str, path: str) -> bytes:
    transport = httpx.AsyncHTTPTransport(verify=_NO_TLS, uds=str(socket_of(home, name)))
    try:
        async with httpx.AsyncClient(transport=transport, timeout=_SECONDS) as client:
            answer = await client.get(f"http://rest/{path}")
            return answer.raise_for_status().content
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"The data API ({name}) does not answer: {reason}.") from error


def _mark(home: Home) -> Path:
    return home.run / "rest.wanted"
