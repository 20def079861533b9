"""Moves what sessions log to the entries of their databases, and limits how much they log."""

import asyncio
import contextlib
import time
import uuid
from dataclasses import asdict, replace

import structlog

from tenantry.base.errors import TenantryError
from tenantry.control import audit, log_settings
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.log_settings import LogSettings
from tenantry.control.store import ControlStore
from tenantry.pg import objects
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import steps
from tenantry.services.overuse.plan import Meter
from tenantry.services.pooling.service import Pooler
from tenantry.services.statement_log.entries import EntryFiles
from tenantry.services.statement_log.moving import Mover

log = structlog.get_logger()

MOST_LOGGED = 128 * 1024 * 1024  # of a database in an hour
_FORGET_SECONDS = 60.0
_STOPPED = (
    f"Logging was switched off: the database wrote more than {MOST_LOGGED >> 20} MiB to the"
    " server's log within an hour. Log less, such as statements of the class ddl, or slower ones."
)


class Collecting:
    """The collection of entries from the logs of the shared clusters."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        pooler: Pooler,
        fleet: Fleet,
        entries: EntryFiles,
        *,
        days: int,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._pooler = pooler
        self._days = days
        self._mover = Mover(lambda: fleet.shared, entries)
        self._meter = Meter(MOST_LOGGED)
        self._stopped: dict[uuid.UUID, str] = {}  # whose notice is not in their log yet
        self._forgot_at = -_FORGET_SECONDS

    async def collect(self) -> None:
        """Move what was logged since the last time. To be called by one process at a time."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            logged = await log_settings.logged(tx)
        more = True
        while more:
            moved = await asyncio.to_thread(self._mover.move, logged, self._stopped)
            self._stopped.clear()
            more = moved.more
            for name in self._meter.add(moved.written, time.monotonic()):
                if not moved.written[name]:
                    continue  # it has stopped
                async with self._store.transaction(audit.PLATFORM) as tx:
                    row = await rows.named(tx, name)
                if row is not None:
                    await self._stop(row)
        if time.monotonic() - self._forgot_at > _FORGET_SECONDS:
            async with self._store.transaction(audit.PLATFORM) as tx:
                existing = await rows.existing(tx)
            await asyncio.to_thread(self._mover.forget, existing, days=self._days)
            self._forgot_at = time.monotonic()

    async def _stop(self, found: DatabaseRow) -> None:
        """Switch a database's logging off, and end its sessions, which would continue to log."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.lock(tx, found.id, wait=False)
            if row is not None and row.status == "active" and row.log_settings.is_on:
                await log_settings.set_log_settings(tx, row.id, LogSettings())
                silent = with_settings(row, LogSettings())
                async with self._clusters.connection(row.cluster_id) as server:
                    await steps.limit(server, silent)
                await audit.record_on(
                    tx,
                    audit.PLATFORM,
                    "database.log_stopped",
                    row,
                    details={"bytes": MOST_LOGGED, "settings": asdict(row.log_settings)},
                )
                self._stopped[row.id] = _STOPPED
                log.warning("database.log_stopped", database=row.database_name)
        async with self._clusters.connection(found.cluster_id) as server:
            await objects.end_sessions_in(server, found.database_names, before=None)
        with contextlib.suppress(TenantryError):
            await self._pooler.kick_out(found.database_names)


def with_settings(row: DatabaseRow, wanted: LogSettings) -> DatabaseRow:
    """Return a database's row with other log settings."""
    return replace(
        row,
        log_statements=wanted.statements,
        log_min_duration_ms=wanted.min_duration_ms,
        log_errors=wanted.errors,
    )
