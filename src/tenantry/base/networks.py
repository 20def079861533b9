"""Networks of IP addresses, as in allowlists."""

import ipaddress
from collections.abc import Iterable

from tenantry.base.errors import InvalidInput

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

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


def contain(networks: Iterable[Network], address: str) -> bool:
    """Whether a client's address, as a server shows it, is in one of the networks."""
    seen = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(seen, ipaddress.IPv6Address):
        seen = seen.ipv4_mapped or seen
    return any(seen in network for network in networks)


def _not_a_network() -> InvalidInput:
    return InvalidInput.of(
        "ip_address", "is neither an address nor a CIDR range, such as 203.0.113.5 or 10.0.0.0/8"
    )
