"""The steps by which a role comes to be and goes, on the locked row of its database.

A crash while a role is made leaves one that nobody wants and nobody has the password of:
the next convergence pass drops it. A crash while it is removed leaves a row that says so.
"""

from contextlib import suppress
from functools import partial

from tenantry.base.errors import TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.control.databases import DatabaseRow
from tenantry.pg import logins, objects
from tenantry.pg.blockers import without_blockers
from tenantry.pg.logins import Access
from tenantry.services.clusters.service import ClusterPools
from tenantry.services.pooling.service import Pooler


async def build(
    clusters: ClusterPools, database: DatabaseRow, username: str, access: Access
) -> None:
    """Have the role and its rights; a new one cannot log in yet."""
    cluster = await clusters.cluster(database.cluster_id)
    async with clusters.connection(cluster.id) as server:
        await objects.ensure_role(server, username)
    emit(StepDone("role", "made", username))
    # Inside it a tenant's locks are waited for, and no pooled connection is held meanwhile.
    await logins.grant(
        cluster.address,
        database.database_name,
        tenant=database.username,
        role=username,
        access=access,
    )
    emit(StepDone("role", "granted", username))
    # Last: who may connect has all other rights, which convergence relies on.
    async with clusters.connection(cluster.id) as server:
        await logins.admit(server, database.database_name, username, access)
    emit(StepDone("role", "admitted", username))


async def remove(
    clusters: ClusterPools, pooler: Pooler, database: DatabaseRow, username: str
) -> None:
    """Shut a role out through both doors, now, and drop it."""
    cluster = await clusters.cluster(database.cluster_id)
    async with clusters.own_connection(cluster.id) as server:
        if not await objects.role_exists(server, username):
            return
        close = partial(objects.close_role, server, username)
        await without_blockers(server, close, roles=[username])
        emit(StepDone("role_delete", "closed", username))
        # Without the pooler no pooled session is left; and it must not keep this waiting.
        with suppress(TenantryError):
            await pooler.end_clients_of([username])
        await objects.end_sessions(server, username)
        emit(StepDone("role_delete", "sessions", username))
        await logins.shut_out(server, database.database_name, username)
        await logins.drop(server, cluster.address, username)
        emit(StepDone("role_delete", "role", username))
