"""Moves what sessions log to the entries of their databases, and pauses the logging of floods."""

import asyncio
import contextlib
import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog

from tenantry.base.errors import TenantryError
from tenantry.control import audit, log_settings
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.log_settings import LogSettings
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import session_ending
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import steps
from tenantry.services.databases.service import Databases
from tenantry.services.statement_log.entries import EntryFiles
from tenantry.services.statement_log.floods import (
    MOST_A_SECOND,
    WINDOW_SECONDS,
    LogCounter,
    Window,
)
from tenantry.services.statement_log.moving import Mover, Notice

log = structlog.get_logger()

_PAUSE = dt.timedelta(minutes=1)
_FORGET_SECONDS = 60.0
_PAUSED = (
    f"Logging was paused for a minute, and the sessions were ended: the database logged more than"
    f" {MOST_A_SECOND // 1000} kB/s for {WINDOW_SECONDS:.0f} s. Log less, such as statements of the"
    " class ddl, or slower ones."
)
_RESUMED = "Logging was resumed."


class Collecting:
    """The collection of entries from the logs of the shared clusters."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        databases: Databases,
        fleet: Fleet,
        entries: EntryFiles,
        *,
        days: int,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._databases = databases
        self._days = days
        self._mover = Mover(lambda: fleet.serving, entries)
        self._counter = LogCounter(lambda: fleet.serving)
        self._window = Window()
        self._notices: list[Notice] = []  # that are not in their database's log yet
        self._forgot_at = -_FORGET_SECONDS

    async def collect(self) -> None:
        """Move what was logged since the last time. To be called by one process at a time."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            logged = await log_settings.logged(tx)
            to_resume = await log_settings.to_resume(tx)
        for database_id in to_resume:
            await self._resume(database_id)
        more = True
        while more:
            written = await asyncio.to_thread(self._counter.count)
            for name in self._window.add(written, time.monotonic()):
                await self._pause(name)
            notices = tuple(self._notices)
            more = await asyncio.to_thread(self._mover.move, logged, notices)
            del self._notices[: len(notices)]
        if time.monotonic() - self._forgot_at > _FORGET_SECONDS:
            async with self._store.transaction(audit.PLATFORM) as tx:
                wanted = await log_settings.keep_days(tx)
            days = {each: min(self._days, own or self._days) for each, own in wanted.items()}
            await asyncio.to_thread(self._mover.forget, days)
            self._forgot_at = time.monotonic()

    async def _pause(self, name: str) -> None:
        """Switch a database's logging off, and end its sessions, which would continue to log."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            found = await rows.named(tx, name)
        self._window.forget(name)
        if found is None:
            return
        async with self._locked(found.id) as (tx, row):
            if row is not None and row.log_settings.is_on and row.log_paused_until is None:
                until = dt.datetime.now(dt.UTC) + _PAUSE
                await log_settings.pause(tx, row.id, until)
                await self._limit(replace(row, log_paused_until=until))
                details: dict[str, object] = {"bytes_a_second": MOST_A_SECOND}
                await audit.record_on(
                    tx, audit.PLATFORM, "database.log_paused", row, details=details
                )
                self._notices.append((row.id, _PAUSED))
                log.warning("database.log_paused", database=row.database_name)
        async with self._clusters.connection(found.cluster_id) as server:
            await session_ending.end_sessions_in(server, found.database_names, before=None)
        await self._renew_pool(found, end_clients=True)

    async def _resume(self, database_id: uuid.UUID) -> None:
        """Log a database again as its owner wants, from new sessions on."""
        async with self._locked(database_id) as (tx, row):
            if row is None:
                return
            await log_settings.resume(tx, row.id)
            await self._limit(replace(row, log_paused_until=None))
            if row.log_settings.is_on:
                self._notices.append((row.id, _RESUMED))
        await self._renew_pool(row, end_clients=False)

    @asynccontextmanager
    async def _locked(self, database_id: uuid.UUID) -> AsyncIterator[tuple[Tx, DatabaseRow | None]]:
        """Lock an active database; None if it is none any more, or somebody else works on it."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.lock(tx, database_id, wait=False)
            yield tx, row if row is not None and row.status == "active" else None

    async def _limit(self, row: DatabaseRow) -> None:
        async with self._clusters.connection(row.cluster_id) as server:
            await steps.limit(server, row)

    async def _renew_pool(self, row: DatabaseRow, *, end_clients: bool) -> None:
        # Without the pooler there are no pooled clients.
        with contextlib.suppress(TenantryError):
            await self._databases.reconnect_pool(row, end_clients=end_clients)


def with_settings(row: DatabaseRow, wanted: LogSettings) -> DatabaseRow:
    """Return a database's row with other log settings."""
    return replace(
        row,
        log_statements=wanted.statements,
        log_min_duration_ms=wanted.min_duration_ms,
        log_errors=wanted.errors,
        log_keep_days=wanted.keep_days,
    )
