"""Limits on how many requests a caller may send, and how many of them run at the same time.

Requests are counted in this process, in windows of a minute (one process serves them all): by
address, by key or session, and by failed authentication.

Requests that run at the same time take places, of which each caller has only a share.
"""

import math
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from tenantry.base.errors import Busy, TooManyAtOnce, TooManyRequests
from tenantry.base.settings import Settings
from tenantry.base.shares import NoPlace, Shares
from tenantry.services.people.plan import network_of

WINDOW = 60  # seconds
_WHAT = {
    "address": "from this address",
    "key": "with this API key or session",
    "login": "to log in from this address",
    "failure": "without a valid API key or session from this address",
}
_EVERYBODY = "everybody"
_AUDITED_FROM_EVERYWHERE = 20  # times what is audited from one address


_RECOGNISED_AT_ONCE = 4  # from one address: each takes a connection to the control database
_VISITS = 32  # each takes a connection to the control database, which has 100
_VISITS_EACH = 4
_WAIT_SECONDS = 10.0
_TOO_MANY = "Too many requests {whose} are being worked on at the same time."


@asynccontextmanager
async def having(
    place: AbstractAsyncContextManager[None],
    refusal: str,
    *,
    seconds: int = 1,
    hint: str = "Send the next one when one of them is answered.",
) -> AsyncIterator[None]:
    """Hold a place during the block. Raises TooManyAtOnce if there is none."""
    async with AsyncExitStack() as held:
        try:
            await held.enter_async_context(place)
        except NoPlace:
            raise TooManyAtOnce(refusal, seconds=seconds, hint=hint) from None
        yield


@dataclass(frozen=True, slots=True)
class Use:
    """The state of one rate limit after a request: in ``reset`` seconds a new window begins."""

    policy: str
    quota: int
    left: int
    reset: int
    over: bool = False

    def check(self) -> None:
        """Raise TooManyRequests if this request was one too many."""
        if self.over:
            raise TooManyRequests(
                f"More than {self.quota:,} requests {_WHAT[self.policy]} within a minute.",
                seconds=self.reset,
                hint="Wait as long as Retry-After says.",
            )


class Limits:
    """The request counters and places of this process."""

    def __init__(self, settings: Settings) -> None:
        self._counters = FixedWindowRateLimiter(MemoryStorage())
        self._address = RateLimitItemPerMinute(settings.rate.per_address)
        self._key = RateLimitItemPerMinute(settings.rate.per_key)
        self._logins = RateLimitItemPerMinute(settings.rate.logins)
        self._failures = RateLimitItemPerMinute(settings.rate.failures)
        self._audited = RateLimitItemPerMinute(settings.rate.failures * _AUDITED_FROM_EVERYWHERE)
        self._keys = Shares(each=settings.concurrent.per_key)
        self._customers = Shares(each=settings.concurrent.per_customer)
        self._recognitions = Shares(each=_RECOGNISED_AT_ONCE)
        self._visits = Shares(each=_VISITS_EACH, total=_VISITS)
        self._turns = Shares(each=1)

    async def request(self, address: str | None) -> Use:
        """Count a request from this address."""
        return await self._hit(self._address, "address", network_of(address))

    async def caller(self, caller: object) -> Use:
        """Count a request of this key or session."""
        return await self._hit(self._key, "key", str(caller))

    async def login(self, address: str | None, device: str | None = None) -> Use:
        """Count an attempt to log in from this address, or this known device, successful or not."""
        return await self._hit(self._logins, "login", device or network_of(address))

    async def failure(self, address: str | None) -> Use:
        """Count a request from this address that failed to authenticate."""
        return await self._hit(self._failures, "failure", network_of(address))

    async def is_audited(self, known: object = None) -> bool:
        """Count a refusal. Return whether there were few enough to record it in the audit.

        Refusals of a ``known`` key or session that has ended are counted separately, so that they
        cannot be hidden behind many of unknown keys.
        """
        if known is not None:
            return not (await self._hit(self._failures, "audited", str(known))).over
        return not (await self._hit(self._audited, "audited", _EVERYBODY)).over

    # ── at the same time ─────────────────────────────────────────────────────

    @asynccontextmanager
    async def running(self, caller: Hashable, customer: Hashable | None) -> AsyncIterator[None]:
        """Hold a place for a request of this key or session. Raises TooManyAtOnce."""
        key = _TOO_MANY.format(whose="with this API key or session")
        all_of_it = _TOO_MANY.format(whose="of this customer, with any key,")
        async with AsyncExitStack() as held:
            await held.enter_async_context(having(self._keys.place(caller), key))
            if customer is not None:
                place = self._customers.place(customer)
                await held.enter_async_context(having(place, all_of_it))
            yield

    def recognising(self, address: str | None) -> AbstractAsyncContextManager[None]:
        """Hold a place for authenticating a request from this address. Raises TooManyAtOnce."""
        place = self._recognitions.place(network_of(address), within=_WAIT_SECONDS)
        return having(place, _TOO_MANY.format(whose="from this address"))

    def visiting(self, owner: Hashable) -> AbstractAsyncContextManager[None]:
        """Hold a place for work that may wait for this owner's databases. Raises TooManyAtOnce."""
        place = self._visits.place(owner, within=_WAIT_SECONDS)
        return having(place, _TOO_MANY.format(whose="that wait for databases of this customer"))

    @asynccontextmanager
    async def turn(self, resource: Hashable, *, within: float) -> AsyncIterator[None]:
        """Be the only request that changes a database or cluster. Raises Busy."""
        async with AsyncExitStack() as held:
            try:
                await held.enter_async_context(self._turns.place(resource, within=within))
            except NoPlace:
                raise Busy(
                    "Other requests are changing the same, and were not done in time.",
                    hint="Is a transaction left open in the database? End it, and try again.",
                ) from None
            yield

    async def _hit(self, item: RateLimitItemPerMinute, policy: str, who: str) -> Use:
        within = await self._counters.hit(item, policy, who)
        stats = await self._counters.get_window_stats(item, policy, who)
        reset = math.ceil(stats.reset_time - time.time())
        return Use(
            policy, item.amount, stats.remaining, max(1, min(WINDOW, reset)), over=not within
        )
