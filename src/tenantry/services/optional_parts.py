"""The processes of the platform that run only while something needs them."""

from typing import Protocol

from tenantry.base.settings import Settings
from tenantry.services.caching import process as caching
from tenantry.services.caching.semantic import process as embedder
from tenantry.services.clusters import listener
from tenantry.services.data_api import process as data_api


class Part(Protocol):
    """Processes that are needed at the same times."""

    def every(self, here: Settings, /) -> list[str]:
        """Return the names of all processes, whether or not they have to run."""

    def wanted(self, here: Settings, /) -> list[str]:
        """Return the names of the processes that have to run."""


PARTS: tuple[Part, ...] = (data_api, caching, embedder, listener)


def every(here: Settings) -> list[str]:
    """Return the names of all these processes, whether or not they have to run."""
    return [name for part in PARTS for name in part.every(here)]


def wanted(here: Settings) -> list[str]:
    """Return the names of the processes that have to run."""
    return [name for part in PARTS for name in part.wanted(here)]
