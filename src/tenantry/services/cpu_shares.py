"""Fair shares of the processors: the server processes of each database are in a control group.

The groups of an installation (``host.cgroups``) and their weights, relative to those beside them:

========================  =====================================================================
``platform``              the platform, the pooler, and PostgreSQL's own processes
``databases``             what tenants run, on all shared clusters
``databases/arrivals``    postmasters, and new sessions until they are found, 0.2 seconds later
``databases/tenant_x``    a database with its shadow and staging ones; exists while it has sessions
========================  =====================================================================

A group has a weight and no quota: idle processors are anybody's, and a session that holds a lock
of PostgreSQL's always goes on. A process belongs to the platform's user, whom no tenant's SQL can
act as, so no tenant can leave its group. Parallel workers join the group of their leader. New
processes begin in the group of the postmaster, so that sessions which are too short to be found
share one group, too.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.pausing import pause
from tenantry.control import audit
from tenantry.control import databases as rows
from tenantry.control.store import ControlStore
from tenantry.host import cgroups, files, processes
from tenantry.host.cgroups import DEFAULT_WEIGHT, PLATFORM, Groups
from tenantry.pg import names
from tenantry.pg.clusters import Cluster
from tenantry.services.clusters.fleet import Fleet

DATABASES = "databases"
ARRIVALS = f"{DATABASES}/arrivals"

# The group ``platform`` has the default one: this user may not change it everywhere.
_WEIGHTS = {DATABASES: 2 * DEFAULT_WEIGHT, ARRIVALS: 10 * DEFAULT_WEIGHT}
_LOOK_SECONDS = 0.2
_WEIGH_LOOKS = 5
_ABSENT_SECONDS = 60
_PARALLEL = re.compile(r"postgres: parallel worker for PID ([0-9]+)")


def group_of(title: Sequence[str], postmaster: Sequence[str]) -> str | int | None:
    """Return the group of a server process by its command line.

    The pid of its leader if it is a parallel worker; None if it is not known yet: the title is the
    postmaster's until a client has sent its first message, and says ``authentication`` until the
    client has proved who it is.
    """
    words = " ".join(title).split()
    if not words or title == postmaster or words[-1] == "authentication":
        return None
    if found := _PARALLEL.match(" ".join(words)):
        return int(found[1])
    # "postgres: [walsender ]USER DATABASE ADDRESS(PORT) idle"; no role's name has a space.
    database = "".join([word for word in words if word != "walsender"][2:3])
    if not names.is_tenants_database(database):
        return PLATFORM
    return f"{DATABASES}/{names.main(names.suffix_of(database))}"


def absence(home: Home) -> str | None:
    """Return why databases have no shares, as the worker found; None if they have them."""
    try:
        return _file(home).read_text()
    except FileNotFoundError:
        return None


def _file(home: Home) -> Path:
    return home.run / "cpu-shares.absent"


class CpuShares:
    """The watch of the server processes of all shared clusters."""

    def __init__(self, store: ControlStore, fleet: Fleet, home: Home) -> None:
        self._store = store
        self._fleet = fleet
        self._home = home
        self._placed: dict[str, dict[int, str]] = {}  # the group of each process, by cluster
        self._weights: dict[str, int] = {}  # of the groups that there are

    async def watch(self) -> None:
        """Until cancelled, move server processes into the groups of their databases.

        Returns after a minute where this machine has no groups. Raises MachineError if the kernel
        refuses something.
        """
        self._placed.clear()
        self._weights.clear()
        groups = cgroups.find(self._home.root)
        if groups is None:
            self._report(cgroups.missing(self._home.root))
            await pause(_ABSENT_SECONDS)
            return
        try:
            for name, weight in _WEIGHTS.items():
                groups.ensure(name)
                groups.set_weight(name, weight)
            for look in itertools.count():
                for cluster in self._fleet.shared:
                    self._place(groups, cluster)
                if look % _WEIGH_LOOKS == 0:
                    self._remove_unused(groups)
                    await self._weigh(groups)
                    self._report(None)
                await pause(_LOOK_SECONDS)
        except MachineError as error:
            self._report(str(error))
            raise

    def _place(self, groups: Groups, cluster: Cluster) -> None:
        """Move the processes of a cluster that are new into their groups."""
        postmaster = cluster.pid()
        if postmaster is None:
            self._placed.pop(cluster.name, None)
            return
        before = self._placed.get(cluster.name, {})
        pids = [postmaster, *processes.children(postmaster)]
        placed = {pid: before[pid] for pid in pids if pid in before}
        moves = defaultdict[str, list[int]](list)
        own = processes.command_line(postmaster)
        for pid in pids:
            if pid in placed:
                continue
            found = ARRIVALS if pid == postmaster else group_of(processes.command_line(pid), own)
            group = placed.get(found) if isinstance(found, int) else found
            if group is not None:
                placed[pid] = group
                moves[group].append(pid)
        self._placed[cluster.name] = placed
        for group, new in moves.items():
            if group not in {PLATFORM, *_WEIGHTS, *self._weights}:
                groups.ensure(group)
                groups.set_weight(group, DEFAULT_WEIGHT)
                self._weights[group] = DEFAULT_WEIGHT
            groups.add(group, new)

    def _remove_unused(self, groups: Groups) -> None:
        """Remove the groups of databases without sessions, also those of an earlier worker."""
        used = {group for placed in self._placed.values() for group in placed.values()}
        for name in groups.names(DATABASES):
            group = f"{DATABASES}/{name}"
            if group not in used and group != ARRIVALS and groups.remove(group):
                self._weights.pop(group, None)

    async def _weigh(self, groups: Groups) -> None:
        """Give groups the weights of their databases."""
        if not self._weights:  # nobody is connected
            return
        of = {group.removeprefix(f"{DATABASES}/"): group for group in self._weights}
        async with self._store.transaction(audit.PLATFORM) as tx:
            wanted = await rows.cpu_weights(tx, of)
        for database, weight in wanted.items():
            if self._weights[of[database]] != weight:
                groups.set_weight(of[database], weight)
                self._weights[of[database]] = weight

    def _report(self, absent: str | None) -> None:
        if absent is None:
            _file(self._home).unlink(missing_ok=True)
        elif absence(self._home) != absent:
            files.replace(_file(self._home), absent)
