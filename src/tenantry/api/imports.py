"""/api/databases/{id}/import"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from tenantry.api.answers import Answer, Operation
from tenantry.api.asking import DatabaseId, PlatformHere, allowed, begun, is_repeated, visiting
from tenantry.api.frame import UPLOAD
from tenantry.api.requests.copies import ImportDatabase
from tenantry.api.requests.fields import Jobs, StatementSeconds
from tenantry.base.errors import Conflict
from tenantry.control.operations import OperationRow
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal
from tenantry.services.imports.model import Examined, Upload
from tenantry.services.platform import Platform

router = APIRouter(prefix="/api/databases/{identifier}/import", tags=["imports"])

Writer = Annotated[Principal, allowed("databases:write")]

_JSON = "application/json"
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {"schema": ImportDatabase.model_json_schema(by_alias=True)},
            UPLOAD: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "A dump of pg_dump's: custom, or SQL, gzipped or not.",
                }
            },
        },
    }
}


@router.post("", status_code=202, response_model=Answer[Operation], openapi_extra=_BODY)
async def begin(
    request: Request,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
    jobs: Annotated[Jobs, Query(description="For a custom dump: how many tables at once.")] = 2,
    statement_timeout_seconds: Annotated[
        StatementSeconds, Query(description="For a dump: how long each statement may run.")
    ] = None,
) -> Response:
    """Copy a database from elsewhere, or an uploaded dump of one, into an empty database.

    Everything in it becomes the database's own login's. Connection strings are kept nowhere:
    an import that a restart cuts off is taken back, and has to be sent again.
    """
    media = request.state.media_type or _JSON
    if media == UPLOAD:
        return await _upload(
            request,
            platform,
            principal,
            database_id,
            jobs=jobs,
            statement_seconds=statement_timeout_seconds,
        )
    if media != _JSON:
        raise HTTPException(415, f"the body must be {_JSON} or {UPLOAD}")
    body = _read(await request.body())
    source, selection = body.source(), body.selection()

    examined: Examined | None = None
    if not await is_repeated(request, principal):
        # First whether it is this caller's: nobody else has the platform connect anywhere.
        async with visiting(request, principal):
            await platform.imports.check_target(principal.actor, database_id)
        examined = await platform.imports.examine(principal.actor, source, selection)

    async def want(tx: Tx) -> OperationRow:
        if examined is None:
            raise Conflict("The answer that was kept is gone.", hint="Send it again.")
        return await platform.imports.begin(tx, principal.actor, database_id, examined)

    return await begun(request, principal, want, "It is being imported.")


async def _upload(
    request: Request,
    platform: Platform,
    principal: Principal,
    database_id: DatabaseId,
    *,
    jobs: int,
    statement_seconds: float | None,
) -> Response:
    first = not await is_repeated(request, principal)
    length = request.headers.get("content-length", "")
    async with platform.imports.receiving(principal.actor, database_id):
        async with visiting(request, principal):
            most = await platform.imports.check_target(
                principal.actor,
                database_id,
                empty=first,
                announced=int(length) if length.isdigit() else None,
            )
        upload = await platform.imports.uploads.receive(request.stream(), most=most)
        return await _begin_upload(
            request,
            platform,
            principal,
            database_id,
            upload,
            jobs=jobs,
            statement_seconds=statement_seconds,
        )


async def _begin_upload(
    request: Request,
    platform: Platform,
    principal: Principal,
    database_id: DatabaseId,
    upload: Upload,
    *,
    jobs: int,
    statement_seconds: float | None,
) -> Response:
    wanted = False

    async def want(tx: Tx) -> OperationRow:
        nonlocal wanted
        wanted = True
        return await platform.imports.begin_upload(
            tx,
            principal.actor,
            database_id,
            upload,
            jobs=jobs,
            statement_seconds=statement_seconds,
        )

    try:
        answer = await begun(
            request, principal, want, "It is being imported.", digest=upload.sha256
        )
    except BaseException:
        platform.imports.discard(upload)
        raise
    if not wanted:  # the answer was given before, to the same dump
        platform.imports.discard(upload)
    return answer


def _read(body: bytes) -> ImportDatabase:
    try:
        return ImportDatabase.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in found]
        ) from None
