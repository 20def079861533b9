"""/api/audit-logs"""

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Listing
from tenantry.api.deps import CurrentPlatform, Cursor, Limit, allowed
from tenantry.control import audit
from tenantry.control.audit import AuditRow, Filter
from tenantry.control.pages import Page
from tenantry.services.access.service import Principal
from tenantry.services.bodies.fields import Label, Moment

router = APIRouter(prefix="/api/audit-logs", tags=["access"])

Auditor = Annotated[Principal, allowed("audit:read")]

_EXPORT_PAGE = 1_000  # rows


async def _wanted(
    action: Label | None = None,
    resource_id: Label | None = None,
    actor: Label | None = None,
    result: audit.Result | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> Filter:
    return Filter(
        action=action,
        resource_id=resource_id,
        actor=actor,
        result=result,
        since=since,
        until=until,
    )


Wanted = Annotated[Filter, Depends(_wanted)]


class AuditEntry(BaseModel):
    id: int
    at: dt.datetime
    actor: str
    actor_kind: str
    actor_id: uuid.UUID | None
    action: str
    resource_kind: str
    resource_id: str | None
    resource_name: str | None
    resource_title: str | None = Field(
        description="What its owner called a database then.", examples=["shop"]
    )
    address: str | None
    result: audit.Result = Field(
        description="What was only started is accepted; a row of its own shows how it ended."
    )
    request_id: str | None
    details: dict[str, object]


def _shown(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        actor=row.actor_name,
        actor_kind=row.actor_kind,
        actor_id=row.actor_id,
        action=row.action,
        resource_kind=row.resource_kind,
        resource_id=row.resource_id,
        resource_name=row.resource_name,
        resource_title=row.resource_title,
        address=row.address,
        result=row.result,
        request_id=row.request_id,
        details=row.details,
    )


@router.get("", response_model=Listing[AuditEntry])
async def index(
    platform: CurrentPlatform,
    principal: Auditor,
    wanted: Wanted,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List changes and refusals, newest first, each with its actor, action, target and result."""
    page = await platform.access.page_of_audit(principal, wanted, cursor=cursor, limit=limit)
    return answers.listing([_shown(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "A row a line"}},
)
async def export(platform: CurrentPlatform, principal: Auditor, wanted: Wanted) -> Response:
    """Stream the audit log as JSON objects, one per line, newest first."""

    async def page_after(cursor: str | None) -> Page[AuditRow]:
        return await platform.access.page_of_audit(
            principal, wanted, cursor=cursor, limit=_EXPORT_PAGE
        )

    # A problem must be the answer, not the end of a stream.
    first = await page_after(None)

    async def lines() -> AsyncIterator[str]:
        page = first
        while True:
            for row in page.rows:
                yield _shown(row).model_dump_json() + "\n"
            if page.next_cursor is None:
                return
            page = await page_after(page.next_cursor)

    return StreamingResponse(
        lines(),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="audit-logs.ndjson"'},
    )
