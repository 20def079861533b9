"""Certificates from an authority that speaks ACME (RFC 8555), by certbot's own library.

The library blocks, so each of its calls runs in a thread, and none for long: the task that awaits
it can be cancelled. It reads any answer whole, so an answer that is too large is cut off below it.
A challenge is answered over HTTP, by a server that listens only while it is under way, or in DNS,
by a command of the administrator's.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import io
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests
import structlog
from acme import challenges, client, errors, messages, standalone
from acme.crypto_util import make_csr
from cryptography import x509
from josepy import jwa, jwk
from josepy.errors import Error as JoseError
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from tenantry.base.errors import MachineError
from tenantry.host import certificates, commands, files
from tenantry.host.certificates import ServerCertificate

log = structlog.get_logger()
T = TypeVar("T")

_ANSWER_SECONDS = 15
_ANSWER_BYTES = 1024 * 1024  # a chain of certificates has some 10 KiB
_SILENT_SECONDS = 2
_SLICE = dt.timedelta(seconds=2)
_VALIDATION_SECONDS = 90.0
_HOOK_SECONDS = 300.0


class AcmeFailed(MachineError):
    """The authority did not issue or revoke a certificate."""

    code = "acme_failed"
    title = "The certificate authority did not do it"


class _Bounded(HTTPAdapter):
    """Reads answers as they come, never unpacked, and up to a limit."""

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        response = super().send(request, *args, **options)
        try:
            body = response.raw.read(_ANSWER_BYTES + 1, decode_content=False)
        except HTTPError as error:
            raise requests.ConnectionError(error, request=request) from error
        finally:
            response.close()
        if len(body) > _ANSWER_BYTES:
            raise requests.RequestException(f"an answer has more than {_ANSWER_BYTES:,} bytes")
        response.raw = HTTPResponse(io.BytesIO(body), preload_content=False)
        return response


@dataclass(frozen=True, slots=True)
class Authority:
    """An ACME authority, and how to prove control of a name to it.

    ``ca_file`` holds the certificates that verify the authority's own server, if not the system's.
    ``dns_hook`` answers challenges in DNS; without it they are answered at ``http_port``.
    """

    directory: str
    account_key: Path
    email: str | None = None
    ca_file: Path | None = None
    http_port: int = 80
    dns_hook: Path | None = None

    async def obtain(self, *names: str) -> ServerCertificate:
        """Obtain a certificate with a new key. Raises AcmeFailed, and MachineError for the hook.

        A name such as ``*.example.com`` needs a ``dns_hook``.
        """
        key = certificates.key_pem(certificates.new_key())
        with _explained(self.directory):
            session = await asyncio.to_thread(self._log_in)
            order = await asyncio.to_thread(session.new_order, make_csr(key, domains=list(names)))
            # Names without the * of wildcards: a domain and its wildcard have one name twice.
            asked = [
                (each.body.identifier.value, self._choose(each))
                for each in order.authorizations
                if each.body.status != messages.STATUS_VALID
            ]
            async with self._answers(session, asked):
                for _, challenge in asked:
                    response = challenge.response(session.net.key)
                    await asyncio.to_thread(session.answer_challenge, challenge, response)
                order = await _patiently(functools.partial(session.poll_authorizations, order))
            order = await asyncio.to_thread(session.begin_finalization, order)
            order = await _patiently(functools.partial(session.poll_finalization, order))
            chain = x509.load_pem_x509_certificates(order.fullchain_pem.encode())
        return ServerCertificate.parse(
            ServerCertificate(self.directory, key, tuple(chain)).render()
        )

    async def revoke(self, certificate: x509.Certificate, reason: int) -> None:
        """Revoke a certificate of this account (reasons: RFC 5280, 5.3.1). Raises AcmeFailed."""
        with _explained(self.directory):
            session = await asyncio.to_thread(self._log_in)
            try:
                await asyncio.to_thread(session.revoke, certificate, reason)
            except messages.Error as error:
                if error.code != "alreadyRevoked":
                    raise

    def _log_in(self) -> client.ClientV2:
        """Return a session of our account; create it if the authority does not know the key."""
        if not self.account_key.exists():
            new = certificates.key_pem(certificates.new_key())
            files.write_atomically(self.account_key, new, mode=0o600)
        network = client.ClientNetwork(
            jwk.JWKEC(key=certificates.read_key(self.account_key)),
            alg=jwa.ES256,
            user_agent="tenantry",
            timeout=_ANSWER_SECONDS,
        )
        for scheme in ("https://", "http://"):
            network.session.mount(scheme, _Bounded())
        network.session.headers["Accept-Encoding"] = "identity"
        if self.ca_file:
            network.verify_ssl = str(self.ca_file)  # type: ignore[assignment] # requests takes both
        session = client.ClientV2(client.ClientV2.get_directory(self.directory, network), network)
        asked = messages.NewRegistration.from_data(email=self.email, terms_of_service_agreed=True)
        try:
            session.new_account(asked)
        except errors.ConflictError as known:
            network.account = messages.RegistrationResource(
                uri=known.location, body=messages.Registration()
            )
        return session

    def _choose(self, authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
        kind = challenges.DNS01 if self.dns_hook else challenges.HTTP01
        for challenge in authorization.body.challenges:
            if isinstance(challenge.chall, kind):
                return challenge
        raise AcmeFailed(f"{self.directory} offers no {kind.typ} challenge.")

    @contextlib.asynccontextmanager
    async def _answers(
        self, session: client.ClientV2, asked: Sequence[tuple[str, messages.ChallengeBody]]
    ) -> AsyncIterator[None]:
        """Publish the answers to the challenges of these names for the duration of the block."""
        async with contextlib.AsyncExitStack() as published:
            resources = set()
            for name, challenge in asked:
                response, validation = challenge.response_and_validation(session.net.key)
                if self.dns_hook:
                    await published.enter_async_context(
                        self._in_dns(self.dns_hook, name, validation)
                    )
                else:
                    resources.add(
                        standalone.HTTP01RequestHandler.HTTP01Resource(
                            chall=challenge.chall, response=response, validation=validation
                        )
                    )
            if resources:
                await published.enter_async_context(self._over_http(resources))
            yield

    @contextlib.asynccontextmanager
    async def _over_http(self, resources: set[Any]) -> AsyncIterator[None]:
        try:
            # It serves one client after the other, so a silent one would block the authority.
            server = standalone.HTTP01DualNetworkedServers(
                ("", self.http_port), resources, timeout=_SILENT_SECONDS
            )
        except OSError as error:
            raise AcmeFailed(
                f"The authority's challenge cannot be answered at port {self.http_port}: "
                f"{error.strerror}.",
                hint="See TENANTRY_ACME_HTTP_PORT, or use TENANTRY_ACME_DNS_HOOK.",
            ) from error
        server.serve_forever()
        try:
            yield
        finally:
            await asyncio.to_thread(server.shutdown_and_server_close)

    @contextlib.asynccontextmanager
    async def _in_dns(self, hook: Path, name: str, validation: str) -> AsyncIterator[None]:
        variables = {
            "TENANTRY_ACME_NAME": f"_acme-challenge.{name}",
            "TENANTRY_ACME_VALUE": validation,
        }
        try:
            await commands.run([hook, "set"], env=variables, deadline=_HOOK_SECONDS)
            yield
        finally:
            # A left-over DNS record does no harm; an issued certificate must not be lost for it.
            try:
                await commands.run([hook, "remove"], env=variables, deadline=_HOOK_SECONDS)
            except commands.CommandFailed as error:
                log.warning("acme.dns_hook_failed", verb="remove", error=str(error))


async def _patiently(poll: Callable[[dt.datetime], T]) -> T:
    """Poll until there is an answer, in slices, so that a thread ends soon after cancellation."""
    give_up = time.monotonic() + _VALIDATION_SECONDS
    while True:
        try:
            # The library compares with local time without a zone.
            return await asyncio.to_thread(poll, dt.datetime.now() + _SLICE)  # noqa: DTZ005
        except errors.TimeoutError:
            if time.monotonic() > give_up:
                raise


@contextlib.contextmanager
def _explained(directory: str) -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        raise AcmeFailed(
            f"{directory} does not answer as it should: {_innermost(error)}",
            hint="It is tried again by itself; tenantry tls renew tries at once.",
        ) from error
    except OSError as error:
        raise AcmeFailed(f"{directory} cannot be asked: {error}") from error
    except errors.TimeoutError as error:
        raise AcmeFailed(
            f"{directory} came to no decision within {_VALIDATION_SECONDS:.0f} seconds."
        ) from error
    except (errors.Error, JoseError, ValueError) as error:
        raise AcmeFailed(f"{directory} refuses: {_said(error)}") from error


def _innermost(error: BaseException) -> str:
    """Return the root cause of an error that requests and urllib3 have wrapped."""
    while (inner := error.__context__ or error.__cause__) is not None:
        error = inner
    return str(error)


def _said(error: Exception) -> str:
    """Return the authority's own message."""
    if isinstance(error, errors.ValidationError):
        details = [
            challenge.error.detail
            for authorization in error.failed_authzrs
            for challenge in authorization.body.challenges
            if challenge.error is not None
        ]
        return "; ".join(filter(None, details))
    if isinstance(error, messages.Error):
        return error.detail or str(error)
    return str(error)
