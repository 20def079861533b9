"""The verbs on backups of sites, and what the worker does with them by the clock."""

import datetime as dt
import uuid
from dataclasses import replace

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.control import audit, pages, sites
from tenantry.control import backups as logical_rows
from tenantry.control import site_backups as rows
from tenantry.control.audit import Actor
from tenantry.control.operations import OperationRow
from tenantry.control.pages import Page
from tenantry.control.site_backups import Origin, SiteBackupRow, Standing
from tenantry.control.sites import SiteRow
from tenantry.control.store import ControlStore, Tx
from tenantry.services.operations.service import Operations
from tenantry.services.repository.plan import Schedule
from tenantry.services.repository.service import Repositories
from tenantry.services.site_backups import plan
from tenantry.services.site_backups.flow import BackupFlow, RestoreFlow
from tenantry.services.site_backups.model import BACKUP, MOST_MANUAL, RESTORE, OfBackup, file_name


class SiteBackups:
    """The service for backups of sites that keep their data."""

    def __init__(
        self,
        store: ControlStore,
        operations: Operations,
        repositories: Repositories,
        home: Home,
        *,
        schedule: Schedule,
        most_bytes: int,
    ) -> None:
        self._store = store
        self._operations = operations
        self._repositories = repositories
        self._schedule = schedule
        self._most_bytes = most_bytes
        operations.register(
            BackupFlow(store, repositories, home).flow,
            RestoreFlow(store, repositories, home).flow,
        )

    @property
    def enabled(self) -> bool:
        """Whether sites are backed up at all."""
        return self._repositories.enabled

    @property
    def _places(self) -> list[str]:
        return [str(place) for place in self._repositories.places]

    # ── verbs ────────────────────────────────────────────────────────────────

    async def create(self, tx: Tx, actor: Actor, site_id: uuid.UUID) -> OperationRow:
        """Begin a backup. Raises NotFound, Conflict."""
        site = await self._lock(tx, site_id)
        plan.require_keeping(site)
        if await rows.count_of(tx, site_id) >= MOST_MANUAL:
            raise Conflict(
                f"A site that has {MOST_MANUAL} backups on demand gets no more of them.",
                hint="Delete those that nobody needs.",
            )
        if actor.customer_id is not None:
            await self._require_room(tx, actor.customer_id)
        return await self._begin(tx, actor, site, "manual")

    async def _require_room(self, tx: Tx, customer_id: uuid.UUID) -> None:
        used = await logical_rows.bytes_of_customer(tx, customer_id)
        if used >= self._most_bytes:
            raise Conflict(
                f"The customer's backups take {used:,} bytes, and may take {self._most_bytes:,}.",
                hint="Delete some, or ask whoever runs the platform (TENANTRY_CUSTOMER_BACKUP_GB).",
            )

    async def _begin(self, tx: Tx, actor: Actor, site: SiteRow, origin: Origin) -> OperationRow:
        backup_id = await rows.insert(tx, site, origin)
        operation = await self._operations.begin(
            tx,
            actor,
            BACKUP,
            OfBackup(backup_id=backup_id),
            resource_kind="site",
            resource_id=site.id,
            customer_id=site.customer_id,
        )
        said = {"backup_id": str(backup_id), "origin": origin, "operation_id": str(operation.id)}
        await _record(tx, actor, BACKUP.name, site, {**said}, result="accepted")
        return operation

    async def page(
        self, actor: Actor, site_id: uuid.UUID, *, cursor: str | None, limit: int
    ) -> Page[SiteBackupRow]:
        """Return a site's backups, newest first, also those that a deleted one has left.

        Raises NotFound; InvalidInput for a bad cursor.
        """
        after = pages.read_key(cursor)
        async with self._store.transaction(actor) as tx:
            found = await rows.page(tx, site_id, after=after, limit=limit + 1)
            if not found and await sites.find(tx, site_id) is None:
                raise _no_site()
        return pages.cut(found, limit, lambda row: (row.created_at, row.id))

    async def delete(
        self, tx: Tx, actor: Actor, site_id: uuid.UUID, backup_id: uuid.UUID
    ) -> SiteBackupRow:
        """Delete a backup; its files go within minutes. Raises NotFound, Conflict."""
        backup = await self._find(tx, site_id, backup_id)
        if backup.status == "making":
            raise Conflict(
                "The backup is being made.",
                hint="Cancel its operation: GET /api/operations?resource_id=… shows it.",
            )
        await self._delete(tx, actor, backup)
        return backup

    async def _delete(
        self, tx: Tx, actor: Actor, backup: SiteBackupRow, more: dict[str, object] | None = None
    ) -> None:
        await rows.begin_deletion(tx, [backup.id])
        said = {"backup_id": str(backup.id), **(more or {})}
        await _record(tx, actor, "site.backup_delete", backup, said)

    async def restore(
        self, tx: Tx, actor: Actor, site_id: uuid.UUID, backup_id: uuid.UUID | None
    ) -> OperationRow:
        """Begin to put the data of a backup in service, the newest without ``backup_id``.

        Raises NotFound, Conflict.
        """
        site = await self._lock(tx, site_id)
        plan.require_keeping(site)
        if backup_id is None:
            newest = await rows.page(tx, site_id, after=pages.FIRST, limit=MOST_MANUAL)
            ready = [each for each in newest if each.status == "ready"]
            if not ready:
                raise Conflict(f"The site {site.name} has no backup yet.")
            backup = ready[0]
        else:
            backup = await self._find(tx, site_id, backup_id)
        if backup.status != "ready":
            raise Conflict("The backup is being made.", hint="Wait for its operation's end.")
        plan.require_fitting(site, backup)
        operation = await self._operations.begin(
            tx,
            actor,
            RESTORE,
            OfBackup(backup_id=backup.id),
            resource_kind="site",
            resource_id=site.id,
            customer_id=site.customer_id,
        )
        said = {"backup_id": str(backup.id), "operation_id": str(operation.id)}
        await _record(tx, actor, RESTORE.name, site, {**said}, result="accepted")
        return operation

    # ── of the worker ────────────────────────────────────────────────────────

    async def begin_due(self) -> bool:
        """Begin the scheduled backup that is longest overdue, unless one is being made.

        Return whether one was begun.
        """
        if not self.enabled:
            return False
        now = dt.datetime.now(dt.UTC)
        async with self._store.transaction(audit.PLATFORM) as tx:
            if await rows.scheduled_is_made(tx):
                return False
            due = [
                each
                for each in await rows.standings(tx, self._places)
                if plan.is_due(self._schedule, each, now)
            ]
        for each in due:
            try:
                async with self._store.transaction(audit.PLATFORM) as tx:
                    site = await self._lock(tx, each.site_id)
                    plan.require_keeping(site)
                    await self._begin(tx, audit.PLATFORM, site, "scheduled")
            except (Conflict, NotFound):
                continue  # it is deleted or restored just now, or keeps nothing any more
            return True
        return False

    async def tidy(self) -> None:
        """Delete the backups that have expired or were never completed, in every repository.

        A row goes after its files. Raises RepositoryError.
        """
        if not self.enabled:
            return
        now = dt.datetime.now(dt.UTC)
        async with self._store.transaction(audit.PLATFORM) as tx:
            await rows.abandon_unmade(tx)
            every = {each.id: each for each in await rows.every(tx)}
            for gone in plan.expired([*every.values()], self._schedule.window, now):
                await self._delete(tx, audit.PLATFORM, every[gone], {"reason": "it has expired"})
            deleted = await rows.being_deleted(tx)
        for backup in deleted:  # until one fails: the repository is out of reach
            await self._discard(backup)

    async def _discard(self, backup: SiteBackupRow) -> None:
        for number in self._repositories.numbers:
            await self._repositories.files_in(number).remove(file_name(backup))
        emit(StepDone("site.backup_delete", "files", backup.site_name))
        async with self._store.transaction(audit.PLATFORM) as tx:
            await rows.remove(tx, backup.id)

    # ── their state ──────────────────────────────────────────────────────────

    async def standings(self) -> list[Standing]:
        """Return how the backups of the sites stand that keep their data."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.standings(tx, self._places)

    async def troubles(self) -> str | None:
        """Return what needs attention; None if nothing does, or sites are not backed up."""
        if not self.enabled:
            return None
        return plan.troubles(await self.standings(), self._places, dt.datetime.now(dt.UTC))

    async def count(self) -> dict[str, tuple[int, int]]:
        """Return the number of backups and their bytes by status."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.count_by_status(tx)

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _lock(self, tx: Tx, site_id: uuid.UUID) -> SiteRow:
        self._repositories.require_enabled()
        site = await sites.lock(tx, site_id)
        if site is None:
            raise _no_site()
        if site.status != "active":
            raise Conflict(f"The site {site.name} is being deleted.")
        return site

    async def _find(self, tx: Tx, site_id: uuid.UUID, backup_id: uuid.UUID) -> SiteBackupRow:
        backup = await rows.find(tx, backup_id)
        if backup is None or backup.site_id != site_id or backup.status == "deleting":
            raise NotFound(
                "This site has no such backup.", hint="GET /api/sites/{id}/backups lists them."
            )
        return backup


def _no_site() -> NotFound:
    return NotFound("There is no such site.", hint="GET /api/sites lists them.")


async def _record(
    tx: Tx,
    actor: Actor,
    action: str,
    of: SiteRow | SiteBackupRow,
    details: dict[str, object],
    *,
    result: audit.Result = "ok",
) -> None:
    """Record what is done with a site or its backup; its owner can read the entry."""
    site_id, name = (of.id, of.name) if isinstance(of, SiteRow) else (of.site_id, of.site_name)
    await audit.record(
        tx,
        replace(actor, customer_id=actor.customer_id or of.customer_id),
        action,
        resource_kind="site",
        resource_id=site_id,
        resource_name=name,
        result=result,
        details=details,
    )
