"""How often something may be attempted: counters in the memory of one process.

A counter that is not known to others is lost when the process ends, and costs no database a write
for each attempt.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tenantry.services.application_users.model import AuthError

_MOST = 1000  # counters of one limit of a database; those counted longest ago are forgotten


@dataclass(frozen=True, slots=True)
class Limit:
    """``most`` attempts of one subject within ``seconds``, from the first one on."""

    name: str
    most: int
    seconds: float
    code: str
    message: str


_WAIT = "Too many attempts. Wait as long as Retry-After says."
_MAILS = "Too many e-mails were asked for. Wait as long as Retry-After says."
# Failures of an account from one address, and all: a few of others do not lock it.
SIGN_INS = Limit("sign-ins", 10, 900, "over_request_rate_limit", _WAIT)
ACCOUNTS = Limit("accounts", 100, 900, "over_request_rate_limit", _WAIT)
FAILURES = Limit("failures", 50, 900, "over_request_rate_limit", _WAIT)  # of an address
REQUESTS = Limit("requests", 150, 300, "over_request_rate_limit", _WAIT)  # of an address
SIGN_UPS = Limit("sign-ups", 30, 300, "over_request_rate_limit", _WAIT)  # of an address
# Answered, hence counted whether or not an e-mail is sent: nobody learns who has an account.
MAILS_ASKED = Limit("mails asked", 1, 60, "over_email_send_rate_limit", _MAILS)  # to, and from
MAILS_FROM = Limit("mails from", 25, 3600, "over_email_send_rate_limit", _MAILS)  # an address
SIGN_UP_MAILS = Limit("sign-up mails", 100, 3600, "over_email_send_rate_limit", _MAILS)
# Not answered, hence counted when an e-mail is sent.
MAILS_TO_ONE = Limit("mails to one", 1, 60, "over_email_send_rate_limit", _MAILS)
LINK_MAILS = Limit("link mails", 100, 3600, "over_email_send_rate_limit", _MAILS)  # of a database


class Limits:
    """Counts attempts by database, limit and subject.

    Each limit has counters of its own, so that many subjects of one push out none of another.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[tuple[str, str], dict[tuple[str, ...], tuple[float, int]]] = {}

    def take(self, database: str, limit: Limit, *subject: str) -> None:
        """Count an attempt. Raises AuthError if there were too many; then it is not counted."""
        counters = self._of.setdefault((database, limit.name), {})
        now = self._clock()
        began, count = counters.pop(subject, (now, 0))
        if now >= began + limit.seconds:
            began, count = now, 0
        is_over = count >= limit.most
        counters[subject] = began, count if is_over else count + 1
        if len(counters) > _MOST:
            del counters[next(iter(counters))]
        if is_over:
            raise AuthError(429, limit.code, limit.message, began + limit.seconds - now)

    def give_back(self, database: str, limit: Limit, *subject: str) -> None:
        """Do not count one attempt that has succeeded."""
        counters = self._of.get((database, limit.name), {})
        began, count = counters.pop(subject, (0.0, 0))
        if count > 1:
            counters[subject] = began, count - 1

    def clear(self, database: str, limit: Limit, *subject: str) -> None:
        """Forget the attempts of a subject."""
        self._of.get((database, limit.name), {}).pop(subject, None)
