"""A circuit breaker: does not ask again and again what does not answer. Pure but for its clock."""

import time
from collections.abc import Callable

_FAILURES = 3  # one after the other
_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 15.0


class Breaker:
    """Opens after three failures, for one second, then two, four, up to fifteen.

    After that time one attempt is let through, whose outcome decides.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._delay = 0.0
        self._until = 0.0

    def wait(self) -> float:
        """Return 0 if an attempt may be made now, otherwise in how many seconds."""
        if not self._delay:
            return 0.0
        now = self._clock()
        if now < self._until:
            return self._until - now
        self._until = now + self._delay  # others wait for the outcome of this attempt
        return 0.0

    def succeeded(self) -> None:
        """Note that an attempt has succeeded."""
        self._failures, self._delay = 0, 0.0

    def failed(self) -> None:
        """Note that an attempt has failed."""
        self._failures += 1
        if self._failures >= _FAILURES:
            self._delay = min(_LONGEST_SECONDS, self._delay * 2 or _FIRST_SECONDS)
            self._until = self._clock() + self._delay
