"""The next step for the certificate, given the current one, the failures and the time. Pure."""

import datetime as dt
from dataclasses import dataclass

WARN_AT = dt.timedelta(days=14)
NEXT_STEP = "tenantry tls status says why it was not renewed, and tenantry tls renew tries at once."
FIRST_WAIT = dt.timedelta(minutes=5)
LONGEST_WAIT = dt.timedelta(days=1)
_MOST_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """The required source and names of the certificate.

    ``fingerprint`` is that of a certificate given as a file, which is the only one to install then;
    it is not renewed here.
    """

    source: str
    names: frozenset[str]
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class InPlace:
    """The installed certificate; ``unwanted`` if it is to be revoked."""

    source: str
    names: frozenset[str]
    not_before: dt.datetime
    not_after: dt.datetime
    unwanted: bool = False
    fingerprint: str = ""

    @property
    def lifetime(self) -> dt.timedelta:
        return self.not_after - self.not_before

    @property
    def renews_at(self) -> dt.datetime:
        """The time at which a third of its lifetime is left."""
        return self.not_after - self.lifetime / 3


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures to obtain a certificate since the last success."""

    count: int = 0
    last_at: dt.datetime | None = None

    def retry_at(self, now: dt.datetime) -> dt.datetime:
        """Return when to try again: 5 minutes after the first failure, doubling up to a day."""
        if not self.count or self.last_at is None or self.last_at > now:  # the clock was set back
            return now
        doublings = min(self.count - 1, _MOST_DOUBLINGS)
        wait = FIRST_WAIT * (1 << doublings)
        return self.last_at + min(wait, LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Keep:
    """It is valid until its renewal is due."""

    until: dt.datetime


@dataclass(frozen=True, slots=True)
class Obtain:
    """Another one is needed now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Another one is needed, but the last try failed too recently."""

    reason: str
    until: dt.datetime


Step = Keep | Obtain | Wait


def decide(wanted: Wanted, held: InPlace | None, failures: Failures, now: dt.datetime) -> Step:
    """Return the next step."""
    reason = _why_another(wanted, held, now)
    if reason is None and held is not None:
        return Keep(held.renews_at)
    retry_at = failures.retry_at(now)
    if retry_at > now:
        return Wait(reason or "", retry_at)
    return Obtain(reason or "")


def _why_another(wanted: Wanted, held: InPlace | None, now: dt.datetime) -> str | None:
    if held is None:
        return "there is none"
    missing = wanted.names - held.names
    is_given = wanted.fingerprint is not None
    reasons = (
        (held.unwanted, "it is to be revoked"),
        (held.source != wanted.source, "it is of another authority"),
        (is_given and held.fingerprint != wanted.fingerprint, "its file has changed"),
        (bool(missing), f"it is not for {', '.join(sorted(missing))}"),
        (not is_given and now >= held.renews_at, "a third of its lifetime is left"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def warning(held: InPlace, now: dt.datetime) -> str | None:
    """Return a warning if the certificate ends soon although it should have been renewed.

    That is 14 days before its end; for a lifetime of less than 84 days, a sixth of it.
    """
    left = held.not_after - now
    if left <= dt.timedelta():
        return "The certificate has expired."
    if left <= min(WARN_AT, held.lifetime / 6):
        return f"The certificate expires in {_in_words(left)}."
    return None


def _in_words(left: dt.timedelta) -> str:
    if left >= dt.timedelta(days=2):
        return f"{left.days} days"
    return f"{left // dt.timedelta(hours=1)} hours"
