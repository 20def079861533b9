"""A database at a past moment, in the side cluster of an operation.

Used by restores, branches of a past moment, and drills. Each method is a step that can be repeated.
"""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tenantry.control import audit, sample_history
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.pg import catalog
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.operations.model import AnyRun
from tenantry.services.repository.service import Repositories
from tenantry.services.restores import transfer
from tenantry.services.side_clusters.model import SideCluster, Wanted
from tenantry.services.side_clusters.service import SideClusters

_MOST_REPORTED = 0.95  # of a step, by bytes: the database's size is an estimate


@dataclass(frozen=True, slots=True)
class Past:
    """The database of ``row``, on the cluster ``cluster``, at ``moment``; about ``size`` bytes.

    That is the cluster that it was on then: it may have been moved since.
    """

    sides: SideClusters
    run: AnyRun
    row: DatabaseRow
    cluster: str
    moment: dt.datetime
    size: int

    @classmethod
    async def of(
        cls,
        clusters: ClusterPools,
        sides: SideClusters,
        run: AnyRun,
        row: DatabaseRow,
        *,
        moment: dt.datetime,
        size: int,
    ) -> Self:
        """Return the database of ``row`` at ``moment``."""
        cluster = await clusters.name_at(row.id, row.cluster_id, moment)
        return cls(sides, run, row, cluster, moment, size)

    @staticmethod
    async def prepare(
        store: ControlStore,
        clusters: ClusterPools,
        repositories: Repositories,
        sides: SideClusters,
        *,
        row: DatabaseRow,
        to: dt.datetime | None,
        copies: int,
    ) -> tuple[dt.datetime, int]:
        """Check that ``row`` can be restored to a moment, None for now, and has room.

        ``copies`` are how many of it need room at once. Return the moment, and about how many bytes
        it has. Raises OutsideWindow, Conflict, RepositoryError, NotEnoughDisk.
        """
        cluster = await clusters.cluster(row.cluster_id)
        now = await repositories.secure(cluster.name)
        moment = to or now
        await sides.check(await clusters.name_at(row.id, row.cluster_id, moment), moment)
        size = await largest_size(store, clusters, row, moment)
        sides.require_room(copies * size)
        return moment, size

    @property
    def _wanted(self) -> Wanted:
        return Wanted(self.cluster, self.moment, (self.row.database_name,))

    async def restore(self) -> None:
        """Restore the files of the database from the physical backups."""
        await self.sides.restore(self.run.row.id, self._wanted, report=self._report)

    async def recover(self) -> SideCluster:
        """Start the side cluster and replay the write-ahead log up to the moment."""
        return await self.sides.recover(self.run.row.id, self._wanted)

    async def dump(self, *, target_role: str, retained: Collection[str] = ()) -> Path:
        """Dump the database, all of which becomes ``target_role``'s. Return the dump's folder.

        ``retained`` are other roles whose grants are retained.
        """
        return await transfer.dump_out(
            await self.recover(),
            self.run.row.id.hex,
            self.row.database_name,
            first=self.row.username,
            new_owner=target_role,
            retained=retained,
            report=self._report,
        )

    async def _report(self, done: int, _: int | None = None) -> None:
        part = done / max(1, self.size)
        await self.run.report(min(_MOST_REPORTED, part), done_bytes=done)


async def largest_size(
    store: ControlStore, clusters: ClusterPools, row: DatabaseRow, since: dt.datetime
) -> int:
    """Return its bytes now, or the most since a moment: it may have become smaller since."""
    async with clusters.own_connection(row.cluster_id) as server:
        now = await catalog.sizes(server, [row.database_name])
    async with store.transaction(audit.PLATFORM) as tx:
        before = await sample_history.largest_since(tx, row.id, since)
    return max(now.get(row.database_name, 0), before)
