"""Compiles allowlists into PostgreSQL's and PgBouncer's rule files. Pure.

The form follows the cost. Every backend inherits the parsed rules when it is forked, so each *line*
costs every connection of every tenant some time, while a further name in a line costs next to
nothing. So there is one line for each network, with all roles that are admitted from there; and a
role without a list is admitted by membership in one group, by the first line, without being named.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tenantry.base.networks import Network, contain
from tenantry.control.whitelist import Admission
from tenantry.pg.connections import PLATFORM_ROLES
from tenantry.pg.hba import ANYWHERE

# The longest list of names in one line, in characters: the roles of 500 databases. Both
# parsers read lines of this length.
LINE_LENGTH = 9_000


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All allowlists together.

    ``networks`` are those of each role that has a list; none if all of its entries have expired.
    ``clusters`` has the name of the cluster that each of these roles is on.
    """

    networks: Mapping[str, Collection[Network]]
    clusters: Mapping[str, str]

    def on(self, cluster: str) -> "Rulebook":
        """Return the allowlists of the roles on one cluster."""
        return Rulebook(
            {name: each for name, each in self.networks.items() if self.clusters[name] == cluster},
            self.clusters,
        )

    def closed(self) -> list[str]:
        """Return the roles that have a list."""
        return sorted(self.networks)

    def lines(self) -> Iterator[tuple[Network, Sequence[str]]]:
        """Yield each network with the roles admitted from it, in a fixed order."""
        by_network: dict[Network, list[str]] = defaultdict(list)
        for username, networks in self.networks.items():
            for network in networks:
                by_network[network].append(username)
        for network in sorted(by_network, key=lambda each: (each.version, each)):
            for names in in_lines(sorted(by_network[network])):
                yield network, names

    def is_foreign(self, username: str, address: str) -> bool:
        """Whether an open session comes from an address from which its role is not admitted."""
        networks = self.networks.get(username)
        return networks is not None and not contain(networks, address)


def compile_lists(admissions: Iterable[Admission]) -> Rulebook:
    """Return all lists together."""
    networks: dict[str, set[Network]] = defaultdict(set)
    clusters: dict[str, str] = {}
    for admission in admissions:
        clusters[admission.username] = admission.cluster
        admitted = networks[admission.username]
        if admission.network is not None:
            admitted.add(admission.network)
    return Rulebook(networks, clusters)


def in_lines(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the names in groups, so that no line of a rule file is too long."""
    line: list[str] = []
    length = 0
    for name in names:
        if length + len(name) + 1 > LINE_LENGTH:
            yield line
            line, length = [], 0
        line.append(name)
        length += len(name) + 1
    if line:
        yield line


def render_pooler_rules(rulebook: Rulebook) -> str:
    """Return PgBouncer's HBA file. It has no groups: roles with a list are refused by name last.

    Its console is reached over its Unix socket only.
    """
    lines = ["# Written by Tenantry; changes by hand are undone."]
    # The folder of the socket is the platform's alone; see Pooler.learn_password.
    lines += [f"local all {','.join(PLATFORM_ROLES)} reject", "local all all scram-sha-256"]
    lines += [f"host pgbouncer all {network} reject" for network in ANYWHERE]
    lines += [f"host all {','.join(PLATFORM_ROLES)} {network} reject" for network in ANYWHERE]
    lines += [
        f"hostssl all {','.join(names)} {network} scram-sha-256"
        for network, names in rulebook.lines()
    ]
    lines += [
        f"host all {','.join(names)} {network} reject"
        for names in in_lines(rulebook.closed())
        for network in ANYWHERE
    ]
    lines += [f"hostssl all all {network} scram-sha-256" for network in ANYWHERE]
    return "\n".join([*lines, ""])
