"""Measures the size of databases on disk, from outside them, and enforces their quotas.

While the disk itself is short of space, it holds the databases that have grown most.
"""

import dataclasses
import datetime as dt
import math
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import Deferred, TenantryError
from tenantry.base.events import QuotaChanged, emit
from tenantry.control import audit, usage
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.control.usage import Measured, UsageRow
from tenantry.pg import catalog, objects, session_ending, unmanaged
from tenantry.pg.connections import ADMIN, connect
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import steps
from tenantry.services.pooling.service import Pooler
from tenantry.services.quotas import plan

log = structlog.get_logger()

_SLICE = 100  # databases measured at a time: a size is read from all its files
_EVERY_SECONDS = 4.5  # of calls each second: how long a tenant may write before it is noticed
_NEW = dt.timedelta(minutes=10)


class Quotas:
    """The enforcement of disk quotas; ``home`` is on the disk that all databases share."""

    def __init__(
        self, store: ControlStore, clusters: ClusterPools, pooler: Pooler, *, home: Path
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._pooler = pooler
        self._home = home
        self._left = math.inf
        self._short = False
        self._growth = plan.Growth()
        self._has_measured_all = False
        self._to_hold: set[uuid.UUID] = set()
        self._enforced_at = -_EVERY_SECONDS
        # How many transactions each database of a cluster had seen when it was measured: without
        # further ones, and without a session, its size has not changed.
        self._seen: dict[uuid.UUID, dict[str, int]] = {}

    async def watch(self) -> None:
        """Enforce, every five seconds; at each call while the disk may soon be short of space."""
        self._look_at_disk()
        since = time.monotonic() - self._enforced_at
        if since >= _EVERY_SECONDS or self._left < plan.NEAR:
            self._enforced_at = time.monotonic()
            await self.enforce()

    async def enforce(self) -> int:
        """Measure the databases that may have changed, and act on all. Return how many changed.

        A failure with one database does not hold the others up.
        """
        changed = 0
        self._look_at_disk()
        self._growth.turn(time.monotonic(), short=self._short)
        with Deferred() as failures:
            for cluster in await self._clusters.with_databases():
                with failures.deferred():
                    async with self._store.transaction(audit.PLATFORM) as tx:
                        active = [
                            row
                            for row in await rows.on_cluster(tx, cluster.id)
                            if row.status == "active"
                        ]
                    if not self._has_measured_all:
                        # What was measured before this process began: what has grown since then
                        # may be what the disk is full of.
                        self._note(active, await self._measured(cluster.id))
                    await self._measure_active(cluster.id, active)
                    measured = await self._measured(cluster.id)
                    self._note(active, measured)
                    for row in active:
                        if (use := measured.get(row.id)) is None:
                            continue
                        try:
                            changed += await self._act(row, use)
                        except (TenantryError, psycopg.Error) as error:
                            log.warning(
                                "quota.failed", database=row.database_name, error=str(error)
                            )
            self._has_measured_all = True
        return changed

    async def enforce_one(self, row: DatabaseRow) -> None:
        """Measure and act on one database now, whose quota was changed."""
        self._look_at_disk()
        async with self._clusters.connection(row.cluster_id) as server:
            await self._measure(server, [row])
        async with self._store.transaction(audit.PLATFORM) as tx:
            use = await usage.find(tx, row.id)
        if use is None or (use.state in plan.RESTRICTED and self._is_or_was_short):
            return  # the worker knows whether it is also to be held, and frees it in a second
        await self._act(row, use)

    # ── what is left of the disk ─────────────────────────────────────────────

    def _look_at_disk(self) -> None:
        disk = shutil.disk_usage(self._home)
        self._left = plan.floors(disk.free, disk.total)
        short = plan.is_short(self._left, was_short=self._short)
        if short != self._short:
            log.warning("disk.short" if short else "disk.no_longer_short", home=str(self._home))
        self._short = short
        if not short:
            self._to_hold.clear()

    @property
    def _is_or_was_short(self) -> bool:
        """Whether there is too little space to free a held database."""
        return plan.is_short(self._left, was_short=True)

    def _note(self, active: list[DatabaseRow], measured: Mapping[uuid.UUID, UsageRow]) -> None:
        newest = dt.datetime.now(dt.UTC) - _NEW
        self._growth.note(
            {
                row.id: plan.Size(
                    measured[row.id].used_bytes - measured[row.id].allowed_bytes,
                    row.customer_id or row.id,
                    row.created_at > newest,
                )
                for row in active
                if row.id in measured
            }
        )
        # Before, some of what has grown is not known, and so not whose part of it is large.
        if self._short and self._has_measured_all:
            self._to_hold |= self._growth.to_hold(self._left)

    async def _measured(self, cluster_id: uuid.UUID) -> Mapping[uuid.UUID, UsageRow]:
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await usage.on_cluster(tx, cluster_id)

    # ── measuring ────────────────────────────────────────────────────────────

    async def _measure_active(self, cluster_id: uuid.UUID, active: list[DatabaseRow]) -> None:
        async with self._clusters.connection(cluster_id) as server:
            activity = await catalog.activity(server)
        seen = self._seen.get(cluster_id, {})
        due = [
            row
            for row in active
            if row.used_bytes is None
            or any(
                activity[name].sessions or activity[name].transactions != seen.get(name)
                for name in (activity if row.is_instance else row.database_names)
                if name in activity
            )
        ]
        for start in range(0, len(due), _SLICE):
            async with self._clusters.connection(cluster_id) as server:
                await self._measure(server, due[start : start + _SLICE])
        self._seen[cluster_id] = {name: each.transactions for name, each in activity.items()}

    async def _measure(
        self, server: AsyncConnection[TupleRow], databases: list[DatabaseRow]
    ) -> None:
        names = {row.id: row.database_names for row in databases}
        for row in databases:
            if row.is_instance:  # what its tenant has created there counts
                names[row.id] += await unmanaged.databases(server)
        sizes = await catalog.sizes(server, [each for some in names.values() for each in some])
        measured = {
            row.id: Measured(
                used_bytes=sum(sizes.get(name, 0) for name in names[row.id]),
                shadow_bytes=sizes.get(row.shadow_name, 0),
            )
            for row in databases
        }
        async with self._store.transaction(audit.PLATFORM) as tx:
            await usage.keep(tx, measured)

    # ── acting ───────────────────────────────────────────────────────────────

    async def _act(self, row: DatabaseRow, use: UsageRow) -> bool:
        if self._next(row, use) != (use.state, use.held):
            return await self._change(row.id)
        # A login in progress when the state changed is visible only afterwards.
        if use.state in plan.RESTRICTED:
            async with self._clusters.connection(row.cluster_id) as server:
                await session_ending.end_sessions_in(
                    server,
                    row.database_names,
                    before=None if use.state == "stopped" else use.since,
                )
            if use.state == "stopped":
                await self._restrict_beside(row, "stopped")  # also what is new there
        return False

    async def _restrict_beside(self, row: DatabaseRow, state: rows.QuotaState) -> None:
        """Close or open what the tenant of an instance has created there: it owns these itself."""
        if not row.is_instance:
            return
        cluster = await self._clusters.cluster(row.cluster_id)
        async with connect(cluster.address, user=ADMIN) as admin:
            beside = await unmanaged.databases(admin)
            if state == "stopped":
                await objects.close_to_new_sessions(admin, beside)
                await session_ending.end_sessions_in(admin, beside, before=None)
            else:
                await objects.open_to_new_sessions(admin, beside)

    def _next(self, row: DatabaseRow, use: UsageRow) -> plan.Outcome:
        is_held = use.held and use.state in plan.RESTRICTED
        # A held one is until there is enough space, also if another process held it.
        hold = (is_held and self._is_or_was_short) or (self._short and row.id in self._to_hold)
        return plan.next_state(
            plan.Outcome(use.state, is_held),
            used=use.used_bytes - use.allowed_bytes,
            quota=row.disk_quota_bytes,
            read_only_from=use.read_only_from_bytes,
            held_to=plan.tolerated(self._left) if hold else None,
        )

    async def _change(self, database_id: uuid.UUID) -> bool:
        async with self._store.long_transaction(audit.PLATFORM) as tx:
            row = await rows.lock(tx, database_id, wait=False)
            use = await usage.find(tx, database_id)
            if row is None or use is None or row.status != "active":
                return False
            state, held = self._next(row, use)
            if state == use.state:
                await usage.set_held(tx, row.id, held)
                return False
            restricted = state in plan.RESTRICTED
            start = use.used_bytes if use.read_only_from_bytes is None else use.read_only_from_bytes
            keep = partial(
                usage.set_state,
                tx,
                row.id,
                state,
                held=held,
                read_only_from=start if restricted else None,
            )
            if restricted or use.state in plan.RESTRICTED:
                async with self._clusters.own_connection(row.cluster_id) as server:
                    await steps.limit(server, dataclasses.replace(row, quota_state=state))
                    # After the limit: every session without it has begun before ``since``.
                    await keep()
                    await session_ending.end_sessions_in(server, row.database_names, before=None)
                if "stopped" in {state, use.state}:
                    await self._restrict_beside(row, state)
            else:
                await keep()
            if state == "stopped":
                # The cluster refuses them already; without this they would wait in the pooler.
                with suppress(TenantryError):
                    await self._pooler.kick_out(row.database_names)
            await audit.record_on(
                tx,
                audit.PLATFORM,
                f"database.quota_{state}",
                row,
                details={
                    "used_bytes": use.used_bytes,
                    "quota_bytes": row.disk_quota_bytes,
                    "held": held,
                },
            )
        emit(QuotaChanged(row.database_name, state, use.used_bytes, row.disk_quota_bytes))
        return True
