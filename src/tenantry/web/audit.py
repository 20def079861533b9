"""The audit log, with its filters in the address."""

import datetime as dt
import json
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from tenantry.base.errors import InvalidInput
from tenantry.control.audit import AuditRow, Filter, Result
from tenantry.control.audit_filters import ACTIONS
from tenantry.control.pages import Page
from tenantry.services.access import entries
from tenantry.services.bodies.fields import Storable
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import CurrentPlatform, Cursor, calling, moment, new_router

router = new_router()

Auditor = Annotated[Caller, calling("audit:read")]
Text = Annotated[Storable, Query(max_length=200)]

_A_PAGE = 50


async def _given(
    action: Text = "",
    actor: Text = "",
    resource_id: Text = "",
    result: Result | Literal[""] = "",
    since: Text = "",
    until: Text = "",
) -> dict[str, str]:
    return {
        "action": action.strip(),
        "actor": actor.strip(),
        "resource_id": resource_id.strip(),
        "result": result,
        "since": since,
        "until": until,
    }


Filters = Annotated[dict[str, str], Depends(_given)]


@router.get("/audit")
async def index(
    request: Request,
    platform: CurrentPlatform,
    caller: Auditor,
    filters: Filters,
    cursor: Cursor = None,
) -> Response:
    """Show changes and refusals, newest first."""
    problem = None
    page: Page[AuditRow] = Page([], None)
    try:
        page = await platform.access.page_of_audit(
            caller.principal, _wanted(filters), cursor=cursor, limit=_A_PAGE
        )
    except InvalidInput as error:  # no such action or actor: the filters stay to be corrected
        problem = error
    given = {name: value for name, value in filters.items() if value}
    return pages.render(
        request,
        "audit.html",
        rows=page.rows,
        filters=filters,
        is_filtered=bool(given),
        export=f"/audit/export?{urlencode(given)}",
        following=pages.following(request, page.next_cursor),
        actions=sorted(ACTIONS),
        problem=problem,
        written=lambda details: json.dumps(details, indent=1, ensure_ascii=False),
    )


@router.get("/audit/export")
async def export(platform: CurrentPlatform, caller: Auditor, filters: Filters) -> Response:
    """Send what the filters leave as a file, a JSON object a line."""
    return StreamingResponse(
        await entries.lines(platform.access, caller.principal, _wanted(filters)),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="audit-logs.ndjson"'},
    )


def _wanted(filters: dict[str, str]) -> Filter:
    given = {name: value for name, value in filters.items() if value}
    since, until = (
        dt.datetime.fromisoformat(moment(given, name)) if name in given else None
        for name in ("since", "until")
    )
    texts = {name: value for name, value in given.items() if name not in {"since", "until"}}
    return Filter(**texts, since=since, until=until)
