"""Checks tenants' databases, one after the other, for objects of other roles.

The platform enters a tenant's database with that tenant's rights only, and leaves no objects of its
own. An object of another role is the trace of an attack, or of a defect of ours. The check also
finds databases of an older version, or of pg_upgrade, in which more is visible than should be.
"""

import datetime as dt

import psycopg
import structlog

from tenantry.base.errors import Deferred, TenantryError
from tenantry.control import audit, ownership
from tenantry.control.clusters import ClusterRow
from tenantry.control.store import ControlStore
from tenantry.pg import catalog, logins, names, unmanaged, visibility
from tenantry.pg.api_roles import SHARED
from tenantry.pg.ownership import foreign_objects
from tenantry.pg.visibility import Visibility
from tenantry.services.clusters.pools import ClusterPools

log = structlog.get_logger()

_EVERY = dt.timedelta(hours=1)
_AT_A_TIME = 10  # databases of a cluster in one pass; each takes about 30 ms


class Ownership:
    """Checks of the ownership of objects."""

    def __init__(self, store: ControlStore, clusters: ClusterPools) -> None:
        self._store = store
        self._clusters = clusters

    async def check_next(self) -> int:
        """Check the databases that are due, those first whose last check is the oldest.

        Return how many could be checked.
        """
        checked = 0
        with Deferred() as failures:
            for cluster in await self._clusters.with_databases():
                with failures.deferred():
                    async with self._clusters.connection(cluster.id) as server:
                        names = await catalog.tenant_databases(server)
                    before = dt.datetime.now(dt.UTC) - _EVERY
                    async with self._store.transaction(audit.PLATFORM) as tx:
                        due = await ownership.take_due(
                            tx, cluster.id, names, before=before, limit=_AT_A_TIME
                        )
                    if not due:
                        continue
                    async with self._clusters.connection(cluster.id) as server:
                        wanted = await visibility.wanted(server)
                    for name in due:
                        checked += await self._check(cluster, name, wanted)
        return checked

    async def _check(self, cluster: ClusterRow, name: str, wanted: Visibility) -> bool:
        async with self._clusters.connection(cluster.id) as server:
            tenants = await catalog.roles_of(server, names.owner_of(name))
            theirs = []  # roles that the tenant of an instance has created
            if cluster.kind == "dedicated":
                theirs = await unmanaged.roles(server, shared=SHARED)
        if not tenants:
            return False  # it is unmanaged, or being created or dropped
        try:
            async with logins.inside(cluster.address, name, tenants) as session:
                mark = await visibility.mark_of(session)
                found = [str(each) for each in await foreign_objects(session, [*tenants, *theirs])]
            if mark != wanted.mark:
                await _bring_along(cluster, name, wanted)
        except (TenantryError, psycopg.Error) as error:
            log.info("ownership.not_checked", database=name, error=str(error))
            return False
        if found:
            log.error("ownership.foreign_objects", database=name, found=found)
        async with self._store.transaction(audit.PLATFORM) as tx:
            await ownership.record(tx, cluster.id, name, found)
        return True

    async def findings(self) -> dict[str, list[str]]:
        """Return what does not belong to its tenant, by database, as of the last checks."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await ownership.findings(tx)


async def _bring_along(cluster: ClusterRow, name: str, wanted: Visibility) -> None:
    """Limit what is visible in a database; a later check does it if a transaction is in the way."""
    try:
        await visibility.ensure(cluster.address, name, wanted)
    except psycopg.errors.LockNotAvailable:
        log.info("ownership.visibility_waits", database=name)
