"""Certificates by ACME from a real authority: issued, renewed, revoked, refused."""

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pebble import DAY, Pebble, pebble

from answers import data
from clients import ask, changed, eventually, finished, login, refusal
from harness import Installation, free_ports
from tenantry.host import files
from tenantry.host.certificates import OwnAuthority, ServerCertificate
from tenantry.services.certificates.plan import NEXT_STEP

DOMAIN = "db.tenantry.test"


def one_instance() -> dict[str, str]:
    """The settings with which a platform can have an instance."""
    (port,) = free_ports(1)
    return {"TENANTRY_INSTANCE_PORTS": f"{port}-{port}"}


@contextmanager
def certified(
    folder: Path, *, lifetime: int = 90 * DAY, dns_hook: str | None = None
) -> Iterator[tuple[Installation, Pebble]]:
    """A platform that is up, and its authority. The platform may not be certified yet."""
    platform = Installation()
    trusted = platform.home / "trusted.pem"
    with ExitStack() as ending:
        ending.callback(platform.remove)
        authority = ending.enter_context(pebble(folder, trusted, lifetime=lifetime))
        platform.environment = {
            "TENANTRY_DOMAIN": DOMAIN,
            "TENANTRY_ACME_DIRECTORY": authority.directory,
            "TENANTRY_ACME_EMAIL": "ann@example.com",
            "TENANTRY_ACME_CA_FILE": str(trusted),
            "TENANTRY_ACME_HTTP_PORT": str(authority.http_port),
            **one_instance(),
        }
        if dns_hook:
            hook, log = platform.home / "hook", platform.home / "run" / "hook.log"
            hook.write_text(dns_hook.format(log=log, port=authority.dns_management))
            hook.chmod(0o755)
            platform.environment["TENANTRY_ACME_DNS_HOOK"] = str(hook)
        platform.up()
        yield platform, authority


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Pebble]]:
    with certified(tmp_path_factory.mktemp("pebble")) as both:
        platform, authority = both
        eventually(lambda: status(platform)["source"] == authority.directory)
        yield both


def status(platform: Installation) -> dict[str, Any]:
    reported: dict[str, Any] = json.loads(platform.tenantry("tls", "status", "--json").stdout)
    return reported


def shown(port: int) -> x509.Certificate:
    """What openssl's own client is shown at a port."""
    done = subprocess.run(
        ["openssl", "s_client", "-starttls", "postgres", "-connect", f"127.0.0.1:{port}"],
        capture_output=True,
        input=b"",
        timeout=20,
        check=False,
    )
    return x509.load_pem_x509_certificate(done.stdout)


def serials(platform: Installation) -> set[str]:
    """The serial numbers that the two public ports show."""
    ports = (platform.pg_port, platform.pool_port)
    return {f"{shown(port).serial_number:x}" for port in ports}


def verified(platform: Installation, url: str) -> str:
    """A connection string that verifies the certificate and its name."""
    authority = str(platform.home / "ca.crt")
    return changed(url, hostaddr="127.0.0.1", sslmode="verify-full", sslrootcert=authority)


def look_now(platform: Installation) -> None:
    """Have the worker look at the certificate now: it does so when it begins, too."""
    os.kill(platform.pids()["supervisor"], signal.SIGHUP)


def test_a_certificate_is_had_and_shown_at_both_ports(both: tuple[Installation, Pebble]) -> None:
    platform, authority = both
    reported = status(platform)
    assert reported["names"] == [DOMAIN]
    assert (reported["plan"], reported["failures"], reported["warning"]) == ("keep", 0, None)
    assert 89 < reported["seconds_left"] / 86_400 <= 90
    assert {endpoint["name"]: endpoint["serves_it"] for endpoint in reported["endpoints"]} == {
        "shared-1": True,
        "pooler": True,
    }
    assert serials(platform) == {reported["serial"]}
    assert authority.is_revoked(reported["serial"]) is False


def test_clients_verify_it_by_the_file_that_is_handed_out(
    both: tuple[Installation, Pebble],
) -> None:
    platform, _ = both
    made = platform.create()
    for string in ("connection_string", "connection_string_pooled"):
        assert DOMAIN in made[string]
        assert ask(verified(platform, made[string])) == 1
        assert "does not match host name" in refusal(
            changed(verified(platform, made[string]), host="other.tenantry.test")
        )
    handed_out = platform.get("/ca.crt").text
    assert handed_out == (platform.home / "ca.crt").read_text()
    assert platform.tenantry("tls", "ca").stdout == handed_out
    assert len(x509.load_pem_x509_certificates(handed_out.encode())) == 2


def test_its_files_are_for_their_owner_and_nobody_listens_for_challenges(
    both: tuple[Installation, Pebble],
) -> None:
    platform, authority = both
    files = {path.name: path for path in (platform.home / "tls").iterdir()}
    assert {"server.pem", "acme-account.key", "ca.key", "tries.json"} <= files.keys()
    for path in files.values():
        assert path.stat().st_mode & 0o777 == 0o600, path
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", authority.http_port)) != 0


def test_a_renewal_drops_no_connection(both: tuple[Installation, Pebble]) -> None:
    platform, _ = both
    before = status(platform)["serial"]
    made = platform.create()
    own = "SELECT pg_backend_pid(), pg_current_xact_id()"
    with (
        login(verified(platform, made["connection_string"])) as direct,
        login(verified(platform, made["connection_string_pooled"])) as pooled,
    ):
        sessions = (direct, pooled)
        for session, table in zip(sessions, ("by_direct", "by_pooled"), strict=True):
            session.execute("BEGIN")
            session.execute(f"CREATE TABLE {table} ()".encode())
        held = [session.execute(own).fetchone() for session in sessions]
        platform.tenantry("tls", "renew")
        renewed = status(platform)["serial"]
        assert renewed != before
        assert serials(platform) == {renewed}
        assert [session.execute(own).fetchone() for session in sessions] == held
        for session in sessions:
            session.execute("COMMIT")
            assert session.execute("SELECT 1").fetchone() == (1,)
    kept = "SELECT count(*) FROM pg_tables WHERE tablename IN ('by_direct', 'by_pooled')"
    assert ask(verified(platform, made["connection_string"]), kept) == 2


def test_a_revoked_certificate_is_replaced_first(both: tuple[Installation, Pebble]) -> None:
    platform, authority = both
    before = status(platform)["serial"]
    now = dt.datetime.now(dt.UTC).isoformat()
    set_tries(platform, failures=5, failed_at=now, wanted=authority.directory)  # and it waits
    platform.tenantry("tls", "renew", "--revoke", "--reason", "key-compromise")
    reported = status(platform)
    assert reported["to_revoke"] == 0
    assert serials(platform) == {reported["serial"]}
    assert authority.is_revoked(before)
    assert not authority.is_revoked(reported["serial"])


def test_how_long_it_lasts_is_reported_everywhere(both: tuple[Installation, Pebble]) -> None:
    platform, _ = both
    measured = platform.get("/metrics").text
    (left,) = [
        float(line.split()[1])
        for line in measured.splitlines()
        if line.startswith("tenantry_certificate_remaining_seconds ")
    ]
    assert abs(left - status(platform)["seconds_left"]) < 60
    parts = platform.get("/ready").json()["parts"]
    (part,) = [part for part in parts if part["name"] == "certificate"]
    assert part["detail"].startswith("expires 20")
    found = json.loads(platform.tenantry("doctor", "--json", check=False).stdout)
    assert [each["level"] for each in found if each["subject"] == "certificate"] == ["ok"]


def test_a_change_that_a_crash_cut_off_is_completed(both: tuple[Installation, Pebble]) -> None:
    """The new file is there and no server has read it: what a kill before the reload leaves."""
    platform, _ = both
    folder = platform.home / "tls"
    old = (folder / "server.pem").read_bytes()
    platform.tenantry("tls", "renew")
    new = (folder / "server.pem").read_bytes()
    serial = status(platform)["serial"]
    replace(folder / "server.pem", old)
    look_now(platform)
    eventually(lambda: serials(platform) != {serial})
    replace(folder / "previous.pem", old)
    replace(folder / "server.pem", new)
    look_now(platform)
    eventually(lambda: serials(platform) == {serial})
    eventually(lambda: not (folder / "previous.pem").exists())


def test_a_renewal_that_is_killed_is_completed(both: tuple[Installation, Pebble]) -> None:
    """It is killed once another file is in place, or about to be, and before it has been seen."""
    platform, _ = both
    folder, before = platform.home / "tls", status(platform)["serial"]
    command = [sys.executable, "-m", "tenantry.cli", "tls", "renew"]
    with subprocess.Popen(command, env=platform.env, cwd="/") as renewal:
        while not (folder / "previous.pem").exists():
            assert renewal.poll() is None, "it was done before it could be killed"
        renewal.kill()
    assert renewal.returncode == -signal.SIGKILL
    ServerCertificate.parse((folder / "server.pem").read_bytes())
    look_now(platform)
    eventually(lambda: not (folder / "previous.pem").exists())
    serial = status(platform)["serial"]
    assert serials(platform) == {serial}
    platform.tenantry("tls", "renew")
    assert status(platform)["serial"] not in {serial, before}


def test_one_that_a_server_refuses_is_taken_back(both: tuple[Installation, Pebble]) -> None:
    """OpenSSL loads no certificate of a key as short as this."""
    platform, _ = both
    folder = platform.home / "tls"
    short = rsa.generate_private_key(public_exponent=65_537, key_size=1024)  # noqa: S505
    good, serial = (folder / "server.pem").read_bytes(), status(platform)["serial"]
    replace(folder / "previous.pem", good)
    replace(folder / "server.pem", made_by_hand(status(platform)["source"], short))
    look_now(platform)
    eventually(lambda: not (folder / "previous.pem").exists())
    assert (folder / "server.pem").read_bytes() == good
    assert serials(platform) == {serial}
    assert "the old one is back" in (platform.home / "logs" / "tenantry.log").read_text()


def test_a_file_that_was_deleted_is_made_again(both: tuple[Installation, Pebble]) -> None:
    platform, authority = both
    (platform.home / "tls" / "server.pem").unlink()
    look_now(platform)
    eventually((platform.home / "tls" / "server.pem").exists)
    eventually(lambda: status(platform)["source"] == authority.directory)
    eventually(lambda: serials(platform) == {status(platform)["serial"]})


def made_by_hand(
    source: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, days_left: int = 89
) -> bytes:
    """A file such as the platform's, whose certificate lives for 90 days."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days_left, hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - dt.timedelta(days=90))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ServerCertificate(source, pem, (certificate,)).render()


def replace(path: Path, data: bytes) -> None:
    """Replace a file of the platform's user as that user would."""
    beside = path.with_name("beside")
    beside.write_bytes(data)
    owner = path.parent.stat()
    os.chown(beside, owner.st_uid, owner.st_gid)
    beside.chmod(0o600)
    beside.replace(path)


def test_without_its_authority_the_old_one_is_kept_and_another_tried_for(tmp_path: Path) -> None:
    with certified(tmp_path) as (platform, authority):
        eventually(lambda: status(platform)["source"] == authority.directory)
        authority.stop()
        old = made_by_hand(
            authority.directory, ec.generate_private_key(ec.SECP256R1()), days_left=13
        )
        replace(platform.home / "tls" / "server.pem", old)
        serial = status(platform)["serial"]
        made = platform.create()
        with login(changed(made["connection_string"], hostaddr="127.0.0.1")) as session:
            look_now(platform)
            eventually(lambda: status(platform)["failures"] == 1)
            reported = status(platform)
            assert (reported["plan"], reported["serial"]) == ("wait", serial)
            assert reported["reason"] == "a third of its lifetime is left"
            assert "does not answer" in reported["error"]
            assert serials(platform) == {serial}
            assert_everyone_is_warned(platform, "The certificate expires in 13 days.")
            failed = platform.tenantry("tls", "renew", check=False)
            assert failed.returncode == 1
            assert authority.directory in failed.stderr
            assert status(platform)["failures"] == 2
            assert serials(platform) == {serial}
            # The authority is back, and the time to try again has come.
            authority.start()
            set_tries(platform, failed_at="2020-01-01T00:00:00Z")
            look_now(platform)
            eventually(lambda: status(platform)["serial"] != serial)
            eventually(lambda: status(platform)["failures"] == 0)
            assert status(platform)["warning"] is None
            assert serials(platform) == {status(platform)["serial"]}
            assert session.execute("SELECT 1").fetchone() == (1,)


def assert_everyone_is_warned(platform: Installation, warning: str) -> None:
    assert status(platform)["warning"] == warning
    parts = platform.get("/ready").json()["parts"]
    (ready,) = (part for part in parts if part["name"] == "certificate")
    assert (ready["state"], ready["detail"]) == ("warning", f"{warning} {NEXT_STEP}")
    found = json.loads(platform.tenantry("doctor", "--json", check=False).stdout)
    reported = [
        (each["level"], each["detail"]) for each in found if each["subject"] == "certificate"
    ]
    assert ("warning", warning) in reported
    assert "ok" not in dict(reported)
    log = (platform.home / "logs" / "tenantry.log").read_text()
    assert "certificate.expires_soon" in log


def set_tries(platform: Installation, **values: object) -> None:
    """Have the platform believe this of its tries."""
    file = platform.home / "tls" / "tries.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    replace(file, json.dumps(known | values).encode())


def test_a_certificate_in_a_file_is_shown_and_followed() -> None:
    platform = Installation()
    authority = OwnAuthority(platform.home / "their.crt", platform.home / "their.key")
    path = platform.home / "server.pem"

    def write() -> str:
        made = authority.issue([DOMAIN])
        root = authority.certificate.read_bytes()
        files.write_atomically(path, made.render() + root, mode=0o644)
        return f"{made.leaf.serial_number:x}"

    with ExitStack() as ending:
        ending.callback(platform.remove)
        authority.ensure()
        platform.environment = {
            "TENANTRY_DOMAIN": DOMAIN,
            "TENANTRY_CERTIFICATE": str(path),
            **one_instance(),
        }
        refused = platform.tenantry("up", "--detach", check=False)
        assert refused.returncode == 1
        assert f"{path} cannot be read" in refused.stderr
        first = write()
        platform.up()
        assert serials(platform) == {first}
        made = platform.create()
        url = changed(made["connection_string"], hostaddr="127.0.0.1")
        with login(url) as session:
            assert ask(verified(platform, made["connection_string"])) == 1
            second = write()
            look_now(platform)
            eventually(lambda: serials(platform) == {second})
            path.write_text("nothing")
            failed = platform.tenantry("tls", "renew", check=False)
            assert (failed.returncode, str(path) in failed.stderr) == (1, True)
            assert str(path) in status(platform)["error"]
            assert serials(platform) == {second}
            third = write()
            platform.tenantry("tls", "renew")
            assert serials(platform) == {third}
            assert status(platform)["failures"] == 0
            assert session.execute("SELECT 1").fetchone() == (1,)
            assert ask(verified(platform, made["connection_string_pooled"])) == 1
        # That certificate names no hosts of instances.
        connection = instance(platform)["connection"]
        assert connection["host"] == DOMAIN
        assert f"not for shop-production-postgres.db.{DOMAIN}" in connection["host_detail"]


HOOK = """#!/usr/bin/python3
import json, os, sys, urllib.request
name, value = os.environ["TENANTRY_ACME_NAME"], os.environ["TENANTRY_ACME_VALUE"]
with open("{log}", "a") as log:
    print(*sys.argv[1:], name, file=log)
body = json.dumps({{"host": name + ".", "value": value}}).encode()
path = {{"set": "set-txt", "remove": "clear-txt"}}[sys.argv[1]]
urllib.request.urlopen("http://127.0.0.1:{port}/" + path, data=body)
"""


def test_names_are_shown_to_be_ours_in_dns_and_instances_have_their_own(tmp_path: Path) -> None:
    with certified(tmp_path, dns_hook=HOOK) as (platform, authority):
        eventually(lambda: status(platform)["source"] == authority.directory)
        assert serials(platform) == {status(platform)["serial"]}
        assert status(platform)["names"] == [f"*.db.{DOMAIN}", DOMAIN]
        records = [f"_acme-challenge.{DOMAIN}", f"_acme-challenge.db.{DOMAIN}"]
        log = platform.home / "run" / "hook.log"
        said = sorted(f"{verb} {record}" for record in records for verb in ("remove", "set"))
        assert sorted(log.read_text().splitlines()) == said

        made = instance(platform)
        own = f"shop-production-postgres.db.{DOMAIN}"
        assert_reached_by(platform, made, own)
        # What it is reached by without that name, such as strings from before, goes on.
        assert ask(changed(verified(platform, made["connection_string"]), host=DOMAIN)) == 1

        # Another domain, which the own authority certifies: nothing else has to follow.
        platform.down()
        for name in [each for each in platform.environment if "_ACME_" in each]:
            del platform.environment[name]
        platform.environment["TENANTRY_DOMAIN"] = "other.test"
        platform.up()
        with platform.client() as api:
            path = f"/api/databases/{made['id']}/connection-strings"
            strings = data(api.get(path))
        strings["connection_string"] = strings["connection_string"].replace("***", made["password"])
        assert_reached_by(platform, strings, "shop-production-postgres.db.other.test")
        assert "does not match host name" in refusal(
            changed(verified(platform, strings["connection_string"]), host=own)
        )


def instance(platform: Installation) -> dict[str, Any]:
    """An instance that is ready."""
    with platform.client() as api:
        body = {"name": "shop", "kind": "dedicated", "memory_mb": 256}
        made: dict[str, Any] = data(api.post("/api/databases", json=body), 202)
        assert finished(api, made["operation_id"])["status"] == "succeeded"
    return made


def assert_reached_by(platform: Installation, strings: dict[str, Any], host: str) -> None:
    """Its direct string has this host, and the certificate at its port names it."""
    connection = strings["connection"]
    assert (connection["host"], connection["host_detail"]) == (host, None)
    assert urlsplit(strings["connection_string"]).hostname == host
    assert ask(verified(platform, strings["connection_string"])) == 1
    assert "does not match host name" in refusal(
        changed(verified(platform, strings["connection_string"]), host=f"a.{host}")
    )
