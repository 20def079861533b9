"""The service for drills: on demand, nightly, and their results."""

import datetime as dt
import random
import uuid

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.settings import Settings
from tenantry.control import audit, pages, proofs
from tenantry.control import operations as operation_rows
from tenantry.control.audit import Actor
from tenantry.control.operations import Filter, OperationRow
from tenantry.control.pages import Page, read_key
from tenantry.control.proofs import ProofRow, Summary
from tenantry.control.store import ControlStore, Tx
from tenantry.services.databases.service import Databases
from tenantry.services.drills import plan
from tenantry.services.drills.flow import DRILL, DrillParams
from tenantry.services.operations.service import Operations
from tenantry.services.repository import looking
from tenantry.services.repository.service import Repositories

_NIGHTLY = "nightly"


class Drills:
    """The service for drills: restores into a sandbox, which prove that backups are restorable."""

    def __init__(
        self,
        settings: Settings,
        store: ControlStore,
        databases: Databases,
        operations: Operations,
        repositories: Repositories,
    ) -> None:
        self._time = (
            None if settings.drill_time == "off" else dt.time.fromisoformat(settings.drill_time)
        )
        self._store = store
        self._databases = databases
        self._operations = operations
        self._repositories = repositories
        self._choose = random.SystemRandom()

    async def begin(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> OperationRow:
        """Begin a drill of a database now. Raises NotFound, Conflict."""
        self._repositories.require_enabled()
        row = await self._databases.lock_there(tx, actor, database_id)
        return await self._begin(tx, actor, row.id, row.customer_id, asked="now")

    async def _begin(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        customer_id: uuid.UUID | None,
        *,
        asked: str,
    ) -> OperationRow:
        under_way = await operation_rows.page(
            tx,
            Filter(kind=DRILL.name, resource_id=database_id),
            customer_id=None,
            after=read_key(None),
            limit=1,
        )
        if any(row.finished_at is None for row in under_way):
            raise Conflict("The database is being drilled already.", hint="Wait for its end.")
        return await self._operations.begin(
            tx,
            actor,
            DRILL,
            DrillParams(asked=asked),
            resource_kind="database",
            resource_id=database_id,
            customer_id=customer_id,
            exclusive=False,  # the owner may use the database freely meanwhile
        )

    async def begin_due(self) -> OperationRow | None:
        """Begin the drill of this night, if it is due."""
        if not self._repositories.enabled:
            return None
        now = dt.datetime.now(dt.UTC)
        async with self._store.transaction(audit.PLATFORM) as tx:
            if not plan.due(self._time, now, await self._last_night(tx)):
                return None
            known = await looking.seen(self._repositories, tx)
        found = await looking.states(self._repositories, known)
        restorable = [
            row.id for row in known.clusters if any(each.known == "ok" for each in found[row.name])
        ]
        async with self._store.transaction(audit.PLATFORM) as tx:
            chosen = plan.next_database(await proofs.standings(tx, restorable), self._choose)
            if chosen is None:
                return None
            try:
                row = await self._databases.lock_active(tx, audit.PLATFORM, chosen)
            except (NotFound, Conflict):  # since it was chosen
                return None
            return await self._begin(tx, audit.PLATFORM, row.id, row.customer_id, asked=_NIGHTLY)

    async def _last_night(self, tx: Tx) -> dt.datetime | None:
        found = await operation_rows.page(
            tx, Filter(kind=DRILL.name), customer_id=None, after=read_key(None), limit=200
        )
        nightly = [row.created_at for row in found if row.params.get("asked") == _NIGHTLY]
        return max(nightly, default=None)

    async def page(
        self, actor: Actor, database_id: uuid.UUID, *, cursor: str | None, limit: int
    ) -> Page[ProofRow]:
        """Return a database's drill results, newest first. Raises NotFound, InvalidInput."""
        after = read_key(cursor)
        await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            found = await proofs.page(tx, database_id, after=after, limit=limit + 1)
        return pages.cut(found, limit, lambda row: (row.at, row.id))

    async def latest(self, actor: Actor, database_id: uuid.UUID) -> ProofRow | None:
        """Return the result of a database's last drill; None if the actor may see none."""
        async with self._store.transaction(actor) as tx:
            return await proofs.latest(tx, database_id)

    async def summary(self) -> Summary:
        """Return a summary of the drills of all databases."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await proofs.summary(tx)
