"""/api/databases/{id}/import"""

import dataclasses
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from tenantry.api import answers
from tenantry.api.answers import Answer, Operation
from tenantry.api.asking import DatabaseId, PlatformHere, allowed, begun, is_repeated, visiting
from tenantry.api.bodies import JSON, described, parsed
from tenantry.api.frame import UPLOAD
from tenantry.api.requests.copies import (
    MOST_MAPPED_ROLES,
    ImportDatabase,
    ImportLosses,
    PreviewImport,
    mapped_roles,
)
from tenantry.api.requests.fields import Jobs, StatementSeconds
from tenantry.base.errors import Conflict
from tenantry.control.operations import OperationRow
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal
from tenantry.services.imports.model import Examined, Upload
from tenantry.services.imports.plan import Selection
from tenantry.services.platform import Platform

router = APIRouter(prefix="/api/databases/{identifier}/import", tags=["imports"])

Writer = Annotated[Principal, allowed("databases:write")]
Want = Callable[[Tx], Awaitable[OperationRow]]

_BEGUN = "It is being imported."
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
    platform: PlatformHere,
    principal: Writer,
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

    Everything in it becomes the database's own login's. Connection strings are kept nowhere:
    an import that a restart cuts off is taken back, and has to be sent again.
    """
    if _is_dump(request):
        selection = Selection(
            jobs=jobs,
            roles=mapped_roles(map_role),
            statement_seconds=statement_timeout_seconds,
            accept_losses=accept_losses,
        )
        return await _upload(request, platform, principal, database_id, selection)
    body = parsed(ImportDatabase, await request.body())
    source, selection = body.source(), body.selection()

    if body.upload_id is not None:
        return await _held(request, platform, principal, database_id, body.upload_id, selection)
    examined: Examined | None = None
    if source is not None and not await is_repeated(request, principal):
        # First whether it is this caller's: nobody else has the platform connect anywhere.
        async with visiting(request, principal):
            await platform.imports.check_target(principal.actor, database_id, roles=selection.roles)
        examined = await platform.imports.examine(principal.actor, source, selection)

    async def want(tx: Tx) -> OperationRow:
        if examined is None:
            raise _forgotten()
        return await platform.imports.begin(tx, principal.actor, database_id, examined)

    answer = await begun(request, principal, want, _BEGUN)
    platform.imports.uploads.forget(database_id)
    return answer


def _is_dump(request: Request) -> bool:
    """Whether the body is a dump, and not JSON. Raises HTTPException if it is neither."""
    media = request.state.media_type or JSON
    if media not in {JSON, UPLOAD}:
        raise HTTPException(415, f"the body must be {JSON} or {UPLOAD}")
    return bool(media == UPLOAD)


def _forgotten() -> Conflict:
    return Conflict("The answer that was kept is gone.", hint="Send it again.")


# ── a dump ───────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _received(
    request: Request,
    platform: Platform,
    principal: Principal,
    database_id: uuid.UUID,
    selection: Selection,
    *,
    empty: bool,
) -> AsyncIterator[tuple[Upload, int]]:
    """A dump that is sent for a database, and how many bytes it may have.

    It is discarded if the block raises.
    """
    length = request.headers.get("content-length", "")
    async with platform.imports.receiving(principal.actor, database_id):
        async with visiting(request, principal):
            most = await platform.imports.check_target(
                principal.actor,
                database_id,
                roles=selection.roles,
                empty=empty,
                announced=int(length) if length.isdigit() else None,
            )
        upload = await platform.imports.uploads.receive(request.stream(), most=most)
        try:
            yield upload, most
        except BaseException:
            platform.imports.uploads.discard(upload.id)
            raise


async def _upload(
    request: Request,
    platform: Platform,
    principal: Principal,
    database_id: uuid.UUID,
    selection: Selection,
) -> Response:
    first = not await is_repeated(request, principal)
    wanted = False
    async with _received(request, platform, principal, database_id, selection, empty=first) as (
        upload,
        _,
    ):

        async def want(tx: Tx) -> OperationRow:
            nonlocal wanted
            wanted = True
            return await platform.imports.begin_upload(
                tx, principal.actor, database_id, upload, selection
            )

        answer = await begun(request, principal, want, _BEGUN, digest=upload.sha256)
        if not wanted:  # the answer was given before, to the same dump
            platform.imports.uploads.discard(upload.id)
        platform.imports.uploads.forget(database_id)
    return answer


async def _held(
    request: Request,
    platform: Platform,
    principal: Principal,
    database_id: uuid.UUID,
    upload_id: uuid.UUID,
    selection: Selection,
) -> Response:
    """Begin with a dump that was looked at."""

    async def want(tx: Tx) -> OperationRow:
        upload = platform.imports.uploads.held(upload_id, database_id)
        return await platform.imports.begin_upload(
            tx, principal.actor, database_id, upload, selection
        )

    answer = await begun(request, principal, want, _BEGUN)
    platform.imports.uploads.release(upload_id)
    return answer


# ── what it would bring ──────────────────────────────────────────────────────


class PreviewTable(BaseModel):
    """A table to copy; its size with its indexes, which a dump does not tell."""

    schema_: str = Field(serialization_alias="schema", validation_alias="schema")
    name: str
    size_bytes: int | None


class PreviewExtension(BaseModel):
    """An extension, and whether the database can have it; if not, it is left out.

    `used_by` names what depends on it at the source; it is empty for a dump, which does not tell.
    """

    name: str = Field(examples=["pg_trgm"])
    available: bool
    used_by: list[str] = Field(examples=[["index customers_name"]])


class PreviewRole(BaseModel):
    """A role of the source: how many policies and grants name it, how many objects it owns.

    `login` is the database's login that stands for it; without one, what names it is left out.
    """

    name: str = Field(examples=["authenticated"])
    policies: int
    grants: int
    owns: int
    login: str | None


class Preview(BaseModel):
    """What an import would bring. Nothing of it is made."""

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
    request: Request, platform: PlatformHere, principal: Writer, database_id: DatabaseId
) -> Response:
    """See what an import of a database elsewhere, or of a dump, would bring; import nothing.

    A dump is kept for an hour, and imported by its `upload_id` without being sent again.
    """
    if _is_dump(request):
        async with _received(
            request, platform, principal, database_id, Selection(), empty=True
        ) as (upload, most):
            found = await platform.imports.preview_upload(
                principal.actor, database_id, upload, most=most
            )
    else:
        body = parsed(PreviewImport, await request.body())
        found = await platform.imports.preview(
            principal.actor, database_id, body.source(), body.selection()
        )
    return answers.answer(Preview.model_validate(dataclasses.asdict(found)))
