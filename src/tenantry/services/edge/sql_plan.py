"""Which instances the edge leads to by their host names, and whom it admits there. Pure.

The edge sees the host name that a client asks for, and no more: TLS ends at the server. So a host
name leads only to a server on which all databases have the same allowlist. A server that others
share would see all clients at the edge's address, and a client could ask for one database's host
and log in to another's.
"""

from collections.abc import Iterable, Mapping

from tenantry.base.networks import Network
from tenantry.pg import names
from tenantry.pg.drivers import PROCESS
from tenantry.services.clusters.members import Member
from tenantry.services.clusters.sql_routes import SqlRoute
from tenantry.services.network.plan import Rulebook


def can_be_reached(member: Member) -> bool:
    """Whether the server of an instance sees the edge at the edge's address.

    A container sees its engine's, and the listener's clients come by a Unix socket: nothing would
    show which sessions an allowlist has to end.
    """
    return member.kind == "dedicated" and member.driver == PROCESS and not member.forwards


def wanted(members: Iterable[Member], rulebook: Rulebook, domain: str) -> list[SqlRoute]:
    """Return the ways to instances, below the ``domain`` of their host names."""
    routes = []
    for member in sorted(members, key=lambda each: each.name):
        if not can_be_reached(member) or member.name in rulebook.mixed:
            continue
        lists = {
            frozenset(each)
            for role, each in rulebook.on(member.name).networks.items()
            # The login of a data API is admitted from nowhere, by the server's own rules.
            if not names.is_authenticator(role)
        }
        if len(lists) > 1 or frozenset() in lists:
            continue
        networks = next(iter(lists), None)
        routes.append(
            SqlRoute(
                cluster=member.name,
                host=f"{member.container_name}.{domain}",
                port=member.port,
                networks=None if networks is None else tuple(map(str, _in_order(networks))),
            )
        )
    return routes


def following(routes: Iterable[SqlRoute], before: Mapping[str, SqlRoute]) -> list[SqlRoute]:
    """Return routes with the times of those before that admitted no others."""
    found = []
    for each in routes:
        old = before.get(each.cluster)
        kept = old is not None and _admits_all_of(each, old)
        found.append(each.model_copy(update={"since": old.since if old and kept else None}))
    return found


def _admits_all_of(new: SqlRoute, old: SqlRoute) -> bool:
    if new.networks is None or old.networks is None:
        return new.networks is None
    there = new.parsed
    return all(any(_is_within(each, one) for one in there) for each in old.parsed)


def _is_within(inner: Network, outer: Network) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )


def _in_order(networks: Iterable[Network]) -> list[Network]:
    return sorted(networks, key=lambda each: (each.version, each))
