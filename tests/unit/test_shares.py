"""Places, of which nobody gets more than a share."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tenantry.base.shares import NoPlace, Shares


async def test_an_owner_has_its_share_and_no_more() -> None:
    shares = Shares(each=2)
    async with shares.place("a"), shares.place("a"), shares.place("b"):
        with pytest.raises(NoPlace):
            async with shares.place("a"):
                pass
    async with shares.place("a"), shares.place("a"):
        pass


async def test_a_place_is_waited_for() -> None:
    shares = Shares(each=1)
    async with AsyncExitStack() as held:
        await held.enter_async_context(shares.place("a"))

        async def second() -> str:
            async with shares.place("a", within=30):
                return "had it"

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting == "had it"


async def test_who_waits_for_its_own_is_in_nobody_elses_way() -> None:
    shares = Shares(each=1, total=2)
    async with shares.place("a"):
        waiting = [asyncio.create_task(_have(shares, "a")) for _ in range(10)]
        await asyncio.sleep(0)
        async with shares.place("b"):
            with pytest.raises(NoPlace):
                async with shares.place("c"):
                    pass
        async with shares.place("c"):
            pass
    await asyncio.gather(*waiting)


async def test_a_wait_that_is_cancelled_leaves_nothing() -> None:
    shares = Shares(each=1, total=1)
    async with shares.place("a"):
        waiting = asyncio.create_task(_have(shares, "b"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with shares.place("b"):
        pass


async def _have(shares: Shares, owner: str) -> None:
    async with shares.place(owner, within=30):
        pass
