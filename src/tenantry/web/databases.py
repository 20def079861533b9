"""The list of databases, and a new one."""

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query, Request, Response

from tenantry.base.errors import InvalidInput
from tenantry.control import plans
from tenantry.control.attributes import Environment
from tenantry.control.database_lists import Filter
from tenantry.services.bodies.databases import CreateDatabase
from tenantry.services.bodies.fields import Storable
from tenantry.services.requests.service import Caller
from tenantry.web import pages, strings
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
    template = "databases.html"
    if request.headers.get("hx-target") == "list":
        template = "_database_rows.html"
    return pages.render(
        request,
        template,
        rows=page.rows,
        filters=filters,
        is_filtered=bool(chosen),
        is_first=cursor is None,
        first=f"/databases?{urlencode(chosen | size)}",
        following=following,
        may_write=caller.principal.may("databases:write"),
    )


@router.get("/databases/new")
async def new(request: Request, platform: CurrentPlatform, caller: Writer) -> Response:
    """Show the form of a new database."""
    async with platform.store.transaction(caller.actor) as tx:
        offered = await plans.every(tx)
    return pages.dialog(
        request,
        "database_new.html",
        plans=offered,
        default_plan=plans.DEFAULT,
        names_owner=caller.actor.customer_id is None,
    )


@router.post("/databases")
async def create(
    request: Request, platform: CurrentPlatform, caller: Writer, form: CurrentForm
) -> Response:
    """Create a database, and show its strings with the password, this once."""
    if "name" not in form:
        raise InvalidInput.of("name", "must not be empty")
    body = read(CreateDatabase, form, new_customer=form.get("new_customer") == "yes")
    made = await once(lambda: platform.provisioning.create(caller, body.wanted(), body.contents()))
    row, password = made.opened.row, made.opened.password.reveal()
    return strings.dialog(
        request,
        platform.settings,
        strings.of_database(platform.settings, row, password),
        heading=f"{body.name} is ready",
        password=password,
        onward=f"/databases/{row.id}",
    )
