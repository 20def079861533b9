"""Whether others can reach the ports of this machine, as far as it can find out itself.

It checks which ports are listened on, its own packet filter, and that its own address answers. A
filter in front of it, a cloud's firewall for example, is only visible from outside.
"""

import asyncio
import ipaddress
import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tenantry.host import commands, nftables, tcp
from tenantry.host.commands import CommandFailed
from tenantry.host.preflight import Finding, Port

Family = Literal["IPv4", "IPv6"]
Verdict = Literal["open", "some", "closed"]
_Outcomes = frozenset[str]  # of "accept", "drop" and "next", where evaluation may continue

_LISTENING = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it
_CONNECT_SECONDS = 3.0
# RFC 5737 and RFC 3849; nothing is sent there.
_NOWHERE: dict[Family, str] = {"IPv4": "192.0.2.1", "IPv6": "2001:db8::1"}
_DISCARD = 9
_OF_NFT: dict[Family, str] = {"IPv4": "ip", "IPv6": "ip6"}
_WITHOUT_EFFECT = {"counter", "log", "mangle", "notrack"}
_INCOMING = {("filter", "input"), ("filter", "prerouting")}
_VERDICTS = {"accept": "accept", "drop": "drop", "reject": "drop", "return": "end"}


async def examine(ports: Iterable[Port], *, host: str) -> list[Finding]:
    """Return findings about ports of running parts; ``host`` is the machine's public name."""
    rules = await _ruleset()
    addresses = _own_addresses()
    findings, public = [], []
    for port in ports:
        found = listening(port.number)
        if not found:
            continue
        finding = await _examine(port, found, addresses, rules)
        findings.append(finding)
        if not all(ipaddress.ip_address(each).is_loopback for each in found):
            public.append(port.number)
    if public:
        where = next(iter(addresses.values()), host) if host == "localhost" else host
        findings.append(
            Finding(
                "ok",
                "reachability",
                "unknown: a firewall in front of this machine, as clouds have, cannot be seen.",
                f"From another machine: nc -vz {where} {public[0]}",
            )
        )
    return findings


async def examine_host(host: str, *, domain: str) -> Finding:
    """Return a finding about a host of an instance, below the ``domain`` that leads here."""
    subject = "hosts of instances"
    below = host.partition(".")[2]
    there, here = await _addresses_of(host), await _addresses_of(domain)
    if there and there <= here:
        return Finding("ok", subject, f"{host} leads to where {domain} leads.")
    leads = f"leads to {', '.join(sorted(there))}" if there else "is not in DNS"
    return Finding(
        "warning",
        subject,
        f"{host} {leads}, and {domain} to {', '.join(sorted(here)) or 'no address'}.",
        f"Have a record for *.{below} with the addresses of {domain}, or set"
        " TENANTRY_INSTANCE_HOSTS=off.",
    )


async def _addresses_of(host: str) -> set[str]:
    """Return the addresses that this machine's resolver has of a name; none if it has not."""
    resolve = asyncio.get_running_loop().getaddrinfo
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            found = await resolve(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return set()
    return {str(address[0]) for *_, address in found}


async def _examine(
    port: Port,
    found: Sequence[str],
    addresses: Mapping[Family, str],
    rules: Mapping[str, Any] | None,
) -> Finding:
    subject = f"port {port.number}"
    said = f"{port.part} listens on {', '.join(found)}"
    if all(ipaddress.ip_address(each).is_loopback for each in found):
        return Finding("ok", subject, f"{said}: only programs of this machine reach it.")
    reached = {family: at for family, at in addresses.items() if _serves(found, family)}
    for address in reached.values():
        if not await _answers(address, port.number):
            return Finding(
                "warning",
                subject,
                f"{said}, and does not answer at this machine's own address {address}.",
                "Look at the rules of its packet filter (nft list ruleset, iptables -S).",
            )
    answers = f", answers at {' and '.join(reached.values())}" if reached else ""
    if rules is None:
        return Finding(
            "ok",
            subject,
            f"{said}{answers}; unknown: the rules of its packet filter, which take root and nft.",
        )
    families: list[Family] = [*reached] or ["IPv4"]
    verdicts = {family: verdict(rules, port.number, family) for family in families}
    closed = [family for family, each in verdicts.items() if each == "closed"]
    if closed:
        over = "" if len(closed) == len(verdicts) else f" over {closed[0]}"
        return Finding(
            "warning",
            subject,
            f"{said}, and rules of this machine's packet filter refuse others' connections{over}.",
            f"Allow them: ufw allow {port.number}/tcp, or a rule like `tcp dport {port.number}"
            " accept` where nft list ruleset shows the others.",
        )
    rest = "no rule of its packet filter refuses others"
    if "some" in verdicts.values():
        rest = "rules of its packet filter decide by the address or the rate"
    return Finding("ok", subject, f"{said}{answers}; {rest}.")


# ── listeners ──────────────────────────────────────────────────────────────────


def listening(port: int) -> list[str]:
    """Return the addresses at which a process of this machine listens on a port."""
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, _, state, *_ = line.split()
            address, _, number = local.rpartition(":")
            if state == _LISTENING and int(number, 16) == port:
                found.add(str(tcp.shown_address(address)))
    return sorted(found)


def _own_addresses() -> dict[Family, str]:
    """Return this machine's source addresses by family; none without a route out."""
    found: dict[Family, str] = {}
    for family, nowhere in _NOWHERE.items():
        kind = socket.AF_INET if family == "IPv4" else socket.AF_INET6
        with suppress(OSError), socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect((nowhere, _DISCARD))
            found[family] = str(probe.getsockname()[0])
    return found


def _serves(listening_at: Sequence[str], family: Family) -> bool:
    """Whether others of a family reach one of these addresses; :: serves both, as on Linux."""
    found = [ipaddress.ip_address(each) for each in listening_at]
    version = 4 if family == "IPv4" else 6
    return any(
        not each.is_loopback and (each.version == version or each == ipaddress.IPv6Address("::"))
        for each in found
    )


async def _answers(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


# ── the packet filter ────────────────────────────────────────────────────────


async def _ruleset() -> Mapping[str, Any] | None:
    """Return nft's rules, including those of iptables-nft and ufw; None if it cannot list them."""
    try:
        done = await commands.run([nftables.PROGRAM, "-j", "list", "ruleset"], check=False)
    except CommandFailed:
        return None  # it is not installed
    if done.returncode != 0:
        return None
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def verdict(ruleset: Mapping[str, Any], port: int, family: Family = "IPv4") -> Verdict:
    """Return whether rules admit all, none, or some new connections from elsewhere to a TCP port.

    ``ruleset`` is the output of ``nft -j list ruleset``. An unknown expression may do anything; the
    platform's own limits, which admit all clients that keep to them, are left out.
    """
    rules = _Rules(ruleset, port, family)
    outcomes = [rules.of_base(chain) for chain in rules.bases]
    if any(each == {"drop"} for each in outcomes):
        return "closed"
    return "some" if any("drop" in each for each in outcomes) else "open"


@dataclass(frozen=True)
class _Chain:
    table: tuple[str, str]  # its family and name
    name: str
    policy: str = "accept"


class _Rules:
    """The rules that a new TCP connection to a port goes through."""

    def __init__(self, ruleset: Mapping[str, Any], port: int, family: Family) -> None:
        self._port = port
        self._family = family
        self._sets: dict[tuple[tuple[str, str], str], list[Any]] = {}
        self._rules: dict[tuple[tuple[str, str], str], list[list[Any]]] = {}
        self.bases: list[_Chain] = []
        for entry in ruleset.get("nftables", []):
            for kind, found in entry.items():
                table = (found.get("family"), found.get("table"))
                ours = str(table[1]).startswith("tenantry_")
                if ours or table[0] not in {"inet", _OF_NFT[family]}:
                    continue
                if kind == "set":
                    self._sets[table, found["name"]] = found.get("elem", [])
                elif kind == "rule":
                    self._rules.setdefault((table, found["chain"]), []).append(found["expr"])
                elif kind == "chain" and (found.get("type"), found.get("hook")) in _INCOMING:
                    policy = found.get("policy", "accept")
                    self.bases.append(_Chain(table, found["name"], policy))

    def of_base(self, chain: _Chain) -> _Outcomes:
        found = self._walk(chain.table, chain.name)
        return frozenset(chain.policy if each == "next" else each for each in found)

    def _walk(self, table: tuple[str, str], chain: str) -> _Outcomes:
        seen: set[str] = set()
        for expressions in self._rules.get((table, chain), []):
            applies, outcomes = self._rule(table, expressions)
            if applies is False:
                continue
            seen |= outcomes - {"next", "end"}
            if applies and "next" not in outcomes:
                return frozenset(seen | ({"next"} if "end" in outcomes else set()))
            if "end" in outcomes:
                seen.add("next")
        return frozenset(seen | {"next"})

    def _rule(
        self, table: tuple[str, str], expressions: list[Any]
    ) -> tuple[bool | None, _Outcomes]:
        """Return whether a rule applies (None: perhaps), and its outcomes then."""
        applies: bool | None = True
        for expression in expressions:
            ((kind, found),) = expression.items()
            if kind in _VERDICTS:
                return applies, frozenset({_VERDICTS[kind]})
            if kind in {"jump", "goto"}:
                below = self._walk(table, found["target"])
                if kind == "goto":
                    below = frozenset("end" if each == "next" else each for each in below)
                return applies, below
            if kind == "vmap":
                return None, frozenset({"accept", "drop", "next"})
            if kind == "match":
                match = self._matches(table, found)
                if match is False:
                    return False, frozenset()
                applies = applies if match else None
            elif kind not in _WITHOUT_EFFECT:
                applies = None
        return applies, frozenset({"next"})

    def _matches(self, table: tuple[str, str], match: Mapping[str, Any]) -> bool | None:
        left, right = match["left"], match["right"]
        found: bool | None = None
        match left:
            case {"payload": {"protocol": "tcp", "field": "dport"}}:
                found = self._has_port(table, right)
            case {"payload": {"protocol": "udp" | "icmp" | "icmpv6" | "sctp"}}:
                return False
            case {"payload": {"protocol": "ip" | "ip6" as of}} if of != _OF_NFT[self._family]:
                return False
            case (
                {"payload": {"protocol": "ip", "field": "protocol"}}
                | {"payload": {"protocol": "ip6", "field": "nexthdr"}}
                | {"meta": {"key": "l4proto"}}
            ):
                found = _is_among("tcp", right)
            case {"meta": {"key": "nfproto"}}:
                found = _is_among(self._family.lower(), right)
            case {"meta": {"key": "iifname" | "iif"}} if right == "lo":
                found = False
            case {"ct": {"key": "state"}}:
                found = _is_among("new", right)
        if found is not None and match.get("op") == "!=":
            return not found
        return found

    def _has_port(self, table: tuple[str, str], right: Any) -> bool | None:
        if isinstance(right, str) and right.startswith("@"):
            right = {"set": self._sets.get((table, right[1:]), [])}
        elements = right["set"] if isinstance(right, dict) and "set" in right else [right]
        unknown = False
        for each in elements:
            match each:
                case int():
                    if each == self._port:
                        return True
                case {"range": [int(first), int(last)]}:
                    if first <= self._port <= last:
                        return True
                case _:
                    unknown = True
        return None if unknown else False


def _is_among(what: str, right: Any) -> bool | None:
    if isinstance(right, dict):
        right = right.get("set")
    if isinstance(right, str):
        return right == what
    return what in right if isinstance(right, list) else None
