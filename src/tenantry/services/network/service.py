"""The verbs on allowlists, and their enforcement at every endpoint and in every open session."""

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tenantry.base.errors import NotFound
from tenantry.base.events import SessionsEnded, emit
from tenantry.base.home import Home
from tenantry.base.secrets import SecretSource
from tenantry.control import audit, roles, whitelist
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx, as_platform
from tenantry.control.whitelist import EntryRow, NewEntry
from tenantry.host import files
from tenantry.services.databases.service import Databases
from tenantry.services.network import lists, plan
from tenantry.services.network.endpoints import AllowlistEndpoint, PoolerEndpoint
from tenantry.services.network.model import Added, Preview, Removed, audited
from tenantry.services.requests.service import Caller

_RULES_LOCK = 0x72756C65  # "rule": held, as an advisory lock, while the rule files are written


class Network:
    """The addresses from which each database may be reached, at all endpoints."""

    def __init__(
        self,
        store: ControlStore,
        databases: Databases,
        home: Home,
        endpoints: Callable[[], Sequence[AllowlistEndpoint[Any]]],
    ) -> None:
        self._store = store
        self._databases = databases
        self._unread = home.run / "rules.unread"
        self._endpoints = endpoints

    # ── verbs ────────────────────────────────────────────────────────────────
    # A change is in force at every endpoint before its transaction ends; then the sessions that it
    # no longer admits are ended. A repeated request ends them too: the first may have been cut off.

    async def entries(self, actor: Actor, database_id: uuid.UUID) -> list[EntryRow]:
        """Return a database's list. Raises NotFound."""
        await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            return await whitelist.entries(tx, database_id)

    async def add(self, caller: Caller, database_id: uuid.UUID, entry: NewEntry) -> Added:
        """Admit a network, and end the sessions from addresses that are no longer admitted.

        Raises NotFound, Conflict, InvalidInput.
        """

        async def work(tx: Tx, _: SecretSource) -> Added:
            row = await self._databases.lock_active(tx, caller.actor, database_id)
            added = await lists.add(tx, row.id, entry)
            await self._record(tx, caller.actor, "whitelist.add", row, [entry])
            await self.apply(tx)
            return added

        added = await caller.idempotent(Added, work)
        return replace(added, ended_sessions=await self._enforce(caller.actor, database_id))

    async def preview(
        self, actor: Actor, database_id: uuid.UUID, entries: list[NewEntry]
    ) -> Preview:
        """Return what ``replace`` would change, and whose sessions would end. Raises NotFound."""
        row = await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            there = await whitelist.entries(tx, row.id)
            usernames = await _logins(tx, row)
        own = {row.cluster, PoolerEndpoint.name}
        sessions = {
            each.name: await each.sessions() for each in self._endpoints() if each.name in own
        }
        return lists.preview(there, entries, plan.endings(sessions, usernames, entries))

    async def replace(
        self,
        caller: Caller,
        database_id: uuid.UUID,
        entries: list[NewEntry],
        *,
        version: str | None = None,
    ) -> list[EntryRow]:
        """Replace the whole list; an empty one opens the database.

        Raises as ``add``, and ListChanged if the list is not of this ``version`` of a preview,
        unless it is what is wanted already.
        """
        async with caller.transaction() as tx:
            row = await self._databases.lock_active(tx, caller.actor, database_id)
            found = await lists.replace(tx, row.id, entries, version=version)
            await self._record(tx, caller.actor, "whitelist.replace", row, entries)
            await self.apply(tx)
            tx.after_commit(self.end_foreign_sessions)
        return found

    async def remove(self, caller: Caller, database_id: uuid.UUID, entry_id: uuid.UUID) -> Removed:
        """No longer admit a network, and end the sessions from there. Raises NotFound."""
        async with caller.transaction() as tx:
            row = await self._databases.lock_active(tx, caller.actor, database_id)
            entry = await whitelist.remove(tx, row.id, entry_id)
            if entry is None:
                raise NotFound("There is no such entry on this database's allowlist.")
            gone = NewEntry(entry.network, entry.description, entry.expires_at)
            await self._record(tx, caller.actor, "whitelist.remove", row, [gone])
            await self.apply(tx)
            opens = not await whitelist.entries(tx, row.id)
        return Removed(entry, opens, await self._enforce(caller.actor, database_id))

    async def _record(
        self, tx: Tx, actor: Actor, action: str, row: DatabaseRow, entries: list[NewEntry]
    ) -> None:
        await audit.record_on(tx, actor, action, row, details=audited(entries))

    # ── the endpoints ────────────────────────────────────────────────────────────

    async def apply(self, tx: Tx) -> None:
        """Put the lists as ``tx`` sees them in force at every endpoint, for every new connection.

        Raises MachineError if one refuses the rules; then its old ones are restored.
        """
        await tx.execute("SELECT pg_advisory_xact_lock(%s)", (_RULES_LOCK,))
        async with as_platform(tx):
            rulebook = await _lists(tx)
        with files.until_read(self._unread) as unread:
            for endpoint in self._endpoints():
                await endpoint.apply(rulebook, unread=unread)

    # ── the sessions ─────────────────────────────────────────────────────────

    async def end_foreign_sessions(self) -> Counter[str]:
        """End every open session, at any endpoint, from where its role is not admitted.

        Return how many of each role were ended. A login that was in progress while the rules
        changed is visible only afterwards, so the worker does this again every few seconds.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            if not await whitelist.is_any(tx):
                return Counter()
        there = {endpoint: await endpoint.sessions() for endpoint in self._endpoints()}
        # Read after the sessions: with older lists, clients just admitted would be foreign.
        async with self._store.transaction(audit.PLATFORM) as tx:
            lists = await _lists(tx)
        ended = Counter[str]()
        for endpoint, sessions in there.items():
            foreign = [
                each
                for each in sessions
                if lists.is_foreign(each.username, each.address, endpoint.name)
            ]
            if foreign and await endpoint.end(foreign):
                ended.update(each.username for each in foreign)
                emit(SessionsEnded("not on the allowlist", endpoint.name, len(foreign)))
        return ended

    async def _enforce(self, actor: Actor, database_id: uuid.UUID) -> int:
        """End all foreign sessions. Return how many of them were those of one database."""
        ended = await self.end_foreign_sessions()
        try:
            row = await self._databases.show(actor, database_id)
        except NotFound:  # it has been deleted meanwhile
            return 0
        async with self._store.transaction(actor) as tx:
            return sum(ended[name] for name in await _logins(tx, row))

    async def keep(self) -> None:
        """Drop expired entries from the rules, and restore rule files that were changed by hand."""
        async with self._store.long_transaction(audit.PLATFORM) as tx:
            await self.apply(tx)
        await self.end_foreign_sessions()


async def _lists(tx: Tx) -> plan.Rulebook:
    return plan.compile_lists(
        await whitelist.admissions(tx), await whitelist.logins_on_instances(tx)
    )


async def _logins(tx: Tx, row: DatabaseRow) -> set[str]:
    """Return the names of a database's logins, to which its allowlist applies."""
    return {row.username, *(each.username for each in await roles.of_database(tx, row.id))}
