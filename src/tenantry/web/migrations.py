"""The migrations of one database, and runs over many: started, and followed to their end."""

from typing import Annotated, Literal

from fastapi import Request, Response

from tenantry.control.operations import Filter
from tenantry.services.bodies.migrations import MigrateDatabase, MigrateMany
from tenantry.services.requests.service import Caller
from tenantry.services.tenant_migrations.flow import FLEET
from tenantry.web import pages
from tenantry.web.database_pages import attempt, page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Cursor,
    DatabaseId,
    calling,
    files,
    new_router,
    once,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
Status = Literal["", "pending", "running", "succeeded", "failed", "skipped"]

_A_PAGE = 50


@router.get("/databases/{database_id}/migrations")
async def of_database(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show the version of a database, and the files that were applied."""
    found = None
    with attempt() as tried:
        async with caller.visiting():
            found = await platform.migrations.status(caller.actor, database_id)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_migrations.html",
        tab="/migrations",
        found=found,
        problem=tried.problem,
    )


@router.post("/databases/{database_id}/migrations")
async def migrate(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to run files in a database."""
    body = read(MigrateDatabase, form, files=files(form))
    wanted = body.wanted(body.texts)
    await once(
        lambda: caller.begin(
            lambda tx: platform.migrations.begin(tx, caller.actor, database_id, wanted)
        )
    )
    return pages.go(request, f"/databases/{database_id}/operations?done=begun")


@router.get("/migrations")
async def runs(
    request: Request, platform: CurrentPlatform, caller: Reader, cursor: Cursor = None
) -> Response:
    """Show the runs over many databases, newest first."""
    page = await platform.operations.page(
        caller.actor, Filter(kind=FLEET.name), cursor=cursor, limit=_A_PAGE
    )
    return pages.render(
        request,
        "migrations.html",
        runs=page.rows,
        following=pages.following(request, page.next_cursor),
    )


@router.post("/migrations")
async def migrate_many(
    request: Request, platform: CurrentPlatform, caller: Writer, form: CurrentForm
) -> Response:
    """Begin to run files in many databases, and follow that."""
    body = read(MigrateMany, form, files=files(form))
    wanted = body.wanted(body.texts)
    operation = await once(
        lambda: caller.begin(lambda tx: platform.migrations.begin_fleet(tx, caller.actor, wanted))
    )
    return pages.go(request, f"/migrations/{operation.id}")


@router.get("/migrations/{operation_id}")
async def run(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    operation_id: str,
    status: Status = "",
    cursor: Cursor = None,
) -> Response:
    """Show how a run goes in each database, in the order in which they are migrated."""
    found = parsed(operation_id, "run over many databases")
    page = await platform.migrations.report(
        caller.actor, found, status=status or None, cursor=cursor, limit=_A_PAGE
    )
    return pages.render(
        request,
        "migration.html",
        operation=await platform.operations.show(caller.actor, found),
        targets=page.rows,
        chosen=status,
        following=pages.following(request, page.next_cursor),
        here=pages.here(request),
    )
