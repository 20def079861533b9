"""The certificates of the edge: one for the fixed names, one for all databases' names.

Each is a file, replaced as a whole, of the source that the settings name; until that has issued
one, of the platform's own authority, so that the edge can serve at once. They are two, as
authorities certify ``*.rest.`` only by DNS.
"""

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.errors import Deferred, MachineError
from tenantry.base.events import CertificateInstalled, emit
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host import certificates, files
from tenantry.host.certificates import OWN, OwnAuthority, ServerCertificate
from tenantry.services.certificates import plan
from tenantry.services.certificates.authorities import acme_authority, in_place
from tenantry.services.certificates.model import Tries
from tenantry.services.certificates.plan import Obtain, Wanted
from tenantry.services.edge.plan import fixed_names

DNS_NEEDED = (
    "Its names have a certificate of the platform's own authority: public ones certify them only by"
    " DNS (TENANTRY_ACME_DNS_HOOK)."
)


@dataclass(frozen=True, slots=True)
class EdgeCertificate:
    """A certificate of the edge: its file, the names it is for, and a name to ask for it by."""

    file: Path
    names: tuple[str, ...]
    asked: str


@dataclass(frozen=True, slots=True)
class EdgeCertificateStatus:
    """What is installed, and what to do about it."""

    names: tuple[str, ...]
    source: str
    not_after: dt.datetime
    failures: int
    error: str | None
    warning: str | None


class EdgeCertificates:
    """The certificates of the edge."""

    def __init__(self, settings: Settings) -> None:
        home, domain = Home(settings.home), settings.domain
        self._settings = settings
        self._own = OwnAuthority(home.ca_certificate, home.tls / "ca.key")
        fixed = tuple(fixed_names(domain))
        self.every = (
            EdgeCertificate(home.edge / "fixed.pem", fixed, fixed[0]),
            EdgeCertificate(home.edge / "rest.pem", (f"*.rest.{domain}",), f"any.rest.{domain}"),
        )

    def ensure_some(self) -> None:
        """Install what the edge can start with, of the own authority, where there is nothing."""
        self._own.ensure()
        for each in self.every:
            held = self.held(each)
            if held is None or not held.names >= set(each.names):
                self._install(each, self._own.issue(list(each.names)))

    async def keep(self) -> None:
        """Obtain those that are due. The worker calls it periodically.

        Raises TenantryError if one could not be obtained; a later call tries again.
        """
        self.ensure_some()
        with Deferred() as failures:
            for each in self.every:
                with failures.deferred():
                    await self._keep(each)

    def held(self, which: EdgeCertificate) -> ServerCertificate | None:
        """Return the installed certificate; None without one that can be used."""
        return certificates.read_server_certificate(which.file)

    def status(self) -> list[EdgeCertificateStatus]:
        """Return what is installed. Raises OSError."""
        found = []
        for each in self.every:
            held, tries = self.held(each), Tries.read(_tries_file(each))
            if held is None:
                continue
            wanted, installed = self._wanted(each), in_place(held, self._own)
            by_own = wanted.source == OWN and self._settings.acme.directory is not None
            warnings = [plan.warning(installed, _now()), DNS_NEEDED if by_own else None]
            found.append(
                EdgeCertificateStatus(
                    each.names,
                    held.source,
                    installed.not_after,
                    tries.failures,
                    tries.error,
                    " ".join(filter(None, warnings)) or None,
                )
            )
        return found

    async def _keep(self, which: EdgeCertificate) -> None:
        wanted, held, tries = self._wanted(which), self.held(which), Tries.read(_tries_file(which))
        installed = None if held is None else in_place(held, self._own)
        failures = tries.of_source(wanted.source)
        if not isinstance(plan.decide(wanted, installed, failures, _now()), Obtain):
            return
        try:
            new = await self._obtain(which, wanted)
        except Exception as error:
            # Whatever the error: an authority blocks clients that ask too often.
            before = Tries(failures=failures.count)
            before.failed(error, wanted.source, _now()).write(_tries_file(which))
            raise
        self._install(which, new)
        _tries_file(which).unlink(missing_ok=True)

    async def _obtain(self, which: EdgeCertificate, wanted: Wanted) -> ServerCertificate:
        if wanted.source == OWN:
            return self._own.issue(list(which.names))
        if wanted.fingerprint is not None:
            given = self._given(which.names)
            if given is None:
                raise MachineError("TENANTRY_CERTIFICATE was replaced meanwhile.")
            return given
        authority = acme_authority(self._settings, wanted.source)
        return await authority.obtain(*which.names)

    def _install(self, which: EdgeCertificate, new: ServerCertificate) -> None:
        files.write_atomically(which.file, new.render())
        emit(CertificateInstalled(which.names[0]))

    def _wanted(self, which: EdgeCertificate) -> Wanted:
        given = self._given(which.names)
        if given is not None:
            return Wanted(given.source, frozenset(), given.fingerprint)
        acme, names = self._settings.acme, frozenset(which.names)
        over_http = all("*" not in name for name in names)
        if acme.directory is not None and (over_http or acme.dns_hook is not None):
            return Wanted(acme.directory, names)
        return Wanted(OWN, names)

    def _given(self, names: Sequence[str]) -> ServerCertificate | None:
        """Return the administrator's certificate, if it is for all these names."""
        path = self._settings.certificate
        if path is None:
            return None
        key, found = self._settings.certificate_key or path, None
        with suppress(MachineError):  # reported where it is installed for the domain
            for name in names:
                found = certificates.read_given(path, key, name)
            return found
        return None


def _tries_file(which: EdgeCertificate) -> Path:
    return which.file.with_suffix(".json")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
