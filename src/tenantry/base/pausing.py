"""Pauses of loops that run until they are cancelled."""

import asyncio


def end_if_cancelled() -> None:
    """Raise CancelledError if this task was cancelled and still runs.

    A cancellation is lost if a result arrives at the same moment: ``asyncio.wait_for`` of Python
    3.11 returns the result instead, and psycopg waits with it. ``Task.cancelling`` still shows it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def pause(seconds: float) -> None:
    """Sleep as ``asyncio.sleep``, in loops that never end: see ``end_if_cancelled``."""
    end_if_cancelled()
    await asyncio.sleep(seconds)
