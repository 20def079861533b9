"""The platform's own certificate authority and the certificate that every TLS door shows.

Made at first start, so that ``sslmode=verify-full`` works with the CA file that
the platform hands out. The server's certificate is made anew when a name it
must carry is missing or its end is near; the authority stays.
"""

import datetime as dt
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tenantry.host import files

_AUTHORITY_DAYS = 3650
# Chrome and Apple refuse server certificates of more than 398 days.
_SERVER_DAYS = 397
_RENEW_DAYS = 30


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the authority and the server's certificate are."""

    authority: Path
    authority_key: Path
    certificate: Path
    key: Path


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def server_names(domain: str) -> list[str]:
    """The names by which this machine's doors are reached, the domain first."""
    return list(
        dict.fromkeys([domain, "localhost", socket.gethostname().lower(), "127.0.0.1", "::1"])
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


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
        # Clocks differ; a certificate of this second must be good everywhere.
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _ensure_authority(where: CertificateFiles) -> bool:
    if where.authority.exists() and where.authority_key.exists():
        return False
    key = ec.generate_private_key(ec.SECP256R1())
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
    # The key first: a certificate without its key would be handed out and never sign anything.
    files.write_atomically(where.authority_key, _pem(key), mode=0o600)
    files.write_atomically(
        where.authority, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644
    )
    return True


def _still_good(where: CertificateFiles, names: list[str], authority: x509.Certificate) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(where.certificate.read_bytes())
        key = serialization.load_pem_private_key(where.key.read_bytes(), None)
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        certificate.verify_directly_issued_by(authority)
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    renewal = certificate.not_valid_after_utc - dt.timedelta(days=_RENEW_DAYS)
    return (
        set(map(_general_name, names)) <= set(held)
        and certificate.public_key() == key.public_key()
        and dt.datetime.now(dt.UTC) < renewal
    )


def ensure_certificates(where: CertificateFiles, names: list[str]) -> bool:
    """Have an authority, and a server certificate of it for ``names``.

    Returns whether the server's certificate changed, so that servers must reload it.
    """
    _ensure_authority(where)
    authority = x509.load_pem_x509_certificate(where.authority.read_bytes())
    if _still_good(where, names, authority):
        return False
    signer = serialization.load_pem_private_key(where.authority_key.read_bytes(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{where.authority_key} does not hold an EC key")
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    certificate = (
        _builder(names[0][:64], str(issuer), key.public_key(), _SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    # A server that reloads between the two writes refuses the pair and keeps its old one.
    files.write_atomically(where.key, _pem(key), mode=0o600)
    files.write_atomically(
        where.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644
    )
    return True
