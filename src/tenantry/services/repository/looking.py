"""What can be restored now, by what is in the repositories; the same answer for all callers.

Nothing is remembered of a repository that is not in use. The local one is read each time; another
one may be far away and slow, so the worker looks into it each minute, and the result applies to
that very place only, and not for long (docs/decisions/0050).
"""

import asyncio
import contextlib
import datetime as dt
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psycopg

from tenantry.base.errors import TenantryError
from tenantry.base.sizes import readable
from tenantry.control import audit, repository_looks
from tenantry.control import clusters as rows
from tenantry.control import operations as operation_rows
from tenantry.control.clusters import ClusterRow
from tenantry.control.operations import Filter, OperationRow
from tenantry.control.pages import read_key
from tenantry.control.repository_looks import LookRow
from tenantry.control.store import ControlStore, Tx
from tenantry.host import commands, file_systems, files
from tenantry.pg import archiving
from tenantry.pg.archiving import Archiver
from tenantry.pg.connections import ADMIN, connect
from tenantry.pg.pgbackrest_output import Contents
from tenantry.services.repository import plan
from tenantry.services.repository.mirror import Mirror
from tenantry.services.repository.model import (
    BACKUP,
    VERIFY,
    Behind,
    Looked,
    RepositoryState,
    Upkeep,
)
from tenantry.services.repository.service import Repositories

_LOCAL = 1
_LATE = 30.0
_NAME = 24  # letters of a segment's name


# ── repositories ─────────────────────────────────────────────────────────────


async def local_state(
    repositories: Repositories, cluster_name: str, *, deadline: float = _LATE
) -> RepositoryState:
    """Return what can be restored of a cluster from the local repository now. Never fails."""
    try:
        async with asyncio.timeout(deadline):
            return await _local_state(repositories, cluster_name, deadline)
    except TimeoutError:
        problem = f"it gave no answer within {deadline:.0f} seconds."
    except TenantryError as error:
        problem = str(error)
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}."
    place = str(repositories.places[0])
    return RepositoryState(_LOCAL, place, dt.datetime.now(dt.UTC), problem=problem)


async def _local_state(repositories: Repositories, name: str, deadline: float) -> RepositoryState:
    # Read before the contents: what is archived later is not required.
    archiver = await _archiver(repositories, name)
    (contents,) = await repositories.contents(name, [_LOCAL], deadline=deadline)
    found = state(repositories, contents)
    if found.problem is not None or contents.absent:
        return found
    names = await file_systems.call(
        partial(archiving.archived, repositories.log_folder(name), after={})
    )
    until = None
    if archiver is not None:
        data = repositories.cluster(name).data
        until = archiving.closed_at(data, archiver.last_archived) or archiver.last_archived_at
    found = plan.with_log(
        found,
        contents.backups,
        names,
        last_archived="" if archiver is None else archiver.last_archived[:_NAME],
        archived_until=until,
    )
    return replace(found, trouble=await _trouble(repositories, name))


async def _archiver(repositories: Repositories, name: str) -> Archiver | None:
    with contextlib.suppress(TenantryError, psycopg.Error):
        async with connect(repositories.cluster(name).address, user=ADMIN) as admin:
            return await archiving.archiver(admin)
    return None


async def _trouble(repositories: Repositories, name: str) -> str | None:
    """Return what prevents the next backup or archiving, in a repository that can be read."""
    folder = Path(str(repositories.places[0]))
    for each in (repositories.log_folder(name), folder / "backup" / name):
        if not await _may_write(each, repositories.pgbackrest.folder):
            return f"{each} cannot be written to. Give the platform's user the right to it."
    if await file_systems.call(files.is_nearly_full, folder):
        free = readable(await file_systems.call(files.free_bytes, folder))
        return (
            f"the repository {folder} has {free} left. "
            "Make room on its disk, or keep less (TENANTRY_BACKUP_DAYS)."
        )
    return None


async def _may_write(folder: Path, owned: Path) -> bool:
    """Whether the owner of ``owned``, as whom the platform runs, may create files in a folder."""
    if os.geteuid() != 0:
        return await file_systems.call(os.access, folder, os.W_OK | os.X_OK)
    done = await commands.run(["test", "-w", folder], check=False, as_owner_of=owned)
    return done.returncode == 0


def state(repositories: Repositories, contents: Contents) -> RepositoryState:
    """Return what can be restored by a repository's contents, if its log is complete."""
    number, now = contents.repository, dt.datetime.now(dt.UTC)
    place = repositories.places[number - 1]
    problem = contents.problem
    if contents.absent:
        problem = None
        if repositories.has_stanza(place, contents.stanza):
            problem = (
                f"it is gone: there is nothing of {contents.stanza} in it. Mount its disk, or put "
                "it back."
            )
    if problem is not None:
        return RepositoryState(number, str(place), now, problem=problem)
    return plan.state(number, str(place), contents.backups, now=now)


@dataclass(frozen=True, slots=True)
class Seen:
    """The control database's data on the clusters that are backed up: no stopped instances.

    Also the last looks into other repositories, and the last operation of each kind on each
    cluster.
    """

    clusters: list[ClusterRow]
    looks: list[LookRow]
    operations: dict[tuple[uuid.UUID, str], OperationRow | None]


async def seen(repositories: Repositories, tx: Tx) -> Seen:
    """Read what the control database knows; no cluster where backups are off."""
    if not repositories.enabled:
        return Seen([], [], {})
    names = {cluster.name for cluster in repositories.clusters}
    clusters = [
        row for row in await rows.every(tx) if row.name in names and row.wanted == "running"
    ]
    return Seen(
        clusters,
        await repository_looks.of_places(tx, [str(place) for place in repositories.places]),
        {
            (row.id, kind.name): await last_about(tx, row, kind.name)
            for row in clusters
            for kind in (BACKUP, VERIFY)
        },
    )


async def states(
    repositories: Repositories, known: Seen, *, deadline: float = _LATE
) -> dict[str, tuple[RepositoryState, ...]]:
    """Return what can be restored of clusters from each repository, by the clusters' names.

    The local one is read, for so many seconds at most; the others' states are of the last look.
    """
    local = await asyncio.gather(
        *(local_state(repositories, row.name, deadline=deadline) for row in known.clusters)
    )
    now = dt.datetime.now(dt.UTC)
    others = list(enumerate(map(str, repositories.places), start=_LOCAL))[_LOCAL:]
    looks = {(row.cluster_id, row.place): row for row in known.looks}
    return {
        row.name: (
            first,
            *(
                plan.remembered(number, place, looks.get((row.id, place)), now=now)
                for number, place in others
            ),
        )
        for row, first in zip(known.clusters, local, strict=True)
    }


async def look_into_others(
    repositories: Repositories, store: ControlStore, clusters: Sequence[ClusterRow]
) -> None:
    """Look into all repositories but the local one, and record what they hold."""
    numbers = list(repositories.numbers)[_LOCAL:]
    found = await asyncio.gather(*(repositories.contents(row.name, numbers) for row in clusters))
    for row, contents in zip(clusters, found, strict=True):
        for each in contents:
            seen = state(repositories, each)
            look = LookRow(
                cluster_id=row.id,
                place=seen.place,
                looked_at=seen.looked_at,
                problem=seen.problem,
                last_backup_at=seen.last_backup_at,
                last_full_at=seen.last_full_at,
                restorable_from=seen.restorable_from,
            )
            async with store.transaction(audit.PLATFORM) as tx:
                await repository_looks.record(tx, look)


# ── upkeep ───────────────────────────────────────────────────────────────────


async def upkeep(
    repositories: Repositories, known: Seen, *, deadline: float = _LATE
) -> list[Upkeep]:
    """Return the state of the clusters' backups; ``deadline`` is for the local repository."""
    behind = asyncio.gather(*(_behind(repositories, row.name, deadline) for row in known.clusters))
    found = await states(repositories, known, deadline=deadline)
    return [
        await _upkeep(repositories, known, row, found[row.name], others)
        for row, others in zip(known.clusters, await behind, strict=True)
    ]


async def _behind(repositories: Repositories, name: str, deadline: float) -> tuple[Behind, ...]:
    """Return what other repositories lack; nothing if the local one does not answer in time."""
    try:
        async with asyncio.timeout(deadline):
            return tuple(await file_systems.call(Mirror(repositories).behind, name))
    except TimeoutError:
        return ()


async def _upkeep(
    repositories: Repositories,
    known: Seen,
    row: ClusterRow,
    found: tuple[RepositoryState, ...],
    behind: tuple[Behind, ...],
) -> Upkeep:
    backup, verification = (known.operations[row.id, kind.name] for kind in (BACKUP, VERIFY))
    waiting = None
    with contextlib.suppress(OSError):
        waiting = archiving.waiting(repositories.cluster(row.name).data)
    return Upkeep(
        cluster=row.name,
        created_at=row.created_at,
        repositories=found,
        archiver=await _archiver(repositories, row.name),
        waiting=waiting,
        complaint=repositories.complaint(row.name),
        backup_error=_error(repositories, backup),
        damage=_error(repositories, verification),
        in_progress=backup is not None and backup.finished_at is None,
        moved=repositories.moved,
        behind=behind,
    )


async def last_about(tx: Tx, cluster: ClusterRow, what: str) -> OperationRow | None:
    """Return the last operation of a kind on a cluster."""
    wanted = Filter(kind=what, resource_id=cluster.id)
    found = await operation_rows.page(tx, wanted, customer_id=None, after=read_key(None), limit=1)
    return found[0] if found else None


def is_about(repositories: Repositories, operation: OperationRow) -> bool:
    """Whether an operation was about the repositories that are in use now."""
    looked = Looked.model_validate(operation.state)
    return looked.places == [str(place) for place in repositories.places]


def _error(repositories: Repositories, operation: OperationRow | None) -> str | None:
    """Return how it failed; None if it did not, still runs, or was about other repositories."""
    if operation is None or not operation.error or not is_about(repositories, operation):
        return None
    return str(operation.error.get("detail"))
