"""The verbs on allowlists of sites: those of databases, obeyed by the packet filter."""

import time
import uuid
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from tenantry.base.errors import Conflict, Deferred, NotFound, Unavailable
from tenantry.base.home import Home
from tenantry.base.secrets import SecretSource
from tenantry.control import audit, sites, whitelist
from tenantry.control.audit import Actor
from tenantry.control.sites import SiteRow
from tenantry.control.store import ControlStore, Tx
from tenantry.control.whitelist import SITES, EntryRow, NewEntry
from tenantry.services.network import lists
from tenantry.services.network.model import Added, Preview, Removed, audited
from tenantry.services.network.plan import endings
from tenantry.services.requests.service import Caller
from tenantry.services.sites import plan, redis_client
from tenantry.services.sites.filtering import SiteFilter
from tenantry.services.sites.process import SiteProcess
from tenantry.services.sites.service import Sites

_FIRST_SECONDS, _LONGEST_SECONDS = 2.0, 60.0  # between two tries on a process that fails


@dataclass(frozen=True, slots=True)
class _Client:
    """A client of a site's Redis that came over the network."""

    username: str
    address: str


@dataclass(frozen=True, slots=True)
class _Failed:
    """A site whose process could not be made what it should be: it hangs, for instance.

    It is tried again once something about it has changed, or after a while, twice as long each
    time.
    """

    state: Hashable
    seconds: float
    again_at: float  # of the monotonic clock

    @classmethod
    def after(cls, last: "Self | None", state: Hashable, now: float) -> Self:
        same = last is not None and last.state == state
        seconds = min(_LONGEST_SECONDS, 2 * last.seconds) if last and same else _FIRST_SECONDS
        return cls(state, seconds, now + seconds)

    def rests(self, state: Hashable, now: float) -> bool:
        return self.state == state and now < self.again_at


class SiteAllowlists:
    """The addresses from which the Redis of each site may be reached."""

    def __init__(
        self, store: ControlStore, home: Home, sites: Sites, site_filter: SiteFilter
    ) -> None:
        self._store = store
        self._home = home
        self._sites = sites
        self._filter = site_filter
        self._seen: dict[uuid.UUID, Hashable] = {}  # what the process of a site was made
        self._failed: dict[uuid.UUID, _Failed] = {}

    # ── verbs ────────────────────────────────────────────────────────────────
    # The kernel has the new rules, or the site is closed, when a verb returns. Its clients that are
    # not admitted any more are disconnected then. A repeated request does that again: the first may
    # have been cut off.

    async def entries(self, actor: Actor, site_id: uuid.UUID) -> list[EntryRow]:
        """Return a site's list. Raises NotFound."""
        async with self._store.transaction(actor) as tx:
            _there(await sites.find(tx, site_id))
            return await whitelist.entries(tx, site_id, SITES)

    async def add(self, caller: Caller, site_id: uuid.UUID, entry: NewEntry) -> Added:
        """Admit a network, and disconnect clients from addresses that are no longer admitted.

        Raises NotFound, Conflict (also in the shared Redis), InvalidInput.
        """

        async def work(tx: Tx, _: SecretSource) -> Added:
            row = await _lock(tx, site_id)
            added = await lists.add(tx, row.id, entry, SITES)
            await _record(tx, caller.actor, "whitelist.add", row, [entry])
            return added

        added = await caller.idempotent(Added, work)
        return replace(added, ended_sessions=await self._sites.enforce(site_id))

    async def preview(self, actor: Actor, site_id: uuid.UUID, entries: list[NewEntry]) -> Preview:
        """Return what ``replace`` would change, and who would be disconnected.

        Raises NotFound, Conflict.
        """
        async with self._store.transaction(actor) as tx:
            row = _with_list(_there(await sites.find(tx, site_id)))
            there = await whitelist.entries(tx, row.id, SITES)
        clients = await self._clients(row)
        names = {each.username for each in clients}
        return lists.preview(there, entries, endings({"redis": clients}, names, entries))

    async def _clients(self, row: SiteRow) -> list[_Client]:
        """Return the clients of a site that came over the network; none while it is down."""
        found: list[dict[str, str]] = []
        with suppress(Unavailable):
            async with redis_client.connected(SiteProcess.of(self._home, row), row.port) as client:
                found = await client.client_list()
        return [
            _Client(each["user"], address)
            for each in found
            if (address := plan.address_of(each)) is not None and not plan.is_local(each)
        ]

    async def replace(
        self,
        caller: Caller,
        site_id: uuid.UUID,
        entries: list[NewEntry],
        *,
        version: str | None = None,
    ) -> list[EntryRow]:
        """Replace the whole list; an empty one opens the site.

        Raises as ``add``, and ListChanged if the list is not of this ``version`` of a preview,
        unless it is what is wanted already.
        """
        async with caller.transaction() as tx:
            row = await _lock(tx, site_id)
            found = await lists.replace(tx, row.id, entries, version=version, lists=SITES)
            await _record(tx, caller.actor, "whitelist.replace", row, entries)
        await self._sites.enforce(site_id)
        return found

    async def remove(self, caller: Caller, site_id: uuid.UUID, entry_id: uuid.UUID) -> Removed:
        """No longer admit a network, and disconnect clients from there. Raises NotFound."""
        async with caller.transaction() as tx:
            row = await _lock(tx, site_id)
            entry = await whitelist.remove(tx, row.id, entry_id, SITES)
            if entry is None:
                raise NotFound("There is no such entry on this site's allowlist.")
            gone = NewEntry(entry.network, entry.description, entry.expires_at)
            await _record(tx, caller.actor, "whitelist.remove", row, [gone])
            opens = not await whitelist.entries(tx, row.id, SITES)
        return Removed(entry, opens, await self._sites.enforce(site_id))

    # ── the worker ───────────────────────────────────────────────────────────

    async def keep(self) -> None:
        """Put the lists in force if they are not, and open and close sites accordingly.

        Entries expire, processes are started again, and others may delete the kernel's rules.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            rows = await sites.listed(tx)
        if rows or self._seen:
            await self._filter.keep(plan.lists(rows))
        there = {row.id for row in rows}
        known = there | self._seen.keys()
        self._failed = {each: failed for each, failed in self._failed.items() if each in known}
        with Deferred() as failures:
            for gone in self._seen.keys() - there:  # it has no list any more
                with failures.deferred():
                    if await self._ensure(gone, None):
                        del self._seen[gone]
            for row in rows:
                with failures.deferred():
                    await self._keep(row)

    async def _keep(self, row: SiteRow) -> None:
        pid = SiteProcess.of(self._home, row).pid()
        if pid is None:
            return
        state = (pid, tuple(row.networks or ()), await self._filter.admits(row))
        if self._seen.get(row.id) != state and await self._ensure(row.id, state):
            self._seen[row.id] = state

    async def _ensure(self, site_id: uuid.UUID, state: Hashable) -> bool:
        """Make the process of a site what it should be, unless that has just failed.

        Return whether it is.
        """
        failed = self._failed.get(site_id)
        if failed is not None and failed.rests(state, time.monotonic()):
            return False
        try:
            await self._sites.ensure(site_id)
        except Exception:
            self._failed[site_id] = _Failed.after(failed, state, time.monotonic())
            raise
        self._failed.pop(site_id, None)
        return True


def _there(row: SiteRow | None) -> SiteRow:
    if row is None:
        raise NotFound("There is no such site.", hint="GET /api/sites lists them.")
    return row


async def _lock(tx: Tx, site_id: uuid.UUID) -> SiteRow:
    """Lock a site that can have an allowlist. Raises NotFound, Conflict."""
    row = _with_list(_there(await sites.lock(tx, site_id)))
    if row.status != "active":
        raise Conflict(f"The site {row.name} is being deleted.")
    return row


def _with_list(row: SiteRow) -> SiteRow:
    if row.isolation == "shared":
        raise Conflict(
            f"The site {row.name} shares its Redis, which listens on one port for all its sites:"
            " it cannot have an allowlist of its own.",
            hint="Create a site with isolation dedicated, and copy what it needs.",
        )
    return row


async def _record(
    tx: Tx, actor: Actor, action: str, row: SiteRow, entries: Sequence[NewEntry]
) -> None:
    await audit.record(
        tx,
        actor,
        action,
        resource_kind="site",
        resource_id=row.id,
        resource_name=row.name,
        details=audited(entries),
    )
