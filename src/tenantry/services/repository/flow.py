"""Backups of clusters as operations: when they are due or asked for, and what goes afterwards."""

import datetime as dt
import uuid

import structlog

from tenantry.base.errors import Conflict, NotFound, TenantryError
from tenantry.base.settings import Settings
from tenantry.control import audit
from tenantry.control import clusters as rows
from tenantry.control import operations as operation_rows
from tenantry.control.audit import Actor
from tenantry.control.clusters import ClusterRow
from tenantry.control.operations import Filter, OperationRow
from tenantry.control.pages import read_key
from tenantry.control.store import ControlStore, Tx
from tenantry.pg.pgbackrest import Backup, BackupType, Contents, RepositoryBusy, Tell
from tenantry.services.operations.model import Done, Flow, Next, Outcome, Run, Step, Wait
from tenantry.services.operations.service import Operations
from tenantry.services.repository import plan
from tenantry.services.repository.service import Repositories, ensure_ready

log = structlog.get_logger()

BACKUP = "cluster.backup"
_DEADLINE = dt.timedelta(hours=24)
_BUSY_SECONDS = 5.0
_RETRY = dt.timedelta(minutes=15)


def schedule(settings: Settings) -> plan.Schedule:
    """The schedule that the settings say."""
    return plan.Schedule(
        time=dt.time.fromisoformat(settings.backup_time),
        weekday=_WEEKDAYS.index(settings.backup_weekday),
        window=dt.timedelta(days=settings.backup_days),
    )


_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class ClusterBackups:
    """The verbs on physical backups. Each is an operation that has its cluster to itself."""

    def __init__(
        self,
        store: ControlStore,
        operations: Operations,
        repositories: Repositories,
        wanted: plan.Schedule,
    ) -> None:
        self._store = store
        self._operations = operations
        self._repositories = repositories
        self._schedule = wanted
        operations.register(
            Flow(
                BACKUP,
                [Step("back_up", self._back_up, share=9), Step("expire", self._expire)],
                undo=self._nothing_to_undo,
                deadline=_DEADLINE,
            )
        )

    # ── asked for ────────────────────────────────────────────────────────────

    async def begin(
        self, tx: Tx, actor: Actor, cluster_id: uuid.UUID, kind: BackupType
    ) -> OperationRow:
        """Want a backup made of a cluster. Raises NotFound, Conflict."""
        self._repositories.require_enabled()
        cluster = await self._find(tx, cluster_id)
        row = await self._operations.begin(
            tx,
            actor,
            BACKUP,
            resource_kind="cluster",
            resource_id=cluster.id,
            customer_id=None,
            params={"cluster": cluster.name, "type": kind},
        )
        await audit.record(
            tx,
            actor,
            BACKUP,
            resource_kind="cluster",
            resource_id=cluster.id,
            resource_name=cluster.name,
            details={"type": kind, "operation_id": str(row.id)},
        )
        return row

    async def contents(self, cluster_id: uuid.UUID) -> list[Contents]:
        """What each repository holds of a cluster. Raises NotFound, Conflict."""
        self._repositories.require_enabled()
        async with self._store.transaction(audit.PLATFORM) as tx:
            cluster = await self._find(tx, cluster_id)
        return await self._repositories.contents(cluster.name)

    async def _find(self, tx: Tx, cluster_id: uuid.UUID) -> ClusterRow:
        found = await rows.find(tx, cluster_id)
        if found is None:
            raise NotFound("There is no such cluster.", hint="GET /api/clusters lists them.")
        if not self._is_ours(found):
            raise Conflict(f"The cluster {found.name} is not backed up by this server.")
        return found

    def _is_ours(self, cluster: ClusterRow) -> bool:
        return any(cluster.name == each.name for each in self._repositories.clusters)

    # ── by the clock ─────────────────────────────────────────────────────────

    async def begin_due(self) -> list[OperationRow]:
        """Want the backups that are due, unless one is under way or has just failed."""
        if not self._repositories.enabled:
            return []
        await ensure_ready(self._repositories)
        now = dt.datetime.now(dt.UTC)
        begun = []
        async with self._store.transaction(audit.PLATFORM) as tx:
            clusters = await rows.every(tx)
        for cluster in filter(self._is_ours, clusters):
            kind = await self._due(cluster, now)
            if kind is None:
                continue
            try:
                async with self._store.transaction(audit.PLATFORM) as tx:
                    if not await self._rests(tx, cluster, now):
                        begun.append(await self.begin(tx, audit.PLATFORM, cluster.id, kind))
            except Conflict:
                continue  # the next minute sees to it
        return begun

    async def _due(self, cluster: ClusterRow, now: dt.datetime) -> BackupType | None:
        last = cluster.last_backup_at
        if plan.due(self._schedule, now, last=last, last_full=last) is None:
            return None
        backups = (await self._repositories.contents(cluster.name))[0].backups
        fulls = [backup.stopped for backup in backups if backup.type == "full"]
        return plan.due(self._schedule, now, last=last, last_full=max(fulls, default=None))

    async def _rests(self, tx: Tx, cluster: ClusterRow, now: dt.datetime) -> bool:
        """Whether the last backup was only just tried."""
        found = await operation_rows.page(
            tx,
            Filter(kind=BACKUP, resource_id=cluster.id),
            customer_id=None,
            after=read_key(None),
            limit=1,
        )
        ended = [row.finished_at for row in found if row.status != "succeeded"]
        return any(at is None or now - at < _RETRY for at in ended)

    # ── steps ────────────────────────────────────────────────────────────────

    async def _back_up(self, run: Run) -> Outcome:
        name, kind = run.params["cluster"], run.params["type"]
        began = dt.datetime.fromisoformat(
            run.state.setdefault(
                "began", dt.datetime.now(dt.UTC).replace(microsecond=0).isoformat()
            )
        )
        await run.save()
        self._repositories.ensure_files()
        await self._repositories.ensure_stanzas()
        failures: list[TenantryError] = []
        made: list[Backup] = []
        for number in range(1, len(self._repositories.places) + 1):
            try:
                found = await self._made_since(name, number, began)
                if found is None:
                    await self._repositories.pgbackrest.backup(
                        name, kind, repository=number, tell=_teller(run)
                    )
                    found = await self._made_since(name, number, began)
            except RepositoryBusy:
                # One that a killed worker began goes on without it, and is taken for this one.
                return Wait(_BUSY_SECONDS)
            except TenantryError as error:
                failures.append(error)
            else:
                made += [] if found is None else [found]
        if made:
            async with self._store.transaction(audit.PLATFORM) as tx:
                await rows.backed_up(tx, run.row.resource_id, max(each.stopped for each in made))
        if failures:
            raise failures[0]
        run.state["backups"] = [_told(backup) for backup in made]
        return Next()

    async def _made_since(self, name: str, number: int, began: dt.datetime) -> Backup | None:
        found = await self._repositories.pgbackrest.info(repository=number, stanza=name)
        backups = [each for here in found for each in here.backups if each.started >= began]
        return backups[-1] if backups else None

    async def _expire(self, run: Run) -> Outcome:
        try:
            removed = await self._repositories.expire(
                run.params["cluster"], window=self._schedule.window
            )
        except RepositoryBusy:
            return Wait(_BUSY_SECONDS)
        return Done({"backups": run.state["backups"], "expired": [each.label for each in removed]})

    async def _nothing_to_undo(self, _: Run) -> None:
        """What a backup that broke off has left, pgBackRest goes on with, or removes."""


def _teller(run: Run) -> Tell:
    async def tell(done: int, total: int | None) -> None:
        await run.tell(done / total if total else 0.0, done_bytes=done, total_bytes=total)

    return tell


def _told(backup: Backup) -> dict[str, object]:
    return {
        "repository": backup.repository,
        "label": backup.label,
        "type": backup.type,
        "size_bytes": backup.size,
        "stored_bytes": backup.stored,
        "seconds": (backup.stopped - backup.started).total_seconds(),
    }
