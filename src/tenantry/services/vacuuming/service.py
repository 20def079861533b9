"""VACUUM, ANALYZE, REINDEX and CREATE INDEX CONCURRENTLY of a database, as operations."""

import uuid

from tenantry.control import audit
from tenantry.control.audit import Actor
from tenantry.control.operations import OperationRow
from tenantry.control.store import Tx
from tenantry.pg import logins, vacuuming
from tenantry.pg.vacuuming import Table
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import plan as database_plan
from tenantry.services.databases.service import Databases
from tenantry.services.operations.service import Operations
from tenantry.services.quotas import plan as quotas
from tenantry.services.vacuuming.flow import MaintenanceFlow
from tenantry.services.vacuuming.model import KINDS, Maintenance, Wanted

_USUAL_SECONDS = 4 * 3600.0  # for one table, by default


class Vacuuming:
    """The estimate of the space that rewriting tables returns, and the operations."""

    def __init__(
        self,
        clusters: ClusterPools,
        databases: Databases,
        operations: Operations,
        maintaining: MaintenanceFlow,
    ) -> None:
        self._clusters = clusters
        self._databases = databases
        self._operations = operations
        for flow in maintaining.flows():
            operations.register(flow)

    async def estimate(self, actor: Actor, database_id: uuid.UUID) -> list[Table]:
        """Return the tables of a database, those first that would return most space.

        Raises NotFound, Conflict, Unavailable.
        """
        row = await self._databases.active(actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        async with logins.inside(cluster.address, row.database_name, [row.username]) as inside:
            found = await vacuuming.tables(inside)
        return sorted(found, key=lambda each: each.returned_bytes or 0, reverse=True)

    async def begin(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: Wanted
    ) -> OperationRow:
        """Begin to maintain tables or indexes. Raises NotFound, InvalidInput, Conflict."""
        row = await self._databases.lock_there(tx, actor, database_id)
        if wanted.index is not None and row.quota_state == "read_only":
            raise quotas.refusal(row)  # an index takes more of the disk
        seconds = database_plan.statement_seconds(
            [row], wanted.statement_seconds, usual=_USUAL_SECONDS
        )
        kind = KINDS[wanted.verb]
        details: dict[str, object] = {"tables": list(wanted.tables)}
        if wanted.indexes:
            details["indexes"] = list(wanted.indexes)
        if wanted.index is not None:
            details["index"] = wanted.index.model_dump()
        await audit.record_on(tx, actor, kind.name, row, details=details)
        return await self._operations.begin(
            tx,
            actor,
            kind,
            Maintenance(
                tables=tuple(wanted.tables),
                indexes=tuple(wanted.indexes),
                analyze=wanted.analyze,
                index=wanted.index,
                lock_seconds=wanted.lock_seconds,
                statement_seconds=seconds,
            ),
            resource_kind="database",
            resource_id=row.id,
            customer_id=row.customer_id,
        )
