"""Certificates as files: the server's with its key, and the platform's own authority.

Key and certificate are one PEM file, replaced as a whole: at no moment, and after no
crash, is there on the disk a key that does not belong to the certificate beside it.
PostgreSQL and PgBouncer take such a file both as certificate and as key.
"""

import contextlib
import datetime as dt
import ipaddress
import re
import socket
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tenantry.base.errors import MachineError
from tenantry.host import files

OWN = "own"  # the source of what the platform's own authority signs

_AUTHORITY_DAYS = 3650
# Chrome and Apple refuse server certificates of more than 398 days.
_SERVER_DAYS = 397
_KEY = re.compile(rb"-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----\n", re.DOTALL)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
_SOURCE = re.compile(rb"Source: (\S+)\n")
_TRUSTED_BY_THE_SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A private key and its certificate with those that lead from it to a root.

    ``source`` is its origin: OWN, the URL of an ACME directory, or that of a file.
    """

    source: str
    key: bytes = field(repr=False)
    chain: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the server's own certificate, in hex."""
        return self.leaf.fingerprint(hashes.SHA256()).hex()

    @property
    def names(self) -> frozenset[str]:
        """Return the host names and addresses that it is valid for."""
        held = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return frozenset(
            [
                *held.get_values_for_type(x509.DNSName),
                *map(str, held.get_values_for_type(x509.IPAddress)),
            ]
        )

    def render(self) -> bytes:
        """Return the PEM file; its first lines are a comment (RFC 7468, section 2)."""
        return b"".join([f"Source: {self.source}\n".encode(), self.key, *map(_pem, self.chain)])

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Parse a PEM file. Raises ValueError if it is no key with its own, whole certificate."""
        source, key = _SOURCE.match(text), _KEY.search(text)
        chain = tuple(x509.load_pem_x509_certificates(text))
        if source is None or key is None:
            raise ValueError("has no source or no key")
        private = serialization.load_pem_private_key(key[0], None)
        if private.public_key() != chain[0].public_key():
            raise ValueError("has a key that is not the certificate's")
        read = cls(source[1].decode(), key[0], chain)
        try:
            _ = read.names
        except x509.ExtensionNotFound as error:
            raise ValueError("has a certificate without names") from error
        return read


def read_server_certificate(path: Path) -> ServerCertificate | None:
    """Return the file's key and certificate; None if it is missing or unusable."""
    try:
        return ServerCertificate.parse(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def read_given(path: Path, key_path: Path, domain: str) -> ServerCertificate:
    """Read a certificate that the administrator renews: chain in one file, key in another.

    Raises MachineError with the file and the reason: it cannot be read, it has no certificate for
    ``domain`` that is valid now, or the key is another one's or encrypted.
    """
    text, key_text = _read(path), _read(key_path)
    try:
        key = serialization.load_pem_private_key(key_text, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unusable(key_path, "has no private key in PEM, or one that is encrypted") from None
    chain = b"".join(_CERTIFICATE.findall(text))
    if not chain:
        raise _unusable(path, "has no certificate in PEM")
    source = path.as_uri()
    try:
        found = ServerCertificate.parse(f"Source: {source}\n".encode() + key_pem(key) + chain)
    except ValueError as error:
        raise _unusable(path, str(error)) from None
    if not covers(found.names, domain):
        raise _unusable(path, f"has a certificate that is not for {domain}")
    now = dt.datetime.now(dt.UTC)
    if not found.leaf.not_valid_before_utc <= now < found.leaf.not_valid_after_utc:
        raise _unusable(path, "has a certificate that has expired, or is not valid yet")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from None


def _unusable(path: Path, why: str) -> MachineError:
    return MachineError(
        f"{path} {why}.",
        hint="TENANTRY_CERTIFICATE names a file with the server's certificate and those that lead "
        "from it to a root, TENANTRY_CERTIFICATE_KEY one with its key, which the user that "
        "Tenantry runs as can read.",
    )


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new private key, of a kind that every client supports."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: PrivateKeyTypes) -> bytes:
    """Return a private key as PEM (PKCS #8, not encrypted)."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key. Raises FileNotFoundError; TypeError or ValueError for other contents."""
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} does not hold an EC key")
    return key


def covers(names: Collection[str], host: str) -> bool:
    """Whether a certificate with these names is valid for a host (RFC 6125, section 6.4.3)."""
    return host in names or wildcard(host.partition(".")[2]) in names


def wildcard(domain: str) -> str:
    """Return the name that stands for all hosts directly below a domain."""
    return f"*.{domain}"


def server_names(domain: str, below: str | None = None) -> list[str]:
    """Return the names by which this machine's endpoints are reached, the domain first.

    Hosts of instances are directly ``below`` a domain, if they have any.
    """
    own = ["localhost", socket.gethostname().lower(), "127.0.0.1", "::1"]
    return list(dict.fromkeys([domain, *([wildcard(below)] if below else []), *own]))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: str, issuer: str, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        # Clocks differ; a certificate of this second must be valid everywhere.
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


@dataclass(frozen=True, slots=True)
class OwnAuthority:
    """The platform's own certificate authority, created at first start and then reused.

    ``certificate`` is the file for clients; the authority's own is the first in it.
    """

    certificate: Path
    key: Path

    def ensure(self) -> bool:
        """Create the authority unless it exists. Returns whether it is new."""
        if self.certificate.exists() and self.key.exists():
            return False
        key = new_key()
        name = f"Tenantry CA {x509.random_serial_number() % 16**8:08x}"
        certificate = (
            _builder(name, name, key.public_key(), _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(key, hashes.SHA256())
        )
        # The key first: without it, a certificate would be handed out that can never sign anything.
        files.write_atomically(self.key, key_pem(key), mode=0o600)
        files.write_atomically(self.certificate, _pem(certificate), mode=0o644)
        return True

    def read(self) -> x509.Certificate:
        """Return the authority's own certificate."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def signed(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate was signed by this authority."""
        return self.certificate.exists() and _signed(self.read(), certificate)

    def issue(self, names: list[str]) -> ServerCertificate:
        """Return a new certificate for ``names``, the first of which is its subject."""
        authority, signer, key = self.read(), read_key(self.key), new_key()
        issuer = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        certificate = (
            _builder(names[0][:64], str(issuer), key.public_key(), _SERVER_DAYS)
            .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )
        return ServerCertificate(OWN, key_pem(key), (certificate,))

    def ensure_handed_out(self, root: x509.Certificate | None) -> bool:
        """Write the file for clients: this authority's certificate, and ``root`` after it.

        Returns whether that changed.
        """
        wanted = _pem(self.read()) + (_pem(root) if root else b"")
        return files.ensure_file(self.certificate, wanted.decode(), mode=0o644)


def _signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def find_root(
    chain: Iterable[x509.Certificate], trusted: Iterable[Path | None]
) -> x509.Certificate | None:
    """Return the root certificate of a chain, if it is in a trusted file."""
    *_, last = chain
    for path in filter(None, (*trusted, _TRUSTED_BY_THE_SYSTEM)):
        for root in _read_roots(path):
            if root.subject == last.issuer and _signed(root, last):
                return root
    return None


def _read_roots(path: Path) -> Iterator[x509.Certificate]:
    try:
        text = path.read_bytes()
    except OSError:
        return
    for block in _CERTIFICATE.findall(text):
        # A system's file may hold a certificate that breaks a rule; the others count nevertheless.
        with warnings.catch_warnings(), contextlib.suppress(ValueError):
            warnings.simplefilter("ignore")
            yield x509.load_pem_x509_certificate(block)
