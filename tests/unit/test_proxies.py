"""Whose address a request has: what a client says of itself never counts."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.services.requests import proxies
from tenantry.services.requests.proxies import Trusted

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
    proxies.resolve(scope, Trusted(TRUSTED))
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
    proxies.resolve(scope, Trusted(TRUSTED))
    assert scope["state"]["prefix"] == prefix


KEY = b"k" * 64
FORWARDED = (b"x-forwarded-for", b"198.51.100.7")


def through_edge(*headers: tuple[bytes, bytes], peer: str = "127.0.0.1") -> dict[str, Any]:
    scope: dict[str, Any] = {"client": (peer, 7), "scheme": "http", "headers": list(headers)}
    proxies.resolve(scope, Trusted([], KEY))
    return scope


def test_the_edge_is_known_by_its_key_and_nothing_else() -> None:
    said = through_edge((b"x-tenantry-edge", KEY), FORWARDED, (b"x-forwarded-proto", b"https"))
    assert (said["client"], said["scheme"]) == (("198.51.100.7", 7), "https")
    assert said["state"]["by_edge"] is True
    without = through_edge(FORWARDED, (b"x-forwarded-proto", b"https"))
    assert (without["client"], without["scheme"]) == (("127.0.0.1", 7), "http")
    assert without["state"]["by_edge"] is False


def test_only_what_the_edge_itself_has_appended_counts() -> None:
    headers = [(b"x-forwarded-for", each) for each in (b"203.0.113.9", b"203.0.113.8, 192.0.2.1")]
    assert through_edge((b"x-tenantry-edge", KEY), *headers)["client"] == ("192.0.2.1", 7)


def test_behind_a_trusted_proxy_the_edge_is_one_of_two() -> None:
    scope: dict[str, Any] = {
        "client": ("127.0.0.1", 7),
        "headers": [(b"x-tenantry-edge", KEY), (b"x-forwarded-for", b"198.51.100.7, 10.0.0.9")],
    }
    proxies.resolve(scope, Trusted(TRUSTED, KEY))
    assert scope["client"] == ("198.51.100.7", 7)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-tenantry-edge", b"guess"), FORWARDED],
        [(b"x-tenantry-edge", b""), FORWARDED],
        [(b"x-tenantry-edge", KEY), (b"x-tenantry-edge", KEY), FORWARDED],
        [(b"x-tenantry-edge", KEY)],
        [(b"x-tenantry-edge", KEY), (b"x-forwarded-for", b"nonsense")],
    ],
)
def test_who_only_pretends_to_be_the_edge_has_no_address(
    headers: list[tuple[bytes, bytes]],
) -> None:
    assert through_edge(*headers)["client"] is None


def test_the_key_is_passed_on_to_nobody() -> None:
    for value in (KEY, b"guess"):
        headers = through_edge((b"x-tenantry-edge", value), FORWARDED)["headers"]
        assert headers == [FORWARDED]


def test_a_request_for_another_protocol_has_the_scheme_below_it() -> None:
    said = through_edge((b"x-tenantry-edge", KEY), FORWARDED, (b"x-forwarded-proto", b"wss"))
    assert said["scheme"] == "https"


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
