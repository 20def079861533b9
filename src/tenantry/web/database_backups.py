"""The backups of one database, and its restores."""

import datetime as dt
from typing import Annotated

from fastapi import Request, Response

from tenantry.services.bodies.copies import CreateBackup, Restore
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_pages import page_of, require_typed
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
    moment,
    new_router,
    once,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("backups:read")]
BackupWriter = Annotated[Caller, calling("backups:write")]
Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/databases/{database_id}"
_A_PAGE = 50
_SHOWN_PROOFS = 10


@router.get(f"{_PATH}/backups")
async def backups(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show what a database can be restored from."""
    page, total = await platform.backups.page(caller.actor, database_id, cursor=None, limit=_A_PAGE)
    found = await platform.restores.window(caller.actor, database_id)
    proofs = await platform.drills.page(caller.actor, database_id, cursor=None, limit=_SHOWN_PROOFS)
    until = found.window.until if found.window else dt.datetime.now(dt.UTC)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_backups.html",
        tab="/backups",
        backups=page.rows,
        total=total,
        has_more=page.next_cursor is not None,
        found=found,
        suggested=f"{until.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S}",
        proof=proofs.rows[0] if proofs.rows else None,
        proofs=proofs.rows,
        may_back_up=caller.principal.may("backups:write"),
    )


@router.post(f"{_PATH}/backups")
async def back_up(
    request: Request,
    platform: CurrentPlatform,
    caller: BackupWriter,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin a backup."""
    body = read(CreateBackup, form)
    await once(
        lambda: caller.begin(
            lambda tx: platform.backups.create(tx, caller.actor, database_id, body.wanted())
        )
    )
    return pages.go(request, f"/databases/{database_id}/operations?done=begun")


@router.post(f"{_PATH}/backups/{{backup_id}}/delete")
async def delete(
    request: Request,
    platform: CurrentPlatform,
    caller: BackupWriter,
    database_id: DatabaseId,
    backup_id: str,
) -> Response:
    """Delete a backup and its file."""
    backup = parsed(backup_id, "backup of this database")
    async with caller.transaction() as tx:
        await platform.backups.delete(tx, caller.actor, database_id, backup)
    return pages.go(request, f"/databases/{database_id}/backups?done=backup-deleted")


@router.post(f"{_PATH}/drill")
async def drill(
    request: Request, platform: CurrentPlatform, caller: BackupWriter, database_id: DatabaseId
) -> Response:
    """Begin to restore the database into a sandbox, and to compare it."""
    await once(
        lambda: caller.begin(lambda tx: platform.drills.begin(tx, caller.actor, database_id))
    )
    return pages.go(request, f"/databases/{database_id}/operations?done=begun")


@router.post(f"{_PATH}/restore")
async def restore(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin a restore: beside the database, or in place if its name was typed."""
    into = form.get("into", "new")
    if into == "in_place":
        require_typed(await platform.databases.show(caller.actor, database_id), form)
    name = {"name": form["name"]} if into == "new" and "name" in form else {}
    body = read(Restore, name, **{"to": _moment(form), "as": into})
    wanted = body.wanted()
    await once(
        lambda: caller.begin(
            lambda tx: platform.restores.begin(tx, caller.actor, database_id, wanted)
        )
    )
    return pages.go(request, f"/databases/{database_id}/operations?done=begun")


def _moment(form: dict[str, str]) -> str:
    """Return the moment or the backup to restore."""
    return form["backup"] if "backup" in form else moment(form, "moment")
