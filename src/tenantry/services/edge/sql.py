"""The edge as an endpoint of allowlists: instances by their host names.

Invariants. An instance's rules admit the edge's address only while the edge's own allowlist is in
force for it. A list that admits fewer is in force at the edge before the instance's rules follow;
sessions of before it are ended, as soon as one may be from elsewhere.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.networks import contain
from tenantry.base.settings import Settings
from tenantry.pg.catalog import Session
from tenantry.services.clusters import sql_routes
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.sql_routes import LINGER_SECONDS, SqlRoute
from tenantry.services.edge import sql_plan
from tenantry.services.edge.service import NAME, Edge
from tenantry.services.network.plan import EDGE, Rulebook

# The address of a session whose client's is not known: only a list of all addresses admits it.
_UNKNOWN = "0.0.0.0"  # noqa: S104 (nobody listens there)


class SqlEdge:
    """The ways to instances by their host names. It has no sessions: they are the instances'."""

    name = NAME

    def __init__(self, settings: Settings, edge: Edge, fleet: Fleet) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._edge = edge
        self._fleet = fleet

    async def apply(self, rulebook: Rulebook, *, unread: bool) -> None:  # noqa: ARG002 (see below)
        """Lead to the instances by these lists, and note since when.

        Raises MachineError if the edge does not take them; then the old ones are back. Rules that
        are written and ``unread`` are looked after by the worker, as all of the edge's are.
        """
        before = sql_routes.read(self._home)
        domain = self._settings.instance_domain or ""  # the settings require one
        routes = sql_plan.following(
            sql_plan.wanted(self._fleet.members(), rulebook, domain),
            {each.cluster: each for each in before},
        )
        wanted = [self._settled(each) for each in routes]
        is_noted = all(each.since is not None for each in wanted)
        if is_noted and [*before] == wanted:
            return  # an edge that fails is in nobody else's way
        sql_routes.write(self._home, wanted)
        try:
            await self._edge.keep()
        except MachineError:
            sql_routes.write(self._home, before)
            raise
        if not is_noted:
            now = time.time()
            sql_routes.write(
                self._home,
                [
                    each if each.since is not None else each.model_copy(update={"since": now})
                    for each in wanted
                ],
            )

    def _settled(self, route: SqlRoute) -> SqlRoute:
        """Return a route with no sessions of before its list to look at, once that is so."""
        is_over = route.since is not None and time.time() > route.since + LINGER_SECONDS
        if is_over and self._admits_all_clients(route):
            return route.model_copy(update={"since": 0.0})
        return route

    async def sessions(self) -> Sequence[Session]:
        return []

    async def end(self, sessions: Sequence[Session]) -> bool:
        return not sessions

    def has_way_to(self, cluster: str) -> bool:
        """Whether the edge leads to an instance."""
        return self._route(cluster) is not None

    def judged(self, cluster: str, port: int, sessions: Sequence[Session]) -> list[Session]:
        """Return the sessions of an instance that its allowlists have to admit.

        Those that the edge's list has admitted are left out; others that came by the edge have no
        known address.
        """
        route, now = self._route(cluster), time.time()
        is_open = route is not None and route.networks is None
        if is_open or not any(each.address == _OF_EDGE for each in sessions):
            return [*sessions]
        by_edge = self._edge.connections_to(port)
        passed_on = [each for each in sessions if each.address == _OF_EDGE and each.port in by_edge]
        pids = {each.pid for each in passed_on}
        found = [each for each in sessions if each.pid not in pids]
        if route is not None:
            passed_on = [
                each for each in passed_on if not route.has_admitted(each.began.timestamp(), now)
            ]
            if passed_on and self._admits_all_clients(route):
                passed_on = []
        return [*found, *(replace(each, address=_UNKNOWN) for each in passed_on)]

    def _admits_all_clients(self, route: SqlRoute) -> bool:
        """Whether a route admits every client that is at the edge now, of whatever instance."""
        networks = route.parsed
        clients = self._edge.clients(self._settings.edge_sql_port)
        return route.networks is None or all(contain(networks, each) for each in clients)

    def _route(self, cluster: str) -> SqlRoute | None:
        return next((each for each in sql_routes.read(self._home) if each.cluster == cluster), None)


_OF_EDGE = str(EDGE.network_address)
