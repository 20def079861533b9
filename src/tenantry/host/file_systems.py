"""Calls on a file system that may not respond, such as that of an unreachable NFS server.

Such a call blocks its thread, and no signal ends it. So each has a thread of its own, which does
not keep this process from ending, and their number is limited.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

Found = TypeVar("Found")

_MOST = 32
_places = threading.BoundedSemaphore(_MOST)


async def call(look: Callable[..., Found], *arguments: object) -> Found:
    """Call ``look`` in a thread; the caller may stop waiting for it.

    Raises what it raises, and TimeoutError if too many such calls have no answer yet.
    """
    if not _places.acquire(blocking=False):
        raise TimeoutError(f"{_MOST} calls wait for a file system already")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Found] = loop.create_future()

    def notify(take: Callable[[], None]) -> None:
        if not answer.done():
            take()

    def run() -> None:
        try:
            take = partial(answer.set_result, look(*arguments))
        except Exception as error:
            take = partial(answer.set_exception, error)
        finally:
            _places.release()
        with suppress(RuntimeError):  # the caller is gone: the loop has ended
            loop.call_soon_threadsafe(notify, take)

    threading.Thread(target=run, name="file-system", daemon=True).start()
    return await answer
