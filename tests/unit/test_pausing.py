"""What was cancelled ends at its next pause, also where the cancellation got lost."""

import asyncio
from contextlib import suppress

import pytest

from tenantry.base.pausing import pause


async def test_a_lost_cancellation_is_made_up_for() -> None:
    rounds = 0

    async def work() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            with suppress(asyncio.CancelledError):  # as asyncio.wait_for does in Python 3.11
                await asyncio.Event().wait()
            await pause(0)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rounds == 1


async def test_a_deadline_that_has_passed_cancels_nothing_later() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    await pause(0)
