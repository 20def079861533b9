"""Finds databases that write what no quota counts, ends their sessions, and pauses their logins.

PostgreSQL bounds neither the write-ahead log, nor the queue of notifications (before 17: 8 GiB),
nor its own log, nor the temporary files of all sessions of a database together. So the worker looks
twice a second at how each grows, and samples which database writes it (``pg.writing``).

A pause is stored in the database's row: the connection limit of a paused database is 0
(``databases.plan``), which each reconciliation restores, and it ends by itself. What counts towards
an hour's allowance is written to a file after each count, so that a restart of the worker grants no
new one.
"""

import asyncio
import datetime as dt
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from pydantic import BaseModel

from tenantry.base.errors import TenantryError, Unavailable
from tenantry.base.events import DatabasePaused, SessionsEnded, emit
from tenantry.base.pausing import pause
from tenantry.control import audit, pauses
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.pauses import PauseReason
from tenantry.control.store import ControlStore
from tenantry.host import files
from tenantry.pg import catalog, names, objects, session_ending, writing
from tenantry.pg.blockers import without_blockers
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import PLATFORM, connect
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import steps
from tenantry.services.overuse import plan
from tenantry.services.pooling.service import Pooler

Server = AsyncConnection[TupleRow]

_LOOK_SECONDS = 0.5
_STALE_SECONDS = 5.0
_LOOKS = 1200  # with one connection
_SAMPLE = 1024 * 1024  # bytes that are read in one look, of log and of write-ahead log

_STATE = """
    SELECT clock_timestamp(), (pg_current_wal_flush_lsn() - '0/0')::bigint,
        ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int,
        (pg_notification_queue_usage()
         * coalesce(current_setting('max_notify_queue_pages', true)::float8 * 8192, 8589934592)
        )::bigint
"""


class _Counted(BaseModel):
    """The counts of the meters at a moment (``time.time``), by database."""

    at: float
    wal: dict[str, tuple[float, int]]
    log: dict[str, tuple[float, int]]
    growth: dict[str, tuple[float, int]]


@dataclass(slots=True)
class _Seen:
    """How far everything was counted: positions, sizes, and the newest file of the log."""

    at: float = 0.0
    wal: int | None = None
    catalogs: int = 0  # those that are shared
    queue: int | None = None
    long_since: dt.datetime | None = None  # when the queue was first seen to be too long
    log: tuple[Path, int] | None = None


class Overuse:
    """The limits on what databases write; ``counted`` is a file for its counts."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        pooler: Pooler,
        *,
        counted: Path,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._pooler = pooler
        self._wal = plan.Meter(plan.LEAST_WAL)
        self._log = plan.Meter(plan.MOST_LOG)
        self._growth = plan.Meter(plan.MOST_SHARED)
        # The size of each cluster's shared catalogs, after it.
        self._vacuumed: dict[tuple[str, str], int] = {}
        self._counted = counted
        self._goes_on = False  # whether what was counted before is known
        self.wal_written: Counter[str] = Counter()
        """The bytes of write-ahead log of each database since this process began, estimated."""

    async def watch(self, cluster: Cluster) -> None:
        """For ten minutes, pause databases that write too much on a shared cluster.

        Raises Unavailable if the server does not answer, or stops answering.
        """
        if not self._goes_on:
            await asyncio.to_thread(self._go_on)
            self._goes_on = True
        seen = _Seen()
        try:
            async with connect(cluster.address, user=PLATFORM, lock_seconds=1) as server:
                for _ in range(_LOOKS):
                    await self._look(server, cluster, seen)
                    await pause(_LOOK_SECONDS)
        except psycopg.OperationalError as error:
            raise Unavailable(f"Nobody looks at what databases write: {error}".strip()) from error

    def wal_left(self, row: DatabaseRow) -> int:
        """Return how much write-ahead log a database may write at once before it is paused."""
        most = plan.most_wal(row.disk_quota_bytes)
        return self._wal.left(row.database_name, most, time.monotonic())

    async def _look(self, server: Server, cluster: Cluster, seen: _Seen) -> None:
        state = await (await server.execute(_STATE)).fetchone()
        if state is None:
            return
        now, position, timeline, queue = state
        before_that, seen.at = seen.at, time.monotonic()
        # Only the end of what was written since is sampled: after a stall, of this process or of
        # the machine, it is not typical of the rest, and the wrong database would be paused.
        if seen.wal is None or seen.at - before_that > _STALE_SECONDS:
            seen.wal, seen.catalogs = position, await _catalogs_bytes(cluster)
        elif position - seen.wal >= _SAMPLE:
            shared = await self._count_wal(server, cluster, timeline, seen.wal, position)
            size = await _catalogs_bytes(cluster)
            await self._count_growth(max(0, size - seen.catalogs), shared)
            seen.wal, seen.catalogs = position, size
        before = queue if seen.queue is None else seen.queue
        seen.long_since = (seen.long_since or now) if plan.queue_is_long(queue) else None
        if plan.queue_is_filled(before, queue):
            await self._stop_notifying(server, cluster, queue)
        elif seen.long_since is not None:
            await self._free_queue(server, seen.long_since)
        seen.queue = queue
        await self._count_log(cluster, seen)
        await self._count_temporary(server, cluster)
        for role in await self._reset_settings(server):
            if row := await self._named(names.database_of(role)):
                await self._pause(row, "settings", plan.MOST_SETTINGS)

    async def _reset_settings(self, server: Server) -> set[str]:
        reset: set[str] = set()
        for role in await objects.roles_with_large_settings(server, plan.MOST_SETTINGS):
            work = partial(objects.reset_settings, server, role)
            # Settings that are being changed right now are dealt with at the next look.
            with suppress(psycopg.errors.LockNotAvailable, psycopg.InternalError):
                await without_blockers(server, work, roles=[role])
                reset.add(role)
        return reset

    def _go_on(self) -> None:
        """Continue from what was counted before this process began."""
        try:
            found = _Counted.model_validate_json(self._counted.read_text())
        except (FileNotFoundError, ValueError):
            return  # the first time, or a power failure has emptied it
        at = time.monotonic() - max(0.0, time.time() - found.at)
        self._wal.go_on_from(found.wal, at)
        self._log.go_on_from(found.log, at)
        self._growth.go_on_from(found.growth, at)

    async def _keep_counted(self) -> None:
        now = time.monotonic()
        counted = _Counted(
            at=time.time(),
            wal=self._wal.levels(now),
            log=self._log.levels(now),
            growth=self._growth.levels(now),
        )
        with suppress(OSError):  # a full disk must not prevent pauses
            await asyncio.to_thread(files.replace, self._counted, counted.model_dump_json())

    # ── what is written ──────────────────────────────────────────────────────

    async def _count_wal(
        self, server: Server, cluster: Cluster, timeline: int, start: int, end: int
    ) -> Counter[str]:
        """Count write-ahead log. Return which databases wrote to the shared catalogs, in bytes."""
        writers = await writing.writing_now(server)  # before they have ended
        holders = await writing.holding_shared_catalogs(server)
        found = await writing.wal_records(
            cluster.bindir / "pg_waldump",
            cluster.data / "pg_wal",
            timeline=timeline,
            start=max(start, end - _SAMPLE),
            end=end,
        )
        names = await writing.names_of(server, found.databases)
        writers |= {tx: names[oid] for tx, oid in found.seen.items() if oid in names}
        shared = plan.share_out(found.shared, writers=writers, holders=holders)
        # Of all that was written, also what changes no database of a tenant's.
        part = (end - start) / max(1, found.total)
        shares = shared + Counter({name: found.databases[oid] for oid, name in names.items()})
        written = {name: size * part for name, size in _with_shadows(shares).items()}
        self.wal_written.update({name: int(size) for name, size in written.items()})
        above = self._wal.add(written, time.monotonic())
        await self._keep_counted()  # before a pause, which may fail
        for name in above:
            row = await self._named(name)
            most = plan.most_wal(row.disk_quota_bytes) if row else 1 << 62
            if self._wal.exceeds(name, most) and row:
                await self._pause(row, "wal", most)
        return _with_shadows(shared)

    async def _count_growth(self, grown: int, shares: Counter[str]) -> None:
        """Pause databases that make the shared catalogs grow, by their share of what is written."""
        whole = sum(shares.values())
        grew = {name: grown * part / whole for name, part in shares.items()}
        above = self._growth.add(grew, time.monotonic())
        await self._keep_counted()
        for name in above:
            if row := await self._named(name):
                await self._pause(row, "wal", plan.MOST_SHARED)

    async def vacuum_catalogs(self, cluster: Cluster) -> None:
        """Vacuum each shared catalog of a cluster that has grown much since, to reuse dead rows.

        What cannot be removed yet is left to autovacuum.
        """
        async with connect(cluster.address, user=PLATFORM, lock_seconds=1) as server:
            for name, size in (await catalog.shared_catalogs(server)).items():
                if size > self._vacuumed.get((cluster.name, name), 0) + plan.VACUUM_AFTER:
                    with suppress(psycopg.errors.LockNotAvailable):  # it is being vacuumed
                        await objects.vacuum_catalog(server, name)
                        after = await catalog.shared_catalogs(server)
                        self._vacuumed[cluster.name, name] = after[name]

    async def _stop_notifying(self, server: Server, cluster: Cluster, queue: int) -> None:
        shares = await asyncio.to_thread(writing.queue_shares, cluster.data / "pg_notify")
        for name in plan.who_fills(await _by_name(server, shares)):
            if row := await self._named(name):
                await self._pause(row, "notify", queue)

    async def _free_queue(self, server: Server, long_since: dt.datetime) -> None:
        """End the session whose transaction has been open for longest, since before that moment.

        Which sessions listen cannot be seen from outside; one that does, and is in a transaction,
        holds the notifications of all databases. One that began later cannot be what they wait for.
        """
        ended = await session_ending.end_oldest_transaction(server, before=long_since)
        if ended is not None:
            emit(SessionsEnded("notifications wait", ended))

    async def _count_log(self, cluster: Cluster, seen: _Seen) -> None:
        written, text, seen.log = await asyncio.to_thread(_read_log, cluster, seen.log)
        roles = writing.log_shares(text)
        if not roles:
            return
        scale = written / len(text)
        sizes: Counter[str] = Counter()
        for role, size in roles.items():
            sizes[names.database_of(role)] += int(size * scale)
        above = self._log.add(sizes, time.monotonic())
        await self._keep_counted()
        for name in above:
            row = await self._named(name)
            if row and self._log.exceeds(name, plan.MOST_LOG):
                await self._pause(row, "log", plan.MOST_LOG)

    async def _count_temporary(self, server: Server, cluster: Cluster) -> None:
        found = await writing.temporary_by_database(server, cluster.data)
        for name, size in found.items():
            if size < plan.LEAST_TEMPORARY or (row := await self._named(name)) is None:
                continue
            most = plan.most_temporary(row.disk_quota_bytes, row.temp_file_limit_bytes)
            if size > most:
                await self._pause(row, "temp", most)

    async def _named(self, name: str) -> DatabaseRow | None:
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.named(tx, name)

    # ── pausing ──────────────────────────────────────────────────────────────

    async def _pause(self, found: DatabaseRow, reason: PauseReason, size: int) -> None:
        """Refuse logins to a database for a while, and end its sessions now.

        They are ended before that as well: one of them may hold a lock that the limit waits for.
        """
        await self._end_sessions(found)
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.lock(tx, found.id, wait=False)
            if row is not None and row.status == "active" and row.paused_until is None:
                await pauses.set_pause(tx, row.id, reason, seconds=plan.PAUSE_SECONDS)
                until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=plan.PAUSE_SECONDS)
                # Before the commit: a crash leaves a limit that the next reconciliation lifts.
                async with self._clusters.connection(row.cluster_id) as server:
                    await steps.limit(server, replace(row, paused_until=until, paused_for=reason))
                await audit.record_on(
                    tx,
                    audit.PLATFORM,
                    "database.paused",
                    row,
                    details={"reason": reason, "bytes": size, "until": until.isoformat()},
                )
        # Also where an operation has locked the row: a later look pauses it once that has ended.
        await self._end_sessions(found)
        emit(DatabasePaused(found.database_name, reason, size))
        with suppress(TenantryError):
            await self._pooler.kick_out(found.database_names)

    async def _end_sessions(self, row: DatabaseRow) -> None:
        async with self._clusters.connection(row.cluster_id) as server:
            await session_ending.end_sessions_in(server, row.database_names, before=None)

    async def lift(self) -> int:
        """End the pauses that are over. Return how many."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            over = await pauses.pauses_over(tx)
        return sum([await self._lift(database_id) for database_id in over])

    async def _lift(self, database_id: uuid.UUID) -> bool:
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.lock(tx, database_id, wait=False)
            if row is None:
                return False
            await pauses.set_pause(tx, row.id, None)
            if row.status == "active" and row.missing_since is None:
                async with self._clusters.connection(row.cluster_id) as server:
                    await steps.limit(server, replace(row, paused_until=None, paused_for=None))
                details: dict[str, object] = {"reason": row.paused_for}
                await audit.record_on(tx, audit.PLATFORM, "database.resumed", row, details=details)
        return True


async def _by_name(server: Server, shares: Counter[int]) -> Counter[str]:
    """Return the same by the name of the main database."""
    names = await writing.names_of(server, shares) if shares else {}
    return _with_shadows({name: shares[oid] for oid, name in names.items()})


def _with_shadows(shares: Mapping[str, int]) -> Counter[str]:
    """Return the same with a shadow's share added to its main database's."""
    found: Counter[str] = Counter()
    for name, size in shares.items():
        found[names.main_of(name)] += size
    return found


async def _catalogs_bytes(cluster: Cluster) -> int:
    return await asyncio.to_thread(writing.shared_catalogs_bytes, cluster.data)


def _read_log(
    cluster: Cluster, before: tuple[Path, int] | None
) -> tuple[int, bytes, tuple[Path, int] | None]:
    """Return the bytes added to the newest file since, the last of them, and where it ends."""
    path = cluster.newest_log()
    if path is None:
        return 0, b"", before
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = size if before is None else before[1] if before[0] == path else 0
            written = max(0, size - start)
            file.seek(max(start, size - _SAMPLE))
            return written, file.read(_SAMPLE) if written else b"", (path, size)
    except FileNotFoundError:
        return 0, b"", None
