"""When databases are backed up by themselves: one of them, and those of an environment."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.control.attributes import Environment
from tenantry.control.grants import ADMIN
from tenantry.services.bodies.copies import BackupSchedule
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
    new_router,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("backups:read")]
Writer = Annotated[Caller, calling("backups:write")]
Administrator = Annotated[Caller, calling(ADMIN)]

_OF_DATABASE = "/databases/{database_id}/backups/schedule"


@router.post(_OF_DATABASE)
async def set_own(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Give a database a schedule of its own."""
    body = read(BackupSchedule, form)
    async with caller.transaction() as tx:
        await platform.backup_schedules.set_own(tx, caller.actor, database_id, body.wanted())
    return pages.go(request, f"/databases/{database_id}/backups?done=scheduled")


@router.post(f"{_OF_DATABASE}/remove")
async def remove_own(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Let a database have its environment's schedule again."""
    async with caller.transaction() as tx:
        await platform.backup_schedules.set_own(tx, caller.actor, database_id, None)
    return pages.go(request, f"/databases/{database_id}/backups?done=default-schedule")


@router.get("/backup-schedules")
async def defaults(request: Request, platform: CurrentPlatform, caller: Reader) -> Response:
    """Show the schedules of databases that have none of their own, by environment."""
    return pages.render(
        request,
        "backup_schedules.html",
        schedules=await platform.backup_schedules.defaults(caller.actor),
    )


@router.post("/backup-schedules/{environment}")
async def set_default(
    request: Request,
    platform: CurrentPlatform,
    caller: Administrator,
    environment: Environment,
    form: CurrentForm,
) -> Response:
    """Set an environment's schedule."""
    body = read(BackupSchedule, form)
    async with caller.transaction() as tx:
        await platform.backup_schedules.set_default(tx, caller.actor, environment, body.wanted())
    return pages.go(request, "/backup-schedules?done=scheduled")
