"""Backups of clusters as operations: scheduled or requested, with the expiry of older ones."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from tenantry.base.errors import Conflict, NotFound, TenantryError, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.base.settings import Settings
from tenantry.control import audit
from tenantry.control import clusters as rows
from tenantry.control.audit import Actor
from tenantry.control.clusters import ClusterRow
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg.pgbackrest import ReportProgress
from tenantry.pg.pgbackrest_output import (
    Backup,
    BackupDamaged,
    BackupType,
    Contents,
    RepositoryBusy,
    RepositoryError,
)
from tenantry.pg.repositories import Repository
from tenantry.services.operations.model import (
    AnyRun,
    Done,
    Flow,
    Kind,
    Next,
    Outcome,
    P,
    Run,
    S,
    Step,
    Wait,
)
from tenantry.services.operations.service import Operations
from tenantry.services.repository import plan
from tenantry.services.repository.looking import (
    is_about,
    last_about,
    local_state,
    look_into_others,
    seen,
    state,
    states,
    upkeep,
)
from tenantry.services.repository.mirror import Mirror
from tenantry.services.repository.model import (
    BACKUP,
    VERIFY,
    BackupParams,
    BackupState,
    Looked,
    OfCluster,
    RepositoryState,
    Upkeep,
)
from tenantry.services.repository.service import Repositories, ensure_ready

log = structlog.get_logger()

_DEADLINE = dt.timedelta(hours=24)
_BUSY_SECONDS = 5.0
_VERIFIED = dt.timedelta(days=7)
_VERIFY_AGAIN = dt.timedelta(hours=1)
_RETRY = dt.timedelta(minutes=15)
_LOOK_SECONDS = 30.0
_LOCAL = 1  # its number


def schedule(settings: Settings) -> plan.Schedule:
    """Return the schedule in the settings."""
    return plan.Schedule(
        time=dt.time.fromisoformat(settings.backup.time),
        weekday=_WEEKDAYS.index(settings.backup.weekday),
        window=dt.timedelta(days=settings.backup.days),
    )


_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class Held:
    """The contents of the repositories for a cluster, and whether a backup is being made."""

    contents: list[Contents]
    states: tuple[RepositoryState, ...]
    in_progress: bool


class ClusterBackups:
    """The verbs on physical backups. Each is an exclusive operation on its cluster."""

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
        self.mirror = Mirror(repositories)
        operations.register(
            Flow(
                BACKUP,
                [
                    Step("back_up", self._back_up, share=9),
                    Step("expire", self._expire),
                    Step("check_log", self._check_log),
                ],
                undo=self._nothing_to_undo,
                deadline=_DEADLINE,
                lane="platform",
            ),
            Flow(
                VERIFY,
                [Step("verify", self._verify)],
                undo=self._nothing_to_undo,
                deadline=_DEADLINE,
                lane="platform",
            ),
        )

    # ── requested ────────────────────────────────────────────────────────────

    async def begin(
        self, tx: Tx, actor: Actor, cluster_id: uuid.UUID, kind: BackupType
    ) -> OperationRow:
        """Begin a backup of a cluster. Raises NotFound, Conflict."""
        cluster = await self._find(tx, cluster_id)
        wanted = BackupParams(cluster=cluster.name, type=kind)
        return await self._begin(tx, actor, cluster, BACKUP, wanted)

    async def begin_verification(self, tx: Tx, actor: Actor, cluster_id: uuid.UUID) -> OperationRow:
        """Begin to verify all backups of a cluster. Raises NotFound, Conflict."""
        cluster = await self._find(tx, cluster_id)
        return await self._begin(tx, actor, cluster, VERIFY, OfCluster(cluster=cluster.name))

    async def _begin(
        self, tx: Tx, actor: Actor, cluster: ClusterRow, kind: Kind[P, S], wanted: P
    ) -> OperationRow:
        row = await self._operations.begin(
            tx,
            actor,
            kind,
            wanted,
            resource_kind="cluster",
            resource_id=cluster.id,
            customer_id=None,
        )
        asked = wanted.model_dump(mode="json", exclude={"cluster"}, exclude_defaults=True)
        await audit.record(
            tx,
            actor,
            kind.name,
            resource_kind="cluster",
            resource_id=cluster.id,
            resource_name=cluster.name,
            result="accepted",
            details={**asked, "operation_id": str(row.id)},
        )
        return row

    async def held(self, cluster_id: uuid.UUID) -> Held:
        """Return what each repository holds of a cluster. Raises NotFound, Conflict."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            cluster = await self._find(tx, cluster_id)
            last = await last_about(tx, cluster, BACKUP.name)
        local, contents = await asyncio.gather(
            local_state(self._repositories, cluster.name),
            self._repositories.contents(cluster.name),
        )
        others = [state(self._repositories, each) for each in contents if each.repository != _LOCAL]
        return Held(contents, (local, *others), last is not None and last.finished_at is None)

    async def _find(self, tx: Tx, cluster_id: uuid.UUID) -> ClusterRow:
        self._repositories.require_enabled()
        found = await rows.find(tx, cluster_id)
        if found is None:
            raise NotFound("There is no such cluster.", hint="GET /api/clusters lists them.")
        if not self._is_ours(found):
            raise Conflict(f"The cluster {found.name} is not backed up by this server.")
        return found

    def _is_ours(self, cluster: ClusterRow) -> bool:
        return any(cluster.name == each.name for each in self._repositories.clusters)

    # ── scheduled ────────────────────────────────────────────────────────────

    async def begin_due(self) -> list[OperationRow]:
        """Begin what is due, unless an operation is in progress or has just failed."""
        if not self._repositories.enabled:
            return []
        await ensure_ready(self._repositories)
        now = dt.datetime.now(dt.UTC)
        started = []
        async with self._store.transaction(audit.PLATFORM) as tx:
            known = await seen(self._repositories, tx)
        found_of = await states(self._repositories, known)
        for cluster in known.clusters:
            found = found_of[cluster.name]
            due = plan.due(self._schedule, now, found, full_since=cluster.full_backup_since)
            try:
                async with self._store.transaction(audit.PLATFORM) as tx:
                    if due is not None and not await self._rests(tx, cluster, now):
                        started.append(await self._begin_due(tx, cluster, due))
                    elif any(each.last_backup_at for each in found) and not await self._is_verified(
                        tx, cluster, now
                    ):
                        started.append(
                            await self.begin_verification(tx, audit.PLATFORM, cluster.id)
                        )
            except Conflict:
                continue  # it is tried again in a minute
        return started

    async def _begin_due(self, tx: Tx, cluster: ClusterRow, due: plan.Due) -> OperationRow:
        numbers = tuple(due.repositories)
        some = () if numbers == tuple(self._repositories.numbers) else numbers
        wanted = BackupParams(cluster=cluster.name, type=due.type, repositories=some)
        return await self._begin(tx, audit.PLATFORM, cluster, BACKUP, wanted)

    async def _rests(self, tx: Tx, cluster: ClusterRow, now: dt.datetime) -> bool:
        """Whether a backup is in progress, or has only just failed."""
        last = await last_about(tx, cluster, BACKUP.name)
        if last is None or last.status == "succeeded":
            return False
        if last.finished_at is None:
            return True
        return now - last.finished_at < _RETRY and is_about(self._repositories, last)

    async def _is_verified(self, tx: Tx, cluster: ClusterRow, now: dt.datetime) -> bool:
        last = await last_about(tx, cluster, VERIFY.name)
        if last is None or last.finished_at is None:
            return last is not None
        pause = _VERIFIED if last.status == "succeeded" else _VERIFY_AGAIN
        return now - last.finished_at < pause and is_about(self._repositories, last)

    async def remove_left(self) -> list[str]:
        """Remove what deleted instances have in the repositories, once its retention is over.

        Return their names.
        """
        if not self._repositories.enabled:
            return []
        async with self._store.transaction(audit.PLATFORM) as tx:
            due = await rows.left_repositories(tx, days=self._schedule.window.days)
        for name in due:
            await self._repositories.remove(name)
        async with self._store.transaction(audit.PLATFORM) as tx:
            await rows.forget_repositories(tx, due)
        return due

    # ── their state ──────────────────────────────────────────────────────────

    async def upkeep(self, *, deadline: float = _LOOK_SECONDS) -> list[Upkeep]:
        """Return the state of the clusters' backups; nothing where they are off.

        A local repository that does not answer within so many seconds is unknown. Raises
        Unavailable if the control database does not answer.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            known = await seen(self._repositories, tx)
        return await upkeep(self._repositories, known, deadline=deadline)

    async def look_into_others(self) -> None:
        """Record what is in the repositories that are not read each time."""
        if not self._repositories.enabled or len(self._repositories.places) == 1:
            return
        async with self._store.transaction(audit.PLATFORM) as tx:
            known = await seen(self._repositories, tx)
        await look_into_others(self._repositories, self._store, known.clusters)

    # ── steps ────────────────────────────────────────────────────────────────

    async def _back_up(self, run: Run[BackupParams, BackupState]) -> Outcome:
        name, kind = run.params.cluster, run.params.type
        began = run.state.began or dt.datetime.now(dt.UTC).replace(microsecond=0)
        run.state.began = began
        run.state.places = [str(place) for place in self._repositories.places]
        await run.save()
        await self._repositories.ensure_awake(name)
        self._repositories.ensure_files()
        await self._repositories.ensure_stanzas()
        await self._require_archiving(name)
        failures: dict[int, TenantryError] = {}
        made: list[Backup] = []
        for number in run.params.repositories or self._repositories.numbers:
            try:
                found = await self._made_since(name, number, began)
                if found is None:
                    await self._repositories.pgbackrest.backup(
                        name, kind, repository=number, report=_reporter(run)
                    )
                    emit(StepDone(BACKUP.name, "made", name))
                    found = await self._made_since(name, number, began)
            except RepositoryBusy:
                # The backup of a killed worker continues without it, and counts as this one.
                return Wait(_BUSY_SECONDS)
            except TenantryError as error:
                failures[number] = error
            else:
                made += [] if found is None else [found]
        if any(each.repository != _LOCAL for each in made):
            await self.look_into_others()
        run.state.backups = [_summary(backup) for backup in made]
        run.state.lacking = {number: str(error) for number, error in failures.items()}
        if not made:
            raise next(iter(failures.values()))
        return Next()

    def _took(self, run: Run[BackupParams, BackupState]) -> list[int]:
        """Return the repositories that have the backup, or had it before; the others failed."""
        lacking = run.state.lacking
        return [number for number in self._repositories.numbers if number not in lacking]

    async def _require_archiving(self, name: str) -> None:
        """Fail at once, with the reason, where a backup would wait in vain for its log."""
        try:
            await self._repositories.secure(name)
        except Unavailable as error:
            if self._repositories.complaint(name):
                raise RepositoryError(error.detail, hint=error.hint) from error

    async def _made_since(self, name: str, number: int, began: dt.datetime) -> Backup | None:
        # It fails if that is unknown: a backup would try the same for minutes.
        held = await self._repositories.held(name, number)
        backups = [each for each in held.backups if each.started >= began]
        return backups[-1] if backups else None

    async def _expire(self, run: Run[BackupParams, BackupState]) -> Outcome:
        try:
            # A restore in progress may need what would be deleted. The next backup expires it.
            removed = (
                []
                if self._repositories.is_read
                else await self._repositories.expire(
                    run.params.cluster,
                    window=self._schedule.window,
                    numbers=self._took(run),
                )
            )
        except RepositoryBusy:
            return Wait(_BUSY_SECONDS)
        run.state.expired = [each.label for each in removed]
        return Next()

    async def _check_log(self, run: Run[BackupParams, BackupState]) -> Outcome:
        name, lacking = run.params.cluster, run.state.lacking
        if not lacking:
            await self.mirror.compare(name)
        _require_none(await self._gaps(name, self._took(run)), name)
        if lacking:
            has = ", ".join(str(self._place(each["repository"])) for each in run.state.backups)
            lacks = "; ".join(f"{self._place(each)}: {why}" for each, why in lacking.items())
            raise RepositoryError(
                f"The backup is in {has}, and not in {lacks}",
                hint="What is missing is made up for as soon as it can be.",
            )
        return Done({"backups": run.state.backups, "expired": run.state.expired})

    async def _verify(self, run: Run[OfCluster, Looked]) -> Outcome:
        name = run.params.cluster
        places = self._repositories.places
        run.state.places = [str(place) for place in places]
        await run.save()
        await self.mirror.compare(name)
        problems = await self._gaps(name, self._repositories.numbers)
        for number, place in enumerate(places, start=1):
            found = await self._repositories.pgbackrest.verify(name, repository=number)
            problems += [f"{place}: {problem}" for problem in found]
        _require_none(problems, name)
        return Done({"repositories": [str(place) for place in places]})

    def _place(self, number: int) -> Repository:
        return self._repositories.places[number - 1]

    async def _gaps(self, name: str, numbers: Iterable[int]) -> list[str]:
        problems = []
        for held in await self._repositories.contents(name, numbers):
            place = self._place(held.repository)
            if held.problem is not None:
                problems.append(f"{place}: {held.problem}")
            elif lacking := await self._repositories.missing(
                held, until=self.mirror.reached(name, held.repository)
            ):
                problems.append(
                    f"{place}: {lacking} segments of the write-ahead log are missing, so that no "
                    "moment after them can be restored until there is a newer backup"
                )
        return problems

    async def _nothing_to_undo(self, _: AnyRun) -> None:
        """Do nothing: pgBackRest continues or removes what an interrupted backup has left."""


def _require_none(problems: list[str], cluster: str) -> None:
    if problems:
        raise BackupDamaged(
            f"The backups of {cluster} are damaged: {'; '.join(problems)}.",
            hint="Make a full backup now: tenantry cluster backup --type full",
        )


def _reporter(run: AnyRun) -> ReportProgress:
    async def report(done: int, total: int | None) -> None:
        await run.report(done / total if total else 0.0, done_bytes=done, total_bytes=total)

    return report


def _summary(backup: Backup) -> dict[str, object]:
    return {
        "repository": backup.repository,
        "label": backup.label,
        "type": backup.type,
        "size_bytes": backup.size,
        "stored_bytes": backup.stored,
        "seconds": (backup.stopped - backup.started).total_seconds(),
    }
