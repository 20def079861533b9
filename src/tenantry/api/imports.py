"""/api/databases/{id}/import"""

import dataclasses
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from tenantry.api import answers
from tenantry.api.answers import Answer, Operation
from tenantry.api.bodies import JSON, described, parsed
from tenantry.api.deps import CurrentPlatform, DatabaseId, calling
from tenantry.api.frame import UPLOAD
from tenantry.services.bodies.copies import (
    MOST_MAPPED_ROLES,
    ImportDatabase,
    ImportLosses,
    PreviewImport,
    mapped_roles,
)
from tenantry.services.bodies.fields import Jobs, StatementSeconds
from tenantry.services.imports.plan import Selection
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}/import", tags=["imports"])

Writer = Annotated[Caller, calling("databases:write")]

_STARTED = "It is being imported."
_DUMP = {
    UPLOAD: {
        "type": "string",
        "format": "binary",
        "description": "A dump of pg_dump's: custom, tar, or SQL, gzipped or not.",
    }
}


@router.post(
    "",
    status_code=202,
    response_model=Answer[Operation],
    openapi_extra=described(ImportDatabase, **_DUMP),
)
async def begin(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    jobs: Annotated[Jobs, Query(description="For a custom dump: how many tables at once.")] = 2,
    statement_timeout_seconds: Annotated[
        StatementSeconds, Query(description="For a dump: how long each statement may run.")
    ] = None,
    map_role: Annotated[
        list[str],
        Query(
            max_length=MOST_MAPPED_ROLES,
            description="For a dump: old=new, the login of the database that stands for a role in"
            " policies and grants; may be given again.",
        ),
    ] = [],  # noqa: B006 (FastAPI copies it)
    accept_losses: Annotated[ImportLosses, Query()] = False,
) -> Response:
    """Copy a database from elsewhere, or an uploaded dump of one, into an empty database.

    The owner role will own all of it. Connection strings are not stored: an import that is
    interrupted by a restart is undone and has to be requested again.
    """
    if _is_dump(request):
        selection = Selection(
            jobs=jobs,
            roles=mapped_roles(map_role),
            statement_seconds=statement_timeout_seconds,
            accept_losses=accept_losses,
        )
        operation = await platform.imports.start_upload(
            caller, database_id, request.stream(), selection, announced=_announced(request)
        )
        return answers.accepted(operation, _STARTED)
    body = parsed(ImportDatabase, await request.body())
    selection = body.selection()
    match body.origin():
        case uuid.UUID() as upload_id:
            operation = await platform.imports.start_held(caller, database_id, upload_id, selection)
        case source:
            operation = await platform.imports.start(caller, database_id, source, selection)
    return answers.accepted(operation, _STARTED)


def _is_dump(request: Request) -> bool:
    """Whether the body is a dump, and not JSON. Raises HTTPException if it is neither."""
    media = request.state.media_type or JSON
    if media not in {JSON, UPLOAD}:
        raise HTTPException(415, f"the body must be {JSON} or {UPLOAD}")
    return bool(media == UPLOAD)


def _announced(request: Request) -> int | None:
    """Return the declared length of the body in bytes, if any."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdigit() else None


# ── preview ──────────────────────────────────────────────────────────────────


class PreviewTable(BaseModel):
    """A table to copy; its size includes its indexes and is null for a dump."""

    schema_: str = Field(serialization_alias="schema", validation_alias="schema")
    name: str
    size_bytes: int | None


class PreviewExtension(BaseModel):
    """An extension, and whether it is available here; if not, it is left out.

    `used_by` names what depends on it at the source; it is empty for a dump, where it is unknown.
    """

    name: str = Field(examples=["pg_trgm"])
    available: bool
    used_by: list[str] = Field(examples=[["index customers_name"]])


class PreviewRole(BaseModel):
    """A role of the source: how many policies and grants name it, how many objects it owns.

    `login` is the role of the database that replaces it; if null, its policies and grants are
    left out.
    """

    name: str = Field(examples=["authenticated"])
    policies: int
    grants: int
    owns: int
    login: str | None


class Preview(BaseModel):
    """The contents of an import. A preview changes nothing."""

    version: str | None = Field(
        description="Of the server that it is from, if known.", examples=["17.6"]
    )
    size_bytes: int = Field(description="Of the tables there, or of the dump as it was sent.")
    schemas: list[str]
    tables: list[PreviewTable]
    extensions: list[PreviewExtension]
    roles: list[PreviewRole]
    logins: list[str] = Field(description="Who can stand for a role, in map_roles.")
    warnings: list[str] = Field(description="What is unlikely to be meant: there are no tables.")
    upload_id: uuid.UUID | None = Field(
        description="Of the dump that was sent: to import it within an hour."
    )


@router.post(
    "/preview", response_model=Answer[Preview], openapi_extra=described(PreviewImport, **_DUMP)
)
async def preview(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Preview what an import from elsewhere or of a dump would bring, without importing it.

    A dump is retained for an hour and can be imported by its `upload_id` without sending it again.
    """
    if _is_dump(request):
        found = await platform.imports.preview_upload(
            caller, database_id, request.stream(), announced=_announced(request)
        )
    else:
        body = parsed(PreviewImport, await request.body())
        found = await platform.imports.preview(
            caller.actor, database_id, body.source(), body.selection()
        )
    return answers.answer(Preview.model_validate(dataclasses.asdict(found)))
