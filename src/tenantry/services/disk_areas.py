"""What takes the disk of an installation, as far as that is known without reading all its files."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.settings import Settings
from tenantry.control import audit, backups, database_lists
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.host import file_systems
from tenantry.pg.clusters import Cluster

_SECONDS = 2.0  # for a file system to answer
_MOST_LISTED = 5


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the home. Sizes of databases are those last measured, with their shadows.

    ``wal`` is the write-ahead log of all clusters, ``dumps`` the logical backups. ``repository`` is
    where physical backups are if that is another disk, with its free bytes; None if it is this one.
    """

    home: Path
    total: int
    free: int
    databases: int
    wal: int
    dumps: int
    largest: Sequence[DatabaseRow]
    repository: tuple[Path, int] | None

    @property
    def used(self) -> int:
        return self.total - self.free

    @property
    def rest(self) -> int:
        """What takes the disk besides: physical backups, logs, and what is not the platform's."""
        return max(0, self.used - self.databases - self.wal - self.dumps)


async def look(settings: Settings, store: ControlStore, clusters: Sequence[Cluster]) -> Disk:
    """Return what takes the disk.

    Raises OSError if it cannot be read, TimeoutError if it gives no answer.
    """
    async with store.transaction(audit.PLATFORM) as tx:
        largest, databases = await database_lists.largest(tx, limit=_MOST_LISTED)
        dumps = sum(size for _, size in (await backups.count_by_status(tx)).values())
    async with asyncio.timeout(_SECONDS):
        usage = await file_systems.call(shutil.disk_usage, settings.home)
        wal = await file_systems.call(_wal_bytes, [each.data for each in clusters])
        repository = await file_systems.call(_elsewhere, settings.home, settings.repository_dir)
    return Disk(
        home=settings.home,
        total=usage.total,
        free=usage.free,
        databases=databases,
        wal=wal,
        dumps=dumps,
        largest=largest,
        repository=repository,
    )


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
