"""An import of a database from elsewhere: looked at first, then begun."""

import uuid
from typing import Annotated

from fastapi import Request, Response

from tenantry.base.errors import InvalidInput
from tenantry.services.bodies.copies import ImportDatabase, PreviewImport
from tenantry.services.imports.model import Preview
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_pages import page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    Form,
    calling,
    chosen,
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
    return _previewed(request, database_id, found)


@router.post(f"{_PATH}/dump")
async def preview_dump(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Receive a dump, which a script sends as it is, and show what it would bring."""
    if not request.state.streamed:
        raise InvalidInput("Without scripts a dump is sent by the command.")
    length = request.headers.get("content-length", "")
    found = await platform.imports.preview_upload(
        caller, database_id, request.stream(), announced=int(length) if length.isdigit() else None
    )
    return _previewed(request, database_id, found)


def _previewed(request: Request, database_id: uuid.UUID, found: Preview) -> Response:
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
    """Begin to copy a database from elsewhere, or a dump that was sent, into an empty one."""
    given = {"map_roles": {role: form[f"role:{role}"] for role in chosen(form, "role")}}
    body = read(ImportDatabase, form, **given, **_chosen(form))
    selection = body.selection()
    match body.origin():
        case uuid.UUID() as upload_id:
            await once(
                lambda: platform.imports.start_held(caller, database_id, upload_id, selection)
            )
        case source:
            await once(lambda: platform.imports.start(caller, database_id, source, selection))
    return pages.go(request, f"/databases/{database_id}/operations?done=begun")
