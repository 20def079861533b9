"""The list of databases, and a new one."""

import datetime as dt
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query, Request, Response

from tenantry.base.errors import InvalidInput
from tenantry.control import alerts
from tenantry.control.attributes import Environment
from tenantry.control.database_lists import Filter
from tenantry.services.bodies.databases import CreateDatabase
from tenantry.services.bodies.fields import Storable
from tenantry.services.requests.service import Caller
from tenantry.web import pages, strings, words
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Cursor,
    calling,
    new_router,
    once,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_A_PAGE, _MOST_ROWS = 50, 500
_LONGEST_SEARCH = 200
_OF_INSTANCES = {"version", "cpus", "memory_mb", "auto_suspend_seconds"}


@router.get("/databases")
async def index(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    search: Annotated[Storable, Query(max_length=_LONGEST_SEARCH)] = "",
    environment: Environment | Literal[""] = "",
    status: Literal["", "active", "branching", "deleting"] = "",
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = _A_PAGE,
) -> Response:
    """Show a page of the databases that the filters in the address leave."""
    filters = {"search": search.strip(), "environment": environment, "status": status}
    chosen = {name: value for name, value in filters.items() if value}
    size = {} if limit == _A_PAGE else {"limit": str(limit)}
    wanted = Filter(
        search=filters["search"] or None, environment=environment or None, status=status or None
    )
    page = await platform.databases.page(caller.actor, wanted, cursor=cursor, limit=limit)
    following = None
    if page.next_cursor is not None:
        following = f"/databases?{urlencode(chosen | size | {'cursor': page.next_cursor})}"
    template, attention = "_database_rows.html", None
    if request.headers.get("hx-target") != "list":
        template = "databases.html"
        firing = alerts.Filter(
            state="firing", of_platform=caller.principal.oversees("platform:read")
        )
        found = await platform.alerts.page(caller.actor, firing, cursor=None, limit=_MOST_ROWS)
        attention = words.attention(found.rows, dt.datetime.now(dt.UTC))
    return pages.render(
        request,
        template,
        attention=attention,
        rows=page.rows,
        filters=filters,
        here=pages.here(request),
        is_filtered=bool(chosen),
        is_first=cursor is None,
        first=f"/databases?{urlencode(chosen | size)}",
        following=following,
        may_write=caller.principal.may("databases:write"),
    )


@router.get("/databases/new")
async def new(request: Request, platform: CurrentPlatform, caller: Writer) -> Response:
    """Show the form of a new database."""
    return pages.dialog(
        request,
        "database_new.html",
        plans=await platform.pricing_plans.every(caller.actor),
        choices=platform.instances.choices(),
        names_owner=caller.actor.customer_id is None,
    )


@router.post("/databases")
async def create(
    request: Request, platform: CurrentPlatform, caller: Writer, form: CurrentForm
) -> Response:
    """Create a database, and show its strings with the password, this once."""
    if "name" not in form:
        raise InvalidInput.of("name", "must not be empty")
    if form.get("kind") != "dedicated":  # they were filled in before it was chosen, and are hidden
        form = {name: value for name, value in form.items() if name not in _OF_INSTANCES}
    body = read(CreateDatabase, form, new_customer=form.get("new_customer") == "yes")
    made = await once(lambda: platform.provisioning.create(caller, body.wanted(), body.contents()))
    row, password = made.opened.row, made.opened.password.reveal()
    heading, note, onward = f"{body.name} is ready", None, f"/databases/{row.id}"
    if row.is_instance:
        heading, onward = f"{row.container_name} is being created", f"{onward}/instance"
        note = _note_of_instance(enforced=platform.instances.limits_are_enforced(row.driver))
    return strings.dialog(
        request,
        platform.settings,
        row,
        strings.of_database(platform.settings, row, password),
        heading=heading,
        password=password,
        note=note,
        onward=onward,
    )


def _note_of_instance(*, enforced: bool) -> str:
    said = "It can be reached in a few seconds; its page has the progress."
    return said if enforced else f"{said} This machine does not enforce its size."
