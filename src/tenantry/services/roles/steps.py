"""The steps that create and drop a role, while its database's row is locked.

A crash during the creation leaves a role that is not wanted and whose password nobody has: the next
reconciliation pass drops it. A crash during the removal leaves a row that says so.
"""

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from tenantry.base.errors import TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.control import audit
from tenantry.control import roles as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.roles import RoleRow
from tenantry.control.store import ControlStore
from tenantry.pg import api_roles, logins, objects, session_ending
from tenantry.pg.blockers import without_blockers
from tenantry.pg.connections import Address
from tenantry.pg.logins import Access
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.pooling.service import Pooler

_EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)
_LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)


async def active_roles(
    store: ControlStore,
    database: DatabaseRow,
    *,
    after: dt.datetime = _EARLIEST,
    until: dt.datetime = _LATEST,
) -> list[RoleRow]:
    """Return the additional roles of a database that can log in, created after, until a moment."""
    async with store.transaction(audit.PLATFORM) as tx:
        found = await rows.of_database(tx, database.id)
    return [each for each in found if each.status == "active" and after < each.created_at <= until]


async def grant_access(
    roles: Sequence[RoleRow], address: Address, database: str, *, tenant: str
) -> None:
    """Give roles in ``database``, which ``tenant`` owns, the rights that they have by creation."""
    for role in roles:
        await logins.grant(address, database, tenant=tenant, role=role.username, access=role.access)


async def build(
    clusters: ClusterPools, database: DatabaseRow, username: str, access: Access
) -> None:
    """Create the role, if missing, and grant its rights; a new one cannot log in yet."""
    cluster = await clusters.cluster(database.cluster_id)
    async with clusters.connection(cluster.id) as server:
        await objects.ensure_role(server, username)
    emit(StepDone("role", "made", username))
    # This may wait for a tenant's locks, so it holds no connection of a pool meanwhile.
    await logins.grant(
        cluster.address,
        database.database_name,
        tenant=database.username,
        role=username,
        access=access,
    )
    emit(StepDone("role", "granted", username))
    # Last: a role that may connect has all other rights, which reconciliation relies on. (That of
    # the data API to become it is compared by itself.)
    async with clusters.connection(cluster.id) as server:
        await logins.admit(server, database.database_name, username, access)
        await api_roles.add_selectable(server, database.username, username)
    emit(StepDone("role", "admitted", username))


async def remove(
    clusters: ClusterPools, pooler: Pooler, database: DatabaseRow, username: str
) -> None:
    """Refuse a role's logins at both endpoints, end its sessions, and drop it."""
    cluster = await clusters.cluster(database.cluster_id)
    async with clusters.own_connection(cluster.id) as server:
        if not await objects.role_exists(server, username):
            return
        close = partial(objects.close_role, server, username)
        await without_blockers(server, close, roles=[username])
        emit(StepDone("role_delete", "closed", username))
        # Without the pooler there are no pooled sessions; and it must not delay this.
        with suppress(TenantryError):
            await pooler.end_clients_of([username])
        await session_ending.end_sessions(server, username)
        emit(StepDone("role_delete", "sessions", username))
        await logins.lock_out(server, database.database_name, username)
        await logins.drop(server, cluster.address, username)
        emit(StepDone("role_delete", "role", username))
