"""Pauses of what goes on until it is cancelled."""

import asyncio


def end_if_cancelled() -> None:
    """Raise CancelledError if this task was cancelled and still runs.

    A cancellation gets lost where a result comes at the same moment: ``asyncio.wait_for`` of
    Python 3.11 returns it instead, and psycopg waits by it. ``Task.cancelling`` still tells.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def pause(seconds: float) -> None:
    """``asyncio.sleep`` for what never ends by itself: see ``end_if_cancelled``."""
    end_if_cancelled()
    await asyncio.sleep(seconds)
