"""/api/clusters"""

import datetime as dt
import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.asking import ClusterId, PlatformHere, allowed, begun
from tenantry.api.requests.copies import BackUpCluster, RestoreCluster
from tenantry.base.errors import Forbidden
from tenantry.control.clusters import ClusterRow
from tenantry.control.grants import ADMIN
from tenantry.pg.pgbackrest_output import Contents
from tenantry.pg.repositories import Repository
from tenantry.services.access.service import Principal

router = APIRouter(prefix="/api/clusters", tags=["platform"])

Watcher = Annotated[Principal, allowed("platform:read")]
Administrator = Annotated[Principal, allowed(ADMIN)]


class PhysicalBackup(BaseModel):
    """A backup of a whole cluster. ``stored_bytes`` is what it alone takes in its repository."""

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
    """A repository, and from when on a cluster can be restored from it to any moment."""

    number: int
    place: str
    problem: str | None
    restorable_from: dt.datetime | None


class ClusterBackups(BaseModel):
    repositories: list[HeldRepository]
    backups: list[PhysicalBackup] = Field(description="The oldest first.")


def _held(places: tuple[Repository, ...], contents: list[Contents]) -> ClusterBackups:
    return ClusterBackups(
        repositories=[
            HeldRepository(
                number=held.repository,
                place=str(place),
                problem=held.problem,
                restorable_from=min(
                    (each.stopped for each in held.backups if each.usable), default=None
                ),
            )
            for place, held in zip(places, contents, strict=True)
        ],
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
            for held in contents
            for each in held.backups
        ],
    )


def platform_wide(principal: Principal) -> None:
    """Raises Forbidden for whoever sees one customer's things only."""
    if principal.actor.customer_id is not None:
        raise Forbidden("This API key is a customer's and does not see the platform's own state.")


class Cluster(BaseModel):
    id: uuid.UUID
    name: str
    kind: str
    driver: str
    version: int
    databases: int
    max_databases: int
    last_backup_at: dt.datetime | None
    created_at: dt.datetime


def _shown(row: ClusterRow) -> Cluster:
    return Cluster.model_validate(row, from_attributes=True)


@router.get("", response_model=Listing[Cluster])
async def index(platform: PlatformHere, principal: Watcher) -> Response:
    """The PostgreSQL servers."""
    platform_wide(principal)
    return answers.listing([_shown(row) for row in await platform.clusters.every()])


@router.get("/{identifier}/backups", response_model=Answer[ClusterBackups])
async def backups(platform: PlatformHere, principal: Watcher, cluster_id: ClusterId) -> Response:
    """What each repository holds of a cluster: its backups, and how far back it can be restored."""
    platform_wide(principal)
    held = await platform.cluster_backups.contents(cluster_id)
    return answers.answer(_held(platform.repositories.places, held))


@router.post("/{identifier}/backups", status_code=202, response_model=Answer[Operation])
async def back_up(
    request: Request,
    body: BackUpCluster,
    platform: PlatformHere,
    principal: Administrator,
    cluster_id: ClusterId,
) -> Response:
    """Make a backup in every repository now, then remove what no longer is needed."""
    platform_wide(principal)
    return await begun(
        request,
        principal,
        lambda tx: platform.cluster_backups.begin(tx, principal.actor, cluster_id, body.type),
        "The backup is being made.",
    )


@router.post("/{identifier}/backups/verify", status_code=202, response_model=Answer[Operation])
async def verify(
    request: Request, platform: PlatformHere, principal: Administrator, cluster_id: ClusterId
) -> Response:
    """Read all that the repositories hold of a cluster; the operation fails if it is damaged."""
    platform_wide(principal)
    return await begun(
        request,
        principal,
        lambda tx: platform.cluster_backups.begin_verification(tx, principal.actor, cluster_id),
        "The backups are being read.",
    )


@router.post("/{identifier}/restore", status_code=202, response_model=Answer[Operation])
async def restore(
    request: Request,
    body: RestoreCluster,
    platform: PlatformHere,
    principal: Administrator,
    cluster_id: ClusterId,
) -> Response:
    """Have a whole shared cluster, with all databases in it, as it was at a moment.

    It serves until the new one is made and checked; then all sessions end for a few seconds. The
    old one is kept. All other operations are given up.
    """
    platform_wide(principal)
    return await begun(
        request,
        principal,
        lambda tx: platform.cluster_restoring.begin(tx, principal.actor, cluster_id, body.to),
        "The cluster is being restored; until that is put in service, everything goes on as it is.",
    )
