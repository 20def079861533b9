"""The semantic look-ups of the sites that this process serves.

The packages of the embedder are imported once a site needs them: they may not be installed, and
then nothing is found by meaning.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from tenantry.base.errors import Conflict, Unavailable
from tenantry.base.settings import Settings
from tenantry.control.sites import BY_MEANING, Mode
from tenantry.host import environment

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tenantry.services.caching.semantic.embedders import Remote
    from tenantry.services.caching.semantic.service import SemanticLookup

log = structlog.get_logger()

_AGAIN_SECONDS = 5.0
OPEN_SECONDS = 15.0  # for an embedder to start
_LOOK_SECONDS = 0.1  # between two looks for it


@dataclass(slots=True)
class _Opened:
    redis: "Redis"
    lookup: "SemanticLookup"
    loading: "asyncio.Task[None]"

    def close(self) -> None:
        self.loading.cancel()
        self.lookup.close()


class Lookups:
    """A look-up for each site in the modes shadow and on, opened when it is first asked for."""

    def __init__(self, here: Settings) -> None:
        self._here = here
        self._embedder: Remote | None = None
        self._opening: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._opened: dict[uuid.UUID, _Opened] = {}

    def of(
        self, site_id: uuid.UUID, redis: "Redis", mode: Mode, entry_key: Callable[[str], str]
    ) -> "SemanticLookup | None":
        """Return the look-up of a site; None in other modes, and while there is no embedder.

        It finds what was stored before as soon as that is read.
        """
        there = self._opened.get(site_id)
        if there is not None and (there.redis is not redis or mode not in BY_MEANING):
            self.forget(site_id)
            there = None
        if mode != "shadow" and mode != "on":  # noqa: PLR1714 (mypy narrows it so)
            return None
        if there is not None:
            there.lookup.mode = mode
            return there.lookup
        if self._embedder is None:
            self._open()
            return None
        from tenantry.services.caching.semantic.service import SemanticLookup  # noqa: PLC0415

        lookup = SemanticLookup(site_id, redis, self._embedder, entry_key, mode=mode)
        loading = asyncio.create_task(loaded(site_id, lookup))
        self._opened[site_id] = _Opened(redis, lookup, loading)
        return lookup

    async def ready(self) -> None:
        """Wait for the embedder, which starts with the first site that compares questions.

        Raises Conflict if it is not installed, Unavailable if it does not answer in time.
        """
        if not environment.has_embedder():
            raise Conflict(
                "The embedder is not installed.",
                hint="Whoever runs the platform installs it: ./tenantry install-embedder.",
            )
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                while self._embedder is None:
                    self._open()
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise Unavailable(
                "The embedder does not answer.", hint="See ./tenantry status and its log."
            ) from None

    def forget(self, site_id: uuid.UUID) -> None:
        """Let go of the look-up of a site that is gone, with its questions."""
        if (there := self._opened.pop(site_id, None)) is not None:
            there.close()

    async def close(self) -> None:
        for each in self._opened.values():
            each.close()
        if self._opening is not None:
            self._opening.cancel()
            with suppress(asyncio.CancelledError):
                await self._opening
        if self._embedder is not None:
            await self._embedder.close()

    def _open(self) -> None:
        """Begin to open the embedder, unless that is under way, or has just failed."""
        is_open = self._opening is not None and not self._opening.done()
        if is_open or time.monotonic() < self._not_before:
            return
        self._not_before = time.monotonic() + _AGAIN_SECONDS
        self._opening = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        environment.add_embedder()
        if not environment.has_embedder():
            log.warning("embedder.not_installed", hint="./tenantry install-embedder")
            return
        from tenantry.services.caching.semantic.embedders import open_embedder  # noqa: PLC0415
        from tenantry.services.caching.semantic.model import EmbedderFailed  # noqa: PLC0415

        try:
            self._embedder = await open_embedder(self._here)
        except EmbedderFailed as error:
            log.warning("embedder.not_there", error=str(error))


async def loaded(site_id: uuid.UUID, lookup: "SemanticLookup") -> None:
    """Have a look-up read what was stored before, again until its Redis answers."""
    while True:
        try:
            count = await lookup.load()
        except Unavailable as error:
            log.warning("semantic.not_loaded", site=str(site_id), error=error.detail)
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            log.info("semantic.loaded", site=str(site_id), vectors=count)
            return
