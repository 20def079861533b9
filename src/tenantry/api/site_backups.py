"""/api/sites/{id}/backups and …/restore"""

import datetime as dt
import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.deps import CurrentPlatform, Cursor, Limit, SiteBackupId, SiteId, allowed, calling
from tenantry.services.access.service import Principal
from tenantry.services.bodies.sites import RestoreSite
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/sites/{identifier}", tags=["AI cache"])

Reader = Annotated[Principal, allowed("backups:read")]
Writer = Annotated[Caller, calling("backups:write")]
Restorer = Annotated[Caller, calling("databases:write")]


class SiteBackup(BaseModel):
    """A copy of a site's data, in the platform's repositories. Null is what is not known yet."""

    id: uuid.UUID
    site_id: uuid.UUID
    site_name: str = Field(examples=["shop"])
    origin: Literal["manual", "scheduled"]
    status: Literal["making", "ready"]
    size_bytes: int | None = Field(description="Of its file.", examples=[1_048_576])
    memory_bytes: int | None = Field(description="What its Redis had in memory.")
    keys: int | None
    server: str | None = Field(examples=["Redis 7.0.15"])
    sha256: str | None
    created_at: dt.datetime
    finished_at: dt.datetime | None


class DeletedSiteBackup(BaseModel):
    id: uuid.UUID
    status: Literal["deleted"]


@router.get("/backups", response_model=Listing[SiteBackup])
async def index(
    platform: CurrentPlatform,
    principal: Reader,
    site_id: SiteId,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the backups of a site, newest first, also those that a deleted one has left."""
    page = await platform.site_backups.page(principal.actor, site_id, cursor=cursor, limit=limit)
    rows = [SiteBackup.model_validate(each, from_attributes=True) for each in page.rows]
    return answers.listing([*rows], next_cursor=page.next_cursor)


@router.post("/backups", status_code=202, response_model=Answer[Operation])
async def create(platform: CurrentPlatform, caller: Writer, site_id: SiteId) -> Response:
    """Back up a site that keeps its data, while it serves. The result has the backup's id."""
    operation = await caller.begin(
        lambda tx: platform.site_backups.create(tx, caller.actor, site_id)
    )
    return answers.accepted(operation, "The site is being backed up.")


@router.delete("/backups/{backup_id}", response_model=Answer[DeletedSiteBackup])
async def delete(
    platform: CurrentPlatform, caller: Writer, site_id: SiteId, backup_id: SiteBackupId
) -> Response:
    """Delete a backup. Its files are gone from the repositories within minutes."""
    async with caller.transaction() as tx:
        await platform.site_backups.delete(tx, caller.actor, site_id, backup_id)
    gone = DeletedSiteBackup(id=backup_id, status="deleted")
    return answers.answer(gone, message="Backup deleted.")


@router.post("/restore", status_code=202, response_model=Answer[Operation])
async def restore(
    body: RestoreSite, platform: CurrentPlatform, caller: Restorer, site_id: SiteId
) -> Response:
    """Put the data of a backup in service, in place of the present ones, which are lost.

    Its Redis is started again for that. If the restore fails, it has what it had before.
    """
    operation = await caller.begin(
        lambda tx: platform.site_backups.restore(tx, caller.actor, site_id, body.backup_id)
    )
    return answers.accepted(operation, "The site is being restored.")
