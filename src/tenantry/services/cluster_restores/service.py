"""``tenantry cluster restore``: restore one whole cluster from its repository.

It is restored beside the one in service, recovered and checked where only the platform can reach
it, and put into service by renaming folders (``folders``). Before that nothing of the old cluster
is changed; afterwards it is retained until it is discarded.
"""

import asyncio
import datetime as dt
import shutil

import psycopg

from tenantry.base.errors import MachineError, TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control import audit, databases, operations, sessions
from tenantry.control import clusters as rows
from tenantry.control.store import DATABASE, ControlStore
from tenantry.host import files
from tenantry.pg import archiving, objects
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import ADMIN, connect, fetch_value
from tenantry.pg.hardening import TEMPLATE
from tenantry.services.cluster_restores import agreeing, plan, recovering
from tenantry.services.cluster_restores.folders import RESTORE, Folders
from tenantry.services.cluster_restores.model import Reached, Report, Retained, Wanted
from tenantry.services.cluster_restores.recovering import Say, Show
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.fleet_file import CONTROL
from tenantry.services.control_schema import ensure_control_schema
from tenantry.services.repository.plan import missing_segments
from tenantry.services.repository.service import Repositories
from tenantry.services.side_clusters.model import LogMissing, OutsideWindow

_SPARE = 1.1  # times the cluster's size: the log to replay needs room, too
_OWN_BYTES = 256 * 1024**2  # the log that it writes itself


def folders_of(settings: Settings, name: str) -> Folders:
    """Return the folders of a cluster of this machine. Raises NotFound."""
    return Folders(Home(settings.home), Fleet(settings).named(name))


def _every_folders(settings: Settings) -> list[Folders]:
    return [Folders(Home(settings.home), each) for each in Fleet(settings).every]


def every_retained(settings: Settings) -> list[Retained]:
    """Return the retained folders of all clusters of this machine."""
    return [retained for folders in _every_folders(settings) for retained in folders.retained()]


async def settle(settings: Settings) -> None:
    """Complete or undo interrupted restores. To be called before anything is started."""
    for folders in _every_folders(settings):
        await folders.settle()


async def complete(settings: Settings) -> list[Report]:
    """Record restored clusters in the control database; all clusters have to run.

    To be called before clients are served: databases that wait for an owner cannot be trusted yet.
    """
    return [
        await _complete(settings, folders, report)
        for folders in _every_folders(settings)
        if (report := folders.decided()) is not None
    ]


async def _complete(settings: Settings, folders: Folders, report: Report) -> Report:
    fleet = Fleet(settings)
    affected = fleet.serving if report.cluster == CONTROL else [fleet.named(report.cluster)]
    async with (
        ControlStore(fleet.control.address) as store,
        store.transaction(audit.PLATFORM) as tx,
    ):
        found = {row.name: row for row in await rows.every(tx)}
        differences = await recovering.reconcile(tx, affected, found)
        report = report.model_copy(
            update={
                "missing": differences.missing,
                "unmanaged": differences.unmanaged,
                "closed": differences.closed,
            }
        )
        if report.cluster == CONTROL:
            await sessions.end_all(tx)
        await operations.cancel_all(tx, besides=report.operation_id)
        await rows.want_full_backup(tx, report.cluster)
        await audit.record(
            tx,
            audit.PLATFORM,
            "cluster.restored",
            resource_kind="cluster",
            resource_id=found[report.cluster].id,
            resource_name=report.cluster,
            details=report.model_dump(mode="json", exclude={"cluster", "in_service"}),
        )
    emit(StepDone(RESTORE, "reconciled", report.cluster))
    folders.complete()
    return report


class ClusterRestore:
    """The restore of one cluster of this machine. Its methods are in the order of the steps."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._fleet = Fleet(settings)
        self._repositories = Repositories(settings)
        self.folders = folders_of(settings, name)

    # ── before a restore ─────────────────────────────────────────────────────

    async def look(self, to: dt.datetime | None) -> Wanted:
        """Return what would be restored, as of ``to`` (None: the log's end). Changes nothing.

        Raises OutsideWindow, LogMissing, NotEnoughDisk, Conflict where backups are off, and
        MachineError without a backup.
        """
        self._repositories.require_enabled()
        if to is not None and to > dt.datetime.now(dt.UTC):
            raise OutsideWindow(
                f"{to:%F %T} UTC is in the future.",
                hint='Ask for "latest", or for a moment that has been.',
            )
        self._repositories.ensure_files()
        wanted = await self.choose(to)
        if to is None:
            await self._require_whole_log(wanted)
        self._require_room(wanted)
        return wanted

    async def choose(self, to: dt.datetime | None) -> Wanted:
        """Return the backups to begin with. Raises OutsideWindow, MachineError."""
        problem: TenantryError | None = None
        for held in await self._repositories.contents(self._name):
            try:
                if held.problem is not None:
                    raise MachineError(f"Repository {held.repository}: {held.problem}")
                return Wanted(self._name, to, held, plan.candidates(held, to))
            except TenantryError as error:
                problem = problem or error
        raise problem or MachineError("There is no repository.")

    async def _require_whole_log(self, wanted: Wanted) -> None:
        held = wanted.contents
        if held.archive is None or held.wal is None:
            return
        names = await self._repositories.pgbackrest.segments(
            held.stanza, held.archive, repository=held.repository
        )
        lacking = missing_segments(
            names,
            since=wanted.backups[0].wal_start,
            until=held.wal[1],
            segment_bytes=archiving.SEGMENT_BYTES,
        )
        if lacking:
            raise LogMissing(
                f"{len(lacking)} segments of the write-ahead log of {self._name} are not in the "
                "repository, so that its end cannot be reached.",
                hint="Put them back, or restore to a moment before the first of them: "
                "tenantry cluster verify shows more. Nothing was changed.",
            )

    def _require_room(self, wanted: Wanted) -> None:
        retained = ", ".join(each.name for each in self.folders.retained())
        more = f" Or discard what is kept of it: {retained}." if retained else ""
        files.require_room(
            self.folders.home.clusters,
            round(wanted.size * _SPARE) + _OWN_BYTES,
            what="The new cluster, beside the old one,",
            hint=f"Make room there.{more} Nothing was changed.",
        )

    async def made_since(self, moment: dt.datetime) -> list[str] | None:
        """Return the cluster's databases that got an owner after a moment, and would be lost.

        For the control cluster, those of all clusters.

        None if the control cluster, which knows them, does not start.
        """
        control = self._fleet.control
        runs = control.pid() is not None
        try:
            await self._fleet.ensure_running(control)
            async with (
                ControlStore(control.address) as store,
                store.transaction(audit.PLATFORM) as tx,
            ):
                found = [
                    row
                    for cluster in await rows.every(tx)
                    if self._name in {CONTROL, cluster.name}
                    for row in await databases.on_cluster(tx, cluster.id)
                ]
        except (TenantryError, psycopg.Error):
            return None
        finally:
            if not runs:
                await control.stop()
        return [
            row.database_name for row in found if row.status == "active" and row.created_at > moment
        ]

    # ── beside the one in service ────────────────────────────────────────────

    async def restore(self, wanted: Wanted, *, say: Say, show: Show) -> str:
        """Restore the files, from the first backup that can be read. Returns that backup's label.

        Removes what an earlier try has left. Raises RepositoryError.
        """
        await self.folders.undo()
        restored = self.folders.restored
        files.ensure_folder(restored.folder)
        say(f"Restoring {self._name} from the backup {wanted.backups[0].label}")
        label = await recovering.restore(
            self._repositories.pgbackrest,
            restored,
            wanted.backups,
            wanted.to or "latest",
            say=say,
            show=show,
        )
        old = self.folders.cluster
        if old.pid() is None:
            # Its last commits are in no repository yet (manual, section 26.3.5).
            for segment in archiving.unarchived(old.data):
                await asyncio.to_thread(
                    shutil.copy, segment, restored.data / "pg_wal" / segment.name
                )
        emit(StepDone(RESTORE, "restored", self._name))
        return label or wanted.backups[0].label

    async def recover(self, wanted: Wanted, label: str, *, say: Say) -> Reached:
        """Recover the restored cluster up to the requested time, and check it.

        Raises MachineError if it does not start, LogMissing if the log has a gap before that.
        """
        restored = self.folders.restored
        say(f"{self._name} reads its log")
        ended_early = await recovering.recover(
            self._fleet, restored, say=say, options=agreeing.quiet(restored.address)
        )
        reached = await recovering.reached(
            restored, wanted.contents, label, ended_early=ended_early, whole=wanted.to is None
        )
        if reached.unread is not None:
            raise LogMissing(
                f"The log of {self._name} has a gap, or is damaged: the last commit that can be "
                f"reached is of {reached.last_commit}, and segment {reached.unread} is behind it.",
                hint="Restore to that moment if it is enough. Nothing was changed.",
            )
        if self.folders.cluster.pid() is None:
            await asyncio.to_thread(
                archiving.have_archived,
                self.folders.cluster.data,
                restored.data,
                timeline=reached.timeline,
            )
        await self._require_sound(restored)
        emit(StepDone(RESTORE, "recovered", self._name))
        return reached

    async def _require_sound(self, restored: Cluster) -> None:
        """Raise MachineError unless it is one of our clusters, out of recovery and readable."""
        needed = DATABASE if self._name == CONTROL else TEMPLATE
        async with connect(restored.address, user=ADMIN) as admin:
            if await fetch_value(admin, "SELECT pg_is_in_recovery()"):
                raise MachineError(f"{self._name} is still recovering.", hint="Please report it.")
            if not await objects.database_exists(admin, needed):
                raise MachineError(
                    f"The restored {self._name} has no database {needed}: it was made later.",
                    hint="Restore to a later moment. Nothing was changed.",
                )

    # ── into service ─────────────────────────────────────────────────────────

    async def agree(self, wanted: Wanted, reached: Reached, *, say: Say) -> Report:
        """Revoke in the restored cluster what has been revoked since.

        Stops the old cluster. The control cluster has to run, unless it is the restored one.
        """
        say(f"Comparing who may log in to {self._name}")
        await self.folders.cluster.stop()
        if self._name == CONTROL:
            locked, asked = await agreeing.agree_on_openings(self.folders)
        else:
            async with ControlStore(self._fleet.control.address) as store:
                locked, asked = await agreeing.agree_on_logins(self.folders, store, wanted, reached)
        emit(StepDone(RESTORE, "agreed", self._name))
        return Report(
            cluster=self._name,
            to=wanted.to,
            reached=reached,
            retained=self.folders.new_name(dt.datetime.now(dt.UTC)),
            locked=locked,
            old_unreadable=not asked,
        )

    async def swap(self, report: Report) -> None:
        """Put the restored cluster into service, and retain the old one. Stops both."""
        restored = self.folders.restored
        await restored.stop()
        await self.folders.cluster.stop()
        recovering.forget_recovery(restored.data)
        self.folders.decide(report)
        self.folders.finish()

    # ── the whole restore, while the platform is down ────────────────────────

    async def carry_out(self, wanted: Wanted, *, say: Say, show: Show) -> Report:
        """Run the whole restore, and leave everything stopped, ready for ``tenantry up``.

        Raises TenantryError if it fails; if that is before the swap, the old cluster is unchanged.
        """
        try:
            if self._name != CONTROL:
                await self._fleet.ensure_running(self._fleet.control)
                await ensure_control_schema(self._fleet)
            label = await self.restore(wanted, say=say, show=show)
            reached = await self.recover(wanted, label, say=say)
            await self.swap(await self.agree(wanted, reached, say=say))
            say("Comparing the databases with what the control database knows")
            for cluster in self._fleet.wanted:
                await recovering.recover(self._fleet, cluster, say=say)
            await ensure_control_schema(self._fleet)
            reports = await complete(self._settings)
            return next(each for each in reports if each.cluster == self._name)
        finally:
            await self.folders.undo()
            for cluster in reversed(self._fleet.every):
                await cluster.stop()


async def discard(settings: Settings, retained: Retained) -> None:
    """Delete a retained cluster permanently; audited if the control cluster runs."""
    folders_of(settings, retained.cluster).discard(retained)
    control = Fleet(settings).control
    if control.pid() is None:
        return  # it may need this room to start
    async with (
        ControlStore(control.address) as store,
        store.transaction(audit.PLATFORM) as tx,
    ):
        await audit.record(
            tx,
            audit.PLATFORM,
            "cluster.discarded",
            resource_kind="cluster",
            resource_name=retained.cluster,
            details={"name": retained.name},
        )
