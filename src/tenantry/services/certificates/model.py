"""What is known of the certificate in place, of the tries to have another, and of both together."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel


class Revocation(BaseModel):
    """A certificate that its authority shall revoke, once another one is in service."""

    source: str
    fingerprint: str
    certificate: str  # PEM
    reason: int  # RFC 5280, section 5.3.1


class Tries(BaseModel):
    """What has failed since the last success, and what is still to be done. Kept in a file."""

    failures: int = 0
    failed_at: dt.datetime | None = None
    error: str | None = None
    wanted: str | None = None  # which source it was that failed
    revoke: list[Revocation] = []


@dataclass(frozen=True, slots=True)
class Door:
    """A port that serves TLS, and whether it shows the certificate in place."""

    name: str
    port: int
    serves_it: bool


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """The certificate in place, and what is planned for it. Times are UTC."""

    source: str
    wanted_source: str
    names: list[str]
    serial: str
    fingerprint: str
    not_before: dt.datetime
    not_after: dt.datetime
    seconds_left: float
    renews_at: dt.datetime
    plan: Literal["keep", "obtain", "wait"]
    reason: str | None
    next_try_at: dt.datetime | None
    failures: int
    error: str | None
    warning: str | None
    to_revoke: int
