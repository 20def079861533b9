"""Rate limits: what is counted as one caller, and what callers are reported."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tenantry.api.frame import rate_limit_headers
from tenantry.base.errors import TooManyAtOnce, TooManyRequests
from tenantry.base.setting_groups import Concurrent, Rates
from tenantry.base.settings import Settings
from tenantry.services.requests.limits import Limits, Use
from tenantry.services.requests.proxies import address_of


def test_the_headers_have_an_item_for_each_policy() -> None:
    uses = [Use("address", 120, 119, 60), Use("key", 10, 0, 7, over=True)]
    assert rate_limit_headers(uses) == {
        "RateLimit-Policy": '"address";q=120;w=60, "key";q=10;w=60',
        "RateLimit": '"address";r=119;t=60, "key";r=0;t=7',
    }
    assert rate_limit_headers([]) == {}


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.1", 7), "192.0.2.1"),
        (("2001:DB8::1", 7), "2001:db8::1"),
        (("unknown", 0), None),
        (("", 0), None),
        (None, None),
    ],
)
def test_only_an_address_is_one(client: tuple[str, int] | None, address: str | None) -> None:
    assert address_of(client) == address


async def test_each_caller_is_counted_alone() -> None:
    counters = Limits(Settings(home=Path("/nowhere"), rate=Rates(per_address=3, per_key=2)))
    uses = [await counters.request("192.0.2.1") for _ in range(5)]
    assert [(use.left, use.over) for use in uses] == [
        (2, False),
        (1, False),
        (0, False),
        (0, True),
        (0, True),
    ]
    assert all(1 <= use.reset <= 60 for use in uses)
    assert not (await counters.request("192.0.2.2")).over
    assert [(await counters.caller("a")).over for _ in range(3)] == [False, False, True]
    assert not (await counters.caller("b")).over
    with pytest.raises(TooManyRequests) as refused:
        uses[-1].check()
    assert refused.value.seconds == uses[-1].reset
    uses[0].check()


async def test_one_ipv6_network_is_one_caller() -> None:
    counters = Limits(Settings(home=Path("/nowhere"), rate=Rates(per_address=1)))
    assert not (await counters.request("2001:db8:0:1::1")).over
    assert (await counters.request("2001:db8:0:1:ffff::2")).over
    assert not (await counters.request("2001:db8:0:2::1")).over


async def test_many_keys_of_a_customer_have_no_more_than_its_share() -> None:
    settings = Settings(home=Path("/nowhere"), concurrent=Concurrent(per_key=2, per_customer=3))
    limits = Limits(settings)
    async with AsyncExitStack() as held:
        for key in ("one", "one", "two"):
            await held.enter_async_context(limits.running(key, "customer"))
        with pytest.raises(TooManyAtOnce, match="with this API key") as refused:
            await held.enter_async_context(limits.running("one", None))
        assert refused.value.seconds == 1
        with pytest.raises(TooManyAtOnce, match="of this customer"):
            await held.enter_async_context(limits.running("three", "customer"))
        async with limits.running("three", "another"), limits.running("four", None):
            pass
    async with limits.running("one", "customer"):
        pass


async def test_a_known_device_and_a_known_key_have_shares_of_their_own() -> None:
    counters = Limits(Settings(home=Path("/nowhere"), rate=Rates(logins=1, failures=1)))
    assert not (await counters.login("192.0.2.1")).over
    assert (await counters.login("192.0.2.1")).over
    assert not (await counters.login("192.0.2.1", "device")).over
    assert (await counters.login("192.0.2.2", "device")).over
    audited = [await counters.is_audited() for _ in range(30)]
    assert (audited[0], audited[-1]) == (True, False)
    assert await counters.is_audited("a key")
    assert not await counters.is_audited("a key")
