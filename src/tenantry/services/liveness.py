"""Whether clusters serve, from files of this machine: no server is asked."""

import time

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.pg.clusters import Cluster
from tenantry.services.alerts import parts
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.fleet_file import FIRST

_FRESH_SECONDS = 1.0


class Liveness:
    """Looks at each cluster at most once a second, however many pages show its databases.

    A server that restarts its own processes after a crash counts as serving meanwhile.
    """

    def __init__(self, home: Home, fleet: Fleet) -> None:
        self._home = home
        self._fleet = fleet
        self._known: dict[str, tuple[float, bool]] = {}

    def is_down(self, name: str) -> bool:
        """Whether a cluster for tenants' databases is to run, and accepts no connections."""
        now = time.monotonic()
        looked_at, down = self._known.get(name, (-_FRESH_SECONDS, False))
        if now - looked_at >= _FRESH_SECONDS:
            down = self._look(name)
            self._known[name] = now, down
        return down

    def _look(self, name: str) -> bool:
        try:
            cluster = self._wanted(name)
            return cluster is not None and not cluster.accepts_connections()
        except MachineError:
            return False  # the list of clusters is damaged: unknown

    def _wanted(self, name: str) -> Cluster | None:
        if name == FIRST:
            return self._fleet.first
        member = self._fleet.member(name)
        return self._fleet.of(member) if member and member.wanted == "running" else None

    def why(self, name: str) -> str | None:
        """Return why a cluster is down, with lines of its log; None if it is not down."""
        if not self.is_down(name):
            return None
        cluster = self._wanted(name)
        if cluster is not None and cluster.held.exists():
            return "It is being restored, and is started by itself then."
        incident = parts.read(self._home).incidents.get(name)
        if incident is not None and incident.until is None:
            return f"{incident.detail}\nIt is being started again."
        return "It does not accept connections; it is being started again."
