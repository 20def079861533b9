"""The API for other machines: TLS with the certificate of the other ports, and nothing in clear."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from harness import Installation


@pytest.fixture(scope="module")
def public() -> Iterator[Installation]:
    installation = Installation(environment={"TENANTRY_API_HOST": "0.0.0.0"})  # noqa: S104
    try:
        installation.up()
        yield installation
    finally:
        installation.remove()


def trusting(platform: Installation) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=platform.home / "ca.crt")


def shown(platform: Installation) -> bytes | None:
    with (
        socket.create_connection(("127.0.0.1", platform.api_port), timeout=10) as plain,
        trusting(platform).wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return secured.getpeercert(binary_form=True)


def test_it_is_verified_and_speaks_nothing_in_clear(public: Installation) -> None:
    url = f"https://localhost:{public.api_port}/health"
    assert httpx.get(url, verify=trusting(public), trust_env=False).status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(url.replace("https", "http"), trust_env=False)
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(url, trust_env=False)


def test_nothing_older_than_tls_1_2(public: Installation) -> None:
    done = subprocess.run(
        ["openssl", "s_client", "-tls1_1", "-connect", f"127.0.0.1:{public.api_port}"],
        capture_output=True,
        input=b"",
        timeout=20,
        check=False,
    )
    assert b"no peer certificate available" in done.stdout


def test_the_cli_of_the_machine_is_let_in(public: Installation, tmp_path: Path) -> None:
    made = json.loads(public.tenantry("db", "create", "--name", "shop", "--json").stdout)
    listed = json.loads(public.tenantry("db", "list", "--json").stdout)
    assert [row["id"] for row in listed] == [made["id"]]
    file = public.tenantry("backup", "create", "shop").stdout.strip()
    public.tenantry("backup", "download", "shop", "--into", str(tmp_path))
    assert [each.name for each in tmp_path.iterdir()] == [file]


def test_a_renewed_certificate_is_shown_and_connections_go_on(public: Installation) -> None:
    before, pid = shown(public), public.pids()["api"]
    url = f"https://localhost:{public.api_port}"
    with httpx.Client(base_url=url, verify=trusting(public), trust_env=False) as held:
        assert held.get("/health").status_code == 200
        public.tenantry("tls", "renew")
        assert held.get("/health").status_code == 200
    after = shown(public)
    assert after is not None
    assert after != before
    assert public.pids()["api"] == pid
    reported = json.loads(public.tenantry("tls", "status", "--json").stdout)
    assert {endpoint["name"]: endpoint["serves_it"] for endpoint in reported["endpoints"]}[
        "api"
    ] is True


def test_another_machine_reaches_it_by_its_name(public: Installation, tmp_path: Path) -> None:
    """As docs/how-to/reach-it-from-other-machines.md says."""
    assert "localhost: they work on this machine only" in public.tenantry("up", "--detach").stderr
    public.tenantry("down")
    name = socket.gethostname().lower()
    public.environment["TENANTRY_DOMAIN"] = name
    assert "this machine only" not in public.tenantry("up", "--detach").stderr
    ca = tmp_path / "ca.crt"
    ca.write_bytes((public.home / "ca.crt").read_bytes())
    elsewhere = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TENANTRY_HOME": "/nowhere",
        "TENANTRY_URL": f"https://{name}:{public.api_port}",
        "TENANTRY_API_KEY": public.key,
    }

    def there(*words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "tenantry.cli", *words],
            env=elsewhere | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )

    without = there("db", "list")
    assert (without.returncode, "certificate verify failed" in without.stderr) == (3, True)
    done = there("db", "create", "--name", "far", "--json", SSL_CERT_FILE=str(ca))
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    tunnel = {"TENANTRY_URL": f"https://127.0.0.1:{public.api_port}"}
    assert there("db", "show", "far", SSL_CERT_FILE=str(ca), **tunnel).returncode == 0
    wrong = there("db", "list", SSL_CERT_FILE=str(tmp_path / "no.crt"))
    assert wrong.returncode == 1
    assert re.search("SSL_CERT_FILE:? names .*/no.crt, which cannot be used: No such", wrong.stderr)
    for string in (made["connection_string"], made["connection_string_pooled"]):
        assert f"@{name}:" in string
        verified = string.replace("sslmode=require", f"sslmode=verify-full&sslrootcert={ca}")
        with psycopg.connect(verified) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
