"""The status of the installed certificate and of the tries to replace it."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ValidationError

from tenantry.host import files
from tenantry.services.certificates.plan import Failures


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

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what is stored in a file; none if there is no such file, or a damaged one."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return cls()

    def write(self, path: Path) -> None:
        """Store them in a file."""
        files.write_atomically(path, self.model_dump_json(indent=2))

    def of_source(self, source: str) -> Failures:
        """Return the failures of the required source; another source's do not count."""
        return Failures(self.failures, self.failed_at) if self.wanted == source else Failures()

    def failed(self, error: Exception, source: str, now: dt.datetime) -> Self:
        """Return them with another failure."""
        update = {
            "failures": self.failures + 1,
            "failed_at": now,
            "error": str(error),
            "wanted": source,
        }
        return self.model_copy(update=update)


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
