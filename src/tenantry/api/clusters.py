"""/api/clusters"""

import datetime as dt
import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.deps import ClusterId, CurrentPlatform, allowed, calling
from tenantry.control.clusters import LoadedCluster, Wanted
from tenantry.control.grants import ADMIN
from tenantry.services.access.service import Principal
from tenantry.services.bodies.copies import AddCluster, BackUpCluster, RestoreCluster
from tenantry.services.repository.flow import Held
from tenantry.services.repository.model import Upkeep
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/clusters", tags=["platform"])

Watcher = Annotated[Principal, allowed("platform:read")]
Administrator = Annotated[Caller, calling(ADMIN)]


class PhysicalBackup(BaseModel):
    """A backup of a whole cluster. ``stored_bytes`` is the space that it alone takes."""

    repository: int
    label: str
    type: Literal["full", "diff", "incr"]
    started_at: dt.datetime
    finished_at: dt.datetime
    size_bytes: int
    stored_bytes: int
    based_on: str | None
    damaged: bool
    left: bool = Field(
        description="Of a time that a restore of the cluster has left behind: not used any more."
    )


class HeldRepository(BaseModel):
    """A repository, and the moment from which on a cluster can be restored from it.

    ``state`` is ``none`` if nothing can be restored, and ``unknown`` if the repository cannot be
    read; ``problem`` says why.
    """

    number: int
    place: str
    state: Literal["ok", "none", "unknown"]
    problem: str | None
    restorable_from: dt.datetime | None


class ClusterBackups(BaseModel):
    repositories: list[HeldRepository]
    in_progress: bool = Field(description="Whether one is being made now.")
    backups: list[PhysicalBackup] = Field(description="The oldest first.")


def _held(found: Held) -> ClusterBackups:
    return ClusterBackups(
        repositories=[
            HeldRepository(
                number=each.number,
                place=each.place,
                state=each.known,
                problem=each.problem or each.trouble,
                restorable_from=each.restorable_from,
            )
            for each in found.states
        ],
        in_progress=found.in_progress,
        backups=[
            PhysicalBackup(
                repository=each.repository,
                label=each.label,
                type=each.type,
                started_at=each.started,
                finished_at=each.stopped,
                size_bytes=each.size,
                stored_bytes=each.stored,
                based_on=each.prior,
                damaged=each.damaged,
                left=each.left,
            )
            for held in found.contents
            for each in held.backups
        ],
    )


class Cluster(BaseModel):
    id: uuid.UUID
    name: str
    kind: str
    driver: str
    version: int
    port: int
    container_name: str | None = Field(description="Of an instance.")
    wanted: Wanted
    ready: bool = Field(description="Whether databases are placed on it; false while it is added.")
    databases: int
    max_databases: int
    backups: Literal["ok", "none", "unknown"] | None = Field(
        description="Whether there is a physical backup to restore from; null where they are off."
    )
    last_backup_at: dt.datetime | None
    created_at: dt.datetime


def _shown(row: LoadedCluster, backups: Upkeep | None) -> Cluster:
    return Cluster(
        id=row.id,
        name=row.name,
        kind=row.kind,
        driver=row.driver,
        version=row.version,
        port=row.port,
        container_name=row.container_name,
        wanted=row.wanted,
        ready=row.ready,
        databases=row.databases,
        max_databases=row.max_databases,
        backups=backups and backups.known,
        last_backup_at=backups and backups.last_backup_at,
        created_at=row.created_at,
    )


@router.get("", response_model=Listing[Cluster])
async def index(platform: CurrentPlatform, principal: Watcher) -> Response:
    """List the PostgreSQL clusters."""
    principal.require_unbound()
    rows = await platform.clusters.loaded()
    backups = {each.cluster: each for each in await platform.cluster_backups.upkeep()}
    return answers.listing([_shown(row, backups.get(row.name)) for row in rows])


@router.post("", status_code=202, response_model=Answer[Operation])
async def add(body: AddCluster, platform: CurrentPlatform, caller: Administrator) -> Response:
    """Add a shared cluster. New databases go to the cluster that has most free connections.

    Each shared cluster gets an equal part of the memory; those that run already give their part up
    when they are next started.
    """
    caller.principal.require_unbound()
    operation = await caller.begin(
        lambda tx: platform.cluster_additions.begin(tx, caller.actor, body.name)
    )
    return answers.accepted(operation, "The cluster is being added.")


@router.get("/{identifier}/backups", response_model=Answer[ClusterBackups])
async def backups(platform: CurrentPlatform, principal: Watcher, cluster_id: ClusterId) -> Response:
    """Return each repository's backups of a cluster and the earliest moment to restore."""
    principal.require_unbound()
    return answers.answer(_held(await platform.cluster_backups.held(cluster_id)))


@router.post("/{identifier}/backups", status_code=202, response_model=Answer[Operation])
async def back_up(
    body: BackUpCluster,
    platform: CurrentPlatform,
    caller: Administrator,
    cluster_id: ClusterId,
) -> Response:
    """Create a backup in every repository, then remove backups past their retention."""
    caller.principal.require_unbound()
    operation = await caller.begin(
        lambda tx: platform.cluster_backups.begin(tx, caller.actor, cluster_id, body.type)
    )
    return answers.accepted(operation, "The backup is being made.")


@router.post("/{identifier}/backups/verify", status_code=202, response_model=Answer[Operation])
async def verify(
    platform: CurrentPlatform, caller: Administrator, cluster_id: ClusterId
) -> Response:
    """Read all backups and WAL of a cluster; the operation fails if anything is damaged."""
    caller.principal.require_unbound()
    operation = await caller.begin(
        lambda tx: platform.cluster_backups.begin_verification(tx, caller.actor, cluster_id)
    )
    return answers.accepted(operation, "The backups are being read.")


@router.post("/{identifier}/restore", status_code=202, response_model=Answer[Operation])
async def restore(
    body: RestoreCluster,
    platform: CurrentPlatform,
    caller: Administrator,
    cluster_id: ClusterId,
) -> Response:
    """Restore a whole shared cluster, with all its databases, to a point in time.

    The cluster serves until its replacement is built and checked; then all sessions end for a few
    seconds. The old cluster is retained. All other operations are cancelled.
    """
    caller.principal.require_unbound()
    operation = await caller.begin(
        lambda tx: platform.cluster_restoring.begin(tx, caller.actor, cluster_id, body.to)
    )
    return answers.accepted(
        operation,
        "The cluster is being restored; until that is put in service, everything goes on as it is.",
    )
