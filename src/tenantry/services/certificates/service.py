"""Obtaining a certificate that clients can verify, and installing it at every TLS endpoint.

Invariants. The installed file is always one complete pair (host.certificates). Until every running
endpoint has been seen to serve a new certificate, the previous one is stored beside it: a process
that finds that file, after a crash too, completes the change or restores the previous one.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import Literal

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tenantry.base.errors import Conflict, MachineError, Unavailable
from tenantry.base.events import CertificateInstalled, CertificateRevoked, emit
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host import certificates, files, packages
from tenantry.host.certificates import OWN, OwnAuthority, ServerCertificate
from tenantry.services.certificates import plan
from tenantry.services.certificates.authorities import acme_authority, in_place
from tenantry.services.certificates.model import CertificateStatus, Revocation, TlsEndpoint, Tries
from tenantry.services.certificates.plan import Failures, InPlace, Keep, Obtain, Wait, Wanted
from tenantry.services.certificates.servers import Servers, shows
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.pooling.service import Pooler

log = structlog.get_logger()

SUPERSEDED = 4  # RFC 5280, section 5.3.1
_SHOW_SECONDS = 10.0
_POLL_SECONDS = 0.05
_LOCK_SECONDS = 600.0


class Certificates:
    """The one certificate of an installation."""

    def __init__(self, settings: Settings, fleet: Fleet, pooler: Pooler) -> None:
        home = Home(settings.home)
        self._settings = settings
        self._servers = Servers(settings, fleet, pooler)
        self._own = OwnAuthority(home.ca_certificate, home.tls / "ca.key")
        self._file = home.certificate
        self._before = home.tls / "previous.pem"
        self._tries_file = home.tls / "tries.json"
        self._lock = home.tls / "lock"

    # ── status ───────────────────────────────────────────────────────────────

    def status(self) -> CertificateStatus:
        """Return the installed certificate and the next step. Raises Conflict if there is none."""
        held, tries, now = self._held(), self._tries(), _now()
        if held is None:
            raise Conflict("There is no certificate yet.", hint="Run ./tenantry up.")
        installed = self._in_place(held, tries)
        step = self._decide(held, tries)
        return CertificateStatus(
            source=held.source,
            wanted_source=self._source,
            names=sorted(held.names),
            serial=f"{held.leaf.serial_number:x}",
            fingerprint=held.fingerprint,
            not_before=installed.not_before,
            not_after=installed.not_after,
            seconds_left=(installed.not_after - now).total_seconds(),
            renews_at=installed.renews_at,
            plan=_PLANS[type(step)],
            reason=None if isinstance(step, Keep) else step.reason,
            next_try_at=step.until if isinstance(step, Wait) else None,
            failures=tries.failures,
            error=tries.error,
            warning=plan.warning(installed, now),
            to_revoke=len(tries.revoke),
        )

    async def endpoints(self) -> list[TlsEndpoint]:
        """Return each running server's port, and whether it serves the installed certificate."""
        held = self._held()
        return [
            TlsEndpoint(each.name, each.port, held is not None and await shows(each, held))
            for each in self._servers.running()
        ]

    # ── verbs ────────────────────────────────────────────────────────────────

    def ensure_some(self) -> bool:
        """Install a certificate that servers can start with, from the own authority if needed.

        Returns whether it changed. Raises MachineError if a given file is unusable and there is no
        other certificate.
        """
        self._own.ensure()
        held, tries = self._held(), self._tries()
        if self._settings.certificate is not None:
            return self._ensure_given(held)
        if held is not None and OWN not in {held.source, self._source}:
            return False
        installed = self._in_place(held, tries) if held else None
        if isinstance(plan.decide(self._wanted_of_own, installed, Failures(), _now()), Keep):
            return False
        self._put_in_place(self._own.issue(self._names_here))
        return True

    def _ensure_given(self, held: ServerCertificate | None) -> bool:
        try:
            given = self._given()
        except MachineError as error:
            if held is None:
                raise
            log.warning("certificate.unusable", error=str(error))
            return False
        if held is not None and held.fingerprint == given.fingerprint:
            return False
        self._put_in_place(given)
        return True

    async def keep(self) -> None:
        """Do what is due: install, renew, revoke. The worker calls it periodically.

        Raises TenantryError if something failed; a later call retries it.
        """
        async with packages.locked(self._lock, deadline=_LOCK_SECONDS):
            await self._keep()

    async def renew(self, *, revoke: int | None = None) -> CertificateStatus:
        """Obtain another certificate now, regardless of earlier failures.

        With ``revoke``, the authority then revokes the previous one, for this reason (RFC 5280).
        Raises TenantryError if none could be obtained; the old one stays in service.
        """
        async with packages.locked(self._lock, deadline=_LOCK_SECONDS):
            if revoke is not None:
                self._plan_revocation(revoke)
            await self._put_in_service()
            await self._obtain("a person asked for it")
            await self._keep()
        return self.status()

    def _plan_revocation(self, reason: int) -> None:
        held, tries = self._held(), self._tries()
        if self._settings.certificate is not None:
            raise Conflict(
                "The certificate is a file's.",
                hint="Have its authority revoke it, and put another one in its place.",
            )
        if held is None or held.source == OWN:
            raise Conflict(
                "The own authority has no list of what it has revoked.",
                hint="tenantry tls renew replaces the certificate. If its key was stolen, delete "
                f"{self._own.key}, restart, and give every client the new ca.crt.",
            )
        if held.fingerprint not in {each.fingerprint for each in tries.revoke}:
            pem = held.leaf.public_bytes(Encoding.PEM).decode()
            tries.revoke.append(
                Revocation(
                    source=held.source, fingerprint=held.fingerprint, certificate=pem, reason=reason
                )
            )
            self._save(tries)

    async def _keep(self) -> None:
        if self._own.ensure() or self._held() is None:  # a file was deleted or damaged
            self.ensure_some()
        await self._put_in_service()
        step = self._decide(self._held(), self._tries())
        if isinstance(step, Obtain):
            await self._obtain(step.reason)
        await self._revoke_replaced()
        tries = self._tries()
        done = isinstance(self._decide(self._held(), tries), Keep) and not tries.revoke
        if tries.failures and done:
            self._save(Tries())

    # ── the steps ────────────────────────────────────────────────────────────

    async def _obtain(self, reason: str) -> None:
        log.info("certificate.wanted", source=self._source, reason=reason)
        with self._counting_failures():
            if self._settings.certificate is not None:
                new = self._given()
            elif self._source == OWN:
                new = self._own.issue(self._names_here)
            else:
                new = await self._certified()
            self._put_in_place(new)
            await self._put_in_service()
        self._save(Tries(revoke=self._tries().revoke))
        emit(CertificateInstalled(self._settings.domain))

    async def _certified(self) -> ServerCertificate:
        """Obtain a certificate from the ACME authority.

        If it is not issued for the hosts of instances, which are tried again later, the domain has
        one nevertheless, if another one is due.
        """
        authority, domain = acme_authority(self._settings, self._source), self._settings.domain
        try:
            return await authority.obtain(*self._names_in_dns)
        except MachineError as error:
            held, tries = self._held(), self._tries()
            installed = self._in_place(held, tries) if held else None
            wanted = Wanted(self._source, frozenset([domain]))
            step = plan.decide(wanted, installed, Failures(), _now())
            if self._names_in_dns == [domain] or isinstance(step, Keep):
                raise
            log.warning("certificate.without_instances", error=str(error))
            return await authority.obtain(domain)

    @contextlib.contextmanager
    def _counting_failures(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Whatever the error: an authority blocks clients that ask too often.
            tries = self._tries().failed(error, self._source, _now())
            self._save(tries)
            held = self._held()
            if held and (warning := plan.warning(self._in_place(held, tries), _now())):
                log.warning("certificate.expires_soon", warning=warning)
            raise

    def _put_in_place(self, new: ServerCertificate) -> None:
        self._own.ensure_handed_out(self._root_of(new))
        if self._file.exists() and not self._before.exists():
            files.write_atomically(self._before, self._file.read_bytes())
        files.write_atomically(self._file, new.render())

    async def _put_in_service(self) -> None:
        """Make every running server serve the installed certificate, or restore the previous one.

        Raises MachineError if a server does not serve it.
        """
        held = self._held()
        if held is None:
            raise MachineError(f"{self._file} holds no certificate.", hint="Run ./tenantry up.")
        if wrong := await self._not_showing(held):
            if (before := certificates.read_server_certificate(self._before)) is None:
                raise MachineError(f"{wrong} does not show the certificate in {self._file}.")
            self._own.ensure_handed_out(self._root_of(before))
            files.write_atomically(self._file, before.render())
            await self._not_showing(before)
            self._before.unlink()
            raise MachineError(
                f"{wrong} does not show the new certificate; the old one is back.",
                hint=f"Its log in {Home(self._settings.home).logs} says why.",
            )
        self._before.unlink(missing_ok=True)

    async def _not_showing(self, wanted: ServerCertificate) -> str:
        """Reload servers that do not serve it, and return the names of those that still do not."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _SHOW_SECONDS
        wrong = [each for each in self._servers.running() if not await shows(each, wanted)]
        for each in wrong:
            with contextlib.suppress(Unavailable):  # it has until the deadline to start
                await each.reload()
        while wrong and clock() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
            wrong = [each for each in self._servers.running() if not await shows(each, wanted)]
        return " and ".join(each.name for each in wrong)

    async def _revoke_replaced(self) -> None:
        held, tries = self._held(), self._tries()
        if held is None or tries.of_source(self._source).retry_at(_now()) > _now():
            return
        for each in [each for each in tries.revoke if each.fingerprint != held.fingerprint]:
            with self._counting_failures():
                certificate = x509.load_pem_x509_certificate(each.certificate.encode())
                await acme_authority(self._settings, each.source).revoke(certificate, each.reason)
            tries.revoke.remove(each)
            self._save(tries)
            emit(CertificateRevoked(f"{certificate.serial_number:x}"))

    # ── what they work with ──────────────────────────────────────────────────

    @property
    def _names_here(self) -> list[str]:
        return certificates.server_names(self._settings.domain, self._settings.instance_domain)

    @property
    def _names_in_dns(self) -> list[str]:
        """The names that an ACME authority certifies, the domain first.

        Only by an answer in DNS does it certify all hosts of instances at once.
        """
        domain, below = self._settings.domain, self._settings.instance_domain
        if below is None or self._settings.acme.dns_hook is None:
            return [domain]
        return [domain, certificates.wildcard(below)]

    @property
    def _wanted_of_own(self) -> Wanted:
        return Wanted(OWN, frozenset(self._names_here))

    @property
    def _source(self) -> str:
        """The required source of the certificate."""
        if self._settings.certificate is not None:
            return self._settings.certificate.as_uri()
        return self._settings.acme.directory or OWN

    @property
    def _wanted(self) -> Wanted:
        if self._settings.certificate is not None:
            fingerprint = ""
            with contextlib.suppress(MachineError):  # reported when it is installed
                fingerprint = self._given().fingerprint
            return Wanted(self._source, frozenset(), fingerprint)
        if self._settings.acme.directory is None:
            return self._wanted_of_own
        return Wanted(self._source, frozenset(self._names_in_dns))

    def _given(self) -> ServerCertificate:
        path = self._settings.certificate
        if path is None:
            raise TypeError("no file was given")
        key = self._settings.certificate_key or path
        return certificates.read_given(path, key, self._settings.domain)

    def _held(self) -> ServerCertificate | None:
        return certificates.read_server_certificate(self._file)

    def _in_place(self, held: ServerCertificate, tries: Tries) -> InPlace:
        unwanted = held.fingerprint in {each.fingerprint for each in tries.revoke}
        return in_place(held, self._own, unwanted=unwanted)

    def _decide(self, held: ServerCertificate | None, tries: Tries) -> plan.Step:
        installed = self._in_place(held, tries) if held else None
        return plan.decide(self._wanted, installed, tries.of_source(self._source), _now())

    def _root_of(self, certificate: ServerCertificate) -> x509.Certificate | None:
        if certificate.source == OWN:
            return None
        trusted = [self._settings.acme.ca_file, self._settings.certificate]
        root = certificates.find_root(certificate.chain, trusted)
        if root is None:
            log.warning("certificate.root_unknown", issuer=str(certificate.chain[-1].issuer))
        return root

    def _tries(self) -> Tries:
        return Tries.read(self._tries_file)

    def _save(self, tries: Tries) -> None:
        tries.write(self._tries_file)


_PLANS: dict[type[plan.Step], Literal["keep", "obtain", "wait"]] = {
    Keep: "keep",
    Obtain: "obtain",
    Wait: "wait",
}


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
