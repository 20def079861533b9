"""The rules of logging in, without a clock or a database of their own.

Failures are counted so that nobody exhausts a counter on which somebody else depends: under the
account *and* the network that they come from; under the device, if a user has logged in from it
before; under the session, if the password is asked for again in one. Counters that others can
raise (of a network, of an account from everywhere) either spare known devices or only slow down.
"""

import datetime as dt
import hmac
import ipaddress
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pyotp

from tenantry.base.secrets import Secret

ATTEMPTS = 5  # failures without a wait: one account from one network, one device, one session
NETWORK_ATTEMPTS = 20  # from one network, where several people may sit
ACCOUNT_ATTEMPTS = 50  # for one account's password, from all unknown devices
FIRST_LOCK = 30  # seconds
LONGEST_LOCK = 15 * 60  # seconds
SLOWEST = 30  # seconds between two guesses of one account's password from everywhere
_SLOWER_EACH = 10  # failures
TOTP_SECONDS = 30
_TOTP_SLACK = 1  # steps before and after the present one: clocks differ
_SITE_PREFIX = 64  # bits: what one customer of an IPv6 network has at least (RFC 6177)
_TOTP_CODE = re.compile(r"[0-9]{6}")


def lock_seconds(failures: int, *, allowed: int) -> int:
    """How long nobody may try after so many failures: 0, then 30 s, doubled each time."""
    if failures < allowed:
        return 0
    doubled = min(failures - allowed, LONGEST_LOCK.bit_length())
    return int(min(FIRST_LOCK * 2**doubled, LONGEST_LOCK))


def slow_seconds(failures: int) -> int:
    """How long an account's password is not guessed after so many failures from everywhere.

    Never long: others cause it. 2,880 guesses a day are few for passwords as ours have to be.
    """
    if failures < ACCOUNT_ATTEMPTS:
        return 0
    doubled = min((failures - ACCOUNT_ATTEMPTS) // _SLOWER_EACH, SLOWEST.bit_length())
    return int(min(2**doubled, SLOWEST))


def network_of(address: str | None) -> str:
    """Whom an address is counted as: of IPv6 its network, since one caller has all of that."""
    if address is None:
        return "unknown"
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, _SITE_PREFIX), strict=False))
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def address_subject(address: str | None) -> str:
    """What the failures from an address are counted under."""
    return f"address:{network_of(address)}"


@dataclass(frozen=True, slots=True)
class Counter:
    """What a failure counts under, whether the account exists or not.

    ``wait`` gives the seconds that nobody may try after so many failures. ``clears`` says that a
    complete login forgets them all, not only its own attempt.
    """

    subject: str
    account: str | None
    wait: Callable[[int], int]
    clears: bool


_lock = partial(lock_seconds, allowed=ATTEMPTS)
_lock_network = partial(lock_seconds, allowed=NETWORK_ATTEMPTS)


def password_counters(email: str, address: str | None, device: str | None) -> list[Counter]:
    """What a guess of a password counts under. Always in this order, so that nobody deadlocks."""
    if device is not None:
        return [Counter(f"device:{device}", email, _lock, clears=True)]
    return [
        Counter(address_subject(address), None, _lock_network, clears=False),
        Counter(f"pair:{email} {network_of(address)}", email, _lock, clears=True),
        Counter(f"account:{email}", email, slow_seconds, clears=False),
    ]


def code_counters(email: str, address: str | None, device: str | None) -> list[Counter]:
    """What a guess of a code counts under, by somebody who knows the password.

    There are few codes, so the account's are locked for all unknown devices.
    """
    if device is not None:
        return [Counter(f"device:{device}", email, _lock, clears=True)]
    return [
        Counter(address_subject(address), None, _lock_network, clears=False),
        Counter(f"code:{email}", email, _lock, clears=True),
    ]


def session_counters(email: str, session_id: uuid.UUID) -> list[Counter]:
    """What a guess counts under that is made in an open session."""
    return [Counter(f"session:{session_id}", email, _lock, clears=False)]


def totp_step(secret: Secret, code: str, now: dt.datetime) -> int | None:
    """The 30-second step that a code belongs to, if it is right now or was a moment ago."""
    if not _TOTP_CODE.fullmatch(code):
        return None
    totp = pyotp.TOTP(secret.reveal(), interval=TOTP_SECONDS)
    present = int(now.timestamp()) // TOTP_SECONDS
    right = None
    for step in range(present - _TOTP_SLACK, present + _TOTP_SLACK + 1):
        if hmac.compare_digest(totp.generate_otp(step), code):
            right = step
    return right


def totp_uri(secret: Secret, *, email: str, domain: str) -> Secret:
    """What an authenticator app reads from a QR code."""
    totp = pyotp.TOTP(secret.reveal(), interval=TOTP_SECONDS)
    return Secret(totp.provisioning_uri(name=email, issuer_name=f"Tenantry {domain}"))


def recovery_code(text: str) -> Secret:
    """A recovery code as it was typed, in the form in which it was given."""
    letters = re.sub(r"[\s-]", "", text).lower()
    return Secret("-".join(letters[at : at + 4] for at in range(0, len(letters), 4)))
