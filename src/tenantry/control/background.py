"""Work that continues after its request has been answered."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

import structlog

log = structlog.get_logger()

Work = Callable[[], Awaitable[object]]


class Background:
    """The background tasks of a process; all have ended when ``async with`` is left."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[Work, asyncio.Task[None]] = {}
        self._last: dict[Work, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.finish()

    def start(self, work: Work) -> asyncio.Task[None]:
        """Start work, after the same work has ended if that is running.

        Work that is requested several times before it starts is done once. A failure is logged.
        """
        if (waiting := self._waiting.get(work)) is not None:
            return waiting
        task = asyncio.create_task(self._run(work, self._last.get(work)))
        self._waiting[work] = self._last[work] = task
        self._tasks.add(task)

        def forget(ended: asyncio.Task[None]) -> None:
            self._tasks.discard(ended)
            if self._last.get(work) is ended:
                del self._last[work]
            if self._waiting.get(work) is ended:  # it was cancelled before it started
                del self._waiting[work]

        task.add_done_callback(forget)
        return task

    async def _run(self, work: Work, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        del self._waiting[work]
        try:
            await work()
        except Exception as error:  # no caller would see it
            log.warning("background.failed", error=str(error))

    async def finish(self) -> None:
        """Wait until nothing is running."""
        while self._tasks:
            await asyncio.wait(self._tasks)
