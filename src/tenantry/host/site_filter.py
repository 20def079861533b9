"""Allowlists of sites in the kernel's packet filter: their rules, and whether they are in force.

Only root can set rules, and only root can list them. So each list leaves a mark in them: an address
of this machine's loopback, derived from the port and the list, at which the kernel refuses
connections in a way that no server does. Every user can look for it, and finds it if the rules of
exactly this list are in force.
"""

import asyncio
import errno
import hashlib
import ipaddress
import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tenantry.base.errors import InvalidInput, MachineError
from tenantry.base.networks import Network, parse_network

Lists = Mapping[int, Sequence[Network]]  # by the port of the site
Mark = tuple[str, int]

MOST_BYTES = 8 << 20  # of all lists, as JSON
DONE = "done"  # the answer of root's program
_FIRST_PORT, _LAST_PORT = 1024, 65_535  # nobody but root listens below
_NO_PORT = 9  # of the mark of all lists: discard (RFC 863)
_UNMARKED_PORT = 11  # of no mark: systat (RFC 866)
_LOOK_SECONDS = 1.0
_ASK_SECONDS = 20.0

_TABLE = """\
# Written by Tenantry; changes by hand are undone.
table inet {name}
delete table inet {name}
table inet {name} {{
    chain input {{
        type filter hook input priority filter - 1; policy accept;
        # What shows the platform that the rules are in force.
        ip daddr . tcp dport {{ {marks} }} reject with icmp type admin-prohibited
        iifname "lo" accept
{jumps}    }}
{chains}}}
"""
_JUMPS = "        tcp dport vmap {{ {jumps} }}\n"
# Packets of open connections, too: they end with an entry.
_CHAIN = """
    chain site_{port} {{
{rules}        counter reject with tcp reset
    }}
"""
_RULE = "        {family} saddr {{ {networks} }} return\n"


def table(port: int) -> str:
    """Return the name of the table of the installation with this PostgreSQL port."""
    return f"tenantry_{port}_sites"


def collapsed(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return the fewest networks with the same addresses, in a fixed order."""
    of_4, of_6 = [], []
    for each in networks:
        if isinstance(each, ipaddress.IPv4Network):
            of_4.append(each)
        else:
            of_6.append(each)
    return (*ipaddress.collapse_addresses(of_4), *ipaddress.collapse_addresses(of_6))


def render(name: str, lists: Lists) -> str:
    """Return the rules of these lists as a whole table."""
    marks = [mark_of_all(lists), *(mark(port, its) for port, its in lists.items())]
    jumps = ", ".join(f"{port} : jump site_{port}" for port in sorted(lists))
    return _TABLE.format(
        name=name,
        marks=", ".join(f"{address} . {port}" for address, port in marks),
        jumps=_JUMPS.format(jumps=jumps) if jumps else "",
        chains="".join(_chain(port, lists[port]) for port in sorted(lists)),
    )


def _chain(port: int, networks: Iterable[Network]) -> str:
    rules = ""
    for family, version in (("ip", 4), ("ip6", 6)):
        its = [str(each) for each in collapsed(networks) if each.version == version]
        if its:
            rules += _RULE.format(family=family, networks=", ".join(its))
    return _CHAIN.format(port=port, rules=rules)


# ── marks ────────────────────────────────────────────────────────────────────


def mark(port: int, networks: Iterable[Network]) -> Mark:
    """Return the address and port that are refused while the list of a site is in force."""
    return _address(f"{port} {' '.join(map(str, collapsed(networks)))}"), port


def mark_of_all(lists: Lists) -> Mark:
    """Return the same of all lists together: no other site has rules then."""
    return _address(" ".join(f"{mark(port, its)}" for port, its in sorted(lists.items()))), _NO_PORT


def _address(text: str) -> str:
    first, second, third = hashlib.sha256(text.encode()).digest()[:3]
    # In the upper half of 127.0.0.0/8, which programs do not use.
    return f"127.{first | 128}.{second}.{third}"


async def in_force(of: Mark) -> bool:
    """Whether the rules with this mark are in force.

    Without them a server of this machine answers there, or its kernel with a reset. Where others'
    rules or routes refuse all of these addresses in the same way, nothing is known.
    """
    return await _is_refused(of) and not await _is_refused((of[0], _UNMARKED_PORT))


async def _is_refused(at: Mark) -> bool:
    loop = asyncio.get_running_loop()
    with socket.socket() as probe:
        probe.setblocking(False)
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await loop.sock_connect(probe, at)
        except OSError as error:
            return error.errno == errno.EHOSTUNREACH
        return False


# ── root's program ───────────────────────────────────────────────────────────


async def ask(at: Path, lists: Lists) -> None:
    """Have root's program set the rules of these lists, at its socket. Raises MachineError."""
    text = json.dumps({port: [str(each) for each in its] for port, its in lists.items()})
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            reader, writer = await asyncio.open_unix_connection(at)
            try:
                writer.write(text.encode())
                writer.write_eof()
                answer = (await reader.read()).decode(errors="replace").strip()
            finally:
                writer.close()
    except OSError as error:
        raise MachineError(f"The program that sets them does not answer: {error!r}.") from error
    if answer != DONE:
        raise MachineError(answer or "The program that sets them ended without an answer.")


def read(raw: bytes) -> dict[int, tuple[Network, ...]]:
    """Return the lists of a text that ``ask`` has sent. Raises InvalidInput for any other text."""
    if len(raw) > MOST_BYTES:
        raise InvalidInput(f"The lists are larger than {MOST_BYTES:,} bytes.")
    try:
        found = json.loads(raw)
        return {_port(name): tuple(map(parse_network, its)) for name, its in found.items()}
    except (ValueError, AttributeError, TypeError, RecursionError, InvalidInput):
        raise InvalidInput("These are no lists of addresses by port.") from None


def _port(name: str) -> int:
    port = int(name)
    if str(port) != name or not _FIRST_PORT <= port <= _LAST_PORT:
        raise ValueError(name)
    return port
