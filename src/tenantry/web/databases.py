"""The list of databases, and a new one."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query, Request, Response

from tenantry.base.errors import InvalidInput
from tenantry.control import alerts
from tenantry.control.attributes import Environment
from tenantry.control.database_lists import Filter, Order
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.services.bodies.databases import CreateDatabase
from tenantry.services.bodies.fields import MOST_TAGS, Storable, Tag
from tenantry.services.platform import Platform
from tenantry.services.provisioning.model import Provisioned
from tenantry.services.requests.service import Caller
from tenantry.web import blueprints, messages, pages, strings, words
from tenantry.web.database_data_api import keys_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Cursor,
    calling,
    new_router,
    once,
    read,
    tags_of,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_A_PAGE, _MOST_ROWS = 50, 500
_LONGEST_SEARCH = 200
_SORTS: dict[Order | Literal[""], str] = {
    "": "newest first",
    "size": "largest first",
    "cpu": "most CPU first",
    "used": "used last first",
    "unused": "unused longest first",
}
_OF_INSTANCES = {"version", "cpus", "memory_mb", "auto_suspend_seconds"}
_OF_SHARED = {"blueprint", "seeds"}


@router.get("/databases")
async def index(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    search: Annotated[Storable, Query(max_length=_LONGEST_SEARCH)] = "",
    environment: Environment | Literal[""] = "",
    status: Literal["", "active", "branching", "deleting"] = "",
    tag: Annotated[list[Tag], Query(max_length=MOST_TAGS)] = [],  # noqa: B006 (FastAPI copies it)
    sort: Order | Literal[""] = "",
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = _A_PAGE,
) -> Response:
    """Show a page of the databases that the filters in the address leave."""
    filters = {"search": search.strip(), "environment": environment, "status": status}
    chosen: dict[str, str | list[str]] = {name: each for name, each in filters.items() if each}
    chosen |= {"tag": tag} if tag else {}
    size = {} if limit == _A_PAGE else {"limit": str(limit)}
    wanted = Filter(
        search=filters["search"] or None,
        environment=environment or None,
        status=status or None,
        tags=tag,
    )
    page, more = await _page(platform, caller, wanted, sort, cursor, limit)
    in_order = chosen | ({"sort": sort} if sort else {})
    following = _listed(in_order | size | more) if more else None
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
        rows=page,
        processors=await _processors(platform, caller, page) if sort == "cpu" else None,
        filters=filters,
        tags=tag,
        tagged=lambda word: _listed(in_order | {"tag": [*tag, *({word} - {*tag})]}),
        untagged=lambda word: _listed(in_order | {"tag": [each for each in tag if each != word]}),
        sort=sort,
        sorts=_SORTS,
        sorted_by=lambda order: _listed(chosen | {"sort": order}),
        here=pages.here(request),
        is_filtered=bool(chosen),
        is_first=cursor is None,
        first=_listed(in_order | size),
        following=following,
        may_write=caller.principal.may("databases:write"),
    )


def _listed(query: Mapping[str, str | list[str]]) -> str:
    """Return the address of a list with these filters."""
    return f"/databases?{urlencode(query, doseq=True)}".removesuffix("?")


async def _page(
    platform: Platform,
    caller: Caller,
    wanted: Filter,
    sort: Order | Literal[""],
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[DatabaseRow], dict[str, str]]:
    """Return rows, and what the address of those that follow has; nothing if there are none."""
    if not sort:
        page = await platform.databases.page(caller.actor, wanted, cursor=cursor, limit=limit)
        return page.rows, {"cursor": page.next_cursor} if page.next_cursor else {}
    # In an order that changes all the time a page has no next one: it grows.
    found = await platform.databases.first(caller.actor, wanted, sort, limit=limit + 1)
    more = {"limit": str(_MOST_ROWS)} if len(found) > limit < _MOST_ROWS else {}
    return found[:limit], more


async def _processors(
    platform: Platform, caller: Caller, rows: Sequence[DatabaseRow]
) -> dict[uuid.UUID, float | None]:
    """Return how much of a processor each database takes, in percent, as far as it is known."""
    found = await platform.samples.activity(
        caller.actor, [row.id for row in rows], order="cpu", limit=len(rows)
    )
    return {each.database_id: each.cpu_percent for each in found}


@router.get("/databases/new")
async def new(request: Request, platform: CurrentPlatform, caller: Writer) -> Response:
    """Show the form of a new database."""
    return pages.dialog(
        request,
        "database_new.html",
        plans=await platform.pricing_plans.every(caller.actor),
        choices=platform.instances.choices(),
        names_owner=caller.actor.customer_id is None,
        **await blueprints.offered(platform),
    )


@router.post("/databases")
async def create(
    request: Request, platform: CurrentPlatform, caller: Writer, form: CurrentForm
) -> Response:
    """Create a database, and show its strings with the password, this once."""
    if "name" not in form:
        raise InvalidInput.of("name", "must not be empty")
    # What was filled in before the other kind was chosen is hidden.
    hidden = _OF_SHARED if form.get("kind") == "dedicated" else _OF_INSTANCES
    form = {name: value for name, value in form.items() if name not in hidden}
    body = read(
        CreateDatabase,
        form,
        new_customer=form.get("new_customer") == "yes",
        tags=tags_of(form),
    )
    made = await once(lambda: platform.provisioning.create(caller, body.wanted(), body.contents()))
    row, password = made.opened.row, made.opened.password.reveal()
    heading, note, onward = f"{body.name} is ready", None, f"/databases/{row.id}"
    if made.operation is not None and not row.is_instance:
        note = _note_of_blueprint(made.operation)
        onward += "" if made.operation.status == "succeeded" else "/operations"
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
        more=_more_of_blueprint(made),
    )


def _more_of_blueprint(made: Provisioned) -> dict[str, str]:
    """Return what else is shown this once, by label: passwords of roles, keys of the data API."""
    shown = {f"Password of {each.role.row.name}": each.password for each in made.roles}
    if made.data_api is not None:
        shown |= keys_of(made.data_api)
    return {label: secret.reveal() for label, secret in shown.items()}


def _note_of_blueprint(operation: OperationRow) -> str:
    if operation.status == "succeeded":
        return "It has the blueprint's schema."
    if operation.status == "failed":
        why = messages.plain(words.operation_state(operation).detail)
        return f"Its blueprint could not be applied. {why}"
    return "Its blueprint is still being applied: its operations have the progress."


def _note_of_instance(*, enforced: bool) -> str:
    said = "It can be reached in a few seconds; its page has the progress."
    return said if enforced else f"{said} This machine does not enforce its size."
