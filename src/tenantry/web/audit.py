"""The audit log, with its filters in the address."""

import datetime as dt
import json
from typing import Annotated, Literal

from fastapi import Query, Request, Response

from tenantry.base.errors import InvalidInput
from tenantry.control.audit import AuditRow, Filter, Result
from tenantry.control.audit_filters import ACTIONS
from tenantry.control.pages import Page
from tenantry.services.bodies.fields import Storable
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import CurrentPlatform, Cursor, calling, moment, new_router

router = new_router()

Auditor = Annotated[Caller, calling("audit:read")]
Text = Annotated[Storable, Query(max_length=200)]

_A_PAGE = 50


@router.get("/audit")
async def index(
    request: Request,
    platform: CurrentPlatform,
    caller: Auditor,
    action: Text = "",
    actor: Text = "",
    resource_id: Text = "",
    result: Result | Literal[""] = "",
    since: Text = "",
    until: Text = "",
    cursor: Cursor = None,
) -> Response:
    """Show changes and refusals, newest first."""
    given = {
        "action": action.strip(),
        "actor": actor.strip(),
        "resource_id": resource_id.strip(),
        "result": result,
        "since": since,
        "until": until,
    }
    filters = {name: value for name, value in given.items() if value}
    problem = None
    page: Page[AuditRow] = Page([], None)
    try:
        page = await platform.access.page_of_audit(
            caller.principal, _wanted(filters), cursor=cursor, limit=_A_PAGE
        )
    except InvalidInput as error:  # no such action or actor: the filters stay to be corrected
        problem = error
    return pages.render(
        request,
        "audit.html",
        rows=page.rows,
        filters=given,
        is_filtered=bool(filters),
        following=pages.following(request, page.next_cursor),
        actions=sorted(ACTIONS),
        problem=problem,
        written=lambda details: json.dumps(details, indent=1, ensure_ascii=False),
    )


def _wanted(filters: dict[str, str]) -> Filter:
    since, until = (
        dt.datetime.fromisoformat(moment(filters, name)) if name in filters else None
        for name in ("since", "until")
    )
    texts = {name: value for name, value in filters.items() if name not in {"since", "until"}}
    return Filter(**texts, since=since, until=until)
