"""The verbs on the log settings of a database, and on the entries of its log."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from tenantry.base.errors import InvalidInput, TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, log_settings
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.log_settings import LogSettings
from tenantry.control.pages import Page
from tenantry.control.store import Tx
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import steps
from tenantry.services.databases.service import Databases
from tenantry.services.statement_log.collecting import with_settings
from tenantry.services.statement_log.entries import EntryFiles, Found, Place, parse_place
from tenantry.services.statement_log.model import Entry, Kind


@dataclass(frozen=True, slots=True)
class Filter:
    """The entries of a database to return; None means any."""

    kind: Kind | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None

    def takes(self, entry: Entry) -> bool:
        return (
            self.kind in {None, entry.kind}
            and (self.since is None or entry.time >= self.since)
            and (self.until is None or entry.time < self.until)
        )


class StatementLog:
    """The log of the statements in databases."""

    def __init__(self, clusters: ClusterPools, databases: Databases, entries: EntryFiles) -> None:
        self._clusters = clusters
        self._databases = databases
        self._entries = entries

    async def change(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: LogSettings
    ) -> DatabaseRow:
        """Change what is logged of new sessions, and of pooled clients as their pool is renewed.

        Raises NotFound, Conflict, Busy.
        """
        row = await self._databases.lock_there(tx, actor, database_id)
        tx.after_commit(partial(self._renew_pool, row))
        if wanted == row.log_settings:
            return row
        await log_settings.set_log_settings(tx, row.id, wanted)
        changed = with_settings(row, wanted)
        async with self._clusters.own_connection(row.cluster_id) as server:
            await steps.limit(server, changed)
        emit(StepDone("log", "set", row.database_name))
        details: dict[str, object] = {"from": asdict(row.log_settings), "to": asdict(wanted)}
        await audit.record_on(tx, actor, "database.log_settings", row, details=details)
        return changed

    async def _renew_pool(self, row: DatabaseRow) -> None:
        # Without the pooler there are no pooled clients.
        with suppress(TenantryError):
            await self._databases.reconnect_pool(row, end_clients=False)

    async def page(
        self,
        actor: Actor,
        database_id: uuid.UUID,
        wanted: Filter,
        *,
        cursor: str | None,
        after: str | None,
        limit: int,
    ) -> Page[Entry]:
        """Return entries, the newest first; with ``after``, an entry's id, those that followed it.

        These are the oldest first, and have no cursor: continue with the id of the last one.

        Raises NotFound, and InvalidInput for a bad cursor or id.
        """
        row = await self._databases.show(actor, database_id)
        before, begin = _place("cursor", cursor), _place("after", after)
        if (days := row.log_settings.keep_days) is not None:
            kept_since = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
            wanted = replace(wanted, since=max(wanted.since or kept_since, kept_since))

        def read() -> list[Entry]:
            found: Iterator[Found] = (
                self._entries.newest_first(row.id, before=before)
                if begin is None
                else self._entries.oldest_first(row.id, after=begin)
            )
            entries = (_entry(*each) for each in found)
            return list(islice(filter(wanted.takes, entries), limit + 1))

        entries = await asyncio.to_thread(read)
        more = begin is None and len(entries) > limit
        entries = entries[:limit]
        return Page(entries, entries[-1].id if more else None)


def _entry(identifier: str, found: dict[str, Any]) -> Entry:
    return Entry(identifier, **found | {"time": dt.datetime.fromisoformat(found["time"])})


def _place(field: str, text: str | None) -> Place | None:
    if text is None:
        return None
    if (found := parse_place(text)) is None:
        raise InvalidInput.of(field, "is no id of an entry of this log; start without one")
    return found
