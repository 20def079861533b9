"""Which instances the edge leads to by their host names, and whom it admits there. Pure.

The edge sees the host name that a client asks for, and no more: TLS ends at the server, to which
all come from the edge's address. Inside TLS a client may ask for any database of that server. So a
host name leads only to instances, and there only those whom every database's allowlist admits.
"""

from collections.abc import Collection, Iterable, Mapping

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
        if not can_be_reached(member):
            continue
        lists = {
            frozenset(each)
            for role, each in rulebook.on(member.name).networks.items()
            # The login of a data API is admitted from nowhere, by the server's own rules.
            if not names.is_authenticator(role)
        }
        networks = _common(lists)
        if lists and not networks:
            continue
        routes.append(
            SqlRoute(
                cluster=member.name,
                host=f"{member.container_name}.{domain}",
                port=member.port,
                networks=tuple(map(str, _in_order(networks))) if lists else None,
            )
        )
    return routes


def _common(lists: Iterable[Collection[Network]]) -> Collection[Network]:
    """Return the networks that all lists admit; none without a list."""
    found: Collection[Network] | None = None
    for each in lists:
        if found is None:
            found = each
            continue
        # Two networks have nothing in common, or the one is within the other.
        both = [(one, other) for one in found for other in each]
        found = {one for one, other in both if _is_within(one, other)} | {
            other for one, other in both if _is_within(other, one)
        }
    return found or ()


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
