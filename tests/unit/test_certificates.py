"""The server's file, the own authority, and how the two come to be."""

from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.settings import Settings
from tenantry.host import certificates
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
    stranger = OwnAuthority(tmp_path / "ca.crt", tmp_path / "ca.key")
    stranger.ensure()
    trusted = [authority.certificate, tmp_path / "missing"]
    assert certificates.find_root(stranger.issue(NAMES).chain, trusted) is None


@pytest.mark.parametrize("domain", ["localhost", "10.0.0.1", "::1", "db"])
def test_no_authority_certifies_such_a_name(domain: str) -> None:
    directory = "https://acme.example/dir"
    with pytest.raises(ValueError, match="TENANTRY_DOMAIN"):
        Settings(home=Path("/nowhere"), domain=domain, acme_directory=directory)


def test_a_directory_is_an_https_url() -> None:
    for url in ("http://acme.example/dir", "acme.example", "https://", "file:///etc/passwd"):
        with pytest.raises(ValueError, match="https URL"):
            Settings(home=Path("/nowhere"), domain="db.example.com", acme_directory=url)


def test_a_name_below_another_can_be_certified() -> None:
    for domain in ("db.example.com", "1.example", "xn--bcher-kva.example", "a.xn--p1ai"):
        Settings(home=Path("/"), domain=domain, acme_directory="https://acme.example/dir")
