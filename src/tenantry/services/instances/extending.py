"""The extensions of instances whose libraries the server has loaded when it was started.

What is wanted are the libraries of the instance's row. An extension is created once its library is
loaded: by the request, or at the end of the operation that has restarted the server, which begins
again if it is killed. Databases that are created later have it from the template.
"""

from collections.abc import Collection

import psycopg

from tenantry.base.errors import Conflict
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, databases
from tenantry.control.clusters import ClusterRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.pg import catalog, logins, preloading
from tenantry.pg.connections import Address
from tenantry.pg.hardening import TEMPLATE
from tenantry.services.clusters.pools import ClusterPools

# Errors of CREATE and DROP EXTENSION that a tenant's own objects can cause.
IN_THE_WAY = (
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateTable,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.UniqueViolation,
)


async def ensure(store: ControlStore, clusters: ClusterPools, row: ClusterRow) -> None:
    """Have the wanted extensions of an instance that runs in its databases. Raises Conflict."""
    wanted = [each for each in preloading.libraries(row.parameters) if each in preloading.ALLOWED]
    if not wanted:
        return
    async with store.transaction(audit.PLATFORM) as tx:
        on_it = await databases.on_cluster(tx, row.id)
    async with clusters.own_connection(row.id) as server:
        there = await catalog.tenant_databases(server)
    mine = [name for each in on_it if each.status == "active" for name in each.database_names]
    await create(row.address, [name for name in mine if name in there], wanted)


async def create(address: Address, names: Collection[str], wanted: Collection[str]) -> None:
    """Create extensions in the template and in databases that are there. Raises Conflict."""
    for name in (TEMPLATE, *names):
        try:
            await preloading.ensure(address, name, wanted)
        except psycopg.errors.LockNotAvailable as error:
            raise logins.busy(name) from error
        except IN_THE_WAY as error:
            raise Conflict(
                f"PostgreSQL does not make {', '.join(wanted)} in {name}:"
                f" {error.diag.message_primary}",
                hint="Something of the database's own is in its way.",
            ) from error
        emit(StepDone("extension", "created", name))


async def drop(address: Address, row: DatabaseRow, name: str) -> None:
    """Drop an extension that nothing uses in a database, its shadow and the template.

    Raises Conflict. Branches on the instance have theirs still.
    """
    for database in (*sorted(row.database_names, key=row.database_name.__eq__), TEMPLATE):
        try:
            await preloading.drop(address, database, name)
        except psycopg.errors.LockNotAvailable as error:
            raise logins.busy(database) from error
        except IN_THE_WAY as error:
            raise Conflict(
                f"PostgreSQL does not drop {name} in {database}: {error.diag.message_primary}",
                hint="Drop what uses it first.",
            ) from error
        emit(StepDone("extension", "dropped", database))
