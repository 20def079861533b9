"""The API for other machines: TLS with the certificate of the other ports, and nothing in clear."""

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator

import httpx
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


def test_the_cli_of_the_machine_is_let_in(public: Installation) -> None:
    made = json.loads(public.tenantry("db", "create", "--name", "shop", "--json").stdout)
    listed = json.loads(public.tenantry("db", "list", "--json").stdout)
    assert [row["id"] for row in listed] == [made["id"]]


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
    told = json.loads(public.tenantry("tls", "status", "--json").stdout)
    assert {door["name"]: door["serves_it"] for door in told["doors"]}["api"] is True
