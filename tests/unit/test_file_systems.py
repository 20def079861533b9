"""Calls that may have no answer: whoever waits can give up, and nothing else waits with them."""

import asyncio
import threading

import pytest

from tenantry.host import file_systems


async def test_what_a_call_finds_and_raises_comes_back() -> None:
    def fail() -> None:
        raise FileNotFoundError("gone")

    assert await file_systems.call(max, 1, 2) == 2
    with pytest.raises(FileNotFoundError, match="gone"):
        await file_systems.call(fail)


async def test_a_file_system_that_does_not_answer_holds_nobody() -> None:
    answer = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await file_systems.call(answer.wait)
    assert await file_systems.call(max, 1, 2) == 2
    # asyncio's own threads are others.
    assert await asyncio.to_thread(max, 1, 2) == 2
    answer.set()


async def test_only_so_many_calls_may_hang() -> None:
    answer = threading.Event()
    waiting: list[asyncio.Task[bool]] = []
    while not waiting or not waiting[-1].done():
        waiting.append(asyncio.create_task(file_systems.call(answer.wait)))
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError, match="already"):
        waiting.pop().result()
    answer.set()
    assert await asyncio.gather(*waiting) == [True] * len(waiting)
    assert await file_systems.call(max, 1, 2) == 2
