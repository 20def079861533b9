"""The service for logical backups, and the worker's checks that rows and files agree."""

import asyncio
import contextlib
import datetime as dt
import uuid
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.events import BackupFileRemoved, StepDone, emit
from tenantry.base.home import Home
from tenantry.control import audit, backup_schedules, pages
from tenantry.control import backups as rows
from tenantry.control import databases as database_rows
from tenantry.control.audit import Actor
from tenantry.control.backups import BackupRow, Format, Origin
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.pages import Page
from tenantry.control.store import ControlStore, Tx
from tenantry.host import files
from tenantry.host.packages import find_postgres
from tenantry.pg import dump_files
from tenantry.pg.dump_files import Unreadable
from tenantry.services.backups import flow, plan
from tenantry.services.backups.model import MOST_MANUAL, NewBackup, file_of, root, unfinished
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.service import Databases
from tenantry.services.operations.model import (
    AnyRun,
    Done,
    Flow,
    Kind,
    Outcome,
    Params,
    State,
    Step,
)
from tenantry.services.operations.service import Operations

log = structlog.get_logger()

VERIFY = Kind("backup.verify", Params, State)
_VERIFY_DEADLINE = dt.timedelta(hours=12)
_VERIFY_EVERY = dt.timedelta(days=7)
_NAMES = 60  # seconds to search for a file name that no backup of the database has yet


@dataclass(frozen=True, slots=True)
class Download:
    """A complete backup and the path of its file."""

    backup: BackupRow
    file: Path


class Backups:
    """The service for logical backups."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        databases: Databases,
        operations: Operations,
        home: Home,
        *,
        most_bytes: int,
        engines_dir: Path,
    ) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._databases = databases
        self._operations = operations
        self._home = home
        self._engines_dir = engines_dir
        operations.register(
            flow.BackupFlow(store, clusters, home, engines_dir).flow,
            Flow(
                VERIFY,
                [Step("read", self._read)],
                undo=self._nothing_to_undo,
                deadline=_VERIFY_DEADLINE,
            ),
        )

    # ── verbs ────────────────────────────────────────────────────────────────

    async def create(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: NewBackup
    ) -> OperationRow:
        """Begin a backup. Raises NotFound, Conflict."""
        database = await self._databases.lock_active(tx, actor, database_id)
        there, _ = await rows.use_of(tx, database.id)
        if there >= MOST_MANUAL:
            raise Conflict(
                f"A database that has {MOST_MANUAL} backups gets no more of them on demand.",
                hint="Delete those that nobody needs.",
            )
        if actor.customer_id is not None:
            await self.require_room(tx, database)
        return await self._begin(tx, actor, database, wanted, "manual")

    async def begin_scheduled(
        self,
        tx: Tx,
        database: DatabaseRow,
        format: Format,  # noqa: A002
    ) -> OperationRow:
        """Begin a scheduled backup of a locked database. Raises Conflict."""
        wanted = NewBackup(format, "all", None)
        return await self._begin(tx, audit.PLATFORM, database, wanted, "scheduled")

    async def require_room(self, tx: Tx, database: DatabaseRow) -> None:
        """Raise Conflict if the backups of a database's owner have reached their size limit."""
        if database.customer_id is None:
            return
        used = await rows.bytes_of_customer(tx, database.customer_id)
        if used >= self._most_bytes:
            raise Conflict(
                f"The customer's backups take {used:,} bytes, and may take {self._most_bytes:,}.",
                hint="Delete some, keep fewer by the schedule, or ask whoever runs the platform"
                " (TENANTRY_CUSTOMER_BACKUP_GB).",
            )

    async def _begin(
        self, tx: Tx, actor: Actor, database: DatabaseRow, wanted: NewBackup, origin: Origin
    ) -> OperationRow:
        at = dt.datetime.now(dt.UTC)
        for _ in range(_NAMES):
            name = plan.file_name(database.name or database.database_name, wanted.format, at)
            backup_id = await rows.insert(
                tx,
                database,
                file_name=name,
                format=wanted.format,
                part=wanted.part,
                origin=origin,
                description=wanted.description,
            )
            if backup_id is not None:
                break
            at += dt.timedelta(seconds=1)
        else:
            raise Conflict("Too many backups of this database were made just now.")
        await audit.record_on(
            tx,
            actor,
            flow.CREATE.name,
            database,
            result="accepted",
            details={"backup_id": str(backup_id), "file_name": name, "origin": origin},
        )
        return await self._operations.begin(
            tx,
            actor,
            flow.CREATE,
            flow.OfBackup(backup_id=backup_id),
            resource_kind="database",
            resource_id=database.id,
            customer_id=database.customer_id,
        )

    async def page(
        self, actor: Actor, database_id: uuid.UUID, *, cursor: str | None, limit: int
    ) -> tuple[Page[BackupRow], int]:
        """Return a database's backups, newest first, and the bytes that all of them take together.

        Includes those of a deleted database, if some are left. Raises NotFound; InvalidInput for a
        bad cursor.
        """
        after = pages.read_key(cursor)
        async with self._store.transaction(actor) as tx:
            found = await rows.page(tx, database_id, after=after, limit=limit + 1)
            count, total = await rows.use_of(tx, database_id)
        if not count:
            await self._databases.show(actor, database_id)
        return pages.cut(found, limit, lambda row: (row.created_at, row.id)), total

    async def show(self, actor: Actor, database_id: uuid.UUID, backup_id: uuid.UUID) -> BackupRow:
        """Return one backup. Raises NotFound."""
        async with self._store.transaction(actor) as tx:
            return await self._find(tx, actor, database_id, backup_id)

    async def delete(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, backup_id: uuid.UUID
    ) -> BackupRow:
        """Delete a backup, and once ``tx`` is committed its file. Raises NotFound, Conflict."""
        backup = await self._find(tx, actor, database_id, backup_id)
        if backup.status == "making":
            raise Conflict(
                "The backup is being made.",
                hint="Cancel its operation: GET /api/operations?resource_id=… shows it.",
            )
        await rows.remove(tx, backup.id)
        await self._record(tx, actor, "backup.delete", backup)
        tx.after_commit(partial(self._discard, backup))
        return backup

    async def _discard(self, backup: BackupRow) -> None:
        emit(StepDone("backup.delete", "forgotten", backup.database_name))
        flow.remove_files(self._home, backup)

    async def open(self, actor: Actor, database_id: uuid.UUID, backup_id: uuid.UUID) -> Download:
        """Return a backup for download, which is audited. Raises NotFound, Conflict, Unreadable."""
        async with self._store.transaction(actor) as tx:
            backup = await self._find(tx, actor, database_id, backup_id)
            if backup.status == "making":
                raise Conflict("The backup is being made.", hint="Wait for its operation's end.")
            file = file_of(self._home, backup)
            if backup.status == "ready" and not _is_there(file, backup):
                await self._note(tx, backup, _missing(file, backup))
                backup = await self._find(tx, actor, database_id, backup_id)
            if backup.status == "ready":
                await self._record(tx, actor, "backup.download", backup)
        if backup.damage is not None:
            raise Unreadable(
                f"The backup is damaged. {backup.damage}",
                hint="Use another one, and look at the server's disk.",
            )
        return Download(backup, file)

    async def verify(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, backup_id: uuid.UUID
    ) -> OperationRow:
        """Begin to read a backup's file and compare its hash. Raises NotFound, Conflict."""
        backup = await self._find(tx, actor, database_id, backup_id)
        if backup.status == "making":
            raise Conflict("The backup is being made.", hint="It is verified at the end of that.")
        await self._record(tx, actor, VERIFY.name, backup, result="accepted")
        return await self._operations.begin(
            tx,
            actor,
            VERIFY,
            Params(),
            resource_kind="backup",
            resource_id=backup.id,
            customer_id=backup.customer_id,
        )

    async def keep_all(self, tx: Tx, database_id: uuid.UUID) -> None:
        """Retain the backups of a database that is being deleted in ``tx``."""
        await rows.keep_all(tx, database_id)

    async def count(self) -> dict[str, tuple[int, int]]:
        """Return the number of backups and their bytes by status."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.count_by_status(tx)

    # ── checking files ───────────────────────────────────────────────────────

    async def _read(self, run: AnyRun) -> Outcome:
        async with self._store.transaction(audit.PLATFORM) as tx:
            backup = await rows.find(tx, run.row.resource_id, database_id=None)
        if backup is None:
            raise NotFound("The backup was deleted meanwhile.")
        total = backup.size_bytes or 0

        async def heard(done: int) -> None:
            await run.report(done / max(total, 1), done_bytes=done, total_bytes=total)

        damage = await self._examine(backup, heard)
        async with self._store.transaction(audit.PLATFORM) as tx:
            await self._note(tx, backup, damage)
        status = "ready" if damage is None else "damaged"
        return Done({"backup_id": str(backup.id), "status": status, "damage": damage})

    async def _nothing_to_undo(self, run: AnyRun) -> None:
        pass

    async def _examine(self, backup: BackupRow, heard: dump_files.Heard) -> str | None:
        """Return what is wrong with a backup's file; None if it is intact."""
        file = file_of(self._home, backup)
        if not _is_there(file, backup):
            return _missing(file, backup)
        try:
            newest = find_postgres(self._engines_dir).bindir  # it reads the files of all releases
            look = await dump_files.look_at(file, backup.format, newest, heard)
        except Unreadable as error:
            return error.detail
        if look.sha256 != backup.sha256:
            return "Its file has other bytes than when it was made: its hash is not the same."
        return None

    async def _note(self, tx: Tx, backup: BackupRow, damage: str | None) -> None:
        """Record the result of a check; log and audit it if it changed."""
        await rows.set_damage(tx, backup.id, damage)
        if damage == backup.damage:
            return
        whole = damage is None
        (log.info if whole else log.error)(
            "backup.whole_again" if whole else "backup.damaged",
            database=backup.database_name,
            file=backup.file_name,
            why=damage,
        )
        await self._record(
            tx,
            replace(audit.PLATFORM, customer_id=backup.customer_id),
            "backup.whole_again" if whole else "backup.damaged",
            backup,
            more={"damage": damage},
        )

    # ── of the worker ────────────────────────────────────────────────────────

    async def verify_next(self) -> bool:
        """Verify the backup that was not verified for longest, if that is a week or more.

        Returns whether there was one.
        """
        before = dt.datetime.now(dt.UTC) - _VERIFY_EVERY
        async with self._store.transaction(audit.PLATFORM) as tx:
            backup = await rows.next_to_verify(tx, before=before)
        if backup is None:
            return False

        async def heard(_: int) -> None:
            await asyncio.sleep(0)

        damage = await self._examine(backup, heard)
        async with self._store.transaction(audit.PLATFORM) as tx:
            await self._note(tx, backup, damage)
        return True

    async def reconcile(self) -> None:
        """Reconcile rows and files: delete files without a row, record files that are missing.

        Backups that have expired, that were never completed, or whose database is gone are deleted.
        """
        # The files first, then the rows: a row is written before its file.
        there = await asyncio.to_thread(_files_below, root(self._home))
        async with self._store.transaction(audit.PLATFORM) as tx:
            await rows.remove_unmade(tx)
            for orphan in await rows.remove_orphans(tx):
                await self._record(tx, audit.PLATFORM, "backup.delete", orphan)
            await self._expire(tx)
            known = await rows.every(tx)
        emit(StepDone("backup.reconcile", "rows", "all"))
        await asyncio.to_thread(self._remove_unknown, there, known)
        for backup in known:
            file = file_of(self._home, backup)
            if backup.status == "ready" and not _is_there(file, backup):
                async with self._store.transaction(audit.PLATFORM) as tx:
                    await self._note(tx, backup, _missing(file, backup))

    async def _expire(self, tx: Tx) -> None:
        wanted = {each.database_id: each.schedule for each in await backup_schedules.every(tx)}
        if not wanted:
            return
        held: defaultdict[uuid.UUID, list[BackupRow]] = defaultdict(list)
        for backup in await rows.every(tx):
            if backup.status != "making" and backup.database_id in wanted:
                held[backup.database_id].append(backup)
        now = dt.datetime.now(dt.UTC)
        for database_id, backups in held.items():
            seen = [
                plan.Held(each.id, each.created_at, each.origin, each.status == "ready")
                for each in backups
            ]
            gone = set(plan.expired(seen, wanted[database_id], now))
            for backup in backups:
                if backup.id in gone:
                    await rows.remove(tx, backup.id)
                    await self._record(
                        tx, audit.PLATFORM, "backup.delete", backup,
                        more={"reason": "it has had its time"},
                    )  # fmt: skip

    def _remove_unknown(self, there: list[Path], known: list[BackupRow]) -> None:
        ours = {file_of(self._home, each) for each in known}
        ours |= {unfinished(file) for file in ours}
        folders = {file.parent for file in ours}
        for path in there:
            if path not in ours:
                path.unlink(missing_ok=True)
                emit(BackupFileRemoved(path.name))
        for folder in files.entries(root(self._home)):
            if folder not in folders:
                with contextlib.suppress(OSError):  # it is not empty, or is a mount point
                    folder.rmdir()

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _find(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, backup_id: uuid.UUID
    ) -> BackupRow:
        backup = await rows.find(tx, backup_id, database_id=database_id)
        if backup is None or actor.customer_id not in {None, backup.customer_id}:
            if await database_rows.find(tx, database_id, customer_id=actor.customer_id) is None:
                raise NotFound("There is no such database.", hint="GET /api/databases lists yours.")
            raise NotFound("This database has no such backup.")
        return backup

    async def _record(
        self,
        tx: Tx,
        actor: Actor,
        action: str,
        backup: BackupRow,
        *,
        result: audit.Result = "ok",
        more: dict[str, object] | None = None,
    ) -> None:
        await audit.record(
            tx,
            replace(actor, customer_id=actor.customer_id or backup.customer_id),
            action,
            resource_kind="database",
            resource_id=backup.database_id,
            resource_name=backup.database_name,
            result=result,
            details={
                "backup_id": str(backup.id),
                "file_name": backup.file_name,
                **(more or {}),
            },
        )


def _files_below(folder: Path) -> list[Path]:
    return [
        file
        for each in files.entries(folder)
        if each.is_dir()
        for file in files.entries(each)
        if file.is_file()
    ]


def _is_there(file: Path, backup: BackupRow) -> bool:
    try:
        return file.stat().st_size == backup.size_bytes
    except OSError:
        return False


def _missing(file: Path, backup: BackupRow) -> str:
    try:
        size = file.stat().st_size
    except OSError as error:
        return f"Its file cannot be read: {error.strerror}."
    return f"Its file has {size:,} bytes instead of {backup.size_bytes:,}."
