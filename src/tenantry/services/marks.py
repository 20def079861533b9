"""Marks: named moments of a database, beside what else has changed it."""

import datetime as dt
import uuid

from tenantry.base.errors import InvalidInput, NotFound
from tenantry.control import audit, marks
from tenantry.control.audit import Actor
from tenantry.control.marks import Event, MarkRow
from tenantry.control.store import ControlStore, Tx
from tenantry.services.databases.service import Databases

_LATER = dt.timedelta(minutes=1)  # clocks of deployment scripts may be ahead
_MOST_EVENTS = 500


class Marks:
    """The verbs on marks."""

    def __init__(self, store: ControlStore, databases: Databases) -> None:
        self._store = store
        self._databases = databases

    async def create(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, label: str, at: dt.datetime | None
    ) -> MarkRow:
        """Mark a moment, by default now. Raises NotFound, InvalidInput for one outside its life."""
        row = await self._databases.find(tx, actor, database_id)
        if at is not None and at > dt.datetime.now(dt.UTC) + _LATER:
            raise InvalidInput.of("at", "is in the future")
        if at is not None and at < row.created_at:
            raise InvalidInput.of(
                "at", f"is before the database was created, at {row.created_at:%F %T} UTC"
            )
        made = await marks.create(tx, row.id, label, at)
        details: dict[str, object] = {"label": label, "at": made.at.isoformat()}
        await audit.record_on(tx, actor, "database.mark", row, details=details)
        return made

    async def of_database(self, actor: Actor, database_id: uuid.UUID) -> list[MarkRow]:
        """Return the marks of a database, newest first. Raises NotFound."""
        async with self._store.transaction(actor) as tx:
            row = await self._databases.find(tx, actor, database_id)
            return await marks.of_database(tx, row.id)

    async def remove(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, mark_id: uuid.UUID
    ) -> MarkRow:
        """Delete a mark, and return it. Raises NotFound."""
        row = await self._databases.find(tx, actor, database_id)
        gone = await marks.remove(tx, row.id, mark_id)
        if gone is None:
            raise NotFound("This database has no such mark.")
        details: dict[str, object] = {"label": gone.label, "at": gone.at.isoformat()}
        await audit.record_on(tx, actor, "database.unmark", row, details=details)
        return gone

    async def timeline(
        self, actor: Actor, database_id: uuid.UUID, since: dt.datetime | None
    ) -> list[Event]:
        """Return marks, migrations, restores and the like since a moment, newest first.

        At most the newest 500. Raises NotFound.
        """
        async with self._store.transaction(actor) as tx:
            row = await self._databases.find(tx, actor, database_id)
            return await marks.timeline(tx, row.id, since, _MOST_EVENTS)
