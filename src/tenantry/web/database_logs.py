"""What was logged of one database, and what is."""

import datetime as dt
from typing import Annotated, Literal

from fastapi import Query, Request, Response

from tenantry.services.bodies.databases import SetLog
from tenantry.services.bodies.fields import Storable
from tenantry.services.requests.service import Caller
from tenantry.services.statement_log.model import Kind
from tenantry.services.statement_log.service import Filter
from tenantry.web import pages
from tenantry.web.database_pages import page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Cursor,
    DatabaseId,
    calling,
    moment,
    new_router,
    number,
    read,
)

router = new_router()

Auditor = Annotated[Caller, calling("audit:read")]
Writer = Annotated[Caller, calling("databases:write")]
Text = Annotated[Storable, Query(max_length=40)]

_PATH = "/databases/{database_id}/logs"
_A_PAGE = 100


@router.get(_PATH)
async def logs(
    request: Request,
    platform: CurrentPlatform,
    caller: Auditor,
    database_id: DatabaseId,
    kind: Kind | Literal[""] = "",
    since: Text = "",
    until: Text = "",
    cursor: Cursor = None,
) -> Response:
    """Show what was logged, newest first, and what is to be."""
    times = {name: value for name, value in {"since": since, "until": until}.items() if value}
    begin, end = (
        dt.datetime.fromisoformat(moment(times, name)) if name in times else None
        for name in ("since", "until")
    )
    page = await platform.statement_log.page(
        caller.actor,
        database_id,
        Filter(kind or None, begin, end),
        cursor=cursor,
        after=None,
        limit=_A_PAGE,
    )
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_logs.html",
        tab="/logs",
        entries=page.rows,
        following=pages.following(request, page.next_cursor),
        filters={"kind": kind, "since": since, "until": until},
    )


@router.post(f"{_PATH}/settings")
async def change(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Replace what is logged of new sessions."""
    body = read(
        SetLog,
        form,
        min_duration_ms=number(form, "min_duration_ms"),
        keep_days=number(form, "keep_days"),
        errors=form.get("errors") == "yes",
    )
    async with caller.transaction() as tx:
        await platform.statement_log.change(tx, caller.actor, database_id, body.wanted())
    onward = "logs" if caller.principal.may("audit:read") else "settings"
    return pages.go(request, f"/databases/{database_id}/{onward}?done=updated")
