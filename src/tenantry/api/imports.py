"""/api/databases/{id}/import"""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.exceptions import HTTPException

from tenantry.api.answers import Answer, Operation
from tenantry.api.asking import DatabaseId, PlatformHere, allowed, begun, is_repeated, visiting
from tenantry.api.bodies import JSON, described, parsed
from tenantry.api.frame import UPLOAD
from tenantry.api.requests.copies import MOST_MAPPED_ROLES, ImportDatabase, mapped_roles
from tenantry.api.requests.fields import Jobs, StatementSeconds
from tenantry.base.errors import Conflict
from tenantry.control.operations import OperationRow
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal
from tenantry.services.imports.model import Examined, Upload
from tenantry.services.platform import Platform

router = APIRouter(prefix="/api/databases/{identifier}/import", tags=["imports"])

Writer = Annotated[Principal, allowed("databases:write")]

_BODY = described(
    ImportDatabase,
    **{
        UPLOAD: {
            "type": "string",
            "format": "binary",
            "description": "A dump of pg_dump's: custom, tar, or SQL, gzipped or not.",
        }
    },
)


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
    map_role: Annotated[
        list[str],
        Query(
            max_length=MOST_MAPPED_ROLES,
            description="For a dump: old=new, the login of the database that stands for a role in"
            " policies and grants; may be given again.",
        ),
    ] = [],  # noqa: B006 (FastAPI copies it)
) -> Response:
    """Copy a database from elsewhere, or an uploaded dump of one, into an empty database.

    Everything in it becomes the database's own login's. Connection strings are kept nowhere:
    an import that a restart cuts off is taken back, and has to be sent again.
    """
    media = request.state.media_type or JSON
    if media == UPLOAD:
        return await _upload(
            request,
            platform,
            principal,
            database_id,
            jobs=jobs,
            roles=mapped_roles(map_role),
            statement_seconds=statement_timeout_seconds,
        )
    if media != JSON:
        raise HTTPException(415, f"the body must be {JSON} or {UPLOAD}")
    body = parsed(ImportDatabase, await request.body())
    source, selection = body.source(), body.selection()

    examined: Examined | None = None
    if not await is_repeated(request, principal):
        # First whether it is this caller's: nobody else has the platform connect anywhere.
        async with visiting(request, principal):
            await platform.imports.check_target(principal.actor, database_id, roles=selection.roles)
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
    roles: dict[str, str],
    statement_seconds: float | None,
) -> Response:
    first = not await is_repeated(request, principal)
    length = request.headers.get("content-length", "")
    async with platform.imports.receiving(principal.actor, database_id):
        async with visiting(request, principal):
            most = await platform.imports.check_target(
                principal.actor,
                database_id,
                roles=roles,
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
            roles=roles,
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
    roles: dict[str, str],
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
            roles=roles,
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
