"""Scheduled backups: each database has a schedule of its own, or its environment's.

One is started at a time, so that backups on demand do not queue behind those of a whole night.
"""

import datetime as dt
import uuid
from dataclasses import asdict

from tenantry.base.errors import Conflict, NotFound
from tenantry.control import audit
from tenantry.control import backup_schedules as rows
from tenantry.control import backups as backup_rows
from tenantry.control.attributes import Environment
from tenantry.control.audit import Actor
from tenantry.control.backup_schedules import Schedule, ScheduleRow
from tenantry.control.store import ControlStore, Tx
from tenantry.services.backups import plan
from tenantry.services.backups.service import Backups
from tenantry.services.databases.service import Databases


class BackupSchedules:
    """The schedules of databases and environments, and the start of due backups."""

    def __init__(self, store: ControlStore, databases: Databases, backups: Backups) -> None:
        self._store = store
        self._databases = databases
        self._backups = backups

    async def show(self, actor: Actor, database_id: uuid.UUID) -> ScheduleRow:
        """Return a database's schedule and its last attempt. Raises NotFound."""
        await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            return await self._found(tx, database_id)

    @staticmethod
    async def _found(tx: Tx, database_id: uuid.UUID) -> ScheduleRow:
        found = await rows.find(tx, database_id)
        if found is None:
            raise NotFound("There is no such database.", hint="GET /api/databases lists yours.")
        return found

    async def set_own(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, schedule: Schedule | None
    ) -> ScheduleRow:
        """Set a database's own schedule; None: revert to its environment's.

        Raises NotFound, Conflict.
        """
        database = await self._databases.lock_active(tx, actor, database_id)
        if schedule is None:
            await rows.remove_own(tx, database.id)
        else:
            await rows.set_own(tx, database.id, schedule)
        details: dict[str, object] = {"default": True} if schedule is None else asdict(schedule)
        await audit.record_on(tx, actor, "backup.schedule", database, details=details)
        return await self._found(tx, database.id)

    async def defaults(self, actor: Actor) -> dict[str, Schedule]:
        """Return the schedules by environment."""
        async with self._store.transaction(actor) as tx:
            return await rows.defaults(tx)

    async def set_default(
        self, tx: Tx, actor: Actor, environment: Environment, schedule: Schedule
    ) -> None:
        """Set an environment's schedule, which applies to databases without one of their own."""
        await rows.set_default(tx, environment, schedule)
        await audit.record(
            tx,
            actor,
            "backup.default",
            resource_kind="platform",
            resource_name=environment,
            details=asdict(schedule),
        )

    async def count_failing(self) -> int:
        """Return how many databases have a schedule whose last backup failed or was refused."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.count_failing(tx)

    async def begin_due(self) -> bool:
        """Begin the scheduled backup that is longest overdue, unless one is being made.

        Returns whether a backup was started or refused.
        """
        now = dt.datetime.now(dt.UTC)
        async with self._store.transaction(audit.PLATFORM) as tx:
            if await backup_rows.scheduled_is_made(tx):
                return False
            wanted = await rows.every(tx, on_only=True)
        for each in wanted:
            tries = plan.try_now(each, now)
            if tries is not None:
                try:
                    await self._begin(each, tries)
                except (Conflict, NotFound):
                    continue  # another operation has the database exclusively; the backup stays due
                return True
        return False

    async def _begin(self, row: ScheduleRow, tries: int) -> None:
        async with self._store.transaction(audit.PLATFORM) as tx:
            database = await self._databases.lock_active(tx, audit.PLATFORM, row.database_id)
            try:
                await self._backups.require_room(tx, database)
            except Conflict as error:
                details: dict[str, object] = {"reason": error.detail}
                await audit.record_on(
                    tx, audit.PLATFORM, "backup.refused", database, details=details
                )
                await rows.note_attempt(tx, database.id, tries=tries, refused=error.detail)
                return
            operation = await self._backups.begin_scheduled(tx, database, row.schedule.format)
            await rows.note_attempt(tx, database.id, tries=tries, operation_id=operation.id)
