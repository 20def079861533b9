"""The rules of logging in. Pure: the caller provides the time and the counts.

Failures are counted so that no client can exhaust a counter that others depend on: under the
account *and* the network that they come from; under the device, if a user has logged in from it
before; under the session, if it asks for the password again. Counters that others can raise (of a
network, of an account from everywhere) either spare known devices or only slow logins down.
"""

import datetime as dt
import hmac
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pyotp

from tenantry.base.networks import client_network
from tenantry.base.secrets import Secret

ATTEMPTS = 5  # failures without a wait: one account from one network, one device, one session
NETWORK_ATTEMPTS = 20  # from one network, which several users may share
ACCOUNT_ATTEMPTS = 50  # for one account's password, from all unknown devices
FIRST_LOCK = 30  # seconds
LONGEST_LOCK = 15 * 60  # seconds
SLOWEST = 30  # seconds between two guesses of one account's password from everywhere
_SLOWER_EACH = 10  # failures
TOTP_SECONDS = 30
_TOTP_SLACK = 1  # steps before and after the present one: clocks differ
_TOTP_CODE = re.compile(r"[0-9]{6}")


def lock_seconds(failures: int, *, allowed: int) -> int:
    """Return for how long attempts are refused after failures: 0, then 30 s, doubled each time."""
    if failures < allowed:
        return 0
    doubled = min(failures - allowed, LONGEST_LOCK.bit_length())
    return int(min(FIRST_LOCK * 2**doubled, LONGEST_LOCK))


def slow_seconds(failures: int) -> int:
    """Return how long guesses of an account's password are refused after failures from everywhere.

    Never long: others cause it. 2,880 guesses a day are few for passwords that meet our rules.
    """
    if failures < ACCOUNT_ATTEMPTS:
        return 0
    doubled = min((failures - ACCOUNT_ATTEMPTS) // _SLOWER_EACH, SLOWEST.bit_length())
    return int(min(2**doubled, SLOWEST))


def network_of(address: str | None) -> str:
    """Return what an address is counted as, also if it is unknown."""
    return "unknown" if address is None else client_network(address)


def address_subject(address: str | None) -> str:
    """Return the subject under which failures from an address are counted."""
    return f"address:{network_of(address)}"


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of failures, whether the account exists or not.

    ``wait`` returns the seconds for which attempts are refused after so many failures. ``clears``:
    a complete login resets the counter, instead of taking back its own attempt only.
    """

    subject: str
    account: str | None
    wait: Callable[[int], int]
    clears: bool


_lock = partial(lock_seconds, allowed=ATTEMPTS)
_lock_network = partial(lock_seconds, allowed=NETWORK_ATTEMPTS)


def password_counters(email: str, address: str | None, device: str | None) -> list[Counter]:
    """Return the counters of a guess of a password, always in the same order to avoid deadlocks."""
    if device is not None:
        return [Counter(f"device:{device}", email, _lock, clears=True)]
    return [
        Counter(address_subject(address), None, _lock_network, clears=False),
        Counter(f"pair:{email} {network_of(address)}", email, _lock, clears=True),
        Counter(f"account:{email}", email, slow_seconds, clears=False),
    ]


def code_counters(email: str, address: str | None, device: str | None) -> list[Counter]:
    """Return the counters of a guess of a code, by a client that knows the password.

    There are few codes, so the account's are locked for all unknown devices.
    """
    if device is not None:
        return [Counter(f"device:{device}", email, _lock, clears=True)]
    return [
        Counter(address_subject(address), None, _lock_network, clears=False),
        Counter(f"code:{email}", email, _lock, clears=True),
    ]


def session_counters(email: str, session_id: uuid.UUID) -> list[Counter]:
    """Return the counters of a guess that is made in an open session."""
    return [Counter(f"session:{session_id}", email, _lock, clears=False)]


def totp_step(secret: Secret, code: str, now: dt.datetime) -> int | None:
    """Return the 30-second step of a code that is valid now or in the steps beside, else None."""
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
    """Return the URI that an authenticator app reads from a QR code."""
    totp = pyotp.TOTP(secret.reveal(), interval=TOTP_SECONDS)
    return Secret(totp.provisioning_uri(name=email, issuer_name=f"Tenantry {domain}"))


def recovery_code(text: str) -> Secret:
    """Normalize a typed recovery code to the form in which it was issued."""
    letters = re.sub(r"[\s-]", "", text).lower()
    return Secret("-".join(letters[at : at + 4] for at in range(0, len(letters), 4)))
