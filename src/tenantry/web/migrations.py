"""The migrations of one database, and runs over many: started, and followed to their end."""

from typing import Annotated, Literal

from fastapi import Request, Response

from tenantry.services.bodies.migrations import MigrateDatabase, MigrateMany
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_pages import attempt, page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Cursor,
    DatabaseId,
    calling,
    chosen,
    files,
    new_router,
    once,
    parsed,
    read,
    tags_of,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
Status = Literal["", "pending", "running", "succeeded", "failed", "skipped"]

_A_PAGE = 50
_MOST_LISTED = 2000  # databases, with a box for each


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
    page = await platform.migrations.runs(caller.actor, cursor=cursor, limit=_A_PAGE)
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
    """Show in which databases files would be run; once that is confirmed, begin it there."""
    ids = chosen(form, "database") if form.get("listed") == "yes" else None
    body = read(MigrateMany, form, files=files(form), database_ids=ids, tags=tags_of(form))
    wanted = body.wanted(body.texts)
    if form.get("confirmed") != "yes":
        return pages.render(
            request,
            "migration_targets.html",
            targets=await platform.migrations.chosen(caller.actor, wanted.selection),
            given=form,
            most=_MOST_LISTED,
        )
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
        run=await platform.migrations.run(caller.actor, found),
        targets=page.rows,
        chosen=status,
        following=pages.following(request, page.next_cursor),
        here=pages.here(request),
    )
