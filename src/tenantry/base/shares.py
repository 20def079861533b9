"""Places for what may run at once, of which no owner gets more than a share."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class NoPlace(TimeoutError):
    """All places of an owner, or all there are, were taken for too long."""


class Shares:
    """``each`` places for an owner; together, if that is given, ``total``.

    Whoever waits for one of its owner's places holds none, so that an owner with more to do than
    it has places for is in nobody else's way. Of one process, and of one event loop.
    """

    def __init__(self, *, each: int, total: int | None = None) -> None:
        self._each = each
        self._together = None if total is None else asyncio.Semaphore(total)
        self._of: dict[Hashable, asyncio.Semaphore] = {}
        self._interested: Counter[Hashable] = Counter()

    @asynccontextmanager
    async def place(self, owner: Hashable, *, within: float = 0.0) -> AsyncIterator[None]:
        """A place for the time of the block. Raises NoPlace if there is none ``within`` seconds."""
        own = self._of.setdefault(owner, asyncio.Semaphore(self._each))
        self._interested[owner] += 1
        held: list[asyncio.Semaphore] = []
        try:
            try:
                async with asyncio.timeout(within):
                    for semaphore in filter(None, (own, self._together)):
                        await semaphore.acquire()
                        held.append(semaphore)
            except TimeoutError:
                raise NoPlace from None
            yield
        finally:
            for semaphore in held:
                semaphore.release()
            self._interested[owner] -= 1
            if not self._interested[owner]:
                del self._interested[owner], self._of[owner]
