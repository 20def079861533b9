"""The steps that back a site up, and that restore it.

A backup is a copy that Redis writes (BGSAVE), put into every repository, encrypted with the key of
the databases' backups. Until its row is ready, which happens last, it cannot be used.

The invariant of a restore: at every moment the folder that the site's row names has complete data,
those before or those that are restored, and a process that is started has that folder. What is
replaced is deleted only after the new data are served, by a step after which nothing is undone. So
a restore that fails, is cancelled, or is killed anywhere ends with one of the two, whole.
"""

import asyncio
import contextlib
import datetime as dt
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

from tenantry.base.errors import MachineError, NotFound, TenantryError, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.base.secrets import Secret
from tenantry.control import audit, sites
from tenantry.control import site_backups as rows
from tenantry.control.site_backups import Made, SiteBackupRow
from tenantry.control.sites import SiteRow
from tenantry.control.store import ControlStore, Tx
from tenantry.host import files
from tenantry.host.redis_engines import find_redis
from tenantry.pg.pgbackrest_output import BackupDamaged
from tenantry.services.operations.model import (
    Done,
    Flow,
    Next,
    Outcome,
    Run,
    Step,
    Wait,
)
from tenantry.services.repository.service import Repositories
from tenantry.services.site_backups import copying, plan
from tenantry.services.site_backups.model import (
    BACKUP,
    BASE,
    MANIFEST,
    MANIFEST_TEXT,
    RESTORE,
    Copied,
    OfBackup,
    Swapped,
    file_name,
    folder_name,
)
from tenantry.services.sites.process import SiteProcess

_DEADLINE = dt.timedelta(hours=12)
_RESERVE = 0.08  # of the disk, as for backups of databases
_POLL_SECONDS = 0.5
_MOST_SILENT = 180  # looks in turn at a process that neither loads nor serves the new data
_ROOM = "Make room on the server's disk, and try again."


class SiteFlow:
    """What both operations have in common."""

    def __init__(self, store: ControlStore, repositories: Repositories, home: Home) -> None:
        self._store = store
        self._repositories = repositories
        self._home = home

    def _key(self) -> Secret:
        return Secret(self._home.backup_key.read_text().strip())

    async def _site(self, tx: Tx, run: Run[OfBackup, Copied] | Run[OfBackup, Swapped]) -> SiteRow:
        """Lock the site of an operation. Raises NotFound, Conflict."""
        site = await sites.lock(tx, run.row.resource_id)
        if site is None or site.status != "active":
            raise NotFound("The site was deleted meanwhile.")
        plan.require_keeping(site)
        return site

    async def _wanted(
        self, run: Run[OfBackup, Copied] | Run[OfBackup, Swapped]
    ) -> tuple[SiteBackupRow, SiteRow]:
        """Return the backup of an operation, and its site. Raises NotFound, Conflict."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            site = await self._site(tx, run)
            backup = await rows.find(tx, run.params.backup_id)
        if backup is None or backup.status == "deleting":
            raise NotFound("The backup was deleted meanwhile.")
        return backup, site


class BackupFlow(SiteFlow):
    """The operation that creates a backup."""

    @property
    def flow(self) -> Flow[OfBackup, Copied]:
        return Flow(
            BACKUP,
            [
                Step("save", self._save),
                Step("store", self._store_copies, share=2),
                Step("keep", self._keep, share=0.1),
            ],
            undo=self._undo,
            deadline=_DEADLINE,
        )

    def _file(self, run: Run[OfBackup, Copied]) -> Path:
        return self._home.scratch / str(run.row.id) / "site.rdb"

    async def _save(self, run: Run[OfBackup, Copied]) -> Outcome:
        _, site = await self._wanted(run)
        own, file = SiteProcess.of(self._home, site), self._file(run)
        files.ensure_folder(file.parent)
        held = await copying.contents(own, site.port)
        files.require_room(
            own.folder, held.memory_bytes, what="The backup", hint=_ROOM, spare=_RESERVE
        )
        await copying.save(own, site.port, run.report)
        emit(StepDone(BACKUP.name, "written", site.name))
        await asyncio.to_thread(shutil.move, own.dump, file)
        run.state.size_bytes, run.state.sha256 = await asyncio.to_thread(_digest, file)
        run.state.memory_bytes, run.state.keys = held.memory_bytes, held.keys
        run.state.server = held.server
        return Next()

    async def _store_copies(self, run: Run[OfBackup, Copied]) -> Outcome:
        backup, site = await self._wanted(run)
        file = self._file(run)
        if not file.exists():
            return Next("save")
        self._repositories.ensure_files()
        failures: dict[str, TenantryError] = {}
        took: list[str] = []
        for number, place in enumerate(self._repositories.places, start=1):
            try:
                await self._repositories.files_in(number).put(file_name(backup), file, self._key())
            except TenantryError as error:
                failures[str(place)] = error
            else:
                took.append(str(place))
                emit(StepDone(BACKUP.name, "put", site.name))
        if not took:
            raise next(iter(failures.values()))
        run.state.places = took
        run.state.lacking = {place: str(error) for place, error in failures.items()}
        return Next()

    async def _keep(self, run: Run[OfBackup, Copied]) -> Outcome:
        found = run.state
        made = Made(
            found.size_bytes,
            found.sha256,
            found.memory_bytes,
            found.keys,
            found.server,
            found.places,
        )
        async with self._store.transaction(audit.PLATFORM) as tx:
            if not await rows.make_ready(tx, run.params.backup_id, made):
                raise NotFound("The backup was deleted meanwhile.")
        emit(StepDone(BACKUP.name, "ready", str(run.params.backup_id)))
        shutil.rmtree(self._file(run).parent, ignore_errors=True)
        return Done(
            {
                "backup_id": str(run.params.backup_id),
                "size_bytes": found.size_bytes,
                "keys": found.keys,
                "places": found.places,
                "lacking": found.lacking,
            }
        )

    async def _undo(self, run: Run[OfBackup, Copied]) -> None:
        # Its files in the repositories are deleted later: they may be out of reach now.
        async with self._store.transaction(audit.PLATFORM) as tx:
            await rows.begin_deletion(tx, [run.params.backup_id])
            site = await sites.find(tx, run.row.resource_id)
        shutil.rmtree(self._file(run).parent, ignore_errors=True)
        if site is not None:
            SiteProcess.of(self._home, site).dump.unlink(missing_ok=True)


class RestoreFlow(SiteFlow):
    """The operation that brings the data of a backup back; see above for its invariant."""

    @property
    def flow(self) -> Flow[OfBackup, Swapped]:
        return Flow(
            RESTORE,
            [
                Step("fetch", self._fetch, share=5),
                Step("switch", self._switch),
                Step("load", self._load, share=3),
                Step("finish", self._finish, share=0.1, final=True),
            ],
            undo=self._undo,
            deadline=_DEADLINE,
        )

    async def _fetch(self, run: Run[OfBackup, Swapped]) -> Outcome:
        backup, site = await self._wanted(run)
        plan.require_fitting(site, backup)
        folder = SiteProcess.of(self._home, site).folder / folder_name(run.row.id)
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
        files.require_room(
            folder.parent, backup.size_bytes or 0, what="The restore", hint=_ROOM, spare=_RESERVE
        )
        files.ensure_folder(folder)
        await self._download(backup, folder / BASE)
        emit(StepDone(RESTORE.name, "fetched", site.name))
        files.write_atomically(folder / MANIFEST, MANIFEST_TEXT, mode=0o600)
        await asyncio.to_thread(_sync, folder)
        run.state.previous = site.data_folder
        return Next()

    async def _download(self, backup: SiteBackupRow, file: Path) -> None:
        """Write a backup's file from the first repository that has it as it was.

        Raises RepositoryError, BackupDamaged.
        """
        failure: TenantryError | None = None
        for number, place in enumerate(self._repositories.places, start=1):
            try:
                await self._repositories.files_in(number).fetch(
                    file_name(backup), file, self._key()
                )
            except TenantryError as error:
                failure = failure or error
                await asyncio.to_thread(file.unlink, missing_ok=True)
                continue
            if await asyncio.to_thread(_digest, file) == (backup.size_bytes, backup.sha256):
                return
            await asyncio.to_thread(file.unlink)
            failure = BackupDamaged(
                f"The backup in {place} has other bytes than when it was made.",
                hint="Restore another one, and look at the disk of that repository.",
            )
        raise failure or MachineError("There is no repository.")

    async def _switch(self, run: Run[OfBackup, Swapped]) -> Outcome:
        folder = folder_name(run.row.id)
        async with self._store.long_transaction(audit.PLATFORM) as tx:
            site = await self._site(tx, run)
            if site.data_folder != folder:
                await self._put(tx, replace(site, data_folder=folder))
        return Next()

    async def _put(self, tx: Tx, row: SiteRow) -> None:
        """Write a locked row, and stop the process: it is started again, with the row's data."""
        own = SiteProcess.of(self._home, row)
        own.ensure_files([row], await find_redis())
        emit(StepDone(RESTORE.name, "configured", row.name))
        await own.stop()
        emit(StepDone(RESTORE.name, "stopped", row.name))
        await sites.update(tx, row)

    async def _load(self, run: Run[OfBackup, Swapped]) -> Outcome:
        """Wait until the process that the supervisor starts serves the new data."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            site = await self._site(tx, run)
        own = SiteProcess.of(self._home, site)
        run.state.silent += 1
        with contextlib.suppress(Unavailable):
            if own.pid() is not None:
                keys = await copying.loaded(own, site.port, folder_name(run.row.id))
                if keys is not None:
                    run.state.keys = keys
                    return Next()
                run.state.silent = 0
        if run.state.silent > _MOST_SILENT:
            raise MachineError(
                "The site's Redis does not start with the data of the backup.",
                hint="What it had before is in service again. `tenantry logs` shows why.",
            )
        return Wait(_POLL_SECONDS)

    async def _finish(self, run: Run[OfBackup, Swapped]) -> Outcome:
        async with self._store.transaction(audit.PLATFORM) as tx:
            site = await sites.lock(tx, run.row.resource_id)
            if site is not None and site.status == "active":
                own = SiteProcess.of(self._home, site).folder
                await asyncio.to_thread(_replace, own, run.state.previous, site.data_folder)
                emit(StepDone(RESTORE.name, "deleted", site.name))
        return Done({"backup_id": str(run.params.backup_id), "keys": run.state.keys})

    async def _undo(self, run: Run[OfBackup, Swapped]) -> None:
        folder, previous = folder_name(run.row.id), run.state.previous
        async with self._store.long_transaction(audit.PLATFORM) as tx:
            site = await sites.lock(tx, run.row.resource_id)
            # Killed in the midst of it, the process may have other data than the row names.
            if site is not None and site.status == "active" and previous:
                await self._put(tx, replace(site, data_folder=previous))
        own = self._home.sites / str(run.row.resource_id)
        await asyncio.to_thread(shutil.rmtree, own / folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # it is not empty, unless the site was deleted
            own.rmdir()


def _digest(file: Path) -> tuple[int, str]:
    """Return the size and the SHA-256 of a file."""
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
        return opened.tell(), found


def _sync(folder: Path) -> None:
    """Write a folder and its files to the disk (fsync)."""
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    files.sync_folder(folder)
    files.sync_folder(folder.parent)


def _replace(folder: Path, previous: str, name: str) -> None:
    """Delete the data that were replaced, and let all former names lead to what replaced them.

    A release before this one knows the first name only, and a control database that was restored
    to an earlier moment a former one: with an empty folder the site would lose its data.
    """
    if previous in {"", name}:
        return
    if not (folder / previous).is_symlink():
        shutil.rmtree(folder / previous, ignore_errors=True)
    new = folder / "link.new"
    links = {previous, *(each.name for each in folder.iterdir() if each.is_symlink())}
    for each in links - {new.name}:
        new.unlink(missing_ok=True)
        new.symlink_to(name)
        new.replace(folder / each)
