"""The backups of one database, and its restores."""

import datetime as dt
from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse

from tenantry.control.operations import OperationRow
from tenantry.control.store import Tx
from tenantry.services.backups import plan
from tenantry.services.bodies.copies import CreateBackup, Restore
from tenantry.services.requests.service import Caller
from tenantry.services.restores.model import Replaced
from tenantry.web import charts, pages, words
from tenantry.web.database_pages import attempt, page_of, require_typed, tables_now
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
    commas,
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
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    at: Annotated[dt.datetime | None, Query()] = None,
) -> Response:
    """Show what a database can be restored from, and what has changed it; ``at`` is suggested."""
    page, total = await platform.backups.page(caller.actor, database_id, cursor=None, limit=_A_PAGE)
    found = await platform.restores.window(caller.actor, database_id)
    proofs = await platform.drills.page(caller.actor, database_id, cursor=None, limit=_SHOWN_PROOFS)
    until = found.window.until if found.window else dt.datetime.now(dt.UTC)
    since = found.window.since if found.window else until
    drawn = await platform.samples.series(
        caller.actor, database_id, start=None, end=None, step=None
    )
    replaced: list[Replaced] = []
    with attempt() as tried:
        replaced = await platform.restores.retained(caller.actor, database_id)
    tables = await tables_now(platform, caller, database_id) if found.window else []
    events = await platform.marks.timeline(caller.actor, database_id, since)
    scheduled = await platform.backup_schedules.show(caller.actor, database_id)
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
        replaced=replaced,
        tables=[f"{schema}.{name}" for schema, name in tables],
        problem=tried.problem,
        suggested=f"{(at or until).astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S}",
        events=[(each, _before(each.at), words.event_title(each.kind)) for each in events],
        marks=(await platform.marks.of_database(caller.actor, database_id))[:_A_PAGE],
        scheduled=scheduled,
        next_at=plan.next_slot(scheduled.schedule, scheduled.since, dt.datetime.now(dt.UTC)),
        writes=charts.writes(drawn.series),
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


@router.get(f"{_PATH}/backups/{{backup_id}}/download")
async def download(
    platform: CurrentPlatform, caller: Reader, database_id: DatabaseId, backup_id: str
) -> Response:
    """Send the file of a backup."""
    backup = parsed(backup_id, "backup of this database")
    found = await platform.backups.open(caller.actor, database_id, backup)
    return FileResponse(
        found.file, media_type="application/octet-stream", filename=found.backup.file_name
    )


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


@router.post(f"{_PATH}/backups/{{backup_id}}/verify")
async def verify(
    request: Request,
    platform: CurrentPlatform,
    caller: BackupWriter,
    database_id: DatabaseId,
    backup_id: str,
) -> Response:
    """Begin to compare a backup's file with what was recorded of it."""
    backup = parsed(backup_id, "backup of this database")
    await once(
        lambda: caller.begin(
            lambda tx: platform.backups.verify(tx, caller.actor, database_id, backup)
        )
    )
    return pages.go(request, f"/databases/{database_id}/operations?done=begun")


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
    """Begin a restore: beside the database, in place if its name was typed, or of some tables."""
    into = form.get("into", "new")
    if into == "in_place":
        require_typed(await platform.databases.show(caller.actor, database_id), form)
    name = {"name": form["name"]} if into == "new" and "name" in form else {}
    listed = {"tables": commas(form, "tables")} if "tables" in form else {}
    body = read(Restore, name, **{"to": _moment(form), "as": into}, **listed)
    tables, wanted = body.wanted_tables(), body.wanted()
    if tables is not None:
        await caller.require("data:write")

    async def begin(tx: Tx) -> OperationRow:
        if tables is not None:
            return await platform.lost_rows.restore_tables(tx, caller.actor, database_id, tables)
        return await platform.restores.begin(tx, caller.actor, database_id, wanted)

    await once(lambda: caller.begin(begin))
    return pages.go(request, f"/databases/{database_id}/operations?done=begun")


def _before(moment: dt.datetime) -> str:
    """Return the last whole second before a moment, in UTC, as a field has it."""
    at = moment.astimezone(dt.UTC) - dt.timedelta(microseconds=1)
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _moment(form: dict[str, str]) -> str:
    """Return the moment or the backup to restore."""
    return form["backup"] if "backup" in form else moment(form, "moment")
