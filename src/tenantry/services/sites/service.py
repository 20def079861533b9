"""The verbs on sites, and their reconciliation: each has a Redis process, of its own or shared."""

import asyncio
import datetime as dt
import socket
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from tenantry.base.errors import Conflict, Deferred, NotFound, Unavailable
from tenantry.base.events import SiteRemoved, SiteWritten, StepDone, emit
from tenantry.base.home import Home
from tenantry.base.ids import new_id
from tenantry.base.networks import Network
from tenantry.base.secrets import SecretSource
from tenantry.base.settings import Settings
from tenantry.control import audit, operations, plans, site_backups, sites, whitelist
from tenantry.control.audit import Actor
from tenantry.control.sites import SiteRow
from tenantry.control.store import ControlStore, Tx, as_platform
from tenantry.host import files, processes
from tenantry.host.redis_engines import RedisEngine, find_redis
from tenantry.pg.parameters import Machine
from tenantry.services.sites import inspection, plan, process, redis_client
from tenantry.services.sites.filtering import SiteFilter
from tenantry.services.sites.model import (
    Changes,
    Inspection,
    KeyPage,
    NewSite,
    Site,
    SiteStats,
    Wanted,
    Which,
    digest,
)
from tenantry.services.sites.process import SiteProcess

_READY_SECONDS, _POLL_SECONDS = 5.0, 0.05
_AT_ONCE = 16  # processes that are asked what they hold
_ANSWER_SECONDS = 3.0  # for all of them: what waits for it has other things to show


class Sites:
    """The verbs on sites. Those that change something work in the caller's transaction."""

    def __init__(self, settings: Settings, store: ControlStore, site_filter: SiteFilter) -> None:
        self._settings = settings
        self._filter = site_filter
        self._home = Home(settings.home)
        self._store = store

    # ── verbs ────────────────────────────────────────────────────────────────

    async def create(self, tx: Tx, actor: Actor, wanted: Wanted, source: SecretSource) -> NewSite:
        """Create a site, which answers when ``tx`` has ended.

        Raises NameTaken, InvalidInput for what a shared Redis cannot do, Forbidden for more than
        the customer's plan grants, Conflict if there is no room, and MachineError without Redis.
        """
        await find_redis()
        await sites.lock_budget(tx)
        granted = await plans.of_customer(tx, actor.customer_id)
        memory_mb, max_clients = plan.sizes(wanted, granted)
        async with as_platform(tx):
            taken = await sites.taken(tx)
        password, key, now = source.password(), source.site_key(), dt.datetime.now(dt.UTC)
        port = taken.shared_port if wanted.isolation == "shared" else None
        if port is None:
            port = await asyncio.to_thread(self._port, taken.ports)
        row = SiteRow(
            id=new_id(),
            customer_id=actor.customer_id,
            name=wanted.name,
            status="active",
            port=port,
            memory_mb=memory_mb,
            max_clients=max_clients,
            eviction=wanted.eviction,
            persistence=wanted.persistence,
            semantic=wanted.semantic,
            isolation=wanted.isolation,
            settings={},
            networks=wanted.networks or None,
            password_hash=digest(password),
            key_hash=digest(key),
            created_at=now,
            updated_at=now,
        )
        plan.require_possible(row)
        if granted is not None:
            plan.require_granted(granted, row)
            count = (await sites.taken(tx)).sites
            plan.require_another(granted, count, otherwise=self._settings.customer.sites)
        self._require_room(taken, memory_mb, max_clients)
        await sites.insert(tx, row)
        await _put_networks(tx, row.id, wanted.networks)
        said = {"memory_mb": row.memory_mb, "isolation": row.isolation}
        await _record(tx, actor, "site.create", row, {**said})
        tx.after_commit(partial(self._begin, row))
        return NewSite(Site.of(row), password, key)

    async def every(self, actor: Actor) -> list[Site]:
        """Return the sites that the actor may see, the oldest first."""
        async with self._store.transaction(actor) as tx:
            return [Site.of(row) for row in await sites.every(tx)]

    async def show(self, actor: Actor, site_id: uuid.UUID) -> Site:
        """Return a site. Raises NotFound."""
        async with self._store.transaction(actor) as tx:
            return Site.of(_there(await sites.find(tx, site_id)))

    async def update(self, tx: Tx, actor: Actor, site_id: uuid.UUID, changes: Changes) -> Site:
        """Change a site; its process goes on. Raises NotFound, and as ``create``."""
        await sites.lock_budget(tx)
        row = _active(await sites.lock(tx, site_id))
        wanted = changes.given()
        new = replace(row, **wanted)
        if changes.networks is not None:
            new = replace(new, networks=changes.networks or None)
        plan.require_possible(new)
        if new.persistence != row.persistence:
            await operations.require_free(tx, "site", site_id)  # a backup, or a restore
        if (granted := await plans.of_customer(tx, actor.customer_id)) is not None:
            plan.require_granted(granted, new, had=row)
        async with as_platform(tx):
            taken = await sites.taken(tx)
        self._require_room(taken, new.memory_mb - row.memory_mb, new.max_clients - row.max_clients)
        await self._require_fitting(row, new)
        await sites.update(tx, new)
        if changes.networks is not None:
            await _put_networks(tx, site_id, changes.networks)
            new = _there(await sites.find(tx, site_id))  # of its list, what is in force
        said: dict[str, object] = {name: str(getattr(new, name)) for name in wanted}
        if "networks" in said:
            said["networks"] = [*map(str, wanted["networks"])]
        await _record(tx, actor, "site.update", new, said)
        tx.after_commit(partial(self.enforce, site_id))
        return Site.of(new)

    async def rotate(
        self, tx: Tx, actor: Actor, site_id: uuid.UUID, which: Which, source: SecretSource
    ) -> NewSite:
        """Replace the password, the API key or both; the former ones end at once.

        Clients that are connected with a former password are disconnected. Raises NotFound,
        Conflict.
        """
        row = _active(await sites.lock(tx, site_id))
        password = source.password() if which != "api_key" else None
        key = source.site_key() if which != "password" else None
        new = replace(
            row,
            password_hash=row.password_hash if password is None else digest(password),
            key_hash=row.key_hash if key is None else digest(key),
        )
        await sites.update(tx, new)
        await _record(tx, actor, "site.rotate", new, {"secrets": which})
        tx.after_commit(partial(self.ensure, site_id))
        return NewSite(Site.of(new), password, key)

    async def delete(self, tx: Tx, actor: Actor, site_id: uuid.UUID) -> Site:
        """Delete a site with its data; its backups expire. Raises NotFound."""
        row = _there(await sites.lock(tx, site_id))
        await sites.update(tx, replace(row, status="deleting"))
        await site_backups.note_site_deleted(tx, site_id)
        await _record(tx, actor, "site.delete", row)
        tx.after_commit(partial(self.ensure, site_id))
        if row.networks is not None:
            tx.in_background(self._filter.apply)  # another site may get its port
        return Site.of(row)

    async def flush(self, actor: Actor, site_id: uuid.UUID) -> Site:
        """Delete all keys of a site. Raises NotFound, Conflict, Unavailable."""
        async with self._store.transaction(actor) as tx:
            row = _active(await sites.find(tx, site_id))
            await _record(tx, actor, "site.flush", row)
        async with redis_client.connected(self._process(row), row.port) as client:
            if row.isolation == "shared":
                await redis_client.delete_keys(client, row.id)
            else:
                await client.flushall(asynchronous=True)
        return Site.of(row)

    # ── what its Redis reports ───────────────────────────────────────────────

    def runs(self, site: Site) -> bool:
        """Whether a site's process runs."""
        return self._process(site).pid() is not None

    async def stats(self, actor: Actor, site_id: uuid.UUID) -> SiteStats:
        """Return what a site holds and does. Raises NotFound, Unavailable."""
        site = await self.show(actor, site_id)
        async with redis_client.connected(self._process(site), site.port) as client:
            return (await inspection.stats(client, [site]))[site_id]

    async def stats_of(self, some: Sequence[Site]) -> dict[uuid.UUID, SiteStats]:
        """Return what these sites hold and do, without those that do not answer in some seconds.

        Each process is asked once, for all its sites.
        """
        found: dict[uuid.UUID, SiteStats] = {}
        places = asyncio.Semaphore(_AT_ONCE)
        together: dict[SiteProcess, list[Site]] = {}
        for site in some:
            together.setdefault(self._process(site), []).append(site)

        async def read(own: SiteProcess, its: list[Site]) -> None:
            async with places:
                with suppress(Unavailable):
                    async with redis_client.connected(own, its[0].port) as client:
                        found.update(await inspection.stats(client, its))

        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await asyncio.gather(*(read(own, its) for own, its in together.items()))
        return found

    async def keys(
        self, actor: Actor, site_id: uuid.UUID, *, match: str, cursor: str | None, limit: int
    ) -> KeyPage:
        """Return about ``limit`` keys whose names match a pattern, after the site's prefix.

        They come in no order, and one that is there throughout comes at least once (SCAN). Raises
        NotFound, InvalidInput, Unavailable.
        """
        site = await self.show(actor, site_id)
        async with redis_client.connected(self._process(site), site.port) as client:
            return await inspection.keys(client, site, match=match, cursor=cursor, limit=limit)

    async def inspect(self, actor: Actor, site_id: uuid.UUID) -> Inspection:
        """Return what takes a site's memory and time, by a bounded sample of its keys.

        Raises NotFound, Unavailable.
        """
        site = await self.show(actor, site_id)
        async with redis_client.connected(self._process(site), site.port) as client:
            return await inspection.inspect(client, site)

    # ── reconciliation ───────────────────────────────────────────────────────

    async def reconcile(self) -> None:
        """Make each site's files and process what its row says, and stop what has no row.

        The data of a site without a row stay: an earlier state of the control database may have
        been restored.
        """
        there = process.every(self._home)  # before the rows: what is created meanwhile is spared
        async with self._store.transaction(audit.PLATFORM) as tx:
            rows = await sites.every(tx)
        wanted = [self._process(row) for row in rows]
        with Deferred() as failures:
            for each in there:
                if each not in wanted and each.is_wanted():
                    with failures.deferred():
                        each.config.unlink(missing_ok=True)
                        await each.stop()
                        emit(SiteRemoved(each.name))
            if not rows:
                return
            await self._filter.apply()
            engine = await find_redis()
            done: set[SiteProcess] = set()
            for row, own in zip(rows, wanted, strict=True):
                if row.status == "active" and own in done:
                    continue  # the shared one: once is for all its sites
                done |= {own} if row.status == "active" else set()
                with failures.deferred():
                    await self.ensure(row.id, engine)

    async def enforce(self, site_id: uuid.UUID) -> int:
        """Put the allowlists in force, and make a site what its row says; as ``ensure``."""
        await self._filter.apply()
        return await self.ensure(site_id)

    async def ensure(self, site_id: uuid.UUID, engine: RedisEngine | None = None) -> int:
        """Make a site's files and process what its row says; remove one that is being deleted.

        The row's lock is held meanwhile, and that of the shared process: two processes at once
        could leave a mixture. Return how many clients its allowlist does not admit any more, which
        are disconnected. Raises Unavailable, and MachineError without Redis.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await sites.lock(tx, site_id)
            if row is None:
                return 0
            is_shared = row.isolation == "shared"
            together = await sites.lock_shared(tx) if is_shared else [row]
            active = [each for each in together if each.status == "active"]
            own = self._process(row)
            if row.status == "active":
                return await self._ensure_process(own, active, engine)
            if active:
                await self._remove_keys(own, row, active, engine)
            else:
                await own.remove()
            emit(StepDone("site_delete", "removed", str(site_id)))
            await sites.remove(tx, site_id)
            emit(SiteRemoved(row.name))
            return 0

    async def _ensure_process(
        self, own: SiteProcess, rows: list[SiteRow], engine: RedisEngine | None
    ) -> int:
        """Make the files and the running process what the rows of its sites say."""
        files.ensure_folder(own.folder)
        with files.until_read(own.folder / "unread") as unread:
            changed = own.ensure_files(rows, engine or await find_redis())
            if changed:
                emit(SiteWritten(own.name))
            if own.pid() is None:
                return 0
            is_open = await self._filter.admits(rows[0])
            try:
                ended = await redis_client.ensure_applied(
                    own, rows, is_open=is_open, interrupted=unread
                )
                own.limit_memory()
            except Unavailable as error:
                is_other = isinstance(error, redis_client.OtherData)
                if not (is_other or changed or unread or (own.is_open() and not is_open)):
                    raise
                # All its connections may be taken, by whoever is to be shut out. The
                # supervisor starts it again.
                await own.stop()
                return 0
            return ended

    async def _remove_keys(
        self, own: SiteProcess, row: SiteRow, others: list[SiteRow], engine: RedisEngine | None
    ) -> None:
        """Remove a site from the process that it shares: its users first, so that none writes.

        Its keys are gone before its row is. A process that was stopped has no keys.
        """
        await self._ensure_process(own, others, engine)
        emit(StepDone("site_delete", "users_removed", str(row.id)))
        if own.pid() is not None:
            async with redis_client.connected(own, row.port) as client:
                await redis_client.delete_keys(client, row.id)

    async def _begin(self, row: SiteRow) -> None:
        """Have a new site run, and wait until it answers, for some seconds at most.

        Without a supervisor, which starts it, nothing is waited for.
        """
        await self.enforce(row.id)
        own = self._process(row)
        clock = asyncio.get_running_loop().time
        deadline = clock() + _READY_SECONDS
        if own.pid() is not None:
            return
        while own.pid() is None and clock() < deadline:
            if processes.read_pid(self._home.supervisor_pid) is None:
                return
            await asyncio.sleep(_POLL_SECONDS)
        if row.isolation == "shared":  # it may have read its users before this one was there
            await own.answering()
            await self.ensure(row.id)
        elif row.networks is not None:  # it begins closed
            with suppress(Unavailable):  # not ready yet: the worker opens it
                await self.ensure(row.id)

    # ── helpers ──────────────────────────────────────────────────────────────

    def _process(self, row: SiteRow | Site) -> SiteProcess:
        return SiteProcess.of(self._home, row)

    def _require_room(self, taken: sites.Taken, memory_mb: int, max_clients: int) -> None:
        machine = Machine.this(self._settings.memory_mb)
        budget = plan.budget_mb(machine.memory_bytes, self._settings.redis.memory_mb)
        plan.require_room(taken, memory_mb, max_clients, budget=budget)

    async def _require_fitting(self, row: SiteRow, new: SiteRow) -> None:
        """Raise Conflict if a site would keep the memory that it is to give back.

        Redis evicts from a smaller memory only what its eviction allows. What it keeps would be
        missing in the budget of all sites.
        """
        if new.memory_mb >= row.memory_mb or new.eviction.startswith("allkeys"):
            return
        with suppress(Unavailable):  # a process that is down has no memory
            async with redis_client.connected(self._process(row), row.port) as client:
                info: dict[str, Any] = await client.info("memory")
            used, most = info["used_memory"], info["maxmemory"] // plan.MIB
            most += new.memory_mb - row.memory_mb
            if used > most * plan.MIB:
                holder = "shared Redis" if row.isolation == "shared" else "site"
                raise Conflict(
                    f"The {holder} holds {used // plan.MIB:,} MiB, more than {most:,}.",
                    hint="Delete keys first, or choose eviction allkeys-lru.",
                )

    def _port(self, taken: list[int]) -> int:
        here = self._settings
        own = {here.api.port, here.rest.port, here.cache.port, here.pg_port, here.pool.port}
        return plan.next_port(
            here.redis.port, own | set(taken) | set(here.instance_port_range), _is_free
        )


def _is_free(port: int) -> bool:
    """Whether no process of this machine listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _there(row: SiteRow | None) -> SiteRow:
    if row is None:
        raise NotFound("There is no such site.", hint="GET /api/sites lists them.")
    return row


def _active(row: SiteRow | None) -> SiteRow:
    found = _there(row)
    if found.status != "active":
        raise Conflict(f"The site {found.name} is being deleted.")
    return found


async def _put_networks(tx: Tx, site_id: uuid.UUID, networks: Sequence[Network]) -> None:
    """Replace the networks of a site's allowlist; what else an entry says stays."""
    unsaid = frozenset({"description", "expires_at"})
    entries = [whitelist.NewEntry(each, None, None, unsaid) for each in networks]
    kept = [await whitelist.put(tx, site_id, each, whitelist.SITES) for each in entries]
    await whitelist.remove_others(tx, site_id, kept, whitelist.SITES)


async def _record(
    tx: Tx, actor: Actor, action: str, row: SiteRow, details: dict[str, object] | None = None
) -> None:
    await audit.record(
        tx,
        actor,
        action,
        resource_kind="site",
        resource_id=row.id,
        resource_name=row.name,
        details=details,
    )
