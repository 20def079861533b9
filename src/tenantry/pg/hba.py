"""Rule files: pg_hba.conf and pg_ident.conf as values, and rendered whole.

Nothing in a rule is free text: names are quoted as PostgreSQL reads them
(manual, section 21.1), addresses are re-serialised from parsed networks.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tenantry.base.networks import Network

ConnectionType = Literal["local", "host", "hostssl", "hostnossl"]
Method = Literal["peer", "scram-sha-256", "reject"]

ANYWHERE: tuple[Network, ...] = (
    ipaddress.ip_network("0.0.0.0/0"),
    ipaddress.ip_network("::/0"),
)
ALL = "all"
SAME_ROLE = "samerole"  # of databases: those named like a role that the user is a member of


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: the connection type, user, database and source address, and how to authenticate."""

    connection_type: ConnectionType
    method: Method
    databases: Sequence[str] = (ALL,)
    users: Sequence[str] = (ALL,)
    network: Network | None = None
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.connection_type == "local") != (self.network is None):
            raise ValueError("a local rule has no network, any other rule has one")


def _name(name: str) -> str:
    if name in {ALL, SAME_ROLE}:
        return name
    if not name or any(letter in name for letter in '"\n\r\0'):
        raise ValueError(f"{name!r} cannot stand in a rule file")
    return f'"{name}"'


def render(rules: Iterable[Rule]) -> str:
    """Return the file's whole text, one rule a line, first match wins."""
    lines = ["# Written by Tenantry; changes by hand are undone."]
    for rule in rules:
        words = [
            rule.connection_type,
            ",".join(map(_name, rule.databases)),
            ",".join(map(_name, rule.users)),
            *([str(rule.network)] if rule.network else []),
            rule.method,
            *(f"{key}={value}" for key, value in rule.options.items()),
        ]
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def render_identities(map_name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return pg_ident.conf: which operating-system user may log in as which role."""
    lines = ["# Written by Tenantry; changes by hand are undone."]
    lines += [f"{map_name} {_name(system)} {_name(role)}" for system, role in pairs]
    return "\n".join(lines) + "\n"


def control_rules(roles: Sequence[str]) -> list[Rule]:
    """Return the control cluster's rules: the platform itself, by operating-system user, only."""
    return [Rule("local", "peer", users=roles, options={"map": "platform"})]


def shared_rules(
    roles: Sequence[str], admitted: Iterable[tuple[Network, Sequence[str]]]
) -> list[Rule]:
    """Return a shared cluster's rules: ``admitted`` are the roles with allowlists, by network.

    The platform's roles come through the Unix socket only. So does the pooler with tenants' own
    SCRAM keys, which distinguishes pooled clients from direct ones; the socket's folder is closed
    to other users of the machine.
    """
    return [
        Rule("local", "peer", users=roles, options={"map": "platform"}),
        Rule("local", "scram-sha-256"),
        *(Rule("host", "reject", users=roles, network=network) for network in ANYWHERE),
        *(
            Rule("hostssl", "scram-sha-256", databases=[SAME_ROLE], network=network)
            for network in ANYWHERE
        ),
        *(
            Rule("hostssl", "scram-sha-256", users=names, network=network)
            for network, names in admitted
        ),
    ]


def instance_rules(
    roles: Sequence[str],
    admitted: Iterable[tuple[Network, Sequence[str]]],
    closed: Iterable[Sequence[str]],
    others: Iterable[tuple[Network, Sequence[str]]],
) -> list[Rule]:
    """Return an instance's rules; ``closed`` are the roles with allowlists, in groups.

    ``others`` are those without one, by network; no names are all others. As ``shared_rules``, but
    for all databases: a tenant creates further ones there.
    """
    return [
        Rule("local", "peer", users=roles, options={"map": "platform"}),
        Rule("local", "scram-sha-256"),
        *(Rule("host", "reject", users=roles, network=network) for network in ANYWHERE),
        *(
            Rule("hostssl", "scram-sha-256", users=names, network=network)
            for network, names in admitted
        ),
        *(
            Rule("host", "reject", users=names, network=network)
            for names in closed
            for network in ANYWHERE
        ),
        *(
            Rule("hostssl", "scram-sha-256", users=names or (ALL,), network=network)
            for network, names in others
        ),
    ]


def side_rules(roles: Sequence[str]) -> list[Rule]:
    """Return a side cluster's rules: the platform, and visitors with passwords; no network."""
    return [
        Rule("local", "peer", users=roles, options={"map": "platform"}),
        Rule("local", "scram-sha-256"),
    ]


class NetworkRules:
    """The rules for encrypted sessions from the network, of a text that ``render`` returned."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[set[str], Network, bool]] = []
        for line in text.splitlines():
            match line.split(" "):
                case ["host" | "hostssl", "all", users, network, method]:
                    names = {each.strip('"') for each in users.split(",")} - {ALL}
                    rule = (names, ipaddress.ip_network(network), method == "scram-sha-256")
                    self._rules.append(rule)

    def admit(self, username: str, address: str) -> bool:
        """Whether a role may log in by its password from an address; the first match says it."""
        found = ipaddress.ip_address(address)
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        for names, network, admits in self._rules:
            if (not names or username in names) and found in network:
                return admits
        return False
