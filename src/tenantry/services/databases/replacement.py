"""Replacing a database in service: by a restored copy, a branch, or an earlier retained database.

The invariant: at every moment exactly one whole database is in service under the database's name,
the old one or the new one. One transaction of PostgreSQL's renames both; the old one is retained.
"""

import uuid
from dataclasses import dataclass

from tenantry.base.errors import Conflict
from tenantry.control import replaced, roles
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import Tx
from tenantry.pg import names, objects, replacing
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.plan import wanted_state
from tenantry.services.databases.steps import ensure_replaceable
from tenantry.services.pooling.service import Pooler

_PAUSE_SECONDS = 5.0  # how long open transactions of pooled clients can hold up a swap


def retained_name(row: DatabaseRow, operation_id: uuid.UUID) -> str:
    """Return the name under which an operation retains the database that it replaces."""
    return names.of_operation(row.database_name, "before", operation_id)


@dataclass(frozen=True, slots=True)
class Replacement:
    """Puts databases in service. A replaced one is retained for ``days``."""

    clusters: ClusterPools
    pooler: Pooler
    days: int

    async def can_swap(self, row: DatabaseRow, incoming: str, operation_id: uuid.UUID) -> bool:
        """Whether ``incoming`` exists, or an earlier try of the operation has put it in service.

        False if it was dropped by hand.
        """
        async with self.clusters.own_connection(row.cluster_id) as server:
            either = (incoming, retained_name(row, operation_id))
            return any([await objects.database_exists(server, name) for name in either])

    async def swap(
        self, tx: Tx, row: DatabaseRow, incoming: str, *, operation_id: uuid.UUID
    ) -> bool:
        """Put the database ``incoming`` in service under the name of ``row``, which ``tx`` locks.

        Pooled clients wait meanwhile. Limits, the allowlist and additional roles of the database
        stay in force. Returns False if an earlier try of the operation did it. Raises Unavailable
        if clients cannot be paused.
        """
        cluster = await self.clusters.cluster(row.cluster_id)
        outgoing = retained_name(row, operation_id)
        async with self.clusters.own_connection(row.cluster_id) as server:
            additional = await roles.of_database(tx, row.id)
            await ensure_replaceable(server, cluster.address, row, additional)
        async with self.pooler.paused(row.database_name, within=_PAUSE_SECONDS):
            await replacing.replace(
                cluster.address,
                service=row.database_name,
                incoming=incoming,
                outgoing=outgoing,
                connection_limit=wanted_state(row).connection_limit,
            )
        return await replaced.keep(
            tx,
            row.id,
            outgoing,
            cluster_id=row.cluster_id,
            operation_id=operation_id,
            days=self.days,
        )


def require_row(row: DatabaseRow | None) -> DatabaseRow:
    """Return the row of an operation's database. Raises Conflict if it was deleted."""
    if row is None:
        raise Conflict("The database has been deleted meanwhile.")
    return row
