"""The verbs on allowlists, and having every door and every open session obey them."""

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import InvalidInput, MachineError, NotFound, TenantryError
from tenantry.base.events import Changed, emit
from tenantry.base.home import Home
from tenantry.base.secrets import SecretSource
from tenantry.control import audit, roles, whitelist
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx, as_platform
from tenantry.control.whitelist import EntryRow, NewEntry
from tenantry.host import files
from tenantry.pg import catalog, hba, objects
from tenantry.pg.connections import (
    ADMIN,
    PLATFORM,
    PLATFORM_ROLES,
    connect,
    fetch_value,
)
from tenantry.services.clusters.service import LocalClusters
from tenantry.services.databases.service import Databases
from tenantry.services.network import plan
from tenantry.services.network.plan import Rulebook
from tenantry.services.pooling.service import PooledClient, Pooler
from tenantry.services.requests.service import Caller

log = structlog.get_logger()

MOST_ENTRIES = 200  # of one database
_MOST_AUDITED = 10
_RULES_LOCK = 0x72756C65  # "rule": whoever writes the rule files holds this advisory lock
_RELOAD_SECONDS = 10
_SAID: frozenset[str] = frozenset()  # a whole list says all of each entry


@dataclass(frozen=True, slots=True)
class Added:
    """A new entry. ``closes``: it is the first, and all other addresses are refused from now on.

    ``ended_sessions`` are those of the database that were open from elsewhere.
    """

    entry: EntryRow
    closes: bool
    ended_sessions: int = 0


@dataclass(frozen=True, slots=True)
class Removed:
    """A former entry. ``opens``: it was the last, and all addresses are admitted from now on.

    ``ended_sessions`` are those of the database that were open from there.
    """

    entry: EntryRow
    opens: bool
    ended_sessions: int


class Network:
    """From where each database may be reached, on this machine's shared cluster."""

    def __init__(
        self, store: ControlStore, databases: Databases, local: LocalClusters, pooler: Pooler
    ) -> None:
        self._store = store
        self._databases = databases
        self._shared = local.shared
        self._unread = Home(local.settings.home).run / "rules.unread"
        self._pooler = pooler

    # ── verbs ────────────────────────────────────────────────────────────────
    # A change is in force at both doors before its transaction ends; then the sessions that it
    # shuts out are ended. A repeat ends them too: the first may have been cut off before.

    async def entries(self, actor: Actor, database_id: uuid.UUID) -> list[EntryRow]:
        """A database's list. Raises NotFound."""
        await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            return await whitelist.of_database(tx, database_id)

    async def add(self, caller: Caller, database_id: uuid.UUID, entry: NewEntry) -> Added:
        """Admit a network. Sessions from where the database is closed now have ended then.

        Raises NotFound, Conflict, InvalidInput.
        """

        async def work(tx: Tx, _: SecretSource) -> Added:
            row = await self._databases.lock_active(tx, caller.actor, database_id)
            closes = not await whitelist.of_database(tx, row.id)
            entry_id = await whitelist.put(tx, row.id, entry)
            found = await self._bounded(tx, row)
            await self._record(tx, caller.actor, "whitelist.add", row, [entry])
            await self.apply(tx)
            return Added(next(each for each in found if each.id == entry_id), closes)

        added = await caller.once(Added, work)
        return replace(added, ended_sessions=await self._enforce(caller.actor, database_id))

    async def replace(
        self, caller: Caller, database_id: uuid.UUID, entries: list[NewEntry]
    ) -> list[EntryRow]:
        """Make this the whole list; an empty one opens the database. Raises as ``add``."""
        async with caller.transaction() as tx:
            row = await self._databases.lock_active(tx, caller.actor, database_id)
            kept = [
                await whitelist.put(tx, row.id, replace(each, unsaid=_SAID)) for each in entries
            ]
            await whitelist.remove_others(tx, row.id, kept)
            found = await self._bounded(tx, row)
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
            opens = not await whitelist.of_database(tx, row.id)
        return Removed(entry, opens, await self._enforce(caller.actor, database_id))

    async def _bounded(self, tx: Tx, row: DatabaseRow) -> list[EntryRow]:
        found = await whitelist.of_database(tx, row.id)
        if len(found) > MOST_ENTRIES:
            raise InvalidInput(
                f"A database's allowlist may have {MOST_ENTRIES} entries.",
                hint="Admit ranges (CIDR) instead of single addresses.",
            )
        return found

    async def _record(
        self, tx: Tx, actor: Actor, action: str, row: DatabaseRow, entries: list[NewEntry]
    ) -> None:
        # Of a long list the first: it may be replaced again and again, and the audit is kept.
        networks = [str(entry.network) for entry in entries[:_MOST_AUDITED]]
        details: dict[str, object] = {"networks": networks, "count": len(entries)}
        await audit.record_on(tx, actor, action, row, details=details)

    # ── the doors ────────────────────────────────────────────────────────────

    async def apply(self, tx: Tx) -> None:
        """Have both doors obey the lists as ``tx`` sees them, for every new connection.

        Raises MachineError if PostgreSQL refuses the rules; then the old ones are back.
        """
        await tx.execute("SELECT pg_advisory_xact_lock(%s)", (_RULES_LOCK,))
        async with as_platform(tx):
            rulebook = plan.compile_lists(await whitelist.admissions(tx))
        with files.until_read(self._unread) as unread:
            await self._apply_to_cluster(rulebook, unread=unread)
            await self._pooler.ensure_rules(plan.render_pooler_rules(rulebook), unread=unread)

    async def _apply_to_cluster(self, rulebook: Rulebook, *, unread: bool) -> None:
        rules = hba.render(hba.shared_rules(PLATFORM_ROLES, rulebook.lines()))
        await self._ensure_rules(rules, unread=unread)
        # The rules that admit by list are loaded by now: nobody on a list is shut out in between.
        async with connect(self._shared.address, user=PLATFORM) as server:
            await divide(server, rulebook)

    async def _ensure_rules(self, wanted: str, *, unread: bool) -> None:
        path = self._shared.data / "pg_hba.conf"
        before = path.read_text()
        if before == wanted and not unread:
            return
        loaded = await self._load_time()
        files.write_atomically(path, wanted)
        emit(Changed("rules.written", self._shared.name))
        async with connect(self._shared.address, user=ADMIN) as admin:
            if errors := await catalog.rule_errors(admin):
                files.write_atomically(path, before)
                raise MachineError(
                    f"PostgreSQL refuses line {errors[0].line} of the rules: {errors[0].error}",
                    hint="The rules in force are as they were. Please report this.",
                )
        self._shared.reload()
        async with asyncio.timeout(_RELOAD_SECONDS):
            # A new backend has the time of the postmaster that forked it.
            while await self._load_time() == loaded:
                pass
        emit(Changed("rules.reloaded", self._shared.name))

    async def _load_time(self) -> object:
        async with connect(self._shared.address, user=ADMIN) as admin:
            return await fetch_value(admin, "SELECT pg_conf_load_time()")

    # ── the sessions ─────────────────────────────────────────────────────────

    async def end_foreign_sessions(self) -> Counter[str]:
        """End every open session, direct or pooled, from where its role is not admitted.

        Returns how many of each role were ended. A login that was under way while the rules changed
        shows only afterwards, so the worker does this again every few seconds.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            if not await whitelist.is_any(tx):
                return Counter()
        pooled: list[PooledClient] = []
        async with connect(self._shared.address, user=PLATFORM) as server:
            direct = await catalog.sessions_from_addresses(server)
            with _though_the_pooler_is_away():
                pooled = await self._pooler.clients()
            # Only now: by lists of before, whom a change has just admitted would be foreign.
            async with self._store.transaction(audit.PLATFORM) as tx:
                lists = plan.compile_lists(await whitelist.admissions(tx))
            direct = [each for each in direct if lists.is_foreign(each.username, each.address)]
            pooled = [each for each in pooled if lists.is_foreign(each.username, each.address)]
            if direct:
                await objects.end_these_sessions(server, direct)
        ended = Counter(each.username for each in direct)
        with _though_the_pooler_is_away():
            await self._pooler.end_clients(pooled)
            ended.update(each.username for each in pooled)
        if ended:
            log.info("sessions.ended", direct=len(direct), pooled=ended.total() - len(direct))
        return ended

    async def _enforce(self, actor: Actor, database_id: uuid.UUID) -> int:
        """End all foreign sessions. Returns how many of them were those of one database."""
        ended = await self.end_foreign_sessions()
        try:
            row = await self._databases.show(actor, database_id)
        except NotFound:  # it has been deleted meanwhile
            return 0
        async with self._store.transaction(actor) as tx:
            further = await roles.of_database(tx, row.id)
        return sum(ended[name] for name in (row.username, *(each.username for each in further)))

    async def keep(self) -> None:
        """What time changes: entries that have come to their end; and files changed by hand."""
        async with self._store.long_transaction(audit.PLATFORM) as tx:
            await self.apply(tx)
        await self.end_foreign_sessions()


async def divide(server: AsyncConnection[TupleRow], rulebook: Rulebook) -> None:
    """Have each tenant's role admitted by its list, or from everywhere if it has none.

    Others drop roles meanwhile: then it is begun anew.
    """
    for last in (False, False, True):
        tenants = set(await catalog.tenant_roles(server))
        anywhere = await catalog.admitted_anywhere(server) & tenants
        closed = tenants.intersection(rulebook.networks)
        try:
            await objects.admit_by_list(server, sorted(anywhere & closed))
            await objects.admit_anywhere(server, sorted(tenants - closed - anywhere))
        except (psycopg.errors.UndefinedObject, psycopg.errors.InternalError_):
            if last:
                raise
        else:
            return


@contextlib.contextmanager
def _though_the_pooler_is_away() -> Iterator[None]:
    try:
        yield
    except TenantryError as error:
        log.warning("pooled sessions were not looked at", error=str(error))
