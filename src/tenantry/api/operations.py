"""/api/operations"""

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Response

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.deps import CurrentPlatform, Cursor, Limit, OperationId, allowed, calling
from tenantry.control.operations import Filter, OperationRow
from tenantry.services.access.service import Principal
from tenantry.services.bodies.fields import Label
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/operations", tags=["operations"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
Administrator = Annotated[Caller, calling("admin")]


@router.get("", response_model=Listing[Operation])
async def index(
    platform: CurrentPlatform,
    principal: Reader,
    kind: Label | None = None,
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"] | None = None,
    resource_id: uuid.UUID | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List operations, newest first."""
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
async def show(platform: CurrentPlatform, principal: Reader, operation_id: OperationId) -> Response:
    """Return an operation's progress: step, bytes, rate and remaining time."""
    return answers.answer(
        answers.operation(await platform.operations.show(principal.actor, operation_id))
    )


@router.post("/{identifier}/cancel", status_code=202, response_model=Answer[Operation])
async def cancel(platform: CurrentPlatform, caller: Writer, operation_id: OperationId) -> Response:
    """Cancel an operation and undo its completed steps. One past its point of no return goes on."""

    operation = await caller.begin(
        lambda tx: platform.operations.cancel(tx, caller.actor, operation_id)
    )
    return answers.accepted(operation, "It is being given up.")


@router.post("/{identifier}/abandon", response_model=Answer[Operation])
async def abandon(
    platform: CurrentPlatform, caller: Administrator, operation_id: OperationId
) -> Response:
    """End an operation immediately, without undoing its steps.

    This is the last resort for an operation that neither ends nor can be cancelled: its database
    can be used, restored or deleted again.
    """

    row = await caller.idempotent(
        OperationRow, lambda tx, _: platform.operations.abandon(tx, caller.actor, operation_id)
    )
    return answers.answer(answers.operation(row), message="It was abandoned.")
