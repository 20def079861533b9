"""How many requests a caller may send: by address, by key or session, and by failed proof.

Counted in this process, in windows of a minute (there is one API process). The answer
tells how many are left, as draft-ietf-httpapi-ratelimit-headers has it.
"""

import ipaddress
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from tenantry.base.errors import TooManyRequests
from tenantry.base.settings import Settings
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


@dataclass(frozen=True, slots=True)
class Use:
    """What is left of one policy: ``reset`` is in how many seconds it begins anew."""

    policy: str
    quota: int
    left: int
    reset: int
    over: bool = False

    def check(self) -> None:
        """Raises TooManyRequests if this one was too many."""
        if self.over:
            raise TooManyRequests(
                f"More than {self.quota:,} requests {_WHAT[self.policy]} within a minute.",
                seconds=self.reset,
                hint="Wait as long as Retry-After says.",
            )


def headers(uses: Sequence[Use]) -> dict[str, str]:
    """``RateLimit-Policy`` and ``RateLimit``, an item for each policy."""
    if not uses:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{u.policy}";q={u.quota};w={WINDOW}' for u in uses),
        "RateLimit": ", ".join(f'"{u.policy}";r={u.left};t={u.reset}' for u in uses),
    }


def address_of(client: tuple[str, int] | None) -> str | None:
    """Where a request comes from (see ``api.proxies``); None if it is unknown."""
    try:
        return str(ipaddress.ip_address(client[0] if client else ""))
    except ValueError:
        return None


class Limits:
    """The counters of this process."""

    def __init__(self, settings: Settings) -> None:
        self._counters = FixedWindowRateLimiter(MemoryStorage())
        self._address = RateLimitItemPerMinute(settings.rate_per_address)
        self._key = RateLimitItemPerMinute(settings.rate_per_key)
        self._logins = RateLimitItemPerMinute(settings.rate_logins)
        self._failures = RateLimitItemPerMinute(settings.rate_failures)
        self._audited = RateLimitItemPerMinute(settings.rate_failures * _AUDITED_FROM_EVERYWHERE)

    async def request(self, address: str | None) -> Use:
        """Count a request from this address."""
        return await self._hit(self._address, "address", network_of(address))

    async def caller(self, caller: object) -> Use:
        """Count a request of this key or session."""
        return await self._hit(self._key, "key", str(caller))

    async def login(self, address: str | None, device: str | None = None) -> Use:
        """Count a try to log in from this address, good or not; of a known device, by itself."""
        return await self._hit(self._logins, "login", device or network_of(address))

    async def failure(self, address: str | None) -> Use:
        """Count a request from this address that proves nothing."""
        return await self._hit(self._failures, "failure", network_of(address))

    async def is_audited(self, known: object = None) -> bool:
        """Count a refusal. Whether there were few enough for the audit.

        Those of a ``known`` key or session that has ended are counted by themselves: nobody
        hides them behind many of unknown keys.
        """
        if known is not None:
            return not (await self._hit(self._failures, "audited", str(known))).over
        return not (await self._hit(self._audited, "audited", _EVERYBODY)).over

    async def _hit(self, item: RateLimitItemPerMinute, policy: str, who: str) -> Use:
        within = await self._counters.hit(item, policy, who)
        stats = await self._counters.get_window_stats(item, policy, who)
        reset = math.ceil(stats.reset_time - time.time())
        return Use(
            policy, item.amount, stats.remaining, max(1, min(WINDOW, reset)), over=not within
        )
