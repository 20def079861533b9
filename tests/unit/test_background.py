"""Work that goes on after its request has been answered."""

import asyncio

from tenantry.control.background import Background


async def test_what_is_asked_for_while_it_runs_is_done_once_more() -> None:
    background, released = Background(), asyncio.Event()
    started = running = 0

    async def work() -> None:
        nonlocal started, running
        started += 1
        running += 1
        assert running == 1
        await released.wait()
        running -= 1

    background.start(work)
    await asyncio.sleep(0)
    assert started == 1
    for _ in range(10):
        background.start(work)
    released.set()
    await background.finish()
    assert started == 2


async def test_a_failure_does_not_stop_the_next_one() -> None:
    background, done = Background(), []

    async def fail() -> None:
        raise OSError("broken")

    async def work() -> None:
        done.append("work")

    background.start(fail)
    await background.finish()
    background.start(work)
    await background.finish()
    assert done == ["work"]
