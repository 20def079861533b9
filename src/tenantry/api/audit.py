"""/api/audit-logs"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from tenantry.api import answers
from tenantry.api.answers import AuditEntry, Listing
from tenantry.api.asking import Cursor, Limit, PlatformHere, allowed
from tenantry.api.requests.fields import Label, Moment
from tenantry.control.audit import Filter
from tenantry.services.access.service import Principal

router = APIRouter(prefix="/api/audit-logs", tags=["access"])

Auditor = Annotated[Principal, allowed("audit:read")]
Result = Annotated[str | None, Query(pattern="^(ok|refused|failed)$")]

_EXPORT_PAGE = 1_000  # rows


async def _wanted(
    action: Label | None = None,
    resource_id: Label | None = None,
    actor: Label | None = None,
    result: Result = None,
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
    platform: PlatformHere,
    principal: Auditor,
    wanted: Wanted,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """What was done or refused, newest first: who, what, which, from where, with what result."""
    page = await platform.access.page_of_audit(principal, wanted, cursor=cursor, limit=limit)
    return answers.listing(
        [answers.audit_entry(row) for row in page.rows], next_cursor=page.next_cursor
    )


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "A row a line"}},
)
async def export(platform: PlatformHere, principal: Auditor, wanted: Wanted) -> Response:
    """All of it as a stream of JSON objects, one a line, newest first."""

    async def lines() -> AsyncIterator[str]:
        cursor: str | None = None
        while True:
            page = await platform.access.page_of_audit(
                principal, wanted, cursor=cursor, limit=_EXPORT_PAGE
            )
            for row in page.rows:
                yield answers.audit_entry(row).model_dump_json() + "\n"
            if (cursor := page.next_cursor) is None:
                return

    return StreamingResponse(
        lines(),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="audit-logs.ndjson"'},
    )
