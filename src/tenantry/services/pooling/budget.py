"""Shares the clusters' connections out among the pools."""

from collections import defaultdict

from psycopg import sql
from psycopg.rows import DictRow

from tenantry.base.events import PoolSizeChanged, emit
from tenantry.base.pausing import pause
from tenantry.services.pooling import plan
from tenantry.services.pooling.console import Console
from tenantry.services.pooling.service import Pooler, size_in_force

_LOOK_SECONDS = 0.25


async def keep(pooler: Pooler) -> None:
    """Until cancelled, size the pools so that those of each cluster together fit its budget.

    PgBouncer bounds each pool but not their sum. It opens one connection per pool at a time, so a
    look every 0.25 seconds stays close to the budget.

    Raises Unavailable if the pooler stops answering.
    """
    async with pooler.console() as console:
        shrinking: set[plan.Pool] = set()
        while True:
            shrinking = await _share_out(pooler, console, shrinking)
            await pause(_LOOK_SECONDS)


async def _share_out(pooler: Pooler, console: Console, shrinking: set[plan.Pool]) -> set[plan.Pool]:
    """Size the pools, and shrink those that are too large. Return those that are shrinking."""
    pools = {
        (row["database"], row["user"]): row
        for row in await console.show("POOLS")
        if row["database"] != "pgbouncer"
        and _servers(row) + row["cl_active"] + row["cl_waiting"] > 0
    }
    held: defaultdict[str, dict[plan.Pool, int]] = defaultdict(dict)
    for pool, row in pools.items():
        held[pooler.lines.cluster_of(pool[0])][pool] = _servers(row)
    opening = {database for (database, _), row in pools.items() if row["sv_login"]}
    overfull: set[plan.Pool] = set()
    budgets, reserves = pooler.budgets, pooler.lines.reserves()
    wanted = plan.POOL_SIZE  # one size for all: that of the cluster with the fewest left
    for cluster, each in held.items():
        budget = budgets.get(cluster, 0)  # it may just have been removed
        beyond = plan.allowances(budget=budget, held=each, reserves=reserves)
        overfull |= plan.overfull(budget=budget, held=each, beyond=beyond)
        size = plan.fair_pool_size(budget=budget, held=each, beyond=beyond)
        wanted = min(wanted, size)
    # Read each time: a RELOAD resets it to the size in the file.
    if wanted != await size_in_force(console):
        await console.run(sql.SQL("SET default_pool_size = {}").format(sql.Literal(wanted)))
        emit(PoolSizeChanged(str(wanted)))
        return shrinking & overfull
    # PgBouncer by itself closes idle connections only, and a busy pool has none.
    # RECONNECT closes each at the end of its transaction. One that is just being opened
    # it closes at once and reports a failure to the waiting clients: so only a pool that
    # opens none, and none is opened while there are more than the size in force.
    for pool in overfull - shrinking:
        if pool[0] not in opening:
            await console.run(sql.SQL("RECONNECT {}").format(sql.Identifier(pool[0])))
            shrinking = shrinking | {pool}
    return shrinking & overfull


def _servers(pool: DictRow) -> int:
    """Return the server connections that a row of SHOW POOLS counts, also those being opened."""
    return sum(count for column, count in pool.items() if column.startswith("sv_"))
