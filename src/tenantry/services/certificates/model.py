"""The status of the installed certificate and of the tries to replace it."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel


class Revocation(BaseModel):
    """A certificate for its authority to revoke, once another one is in service."""

    source: str
    fingerprint: str
    certificate: str  # PEM
    reason: int  # RFC 5280, section 5.3.1


class Tries(BaseModel):
    """Failures since the last success, and pending revocations. Stored in a file."""

    failures: int = 0
    failed_at: dt.datetime | None = None
    error: str | None = None
    wanted: str | None = None  # the source that failed
    revoke: list[Revocation] = []


@dataclass(frozen=True, slots=True)
class TlsEndpoint:
    """A TLS endpoint, and whether it serves the installed certificate."""

    name: str
    port: int
    serves_it: bool


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """The installed certificate and its planned renewal. Times are UTC."""

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
