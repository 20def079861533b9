"""The process of the data API as the rest of the platform sees it.

It runs while any database has a data API. The supervisor, which does not use the control database,
learns that from a file that the worker creates and removes.
"""

import ssl
from pathlib import Path
from typing import Protocol

import httpx

from tenantry.base.errors import Unavailable
from tenantry.base.home import Home
from tenantry.host import files


class Markers(Protocol):
    """What knows which databases have a data API."""

    async def markers(self) -> dict[str, str]: ...


NAME = "rest"
_SECONDS = 2.0
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # by default all of the CA bundle is read


def socket_of(home: Home) -> Path:
    """Return the Unix socket on which the process answers the platform."""
    return home.run / "rest.sock"


def is_wanted(home: Home) -> bool:
    """Whether the process has to run."""
    return _mark(home).exists()


def names(home: Home) -> list[str]:
    """Return the process's name, if it has to run."""
    return [NAME] if is_wanted(home) else []


async def note_wanted(home: Home, source: Markers) -> None:
    """Note whether the process has to run. Raises Unavailable."""
    wanted, mark = bool(await source.markers()), _mark(home)
    if wanted and not mark.exists():
        files.write_atomically(mark, "")
    elif not wanted:
        mark.unlink(missing_ok=True)


async def check(home: Home) -> None:
    """Raise Unavailable unless the process answers."""
    await _get(home, "live")


async def exposition(home: Home) -> bytes:
    """Return the metrics of the process, in Prometheus's format. Raises Unavailable."""
    return await _get(home, "metrics")


async def _get(home: Home, path: str) -> bytes:
    transport = httpx.AsyncHTTPTransport(verify=_NO_TLS, uds=str(socket_of(home)))
    try:
        async with httpx.AsyncClient(transport=transport, timeout=_SECONDS) as client:
            answer = await client.get(f"http://rest/{path}")
            return answer.raise_for_status().content
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"The data API does not answer: {reason}.") from error


def _mark(home: Home) -> Path:
    return home.run / "rest.wanted"
