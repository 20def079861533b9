"""The client address of a request that a proxy forwards.

Only configured proxies (``TENANTRY_TRUSTED_PROXIES``) are trusted, and only for
``X-Forwarded-For``, ``X-Forwarded-Proto`` and ``X-Forwarded-Prefix``. Each proxy appends the
address from which it was reached, so the list is read from its end, up to the first address that is
not a proxy's: everything before that was sent by the client itself.
"""

import ipaddress
import re
from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from typing import Any

from tenantry.base import networks
from tenantry.base.networks import Address, Network, client_network

_PREFIX = b"x-forwarded-prefix"
_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")

Scope = MutableMapping[str, Any]  # of ASGI


def parse_address(text: str) -> Address | None:
    """Return an address without port, brackets, zone or mapping to IPv6; None for anything else.

    Some proxies append the client's port.
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return networks.parse_address(text)
    except ValueError:
        return None


def client_of(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str | None:
    """Return the address of a request's client; None if the peer has no address.

    ``forwarded`` are the values of ``X-Forwarded-For`` in the order in which they were sent. If an
    entry before the client's is not an address, the client is the proxy that appended it.
    """
    client = parse_address(peer)
    hops = [hop for value in forwarded for hop in value.split(",")]
    while client is not None and hops and _is_in(client, trusted):
        named = parse_address(hops.pop())
        if named is None:
            break
        client = named
    return None if client is None else str(client)


def _is_in(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def address_of(client: tuple[str, int] | None) -> str | None:
    """Return the client address that ``resolve`` set; None if it is unknown."""
    address = _parse(client[0] if client else "")
    return None if address is None else str(address)


@lru_cache(4096)  # clients, each of which asks again and again
def _parse(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def network_of(address: str | None) -> str:
    """Return what a client has: its address, or of IPv6 its network; empty if unknown."""
    return "" if address is None else client_network(address)


def resolve(scope: Scope, trusted: Sequence[Network]) -> None:
    """Set ``client`` and ``scheme`` of an ASGI scope to those of the real client.

    ``prefix`` of its state is what the last proxy has removed from the path; empty if nothing.
    """
    peer, port = scope.get("client") or ("", 0)
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    sent = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    client = client_of(peer, sent, trusted)
    scope["client"] = None if client is None else (client, port)
    address = parse_address(peer)
    state = scope.setdefault("state", {})
    state["prefix"] = ""
    if address is not None and _is_in(address, trusted):
        schemes = [value for name, value in headers if name == b"x-forwarded-proto"]
        last = schemes[-1].decode("latin-1").rpartition(",")[2].strip().lower() if schemes else ""
        if last in {"http", "https"}:
            scope["scheme"] = last
        paths = [value.decode("latin-1") for name, value in headers if name == _PREFIX]
        state["prefix"] = paths[-1] if paths and _PATH.fullmatch(paths[-1]) else ""
