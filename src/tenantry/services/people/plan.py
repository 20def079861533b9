"""The rules of logging in, without a clock or a database of their own."""

import datetime as dt
import hmac
import ipaddress
import re

import pyotp

from tenantry.base.secrets import Secret

ACCOUNT_ATTEMPTS = 5  # failures without a wait, for one account
ADDRESS_ATTEMPTS = 20  # and from one address, where several people may sit
FIRST_LOCK = 30  # seconds
LONGEST_LOCK = 15 * 60  # seconds
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


def account_subject(email: str) -> str:
    """What the failures of an account are counted under, whether it is there or not."""
    return f"account:{email}"


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
