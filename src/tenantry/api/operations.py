"""/api/operations"""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.asking import (
    Cursor,
    Limit,
    OperationId,
    PlatformHere,
    allowed,
    begun,
    once,
)
from tenantry.api.requests.fields import Label
from tenantry.base.secrets import SecretSource
from tenantry.control.operations import Filter
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal

router = APIRouter(prefix="/api/operations", tags=["operations"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Principal, allowed("databases:write")]
Administrator = Annotated[Principal, allowed("admin")]


@router.get("", response_model=Listing[Operation])
async def index(
    platform: PlatformHere,
    principal: Reader,
    kind: Label | None = None,
    status: Annotated[
        str | None, Query(pattern="^(queued|running|succeeded|failed|cancelled)$")
    ] = None,
    resource_id: uuid.UUID | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Long tasks, newest first."""
    page = await platform.operations.page(
        principal.actor,
        Filter(kind=kind, status=status, resource_id=resource_id),
        cursor=cursor,
        limit=limit,
    )
    return answers.listing(
        [answers.operation(row) for row in page.rows], next_cursor=page.next_cursor
    )


@router.get("/{identifier}", response_model=Answer[Operation])
async def show(platform: PlatformHere, principal: Reader, operation_id: OperationId) -> Response:
    """How far a long task is: its step, its bytes, their rate, and the time that is left."""
    return answers.answer(
        answers.operation(await platform.operations.show(principal.actor, operation_id))
    )


@router.post("/{identifier}/cancel", status_code=202, response_model=Answer[Operation])
async def cancel(
    request: Request, platform: PlatformHere, principal: Writer, operation_id: OperationId
) -> Response:
    """Have it given up, and what it did taken back. One that has come too far goes on."""

    return await begun(
        request,
        principal,
        lambda tx: platform.operations.cancel(tx, principal.actor, operation_id),
        "It is being given up.",
    )


@router.post("/{identifier}/abandon", response_model=Answer[Operation])
async def abandon(
    request: Request, platform: PlatformHere, principal: Administrator, operation_id: OperationId
) -> Response:
    """End an operation at once, without undoing what it did.

    The last resort for an operation that neither ends nor can be cancelled: its database can be
    used, restored or deleted again.
    """

    async def work(tx: Tx, _: SecretSource) -> JSONResponse:
        row = await platform.operations.abandon(tx, principal.actor, operation_id)
        return answers.answer(answers.operation(row), message="It was abandoned.")

    return await once(request, principal, work)
