"""Threads for what would hold up the event loop."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """Threads for work of many owners, each of which has at most one of them at a time.

    A thread cannot be stopped: work that nobody waits for any more counts until it ends, so that an
    owner whose work takes for ever has one thread, however often it is tried. For one event loop.
    """

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._running: dict[Hashable, asyncio.Event] = {}

    async def idle(self, owner: Hashable) -> None:
        """Wait until no work of the owner runs."""
        while (running := self._running.get(owner)) is not None:
            await running.wait()

    async def run(self, owner: Hashable, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, in a thread, after the owner's work before it."""
        await self.idle(owner)
        loop = asyncio.get_running_loop()
        ended = self._running[owner] = asyncio.Event()

        def end() -> None:
            del self._running[owner]
            ended.set()

        def note_end(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(end)

        future = self._pool.submit(work)
        future.add_done_callback(note_end)
        return await asyncio.wrap_future(future)
