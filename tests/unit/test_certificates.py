"""The server's file, the own authority, and how the two come to be."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import MachineError
from tenantry.base.setting_groups import Acme
from tenantry.base.settings import Settings
from tenantry.host import certificates
from tenantry.host.acme import AcmeFailed, Authority
from tenantry.host.certificates import OWN, OwnAuthority, ServerCertificate

NAMES = ["db.example.com", "localhost", "127.0.0.1", "::1"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> OwnAuthority:
    folder = tmp_path_factory.mktemp("authority")
    made = OwnAuthority(folder / "ca.crt", folder / "ca.key")
    assert made.ensure()
    return made


def test_what_is_written_is_what_is_read(authority: OwnAuthority) -> None:
    made = authority.issue(NAMES)
    read = ServerCertificate.parse(made.render())
    assert read == made
    assert read.names == frozenset(NAMES)
    assert read.source == OWN
    assert authority.signed(read.leaf)


def test_the_hosts_of_instances_are_certified_at_once(authority: OwnAuthority) -> None:
    names = certificates.server_names("db.example.com", "db.db.example.com")
    assert names[:3] == ["db.example.com", "*.db.db.example.com", "localhost"]
    held = ServerCertificate.parse(authority.issue(names).render()).names
    assert certificates.covers(held, "shop-production-postgres.db.db.example.com")
    for other in ("db.db.example.com", "a.b.db.db.example.com", "a.db.example.com", "example.com"):
        assert not certificates.covers(held, other)
    assert certificates.covers(held, "db.example.com")


def test_a_key_is_never_shown(authority: OwnAuthority) -> None:
    made = authority.issue(NAMES)
    assert b"PRIVATE KEY" in made.render()
    assert "PRIVATE" not in repr(made)


def test_a_key_of_another_certificate_is_refused(authority: OwnAuthority) -> None:
    one, other = authority.issue(NAMES), authority.issue(NAMES)
    mixed = ServerCertificate(OWN, one.key, other.chain)
    with pytest.raises(ValueError, match="not the certificate's"):
        ServerCertificate.parse(mixed.render())


@pytest.fixture(scope="module")
def whole(authority: OwnAuthority) -> bytes:
    return authority.issue(NAMES).render()


@given(st.floats(0, 1, exclude_max=True))
def test_half_a_file_is_none(whole: bytes, share: float) -> None:
    # The last byte is the end of the last line, and may be missing.
    half = whole[: int(share * (len(whole) - 1))]
    with pytest.raises(ValueError, match=r"."):
        ServerCertificate.parse(half)


def test_an_unreadable_file_counts_as_none(tmp_path: Path) -> None:
    assert certificates.read_server_certificate(tmp_path / "missing") is None
    (tmp_path / "broken").write_bytes(b"Source: own\n")
    assert certificates.read_server_certificate(tmp_path / "broken") is None


def test_an_authority_is_made_once(authority: OwnAuthority) -> None:
    before = authority.certificate.read_bytes()
    assert not authority.ensure()
    assert authority.certificate.read_bytes() == before
    assert authority.key.stat().st_mode & 0o777 == 0o600


def test_clients_are_given_the_root_beside_the_own_authority(tmp_path: Path) -> None:
    own, other = (OwnAuthority(tmp_path / f"{n}.crt", tmp_path / f"{n}.key") for n in "ab")
    own.ensure()
    other.ensure()
    alone = own.certificate.read_bytes()
    root = certificates.find_root(other.issue(NAMES).chain, [None, other.certificate])
    assert root == other.read()
    assert own.ensure_handed_out(root)
    assert not own.ensure_handed_out(root)
    handed_out = x509.load_pem_x509_certificates(own.certificate.read_bytes())
    assert handed_out == [own.read(), root]
    assert own.signed(own.issue(NAMES).leaf), "its own certificate is still the first"
    assert own.ensure_handed_out(None)
    assert own.certificate.read_bytes() == alone


def test_a_root_that_nobody_trusts_is_not_found(authority: OwnAuthority, tmp_path: Path) -> None:
    anonymous = OwnAuthority(tmp_path / "ca.crt", tmp_path / "ca.key")
    anonymous.ensure()
    trusted = [authority.certificate, tmp_path / "missing"]
    assert certificates.find_root(anonymous.issue(NAMES).chain, trusted) is None


@pytest.mark.parametrize("domain", ["localhost", "10.0.0.1", "::1", "db"])
def test_no_authority_certifies_such_a_name(domain: str) -> None:
    directory = "https://acme.example/dir"
    with pytest.raises(ValueError, match="TENANTRY_DOMAIN"):
        Settings(home=Path("/nowhere"), domain=domain, acme=Acme(directory=directory))


def test_a_directory_is_an_https_url() -> None:
    for url in ("http://acme.example/dir", "acme.example", "https://", "file:///etc/passwd"):
        with pytest.raises(ValueError, match="https URL"):
            Settings(home=Path("/nowhere"), domain="db.example.com", acme=Acme(directory=url))


def test_a_name_below_another_can_be_certified() -> None:
    for domain in ("db.example.com", "1.example", "xn--bcher-kva.example", "a.xn--p1ai"):
        Settings(home=Path("/"), domain=domain, acme=Acme(directory="https://acme.example/dir"))


@contextmanager
def hostile_authority(answer: bytes, times: int) -> Iterator[tuple[str, list[int]]]:
    """A server that answers with these bytes again and again; its URL, and what it could send."""
    sent: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):
                sent.extend(self.wfile.write(answer) for _ in range(times))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dir", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_authoritys_answer_is_read_up_to_a_bound(tmp_path: Path) -> None:
    with (
        hostile_authority(b"[" * 2**20, times=64) as (directory, sent),
        pytest.raises(AcmeFailed, match="an answer has more than 1,048,576 bytes"),
    ):
        asyncio.run(Authority(directory, tmp_path / "key").obtain("db.example.com"))
    assert sum(sent) < 16 * 2**20  # what the kernel takes for a reader that is gone


def test_an_authoritys_answer_that_breaks_off_is_reported(tmp_path: Path) -> None:
    with hostile_authority(b"{", times=1) as (directory, _), pytest.raises(AcmeFailed):
        asyncio.run(Authority(directory, tmp_path / "key").obtain("db.example.com"))


# ── a certificate that somebody else looks after ─────────────────────────────


def write_given(folder: Path, made: ServerCertificate, *, key: bytes | None = None) -> Path:
    path = folder / "server.crt"
    path.write_bytes(made.leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(made.key if key is None else key)
    return path


def given_in(path: Path, domain: str = "db.example.com") -> ServerCertificate:
    return certificates.read_given(path, path.with_suffix(".key"), domain)


def test_a_file_of_ones_own_is_read_whole(authority: OwnAuthority, tmp_path: Path) -> None:
    made = authority.issue(NAMES)
    path = write_given(tmp_path, made)
    path.write_bytes(path.read_bytes() + b"Subject: CA\n" + authority.certificate.read_bytes())
    found = given_in(path)
    assert (found.key, found.leaf) == (made.key, made.leaf)
    assert found.chain == (made.leaf, authority.read())
    assert found.source == path.as_uri()
    assert ServerCertificate.parse(found.render()) == found
    assert certificates.find_root(found.chain, [path]) == authority.read()


def test_one_file_may_hold_both_and_a_name_may_be_any(
    authority: OwnAuthority, tmp_path: Path
) -> None:
    path = tmp_path / "both file.pem"
    path.write_bytes(authority.issue(["*.example.com"]).render())
    found = certificates.read_given(path, path, "db.example.com")
    assert " " not in found.source
    with pytest.raises(MachineError, match=r"not for a\.db\.example\.com"):
        certificates.read_given(path, path, "a.db.example.com")


def test_keys_of_other_kinds_and_formats_are_read(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db.example.com")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("db.example.com")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    traditional = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    made = ServerCertificate("x", traditional, (certificate,))
    path = write_given(tmp_path, made)
    found = given_in(path)
    assert ServerCertificate.parse(found.render()) == found
    assert certificates.find_root(found.chain, [path]) == certificate, "it signs itself"

    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(MachineError, match="encrypted"):
        given_in(write_given(tmp_path, made, key=encrypted))


def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    authority: OwnAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = authority.issue(NAMES)
    with pytest.raises(MachineError, match="No such file"):
        given_in(tmp_path / "server.crt")
    with pytest.raises(MachineError, match=r"server\.key has no private key"):
        given_in(write_given(tmp_path, made, key=b"nothing"))
    with pytest.raises(MachineError, match="not the certificate's"):
        given_in(write_given(tmp_path, made, key=authority.issue(NAMES).key))
    with pytest.raises(MachineError, match=r"not for other\.example\.com"):
        given_in(write_given(tmp_path, made), "other.example.com")
    path = write_given(tmp_path, made)
    path.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(MachineError, match=r"server\.crt"):
        given_in(path)
    path.write_bytes(b"")
    with pytest.raises(MachineError, match="no certificate"):
        given_in(path)
    monkeypatch.setattr(certificates, "_SERVER_DAYS", 0)
    with pytest.raises(MachineError, match="expired"):
        given_in(write_given(tmp_path, authority.issue(NAMES)))


def test_a_file_and_an_authority_exclude_each_other() -> None:
    given: dict[str, object] = {"certificate": "/a.crt", "domain": "db.example.com"}
    with pytest.raises(ValueError, match="TENANTRY_ACME_DIRECTORY"):
        Settings.model_validate(given | {"acme": {"directory": "https://acme.example/dir"}})
    with pytest.raises(ValueError, match="TENANTRY_CERTIFICATE"):
        Settings.model_validate({"certificate_key": "/a.key"})
