"""Compiles allowlists into PostgreSQL's and PgBouncer's rule files. Pure.

The form follows the cost. Every backend inherits the parsed rules when it is forked, so each *line*
costs every connection of every tenant some time, while a further name in a line costs next to
nothing. So there is one line for each network, with all roles that are admitted from there; and a
role without a list is admitted by membership in one group, by the first line, without being named.
"""

import hashlib
import ipaddress
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from tenantry.base.networks import Network, contain
from tenantry.control.whitelist import Admission, EntryRow, NewEntry, OnInstance
from tenantry.pg.connections import PLATFORM_ROLES
from tenantry.pg.hba import ANYWHERE
from tenantry.pg.names import instances_of, owner_of

# Where connections come from that the edge passes on to this machine's instances. Its own list
# has admitted them.
EDGE: Network = ipaddress.ip_network("127.0.0.1/32")

# The longest list of names in one line, in characters: the roles of 500 databases. Both
# parsers read lines of this length.
LINE_LENGTH = 9_000


class OpenSession(Protocol):
    """A session of a role, with the address that it was opened from."""

    @property
    def username(self) -> str: ...

    @property
    def address(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to an entry of a list: ``entry`` is the new one, or the one that is removed.

    ``before`` is the one that is changed.
    """

    action: Literal["add", "change", "remove"]
    entry: NewEntry | EntryRow
    before: EntryRow | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How many open sessions of a role, from one address at one endpoint, would end."""

    username: str
    address: str
    endpoint: str
    sessions: int


@dataclass(frozen=True, slots=True)
class Others:
    """The list of an instance's database, which holds for the roles that its tenant has created.

    ``without`` are the platform's roles there that have no list: those of branches.
    """

    networks: Collection[Network]
    without: Sequence[str]


def _with_edge(networks: Collection[Network]) -> Collection[Network]:
    return {*networks, EDGE} if networks else networks


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All allowlists together.

    ``networks`` are those of each role that has a list; none if all of its entries have expired.
    ``clusters`` has the name of the cluster that each of these roles is on, and ``others`` what is
    in force for further roles, by the names of instances; nothing where its database has no list.
    """

    networks: Mapping[str, Collection[Network]]
    clusters: Mapping[str, str]
    others: Mapping[str, Others] = field(default_factory=dict)

    def on(self, cluster: str) -> "Rulebook":
        """Return the allowlists of the roles on one cluster."""
        return Rulebook(
            {name: each for name, each in self.networks.items() if self.clusters[name] == cluster},
            self.clusters,
            self.others,
        )

    def through_edge(self) -> "Rulebook":
        """Return it with the edge's address on each list that has any."""
        return Rulebook(
            {name: _with_edge(each) for name, each in self.networks.items()},
            self.clusters,
            {
                name: replace(each, networks=_with_edge(each.networks))
                for name, each in self.others.items()
            },
        )

    def of_others(self, instance: str) -> Iterator[tuple[Network, Sequence[str]]]:
        """Yield each network with the roles that are admitted from there without having a list.

        On an instance with a list, those are the roles of its branches, from everywhere, and from
        the networks of the list any (no names): its tenant may create roles.
        """
        found = self.others.get(instance)
        if found is None:
            yield from ((network, ()) for network in ANYWHERE)
            return
        for group in in_lines(found.without):
            yield from ((network, group) for network in ANYWHERE)
        for network in sorted(found.networks, key=lambda each: (each.version, each)):
            yield network, ()

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

    def is_foreign(self, username: str, address: str, endpoint: str) -> bool:
        """Whether an open session comes from an address from which its role is not admitted.

        An instance's endpoint has its name.
        """
        networks = self.networks.get(username)
        others = self.others.get(endpoint)
        if networks is None and others is not None and username not in others.without:
            networks = others.networks
        return networks is not None and not contain(networks, address)


def compile_lists(
    admissions: Iterable[Admission], on_instances: Iterable[OnInstance] = ()
) -> Rulebook:
    """Return all lists together."""
    networks: dict[str, set[Network]] = defaultdict(set)
    clusters: dict[str, str] = {}
    for admission in admissions:
        clusters[admission.username] = admission.cluster
        admitted = networks[admission.username]
        if admission.network is not None:
            admitted.add(admission.network)
    return Rulebook(networks, clusters, _others(networks, on_instances))


def _others(
    networks: Mapping[str, Collection[Network]], on_instances: Iterable[OnInstance]
) -> dict[str, Others]:
    owners: dict[str, str] = {}
    without: dict[str, list[str]] = defaultdict(list)
    for each in on_instances:
        if each.cluster in instances_of(each.database_name):
            owners[each.cluster] = owner_of(each.database_name)
        if each.username not in networks:
            without[each.cluster].append(each.username)
    return {
        cluster: Others(networks[owner], without[cluster])
        for cluster, owner in owners.items()
        if owner in networks
    }


def changes(there: Sequence[EntryRow], wanted: Sequence[NewEntry]) -> list[Change]:
    """Return what differs between a list and one that replaces it, additions first.

    Of two wanted entries for one network the latter counts.
    """
    before = {each.network: each for each in there}
    after = {each.network: each for each in wanted}
    changed = [
        Change("change", entry, before[network])
        for network, entry in after.items()
        if network in before and _said(entry) != _said(before[network])
    ]
    return [
        *(Change("add", entry) for network, entry in after.items() if network not in before),
        *changed,
        *(Change("remove", entry) for network, entry in before.items() if network not in after),
    ]


def _said(entry: NewEntry | EntryRow) -> tuple[object, object]:
    return entry.description, entry.expires_at


def endings(
    sessions: Mapping[str, Iterable[OpenSession]],
    usernames: Collection[str],
    wanted: Sequence[NewEntry],
) -> list[Ending]:
    """Return which sessions of these roles a list would end, the most first; none if it is empty.

    ``sessions`` are those of each endpoint, by its name.
    """
    if not wanted:
        return []
    networks = [each.network for each in wanted]
    found = Counter(
        (each.username, each.address, endpoint)
        for endpoint, its in sessions.items()
        for each in its
        if each.username in usernames and not contain(networks, each.address)
    )
    rows = [Ending(*where, count) for where, count in found.items()]
    return sorted(rows, key=lambda each: (-each.sessions, each.username, each.address))


def version(there: Iterable[EntryRow]) -> str:
    """Return what a list is recognised by: it is another one once an entry has changed."""
    texts = sorted(
        f"{each.network} {each.expires_at and each.expires_at.timestamp()} {each.description}"
        for each in there
    )
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


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
