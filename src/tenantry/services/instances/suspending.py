"""Which instances are idle, and are suspended; and the rows of those that were woken.

The fleet's file says whether an instance is suspended: it changes with the server, whether or not
the control database runs. The row follows within a second.
"""

import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog

from tenantry.base.errors import Deferred
from tenantry.base.events import Event, SessionAnnounced, subscribe
from tenantry.control import audit, databases, operations
from tenantry.control import clusters as rows
from tenantry.control.clusters import ClusterRow
from tenantry.control.store import ControlStore
from tenantry.pg import presence
from tenantry.services.clusters import suspending
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.pooling.service import Pooler

log = structlog.get_logger()

_RENEW_SECONDS = 1.0  # for a transaction to end


@dataclass(slots=True)
class _Idle:
    """Since when nobody was at a server, as the monotonic clock has it, with what was seen."""

    pid: int | None
    started: int = -1
    since: float = field(default_factory=time.monotonic)


class Suspending:
    """Suspends idle instances, and follows those that are woken. One for the worker's process."""

    def __init__(
        self, store: ControlStore, fleet: Fleet, clusters: ClusterPools, pooler: Pooler
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._clusters = clusters
        self._pooler = pooler
        self._idle: dict[str, _Idle] = {}
        self._visited: set[str] = set()
        self._visited_before: set[str] = set()  # a session is counted after it was announced
        self._woken: set[uuid.UUID] = set()  # some of their clients pass through the listener
        subscribe(self._hear)

    def _hear(self, event: Event) -> None:
        match event:
            case SessionAnnounced(database):
                self._visited.add(self._pooler.lines.cluster_of(database))

    async def follow(self) -> None:
        """Write into the fleet's file what owners changed, and into rows what the file says."""
        with Deferred() as failures:
            for row in await self._instances():
                with failures.deferred():
                    if (member := self._fleet.member(row.name)) is not None:
                        await self._follow(row, member)
            for cluster_id in [*self._woken]:
                with failures.deferred():
                    await self._renew(cluster_id)

    async def _follow(self, row: ClusterRow, member: Member) -> None:
        fields = {
            "auto_suspend_seconds": row.auto_suspend_seconds,
            "auto_suspend_direct": row.auto_suspend_direct,
        }
        if fields.items() - member.model_dump().items():
            self._fleet.change(member, **fields)
        if {row.wanted, member.wanted} != {"running", "suspended"}:
            return
        suspended = member.wanted == "suspended"
        async with self._store.transaction(audit.PLATFORM) as tx:
            await rows.note_suspended(tx, row.id, suspended=suspended)
        log.info("instance.suspended" if suspended else "instance.woken", cluster=row.name)
        if not suspended:
            self._woken.add(row.id)

    async def _renew(self, cluster_id: uuid.UUID) -> None:
        """Have the pooler connect its clients to the server itself, which resumes those that wait.

        So it is not done while others may have them wait: a move, or a swap. Raises Unavailable if
        the pooler does not answer; it is tried again.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            on_it = await databases.on_cluster(tx, cluster_id)
        for name in [name for each in on_it for name in each.database_names]:
            async with self._store.long_transaction(audit.PLATFORM) as tx:
                if not await databases.lock_all_on(tx, cluster_id):
                    return
                if cluster_id in await operations.clusters_at_work(tx):
                    return
                await self._pooler.renew_servers(name, within=_RENEW_SECONDS)
        self._woken.discard(cluster_id)

    async def suspend_idle(self) -> None:
        """Suspend the instances at which nobody was for as long as their owners say."""
        visited = self._visited | self._visited_before
        self._visited_before, self._visited = self._visited, set()
        running = [
            each
            for each in await self._instances()
            if each.auto_suspend_seconds is not None and each.wanted == "running"
        ]
        self._idle = {each.name: found for each in running if (found := self._idle.get(each.name))}
        with Deferred() as failures:
            for row in running:
                with failures.deferred():
                    await self._look(row, visited)

    async def _look(self, row: ClusterRow, visited: Iterable[str]) -> None:
        cluster = self._fleet.of(Member.of(row))
        if (pid := cluster.pid()) is None:
            return
        async with self._clusters.connection(row.id) as server:
            seen = await presence.look(server)
        idle = self._idle.setdefault(row.name, _Idle(pid))
        # A visit of the platform's own is no use of it, though the server counts it.
        used = seen.tenants or (seen.started != idle.started and row.name not in visited)
        if used or pid != idle.pid:
            idle.pid, idle.since = pid, time.monotonic()
        idle.started = seen.started
        if seen.others or time.monotonic() - idle.since < (row.auto_suspend_seconds or 0):
            return
        if await suspending.suspend(self._fleet, cluster, partial(while_idle, self._store, row.id)):
            await self.follow()

    async def _instances(self) -> list[ClusterRow]:
        return [
            each for each in await self._clusters.every() if each.kind == "dedicated" and each.ready
        ]


@asynccontextmanager
async def while_idle(store: ControlStore, cluster_id: uuid.UUID) -> AsyncIterator[bool]:
    """Yield whether an instance is still to be suspended, and no operation is about it.

    None begins in the block: the verbs lock a database before they look whether its instance has to
    be woken, until their operation can be seen.
    """
    async with store.transaction(audit.PLATFORM) as tx:
        all_locked = await databases.lock_all_on(tx, cluster_id)
        row = await rows.find(tx, cluster_id)
        yield (
            all_locked
            and row is not None
            and row.auto_suspend_seconds is not None
            and row.wanted == "running"
            and cluster_id not in await operations.clusters_at_work(tx)
        )
