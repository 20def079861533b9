"""Restarts of processes that run replaced files, with minimal disruption for clients.

For a shared cluster, pooled clients wait in PgBouncer meanwhile (PAUSE), and direct sessions get
a grace period to end their transactions. The supervisor starts what was stopped. Restarts happen in
the maintenance window, or at once where new sessions already fail.
"""

import asyncio
import contextlib
import datetime as dt
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
import structlog

from tenantry.base.errors import TenantryError, Unavailable
from tenantry.base.events import ProcessRestarted, emit
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control import audit, operations
from tenantry.control.store import ControlStore
from tenantry.host import files, processes
from tenantry.host import versions as installed
from tenantry.pg import catalog
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import ADMIN, PLATFORM, Address, connect
from tenantry.services import optional_parts, supervisor, versions
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.fleet_file import CONTROL
from tenantry.services.pooling.service import Pooler
from tenantry.services.versions import Part

log = structlog.get_logger()

_AGAIN_SECONDS = 600.0
_STOP_SECONDS = 60.0
_START_SECONDS = 120.0
_POLL_SECONDS = 0.1


def in_window(window: str, now: dt.datetime) -> bool:
    """Whether a time is in a window like ``03:00-04:00`` (UTC); equal ends mean all day."""
    if window == "off":
        return False
    begin, end = (dt.time.fromisoformat(each) for each in window.split("-"))
    at = now.astimezone(dt.UTC).time()
    return begin <= at < end if begin < end else at >= begin or at < end


class Restarts:
    """The restarts of the local parts of a platform."""

    def __init__(
        self, settings: Settings, store: ControlStore, fleet: Fleet, pooler: Pooler
    ) -> None:
        self._settings = settings
        self._store = store
        self._fleet = fleet
        self._pooler = pooler

    async def keep(self) -> list[str]:
        """Restart the parts that are due, one after the other. Returns their names.

        Raises TenantryError if one does not start again.
        """
        if installed.packages_are_changing():
            return []
        done = []
        for cluster in reversed(self._fleet.every):
            part = await versions.cluster(cluster)
            if await self._is_due(part) and await self._restart(cluster, urgent=bool(part.fails)):
                done.append(cluster.name)
        if self._window_is_open():
            done += await self._restart_programs()
        for name in done:
            emit(ProcessRestarted(name, "its files were replaced"))
        return done

    def _window_is_open(self) -> bool:
        return in_window(self._settings.maintenance_window, dt.datetime.now(dt.UTC))

    async def _restart_programs(self) -> list[str]:
        done = []
        if await self._is_due(await versions.pooler(self._settings, self._pooler)):
            self._note("pooler")
            await self._pooler.stop()  # at the end of each client's transaction
            done.append("pooler")
        children = [
            name
            for name in ("api", "worker", *optional_parts.wanted(self._settings))
            if await self._is_due(versions.program(self._settings, name))
        ]
        if children and (pid := supervisor.running_pid(self._settings)):
            for name in children:
                self._note(name)
            os.kill(pid, signal.SIGHUP)  # restarts them all
        return [*done, *children]

    async def _is_due(self, part: Part) -> bool:
        if not part.outdated or self._was_in_vain(part):
            return False
        if part.fails and part.replaced and self._settings.restart.broken:
            return True
        if not self._window_is_open():
            return False
        async with self._store.transaction(audit.PLATFORM) as tx:
            return not await operations.unfinished(tx)  # they would fail, or start over

    # On a file system where every mapping looks replaced, or with two engines that always differ,
    # repeated restarts would themselves be the outage.

    def _was_in_vain(self, part: Part) -> bool:
        """Whether the last restart did not help.

        A cluster: it still ran these replaced files right after. Another part, whose files were not
        checked: it was restarted less than ten minutes ago.
        """
        try:
            mark = self._mark(part.name)
            if part.name in {each.name for each in self._fleet.every}:
                return {*part.replaced} <= {*mark.read_text().splitlines()}
            return time.time() - mark.stat().st_mtime < _AGAIN_SECONDS
        except FileNotFoundError:
            return False

    def _note(self, name: str, replaced: Sequence[str] = ()) -> None:
        files.write_atomically(self._mark(name), "".join(f"{each}\n" for each in replaced))

    def _mark(self, name: str) -> Path:
        return Home(self._settings.home).run / f"{name}.restarted"

    # ── a cluster ────────────────────────────────────────────────────────────

    async def _restart(self, cluster: Cluster, *, urgent: bool) -> bool:
        """Stop a cluster when no transaction is open, and return True when it is up again.

        If transactions are still open after the grace period, stop it nevertheless if ``urgent``;
        else leave it running and return False.
        """
        if cluster.held.exists():
            return False
        if cluster.name == CONTROL:
            return await self._stop_and_wait(cluster)
        # Reduces what the shutdown has to write while clients wait.
        async with connect(cluster.address, user=ADMIN) as admin:
            await admin.execute("CHECKPOINT")
        grace = float(self._settings.restart.grace_seconds)
        deadline = time.monotonic() + grace
        async with self._pooler.all_paused(within=grace) as pooled_wait:
            direct_ended = await self._transactions_end(cluster.address, deadline)
            if not urgent and not (pooled_wait and direct_ended):
                log.info("restart.postponed", which=cluster.name, why="transactions are open")
                return False
            return await self._stop_and_wait(cluster)

    async def _transactions_end(self, address: Address, deadline: float) -> bool:
        """Wait until no tenant's session has a transaction open; return whether that is so."""
        with contextlib.suppress(Unavailable, psycopg.OperationalError):
            async with connect(address, user=PLATFORM) as server:
                while await catalog.open_transactions(server):
                    if time.monotonic() > deadline:
                        return False
                    await asyncio.sleep(_POLL_SECONDS)
        return True

    async def _stop_and_wait(self, cluster: Cluster) -> bool:
        self._note(cluster.name)
        if (pid := cluster.pid()) is None:
            return False
        # Not pg_ctl, which the supervisor would end as a process that works in that folder.
        os.kill(pid, signal.SIGINT)  # "fast" shutdown
        try:
            await asyncio.wait_for(processes.wait_gone(pid), _STOP_SECONDS)
        except TimeoutError:
            raise Unavailable(
                f"The cluster {cluster.name} did not stop within {_STOP_SECONDS:.0f} seconds.",
                hint="See its log.",
            ) from None
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                async with connect(cluster.address, user=ADMIN):
                    break
            except TenantryError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_POLL_SECONDS)
        if (pid := cluster.pid()) is not None:
            self._note(cluster.name, installed.replaced_files(pid))
        return True
