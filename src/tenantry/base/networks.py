"""IP addresses and their networks, as in allowlists, counters and URLs."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from tenantry.base.errors import InvalidInput

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REMEMBERED = 4096  # clients, each of which asks again and again
_SITE_PREFIX = 64  # bits: what one customer of an IPv6 network has at least (RFC 6177)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def parse_network(text: str) -> Network:
    """Return an address or a CIDR range as one canonical network.

    Host bits are cut off; an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) becomes the IPv4 address
    that it represents, since servers see such a client with that one.

    Raises InvalidInput for anything else.
    """
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise _not_a_network() from None
    # A zone (fe80::1%eth0) names an interface of one machine; a rule cannot.
    if "%" in text:
        raise _not_a_network()
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        address = network.network_address.ipv4_mapped
        return ipaddress.ip_network(f"{address}/{network.prefixlen - _MAPPED.prefixlen}")
    return network


@lru_cache(_REMEMBERED)
def parse_address(text: str) -> Address:
    """Return an address as a server shows it, without its zone; mapped into IPv6, as IPv4.

    Raises ValueError.
    """
    return unmapped(ipaddress.ip_address(text.partition("%")[0]))


def unmapped(address: Address) -> Address:
    """Return an address; of an IPv4 address mapped into IPv6, that one."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def contain(networks: Iterable[Network], address: str) -> bool:
    """Whether a client's address, as a server shows it, is in one of the networks."""
    seen = parse_address(address)
    return any(seen in network for network in networks)


@lru_cache(_REMEMBERED)
def client_network(address: str) -> str:
    """Return what an address is counted as: for IPv6 its network, which one client may have."""
    found = parse_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, _SITE_PREFIX), strict=False))
    return str(found)


def in_url(host: str) -> str:
    """Return a host as a URL has it: an IPv6 address in brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def _not_a_network() -> InvalidInput:
    return InvalidInput.of(
        "ip_address",
        "is neither an address nor a CIDR range, such as 203.0.113.5, 10.0.0.0/8 or 2001:db8::/32",
    )
