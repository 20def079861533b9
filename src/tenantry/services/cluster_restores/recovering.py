"""The steps that restore and recover one cluster. Each continues from what an earlier try has done.

Without a data folder, the cluster is restored into another folder, which is renamed when it is
complete. A folder with ``recovery.signal`` has log to replay. One without is recovered.
"""

import asyncio
import contextlib
import re
import shutil
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import MachineError, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, replaced
from tenantry.control import databases as rows
from tenantry.control.clusters import ClusterRow, set_wanted
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import Tx
from tenantry.host import files
from tenantry.pg import catalog, objects
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import ADMIN, connect
from tenantry.pg.pgbackrest import Moment, PgBackRest
from tenantry.pg.pgbackrest_output import Backup, Contents, RepositoryError
from tenantry.services.cluster_restores import plan
from tenantry.services.cluster_restores.model import Differences, Reached
from tenantry.services.clusters.fleet import Fleet

log = structlog.get_logger()

Say = Callable[[str], None]
Show = Callable[[str, int, int], Awaitable[None]]
"""Shows how far a cluster is: its name, the bytes that are there, and all."""

RECOVER_SECONDS = 24 * 3600.0
_LOOK_SECONDS = 0.5
_AUTOMATIC = "postgresql.auto.conf"
_NOT_REACHED = "recovery ended before configured recovery target was reached"
_RECOVERY = re.compile(r"\s*(restore_command|recovery_target\w*)\s*=")
_TARGET = re.compile(r"\s*recovery_target(_\w+)?\s*=")


async def restore(
    pgbackrest: PgBackRest,
    cluster: Cluster,
    backups: list[Backup],
    to: Moment,
    *,
    say: Say,
    show: Show,
) -> str | None:
    """Restore the files of a cluster from the first of the backups that can be read.

    Returns the label of the restored backup, None if the files exist already. Raises
    RepositoryError with the reason if none can be read.
    """
    taken: list[str] = []

    async def report(done: int, total: int | None) -> None:
        if total:
            await show(cluster.name, done, total)

    async def fill(folder: Path) -> None:
        for number, backup in enumerate(backups):
            try:
                await pgbackrest.restore(
                    cluster.name,
                    folder,
                    to=to,
                    label=backup.label,
                    repository=backup.repository,
                    archiving=True,
                    report=report,
                )
            except RepositoryError as error:
                if number == len(backups) - 1:
                    raise
                say(f"The backup {backup.label} cannot be used: {error.detail}")
                say("The one before it is taken; the log makes up for the difference.")
                shutil.rmtree(folder)
            else:
                # pgBackRest has written this folder into restore_command, but it is going to be
                # renamed.
                automatic = folder / _AUTOMATIC
                said = automatic.read_text().replace(str(folder), str(cluster.data))
                files.write_atomically(automatic, said)
                taken.append(backup.label)
                return

    await cluster.ensure_filled(fill)
    emit(StepDone("recover", "restored", cluster.name))
    return taken[0] if taken else None


async def recover(fleet: Fleet, cluster: Cluster, *, say: Say, options: Sequence[str] = ()) -> bool:
    """Recover a restored cluster up to the requested time, and leave it running.

    ``options`` are extra postmaster options for this start.

    Returns whether the log ended before that time; then all of it was replayed. Raises MachineError
    if the cluster does not start.
    """
    ended_early = False
    while True:
        try:
            await fleet.recover(cluster, deadline=RECOVER_SECONDS, options=options)
            await answering(cluster)
        except MachineError as error:
            if _NOT_REACHED not in error.detail or ended_early:
                raise
            say(f"The log of {cluster.name} ends before that moment; all of it is taken.")
            ended_early = True
            _forget_target(cluster.data / _AUTOMATIC)
        else:
            emit(StepDone("recover", "recovered", cluster.name))
            return ended_early


async def answering(cluster: Cluster) -> None:
    """Wait for a server that was started elsewhere and may still be recovering.

    Raises MachineError if it ends.
    """
    while True:
        with contextlib.suppress(Unavailable):
            async with connect(cluster.address, user=ADMIN):
                return
        if cluster.pid() is None:
            raise MachineError(
                f"The cluster {cluster.name} has ended.\n{cluster.last_words()}",
                hint="The same command goes on from here.",
            )
        await asyncio.sleep(_LOOK_SECONDS)


def _forget_target(automatic: Path) -> None:
    retained = [line for line in automatic.read_text().splitlines() if not _TARGET.match(line)]
    files.write_atomically(automatic, "\n".join([*retained, ""]))


def forget_recovery(data: Path) -> None:
    """Remove the recovery parameters from a recovered cluster's settings."""
    automatic = data / _AUTOMATIC
    retained = [line for line in automatic.read_text().splitlines() if not _RECOVERY.match(line)]
    files.write_atomically(automatic, "\n".join([*retained, ""]))


async def reached(
    cluster: Cluster, contents: Contents, backup: str, *, ended_early: bool, whole: bool
) -> Reached:
    """Return the state of a recovered cluster. ``whole``: all of the log was requested."""
    async with connect(cluster.address, user=ADMIN) as admin:
        row = await (
            await admin.execute(
                "SELECT pg_last_xact_replay_timestamp(), pg_walfile_name(pg_current_wal_lsn())"
            )
        ).fetchone()
    if row is None:
        raise psycopg.DataError("a SELECT without FROM has one row")
    timeline = int(row[1][:8], 16)
    history = cluster.data / "pg_wal" / f"{timeline:08X}.history"
    unread = None
    if (whole or ended_early) and history.exists():
        unread = plan.unread(contents.wal[1] if contents.wal else None, history.read_text())
    return Reached(
        cluster=cluster.name,
        backup=backup,
        last_commit=row[0],
        timeline=timeline,
        ended_early=ended_early,
        unread=unread,
    )


async def reconcile(
    tx: Tx, clusters: Iterable[Cluster], found: Mapping[str, ClusterRow]
) -> Differences:
    """Reconcile the control database with the databases of clusters, without losing anything.

    The clusters have to run, except instances. One without a row in ``found`` was added after the
    control database's moment: it has nothing that the control database knows. All that was on one
    without a data folder is missing; such an instance stays stopped, as it would start empty.
    """
    total = Differences()
    for cluster in clusters:
        if (row := found.get(cluster.name)) is None:
            continue
        if not cluster.data.exists():
            if row.kind == "dedicated":
                await set_wanted(tx, row.id, "stopped")
            lost = plan.reconcile(await rows.on_cluster(tx, row.id), (), ())
            await _note_missing(tx, lost.missing)
            total += Differences(missing=lost.differences.missing)
            continue
        try:
            async with connect(cluster.address, user=ADMIN) as server:
                total += await _reconcile(tx, server, row.id)
        except Unavailable as error:
            if cluster.kind != "dedicated":
                raise
            log.warning("cluster.not_reconciled", cluster=cluster.name, error=str(error))
    return total


async def _reconcile(
    tx: Tx, server: AsyncConnection[TupleRow], cluster_id: uuid.UUID
) -> Differences:
    todo = plan.reconcile(
        await rows.on_cluster(tx, cluster_id),
        await catalog.tenant_databases(server),
        await catalog.roles_with_password(server),
        await replaced.names(tx, cluster_id),
    )
    for row in todo.discard:
        for name in (row.shadow_name, row.database_name):
            await objects.drop_database(server, name)
        await objects.drop_role(server, row.username)
    for row in (*todo.discard, *todo.forget):
        await rows.remove(tx, row.id)
    await _note_missing(tx, todo.missing)
    return todo.differences


async def _note_missing(tx: Tx, missing: Iterable[DatabaseRow]) -> None:
    for row in missing:
        await rows.note_missing(tx, row.id, missing=True)
        await audit.record_on(tx, audit.PLATFORM, "database.missing", row)
