"""Texts that wait for the embedder at the same time are embedded together."""

import asyncio
from collections.abc import Sequence

import numpy as np

from tenantry.services.caching.semantic.model import Embedder, EmbedderFailed, TextRefused
from tenantry_cache.rules.nearness import Vectors

_AT_ONCE = 32
_MOST_WAITING = 1024

_Waiting = tuple[str, "asyncio.Future[Vectors]"]


class Batching:
    """An embedder before which texts wait; ``run`` has to run."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self.id = embedder.id
        self.dim = embedder.dim

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return a unit vector for each text. Raises EmbedderFailed, also if too many wait."""
        if self._waiting.qsize() + len(texts) > _MOST_WAITING:
            raise EmbedderFailed(f"{self._waiting.qsize()} texts wait for the embedder.")
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Vectors]] = [loop.create_future() for _ in texts]
        for waiting in zip(texts, futures, strict=True):
            self._waiting.put_nowait(waiting)
        await asyncio.gather(*futures, return_exceptions=True)
        return np.stack([each.result() for each in futures])

    async def run(self) -> None:
        """Embed what waits, until cancelled."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < _AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            # Who has not waited needs no answer.
            await self._answer([each for each in batch if not each[1].done()])

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        try:
            vectors = await self._embedder.embed([text for text, _ in batch])
        except EmbedderFailed as error:
            if isinstance(error, TextRefused) and len(batch) > 1:  # only some of them, perhaps
                for each in batch:
                    await self._answer([each])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), vector in zip(batch, vectors, strict=True):
            if not future.done():
                future.set_result(vector)
