"""Allowlists as PostgreSQL and PgBouncer themselves read them, whatever the lists.

The lists are set through the API; each server is then asked, from addresses on and off them,
whether it goes on to the password. Nothing here knows what a rule file looks like.
"""

import ipaddress
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harness import Installation

SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's protocol, "Message Formats"
SASL = 10
REFUSED = (b"no pg_hba.conf entry", b"pg_hba.conf rejects", b"login rejected", b"no such user")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# All of 127.0.0.0/8 is this machine's: a client may come from any of it. Few different bits,
# so that networks hold, and border on, each other and the addresses that are asked from.
BITS = st.sampled_from([0, 1, 2, 3, 127, 128, 254, 255])
LOOPBACK = st.builds(lambda *parts: ipaddress.IPv4Address(bytes([127, *parts])), BITS, BITS, BITS)
NETWORKS: st.SearchStrategy[Network] = st.one_of(
    st.builds(
        lambda address, prefix: ipaddress.ip_network((address, prefix), strict=False),
        LOOPBACK,
        st.integers(8, 32),
    ),
    st.sampled_from([ipaddress.ip_network(text) for text in ("0.0.0.0/0", "::/0", "::1", "::2")]),
    st.just(ipaddress.ip_network("203.0.113.0/24")),
)
LISTS = st.lists(st.lists(NETWORKS, max_size=4), min_size=3, max_size=3)


@pytest.fixture(scope="module")
def databases(platform: Installation) -> Iterator[list[dict[str, Any]]]:
    made = [platform.create() for _ in range(3)]
    yield made
    with platform.client() as api:
        for database in made:
            api.delete(f"/api/databases/{database['id']}")


def goes_on_to_the_password(port: int, database: dict[str, Any], address: Address) -> bool:
    """Begin to log in from an address, over TLS. Whether the server asks for the password."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    words = ("user", database["username"], "database", database["database_name"], "", "")
    startup = struct.pack("!i", 196608) + "\0".join(words).encode()
    host = "::1" if address.version == 6 else "127.0.0.1"
    with socket.create_connection((host, port), 10, source_address=(str(address), 0)) as plain:
        plain.sendall(SSL_REQUEST)
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain) as session:
            session.sendall(struct.pack("!i", len(startup) + 4) + startup)
            answer = session.recv(4096)
    if answer[:1] == b"R":
        assert struct.unpack("!i", answer[5:9]) == (SASL,)
        return True
    assert any(words in answer for words in REFUSED), answer
    return False


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # an example takes seconds: too long to shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(LISTS, st.lists(LOOPBACK, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_each_server_admits_exactly_who_is_on_the_list(
    platform: Installation,
    databases: list[dict[str, Any]],
    lists: list[list[Network]],
    elsewhere: list[Address],
    random: Any,
) -> None:
    with platform.client() as api:
        for database, networks in zip(databases, lists, strict=True):
            put(api, database, networks)
    on_lists = [
        edge
        for networks in lists
        for network in networks
        for edge in (network[0], network[-1])
        if edge.is_loopback and edge != ipaddress.ip_address("127.255.255.255")
    ]
    asked_from = [
        ipaddress.ip_address("::1"),
        *elsewhere[:2],
        *random.sample(on_lists, min(2, len(on_lists))),
    ]
    for database, networks in zip(databases, lists, strict=True):
        for address in asked_from:
            admitted = not networks or any(address in network for network in networks)
            for port in (platform.pg_port, platform.pool_port):
                found = goes_on_to_the_password(port, database, address)
                assert found is admitted, (port, address, networks)


def put(api: httpx.Client, database: dict[str, Any], networks: list[Network]) -> None:
    answer = api.put(
        f"/api/databases/{database['id']}/whitelist",
        json={"entries": [{"ip_address": str(network)} for network in networks]},
    )
    assert answer.status_code == 200, answer.text
