"""The steps that create and check a logical backup.

The file is written beside its final path under another name, checked, and moved there when it is
complete; hash and size are recorded in the transaction that sets the backup's status to ready.
Until then the backup cannot be used, and any failure removes it.
"""

import asyncio
import datetime as dt
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.control import audit, roles
from tenantry.control import backups as rows
from tenantry.control import databases as database_rows
from tenantry.control.backups import BackupRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.host import files
from tenantry.host.packages import find_postgres
from tenantry.pg import catalog, dump_files, dumps, logins, visitors
from tenantry.pg.connections import fetch_value
from tenantry.services.backups.model import file_of, unfinished
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.operations.model import (
    Done,
    Flow,
    Kind,
    Next,
    Outcome,
    Params,
    Run,
    State,
    Step,
)
from tenantry.services.quotas import plan as quotas

_DEADLINE = dt.timedelta(hours=12)
_RESERVE = 0.08  # of the disk: below 5 % the platform reports itself as not ready
_LOOK_SECONDS = 1.0


class OfBackup(Params):
    """The backup that an operation concerns."""

    backup_id: uuid.UUID


class Dumped(State):
    """What is known of the file so far."""

    postgres_version: str = ""
    size_bytes: int = 0
    sha256: str = ""


CREATE = Kind("backup.create", OfBackup, Dumped)


class BackupFlow:
    """The operation that creates a backup."""

    def __init__(
        self, store: ControlStore, clusters: ClusterPools, home: Home, engines_dir: Path
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._home = home
        self._engines_dir = engines_dir
        self.flow = Flow(
            CREATE,
            [
                Step("dump", self._dump, share=9),
                Step("check", self._check),
                Step("keep", self._keep, share=0.1),
            ],
            undo=self._undo,
            deadline=_DEADLINE,
        )

    async def _wanted(self, run: Run[OfBackup, Dumped]) -> tuple[BackupRow, DatabaseRow]:
        """Return the backup and its database. Raises NotFound, Conflict."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            backup = await rows.find(tx, run.params.backup_id, database_id=run.row.resource_id)
            database = await database_rows.find(tx, run.row.resource_id, customer_id=None)
        if backup is None or database is None:
            raise _gone()
        if database.status != "active":
            raise Conflict("The database is being deleted.")
        if database.quota_state == "stopped":
            raise quotas.refusal(database)
        return backup, database

    async def _dump(self, run: Run[OfBackup, Dumped]) -> Outcome:
        backup, database = await self._wanted(run)
        file = file_of(self._home, backup)
        files.ensure_folder(file.parent)
        cluster = await self._clusters.cluster(database.cluster_id)
        async with self._clusters.connection(cluster.id) as server:
            sizes = await catalog.sizes(server, [database.database_name])
            version = str(await fetch_value(server, "SHOW server_version"))
        async with self._store.transaction(audit.PLATFORM) as tx:
            before = await rows.last_size(tx, database.id, backup.format, backup.part)
            additional = [each.username for each in await roles.of_database(tx, database.id)]
        # The size of the file is unknown; the database itself is nearly always larger.
        all_of_it = 0 if backup.part == "schema" else sizes.get(database.database_name, 0)
        expected = before or all_of_it
        _require_room(file.parent, expected)
        run.state.postgres_version = version.split(maxsplit=1)[0]

        async def report(done: int, _: int | None) -> None:
            await run.report(done / max(done, expected, 1), done_bytes=done, total_bytes=before)

        await logins.give_away_shared(cluster.address, database.database_name)
        async with (
            self._scratch(run) as scratch,
            visitors.visitor(
                cluster.address, run.row.id.hex, [database.username, *additional], folder=scratch
            ) as visitor,
        ):
            emit(StepDone(CREATE.name, "visiting", database.database_name))
            await _while_there_is_room(
                file.parent,
                dumps.dump(
                    find_postgres(self._engines_dir, cluster.version).bindir,
                    visitor,
                    database.database_name,
                    unfinished(file),
                    form=backup.format,
                    part=backup.part,
                    gently=True,
                    report=report,
                    deadline=_DEADLINE.total_seconds(),
                ),
            )
            emit(StepDone(CREATE.name, "dumped", database.database_name))
        return Next()

    @asynccontextmanager
    async def _scratch(self, run: Run[OfBackup, Dumped]) -> AsyncIterator[Path]:
        folder = self._home.scratch / str(run.row.id)
        files.ensure_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _check(self, run: Run[OfBackup, Dumped]) -> Outcome:
        backup, database = await self._wanted(run)
        file = unfinished(file_of(self._home, backup))
        total = dumps.size_of(file)

        async def heard(done: int) -> None:
            await run.report(done / max(total, 1), done_bytes=done, total_bytes=total)

        cluster = await self._clusters.cluster(database.cluster_id)
        found = await dump_files.look_at(
            file, backup.format, find_postgres(self._engines_dir, cluster.version).bindir, heard
        )
        run.state.size_bytes, run.state.sha256 = found.size_bytes, found.sha256
        return Next()

    async def _keep(self, run: Run[OfBackup, Dumped]) -> Outcome:
        backup, database = await self._wanted(run)
        file = file_of(self._home, backup)
        await asyncio.to_thread(_move, unfinished(file), file)
        emit(StepDone(CREATE.name, "moved", database.database_name))
        size_bytes, sha256 = run.state.size_bytes, run.state.sha256
        async with self._store.transaction(audit.PLATFORM) as tx:
            if not await rows.make_ready(
                tx,
                backup.id,
                size_bytes=size_bytes,
                sha256=sha256,
                postgres_version=run.state.postgres_version,
            ):
                raise _gone()
        emit(StepDone(CREATE.name, "ready", database.database_name))
        return Done(
            {
                "backup_id": str(backup.id),
                "file_name": backup.file_name,
                "size_bytes": size_bytes,
                "sha256": sha256,
            }
        )

    async def _undo(self, run: Run[OfBackup, Dumped]) -> None:
        async with self._store.transaction(audit.PLATFORM) as tx:
            backup = await rows.find(tx, run.params.backup_id, database_id=None)
            if backup is not None:
                await rows.remove(tx, backup.id)
        # A crash between the two leaves a file without a row, which the worker's reconciliation
        # removes.
        if backup is not None:
            remove_files(self._home, backup)
        shutil.rmtree(self._home.scratch / str(run.row.id), ignore_errors=True)


def _gone() -> NotFound:
    return NotFound("The database that was to be backed up is gone.")


def remove_files(home: Home, backup: BackupRow) -> None:
    """Delete the files of a backup whose row is removed."""
    file = file_of(home, backup)
    for path in (file, unfinished(file)):
        path.unlink(missing_ok=True)


# ── the disk ─────────────────────────────────────────────────────────────────


def _require_room(folder: Path, expected: int) -> None:
    files.require_room(
        folder,
        expected,
        what="The backup",
        hint="Delete backups that nobody needs, or give the server a larger disk.",
        spare=_RESERVE,
    )


async def _while_there_is_room(folder: Path, work: Awaitable[None]) -> None:
    """Await some work, and cancel it when the disk is too full for the other databases."""
    working = asyncio.ensure_future(work)
    try:
        while not working.done():
            await asyncio.wait([working], timeout=_LOOK_SECONDS)
            if not working.done():
                _require_room(folder, 0)
        working.result()
    finally:
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


def _move(source: Path, target: Path) -> None:
    """Sync a file to disk and move it to its final path; idempotent."""
    if source.exists():
        with source.open("rb") as file:
            os.fsync(file.fileno())
        source.replace(target)
    files.sync_folder(target.parent)
