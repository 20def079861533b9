"""/api/audit-logs"""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import StreamingResponse

from tenantry.api import answers
from tenantry.api.answers import Listing
from tenantry.api.deps import CurrentPlatform, Cursor, Limit, allowed
from tenantry.control import audit
from tenantry.control.audit import Filter
from tenantry.services.access import entries
from tenantry.services.access.entries import AuditEntry
from tenantry.services.access.service import Principal
from tenantry.services.bodies.fields import Label, Moment

router = APIRouter(prefix="/api/audit-logs", tags=["access"])

Auditor = Annotated[Principal, allowed("audit:read")]


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
    return answers.listing([entries.shown(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "A row a line"}},
)
async def export(platform: CurrentPlatform, principal: Auditor, wanted: Wanted) -> Response:
    """Stream the audit log as JSON objects, one per line, newest first."""

    return StreamingResponse(
        await entries.lines(platform.access, principal, wanted),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="audit-logs.ndjson"'},
    )
