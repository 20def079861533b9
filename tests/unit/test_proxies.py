"""Whose address a request has: what a client says of itself never counts."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.services.requests import proxies

TRUSTED = [ipaddress.ip_network(text) for text in ("127.0.0.1", "10.0.0.0/24", "2001:db8::/64")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # no proxy of ours
        ("127.0.0.2", ["198.51.100.7"], "127.0.0.2"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),  # the first is the client's
        ("127.0.0.1", ["127.0.0.1, 10.0.0.9, 198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),  # a header of its own
        ("127.0.0.1", ["198.51.100.7, 10.0.0.9"], "198.51.100.7"),  # by way of two of ours
        ("127.0.0.1", ["10.0.0.8, 10.0.0.9"], "10.0.0.8"),
        ("10.0.0.9", ["198.51.100.7, nonsense"], "10.0.0.9"),
        ("10.0.0.9", ["198.51.100.7,"], "10.0.0.9"),
        ("127.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("2001:db8::1", ["[2001:db8:1::7]:4711"], "2001:db8:1::7"),
        ("127.0.0.1", ["2001:DB8:1::7"], "2001:db8:1::7"),
        ("::ffff:127.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("", ["198.51.100.7"], None),
    ],
)
def test_the_last_address_that_is_no_proxys_is_the_clients(
    peer: str, forwarded: list[str], client: str | None
) -> None:
    assert proxies.client_of(peer, forwarded, TRUSTED) == client


@given(st.lists(st.text(max_size=30)))
def test_nothing_is_believed_without_a_trusted_proxy(forwarded: list[str]) -> None:
    assert proxies.client_of("127.0.0.1", forwarded, []) == "127.0.0.1"


@given(st.text(max_size=60))
def test_whatever_a_client_sends_stands_before_what_the_proxy_appends(sent: str) -> None:
    assert proxies.client_of("127.0.0.1", [f"{sent}, 192.0.2.1"], TRUSTED) == "192.0.2.1"
    assert proxies.client_of("127.0.0.1", [sent, "192.0.2.1"], TRUSTED) == "192.0.2.1"


@pytest.mark.parametrize(
    ("peer", "said", "scheme"),
    [
        ("127.0.0.1", b"https", "https"),
        ("127.0.0.1", b"http, https", "https"),
        ("127.0.0.1", b"gopher", "http"),
        ("192.0.2.1", b"https", "http"),
    ],
)
def test_the_scheme_is_the_proxys_to_say(peer: str, said: bytes, scheme: str) -> None:
    scope: dict[str, Any] = {
        "client": (peer, 7),
        "scheme": "http",
        "headers": [(b"x-forwarded-proto", said), (b"x-real-ip", b"198.51.100.7")],
    }
    proxies.resolve(scope, TRUSTED)
    assert (scope["scheme"], scope["client"]) == (scheme, (peer, 7))


@pytest.mark.parametrize(
    ("peer", "said", "prefix"),
    [
        ("127.0.0.1", b"/tenantry", "/tenantry"),
        ("127.0.0.1", b"/a/b-c", "/a/b-c"),
        ("127.0.0.1", b"//evil.example", ""),
        ("127.0.0.1", b"/..", ""),
        ("127.0.0.1", b'/"><script>', ""),
        ("192.0.2.1", b"/tenantry", ""),
    ],
)
def test_the_prefix_is_the_proxys_to_say(peer: str, said: bytes, prefix: str) -> None:
    scope: dict[str, Any] = {"client": (peer, 7), "headers": [(b"x-forwarded-prefix", said)]}
    proxies.resolve(scope, TRUSTED)
    assert scope["state"]["prefix"] == prefix


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:7::1", "2001:db8:0:7::/64"),
        ("2001:db8:0:7:ffff::2", "2001:db8:0:7::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        (None, ""),
    ],
)
def test_a_client_of_ipv6_has_a_network(address: str | None, network: str) -> None:
    assert proxies.network_of(address) == network
