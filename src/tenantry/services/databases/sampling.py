"""Samples of the databases' sizes and counters."""

from tenantry.base.errors import Deferred
from tenantry.control import audit, database_stats
from tenantry.control import databases as rows
from tenantry.control.store import ControlStore
from tenantry.pg import catalog
from tenantry.services.clusters.pools import ClusterPools

_SLICE = 100  # databases measured at a time: sizes are read from their files


async def sample(store: ControlStore, clusters: ClusterPools) -> int:
    """Record each owned database's size and counters. Returns how many were measured."""
    measured = 0
    with Deferred() as failures:
        for cluster in await clusters.with_databases():
            with failures.deferred():
                async with store.transaction(audit.PLATFORM) as tx:
                    active = [
                        row
                        for row in await rows.on_cluster(tx, cluster.id)
                        if row.status == "active"
                    ]
                for start in range(0, len(active), _SLICE):
                    part = active[start : start + _SLICE]
                    async with clusters.connection(cluster.id) as server:
                        use = await catalog.database_use(
                            server, [row.database_name for row in part]
                        )
                    async with store.transaction(audit.PLATFORM) as tx:
                        for row in part:
                            if found := use.get(row.database_name):
                                await database_stats.record_stats(tx, row.id, found)
                                measured += 1
    async with store.transaction(audit.PLATFORM) as tx:
        await database_stats.forget_old_stats(tx)
    return measured
