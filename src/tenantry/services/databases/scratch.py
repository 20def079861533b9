"""Scratch databases: empty ones without an owner, for a moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import structlog

from tenantry.base.errors import Conflict, TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.base.secrets import SecretSource, scram_verifier
from tenantry.control import audit
from tenantry.control import databases as rows
from tenantry.control.store import ControlStore
from tenantry.pg import objects
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import steps
from tenantry.services.databases.model import Opened
from tenantry.services.databases.service import Databases

log = structlog.get_logger()

_DROP_SECONDS = 5.0  # a pass drops what takes longer


@asynccontextmanager
async def scratch(
    store: ControlStore, clusters: ClusterPools, databases: Databases
) -> AsyncIterator[Opened]:
    """Provide a scratch database for the duration of the block, then drop it.

    Its row stays locked meanwhile. An unlocked one was left by a crash, and the next
    reconciliation pass drops it. Raises Unavailable, and Conflict if that pass was faster.
    """
    await databases.warm_pool.ensure_warm()
    async with store.transaction(audit.PLATFORM) as tx:
        row = await databases.warm_pool.take(tx)
        await rows.set_status(tx, row.id, "scratch")
    try:
        async with steps.holding(store, row.id) as (_, held):
            if held is None:
                raise Conflict("A database that was just wanted is gone.", hint="Try again.")
            opened = Opened(held, SecretSource().password())
            async with clusters.connection(held.cluster_id) as server:
                await objects.open_role(
                    server,
                    held.username,
                    verifier=scram_verifier(opened.password),
                    max_connections=held.max_connections,
                )
            emit(StepDone("scratch", "opened", held.database_name))
            yield opened
    finally:
        try:
            async with asyncio.timeout(_DROP_SECONDS):
                await databases.dropping.finish(row.id)
        except (TenantryError, psycopg.Error, TimeoutError) as error:
            log.warning("scratch.drop_failed", database=row.database_name, error=str(error))
