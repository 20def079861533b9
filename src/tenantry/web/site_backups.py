"""The backups of a site of the AI cache, and its restores."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.services.bodies.sites import RestoreSite
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    calling,
    new_router,
    once,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("backups:read")]
BackupWriter = Annotated[Caller, calling("backups:write")]
Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/sites/{site_id}"
_A_PAGE = 50
_STARTED = "/operations?done=begun"


@router.get(f"{_PATH}/backups")
async def backups(
    request: Request, platform: CurrentPlatform, caller: Reader, site_id: str
) -> Response:
    """Show what a site can be restored from."""
    found = parsed(site_id, "site")
    site = await platform.sites.show(caller.actor, found)
    page = await platform.site_backups.page(caller.actor, found, cursor=None, limit=_A_PAGE)
    return pages.render(
        request,
        "site_backups.html",
        tab="/backups",
        site=site,
        backups=page.rows,
        has_more=page.next_cursor is not None,
        are_on=platform.site_backups.enabled,
        time=platform.settings.backup.time,
        days=platform.settings.backup.days,
        may_write=caller.principal.may("databases:write"),
        may_back_up=caller.principal.may("backups:write"),
        may_read_names=caller.principal.may("data:read"),
    )


@router.post(f"{_PATH}/backups")
async def back_up(
    request: Request, platform: CurrentPlatform, caller: BackupWriter, site_id: str
) -> Response:
    """Begin a backup."""
    found = parsed(site_id, "site")
    await once(
        lambda: caller.begin(lambda tx: platform.site_backups.create(tx, caller.actor, found))
    )
    return pages.go(request, _STARTED)


@router.post(f"{_PATH}/backups/{{backup_id}}/delete")
async def delete(
    request: Request,
    platform: CurrentPlatform,
    caller: BackupWriter,
    site_id: str,
    backup_id: str,
) -> Response:
    """Delete a backup."""
    found, backup = parsed(site_id, "site"), parsed(backup_id, "backup of this site")
    async with caller.transaction() as tx:
        await platform.site_backups.delete(tx, caller.actor, found, backup)
    return pages.go(request, f"/sites/{found}/backups?done=backup-deleted")


@router.post(f"{_PATH}/restore")
async def restore(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, form: CurrentForm
) -> Response:
    """Begin a restore from a backup."""
    found, body = parsed(site_id, "site"), read(RestoreSite, form)
    await once(
        lambda: caller.begin(
            lambda tx: platform.site_backups.restore(tx, caller.actor, found, body.backup_id)
        )
    )
    return pages.go(request, _STARTED)
