"""Places for concurrent work, with a limit for each owner."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager, nullcontext


class NoPlace(TimeoutError):
    """All places of an owner, or all places, were taken for too long."""


class Shares:
    """``each`` places for an owner; together, if given, ``total``.

    A task that waits for a place of its owner holds none, so that an owner with more work than
    places does not block others. For one process and one event loop.
    """

    def __init__(self, *, each: int, total: int | None = None) -> None:
        self._each = each
        self._together = None if total is None else asyncio.Semaphore(total)
        self._of: dict[Hashable, asyncio.Semaphore] = {}
        self._interested: Counter[Hashable] = Counter()

    @asynccontextmanager
    async def place(self, owner: Hashable, *, within: float = 0.0) -> AsyncIterator[None]:
        """Hold a place during the block. Raises NoPlace if none is free ``within`` seconds."""
        own = self._of.setdefault(owner, asyncio.Semaphore(self._each))
        self._interested[owner] += 1
        held: list[asyncio.Semaphore] = []
        try:
            try:
                wanted = [own] if self._together is None else [own, self._together]
                waits = any(semaphore.locked() for semaphore in wanted)
                async with asyncio.timeout(within) if waits else nullcontext():
                    for semaphore in wanted:
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
