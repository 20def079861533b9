"""An import of a database from elsewhere: looked at first, then begun."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.services.bodies.copies import PreviewImport
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_pages import page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    Form,
    calling,
    new_router,
    once,
    read,
    words,
)

router = new_router()

Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/databases/{database_id}/import"


@router.get(_PATH)
async def ask(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Ask for the database to import."""
    return await page_of(
        request, platform, caller, database_id, "database_import.html", tab="/import"
    )


def _chosen(form: Form) -> dict[str, list[str]]:
    """Return the lists of a form, whose values have commas or spaces between them."""
    return {name: words(form, name) for name in ("schemas", "exclude_tables") if name in form}


@router.post(f"{_PATH}/preview")
async def preview(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Show what an import would bring; it changes nothing."""
    body = read(PreviewImport, form, **_chosen(form))
    found = await platform.imports.preview(
        caller.actor, database_id, body.source(), body.selection()
    )
    return pages.render(
        request, "import_preview.html", found=found, path=f"/databases/{database_id}/import"
    )


@router.post(_PATH)
async def begin(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to copy a database from elsewhere into an empty one."""
    body = read(PreviewImport, form, **_chosen(form))
    await once(lambda: platform.imports.start(caller, database_id, body.source(), body.selection()))
    return pages.go(request, f"/databases/{database_id}/operations?done=begun")
