"""Moving a database to an instance of its own, or to a shared cluster: what it would do, and it."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.services.bodies.moves import MoveDatabase
from tenantry.services.moves.model import Preview
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_pages import attempt
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
    new_router,
    once,
    read,
)

router = new_router()

Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/databases/{database_id}/move"


@router.get(_PATH)
async def ask(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Say what a move would do, and ask how."""
    row = await platform.databases.show(caller.actor, database_id)
    kind = "shared" if row.is_instance else "dedicated"
    found: Preview | None = None
    with attempt() as tried:
        async with caller.visiting():
            wanted = MoveDatabase.model_validate({"kind": kind}).wanted()
            found = await platform.moves.preview(caller.actor, database_id, wanted)
    return pages.dialog(
        request,
        "database_move.html",
        row=row,
        kind=kind,
        preview=found,
        problem=tried.problem,
        choices=platform.instances.choices(),
        path=f"/databases/{row.id}",
    )


@router.post(_PATH)
async def move(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin a move."""
    wanted = read(MoveDatabase, form).wanted()
    await once(lambda: platform.moves.begin(caller, database_id, wanted))
    return pages.go(request, f"/databases/{database_id}/operations?done=begun")
