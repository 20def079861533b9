"""The client address of a request that a proxy forwards.

Only configured proxies (``TENANTRY_TRUSTED_PROXIES``) and the platform's own edge are trusted, and
only for ``X-Forwarded-For``, ``X-Forwarded-Proto`` and ``X-Forwarded-Prefix``. Each proxy appends
the address from which it was reached, so the list is read from its end, up to the first address
that is not a proxy's: everything before that was sent by the client itself.

The edge proves itself by a key in a header, which it sets in place of whatever a client has sent
there. Its address proves nothing: every program of this machine has it.
"""

import hmac
import ipaddress
import re
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from tenantry.base import networks
from tenantry.base.home import Home
from tenantry.base.networks import Address, Network, client_network
from tenantry.base.settings import Settings

EDGE_HEADER = "X-Tenantry-Edge"

_EDGE = EDGE_HEADER.lower().encode()
_PREFIX = b"x-forwarded-prefix"
# Traefik names the scheme of a request that asks for another protocol after that of WebSocket.
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")

Scope = MutableMapping[str, Any]  # of ASGI


@dataclass(frozen=True, slots=True)
class Trusted:
    """The proxies that are trusted: networks, and the edge by its key, if there is one."""

    networks: Sequence[Network] = ()
    edge_key: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, here: Settings) -> Self:
        """Return those of an installation, whose edge has its key already. Raises OSError."""
        key = Home(here.home).edge_key.read_bytes().strip() if here.edge else None
        return cls(here.proxy_networks, key)

    def is_edge(self, keys: Sequence[bytes]) -> bool:
        """Whether these values of the edge's header are the edge's."""
        return (
            self.edge_key is not None
            and len(keys) == 1
            and hmac.compare_digest(keys[0], self.edge_key)
        )


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


def client_of(
    peer: str, forwarded: Sequence[str], trusted: Sequence[Network], *, by_edge: bool = False
) -> str | None:
    """Return the address of a request's client; None if the peer has no address.

    ``forwarded`` are the values of ``X-Forwarded-For`` in the order in which they were sent. If an
    entry before the client's is not an address, the client is the proxy that appended it. If the
    peer is the edge (``by_edge``), that has appended the last one: without it, there is no address.
    """
    hops = [hop for value in forwarded for hop in value.split(",")]
    if by_edge:
        peer = hops.pop() if hops else ""
    client = parse_address(peer)
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


def resolve(scope: Scope, trusted: Trusted) -> None:
    """Set ``client`` and ``scheme`` of an ASGI scope to those of the real client.

    Of its state, ``prefix`` is what the last proxy has removed from the path, empty if nothing, and
    ``by_edge`` whether the request came through the edge. The edge's key is removed: headers are
    passed on to tenants' databases and to others' servers.
    """
    peer, port = scope.get("client") or ("", 0)
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    keys = [value for name, value in headers if name == _EDGE]
    by_edge = trusted.is_edge(keys)
    if trusted.edge_key is not None and keys:
        headers = [each for each in headers if each[0] != _EDGE]
        scope["headers"] = headers
        if not by_edge:  # an edge with another key, or a forger: whose address it is, is unknown
            peer = ""
    sent = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    client = client_of(peer, sent, trusted.networks, by_edge=by_edge)
    scope["client"] = None if client is None else (client, port)
    address = parse_address(peer)
    state = scope.setdefault("state", {})
    state["prefix"], state["by_edge"] = "", by_edge
    if by_edge or (address is not None and _is_in(address, trusted.networks)):
        schemes = [value for name, value in headers if name == b"x-forwarded-proto"]
        last = schemes[-1].decode("latin-1").rpartition(",")[2].strip().lower() if schemes else ""
        if last in _SCHEMES:
            scope["scheme"] = _SCHEMES[last]
        paths = [value.decode("latin-1") for name, value in headers if name == _PREFIX]
        state["prefix"] = paths[-1] if paths and _PATH.fullmatch(paths[-1]) else ""
