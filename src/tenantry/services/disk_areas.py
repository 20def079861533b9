"""The disk of an installation: what is left of it, what takes the rest, and its reserve.

What takes it is known as far as that is possible without reading all its files.
"""

import asyncio
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from tenantry.base.errors import TenantryError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.base.sizes import readable
from tenantry.control import audit, backups, database_lists
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.host import file_systems, files
from tenantry.host.reserve import Reserve
from tenantry.pg.clusters import Cluster

log = structlog.get_logger()

HOW_TO = "docs/how-to/when-the-disk-is-full.md"

Level = Literal["ok", "warning", "critical"]

_WARNING = 0.15  # of the disk
_SECONDS = 2.0  # for a file system to answer
_ASK_SECONDS = 0.5  # for the control database, which may be down for want of space
_MOST_LISTED = 5
_MOST_NAMED = 3
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """The bytes of databases as last measured, with their shadows, and of logical backups."""

    databases: int
    dumps: int
    largest: Sequence[DatabaseRow]


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the home.

    ``stored`` is what the control database knows of it, None while that does not answer. ``wal`` is
    the write-ahead log of all clusters. ``repository`` is where physical backups are if that is
    another disk, with its free bytes; None if it is this one.
    """

    home: Path
    total: int
    free: int
    wal: int
    stored: Stored | None
    repository: tuple[Path, int] | None

    @property
    def level(self) -> Level:
        return level_of(self.free, self.total)

    @property
    def used(self) -> int:
        return self.total - self.free

    @property
    def rest(self) -> int:
        """What takes the disk besides: physical backups, logs, and what is not the platform's."""
        stored = 0 if self.stored is None else self.stored.databases + self.stored.dumps
        return max(0, self.used - stored - self.wal)

    def sentence(self) -> str:
        """Return all of it in words, with the next step if space is short."""
        left = f"{readable(self.free)} of {readable(self.total)} are free at {self.home}"
        next_step = f" See {HOW_TO}." if self.level != "ok" else ""
        return f"{left}: {', '.join(self._areas())}.{next_step}"

    def _areas(self) -> list[str]:
        found = []
        if self.stored is not None:
            largest = ", ".join(
                f"{each.name or each.database_name} {readable(each.used_bytes or 0)}"
                for each in self.stored.largest[:_MOST_NAMED]
            )
            named = f" (largest: {largest})" if largest else ""
            found.append(f"databases {readable(self.stored.databases)}{named}")
        found.append(f"write-ahead log {readable(self.wal)}")
        if self.stored is not None:
            found.append(f"backups of single databases {readable(self.stored.dumps)}")
            besides = "" if self.repository else ", physical backups among them"
            found.append(f"other files {readable(self.rest)}{besides}")
        return found


def level_of(free: int, total: int) -> Level:
    """Return how short of space a disk is."""
    if free < total * files.LOW:
        return "critical"
    return "warning" if free < total * _WARNING else "ok"


async def left(settings: Settings) -> tuple[int, Level]:
    """Return the free bytes of the home's disk, and whether that is little.

    Raises OSError if it cannot be read, TimeoutError if it gives no answer.
    """
    async with asyncio.timeout(_SECONDS):
        usage = await file_systems.call(shutil.disk_usage, settings.home)
    return usage.free, level_of(usage.free, usage.total)


async def look(settings: Settings, store: ControlStore, clusters: Sequence[Cluster]) -> Disk:
    """Return what takes the disk; what the control database does not answer now is left out.

    Raises OSError if the disk cannot be read, TimeoutError if it gives no answer.
    """
    found = None
    with suppress(TenantryError, psycopg.Error, PoolTimeout, TimeoutError):
        async with (
            asyncio.timeout(_ASK_SECONDS),
            store.transaction(audit.PLATFORM) as tx,
        ):
            found = await stored(tx)
    return await measure(settings, clusters, found)


async def stored(tx: Tx) -> Stored:
    """Return what the control database knows to be on the disk."""
    largest, databases = await database_lists.largest(tx, limit=_MOST_LISTED)
    dumps = sum(size for _, size in (await backups.count_by_status(tx)).values())
    return Stored(databases, dumps, largest)


async def measure(settings: Settings, clusters: Sequence[Cluster], known: Stored | None) -> Disk:
    """Return what takes the disk, with what the control database knows.

    Raises OSError if it cannot be read, TimeoutError if it gives no answer.
    """
    async with asyncio.timeout(_SECONDS):
        usage = await file_systems.call(shutil.disk_usage, settings.home)
        wal = await file_systems.call(_wal_bytes, [each.data for each in clusters])
        repository = await file_systems.call(_elsewhere, settings.home, settings.repository_dir)
    return Disk(
        home=settings.home,
        total=usage.total,
        free=usage.free,
        wal=wal,
        stored=known,
        repository=repository,
    )


async def keep_reserve(settings: Settings) -> None:
    """Create what is missing of the reserve, if there is space for it."""
    reserve = Reserve(Home(settings.home).reserve)
    try:
        await file_systems.call(reserve.keep, settings.disk_reserve_mb * _MIB)
    except OSError as error:  # the disk became full meanwhile, for example
        log.warning("disk.reserve_not_kept", error=str(error))


def _wal_bytes(folders: Sequence[Path]) -> int:
    total = 0
    for data in folders:
        with suppress(OSError), os.scandir(data / "pg_wal") as segments:  # of one that was removed
            for each in segments:
                with suppress(OSError):  # recycled or removed meanwhile
                    total += each.stat(follow_symlinks=False).st_size
    return total


def _elsewhere(home: Path, repository: Path) -> tuple[Path, int] | None:
    """Return the repository's folder and what is free there, if it is on another disk."""
    with suppress(OSError):  # it is gone: the part "backups" says so
        if repository.stat().st_dev != home.stat().st_dev:
            return repository, shutil.disk_usage(repository).free
    return None
