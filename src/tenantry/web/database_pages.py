"""One database: its overview, its strings, its password, its end."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request, Response

from tenantry.base.errors import (
    Conflict,
    InvalidInput,
    TenantryError,
    TooManyAtOnce,
    Unavailable,
)
from tenantry.control import plans
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import Filter
from tenantry.services.bodies.databases import UpdateDatabase
from tenantry.services.databases.model import Opened, Statistics
from tenantry.services.insights.model import Session
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller
from tenantry.services.restores.model import Restorable
from tenantry.web import charts, pages, strings, words
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    Form,
    calling,
    is_changed,
    new_router,
    number,
    once,
    read,
    tags_of,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_INSTANCE = "/instance"  # of those that have one
_GROUPS = {
    "Overview": {
        "": "Overview",
        _INSTANCE: "Instance",
        "/metrics": "Metrics",
        "/operations": "Operations",
    },
    "Data": {
        "/tables": "Tables",
        "/sql": "SQL",
        "/import": "Import",
        "/extensions": "Extensions",
        "/migrations": "Migrations",
        "/blueprint": "Blueprint",
    },
    "Insights": {
        "/queries": "Queries",
        "/sessions": "Sessions",
        "/advice": "Advice",
        "/logs": "Logs",
        "/alerts": "Alerts",
    },
    "Backups": {"/backups": "Backups & restore", "/branches": "Branches"},
    "Access": {"/access": "Allowlist & roles", "/data-api": "Data API"},
    "Settings": {"/settings": "Settings"},
}
# Those that need another scope than the rest.
_SCOPES = {
    "/sql": "data:read",
    "/logs": "audit:read",
    "/backups": "backups:read",
    "/import": "databases:write",
}
_SHOWN = 5


async def page_of(
    request: Request,
    platform: Platform,
    caller: Caller,
    row: DatabaseRow | uuid.UUID,
    template: str,
    *,
    tab: str,
    **values: Any,
) -> Response:
    """Return a page of one database, with its head and its tabs."""
    if isinstance(row, uuid.UUID):
        row = await platform.databases.show(caller.actor, row)
    return pages.render(
        request,
        template,
        row=row,
        path=f"/databases/{row.id}",
        groups=_groups(caller, row),
        tab=tab,
        may_write=caller.principal.may("databases:write"),
        **values,
    )


def _groups(caller: Caller, row: DatabaseRow) -> dict[str, dict[str, str]]:
    """Return the pages of a database that the caller may open, by group: places with labels.

    A group of which only one may be opened is called as that is.
    """
    groups = {}
    for name, places in _GROUPS.items():
        may = {
            place: label
            for place, label in places.items()
            if (place not in _SCOPES or caller.principal.may(_SCOPES[place]))
            and (place != _INSTANCE or row.is_instance)
        }
        groups[name if len(may) > 1 else next(iter(may.values()))] = may
    return groups


@dataclass(slots=True)
class Attempt:
    """A part of a page; ``problem`` is shown in place of what could not be found out."""

    problem: TenantryError | None = None


@contextmanager
def attempt() -> Iterator[Attempt]:
    """Find out what a page shows, if the database can be asked now."""
    tried = Attempt()
    try:
        yield tried
    except (Unavailable, Conflict) as error:
        tried.problem = error


async def tables_now(
    platform: Platform, caller: Caller, database_id: uuid.UUID
) -> list[tuple[str, str]]:
    """Return schema and name of a database's tables, as suggestions.

    None are if it cannot be asked now, or if the caller may not know them.
    """
    if not caller.principal.may("databases:read"):
        return []
    try:
        async with caller.visiting():
            return await platform.insights.table_names(caller.actor, database_id)
    except (Conflict, TooManyAtOnce, Unavailable):
        return []


@router.get("/databases/{database_id}")
async def overview(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show what a database uses of its limits, and what happened to it."""
    row = await platform.databases.show(caller.actor, database_id)
    window: Restorable | None = None
    proof = None
    if caller.principal.may("backups:read"):
        window = await platform.restores.window(caller.actor, database_id)
        proof = await platform.drills.latest(caller.actor, database_id)
    latest = await platform.operations.page(
        caller.actor, Filter(resource_id=database_id), cursor=None, limit=_SHOWN
    )
    drawn = await platform.samples.sparklines(caller.actor, [database_id], "day")
    return await page_of(
        request,
        platform,
        caller,
        row,
        "database.html",
        tab="",
        stats=await _statistics(platform, caller, database_id),
        window=window,
        proof=proof,
        operations=latest.rows,
        inside=await platform.migrations.in_database(caller.actor, database_id, latest.rows),
        charts=[chart for each in drawn for chart in charts.of(each.series)],
        offered=strings.of_database(platform.settings, row)[0],
    )


async def _statistics(
    platform: Platform, caller: Caller, database_id: uuid.UUID
) -> Statistics | None:
    """Return what a database uses now; None if its server does not answer."""
    try:
        return await platform.databases.statistics(caller.actor, database_id)
    except (Conflict, Unavailable):
        return None


@router.get("/databases/{database_id}/connect")
async def connect(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show the strings, with a mask for the password."""
    row = await platform.databases.show(caller.actor, database_id)
    return _opened(request, platform, row, f"Connect to {words.title(row)}", None)


def _opened(
    request: Request, platform: Platform, row: DatabaseRow, heading: str, password: str | None
) -> Response:
    shown = () if password is None else (password,)
    return strings.dialog(
        request,
        platform.settings,
        row,
        strings.of_database(platform.settings, row, *shown),
        heading=heading,
        password=password,
    )


@router.get("/databases/{database_id}/connected")
async def connected(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show from where the newest session comes, in a dialog that waits for one."""
    found: list[Session] = []
    with attempt():
        found = await platform.insights.sessions(caller.actor, database_id, constants=False)
    newest = max(found, key=lambda each: each.activity.started_at, default=None)
    return pages.render(
        request, "_connected.html", session=newest, path=f"/databases/{database_id}"
    )


@router.get("/databases/{database_id}/rotate-password")
async def ask_to_rotate(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Ask before the password is replaced."""
    row = await platform.databases.show(caller.actor, database_id)
    return pages.dialog(request, "rotate.html", row=row, path=f"/databases/{row.id}")


@router.post("/databases/{database_id}/rotate-password")
async def rotate(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Replace the password, and show the new one, this once."""
    opened = await once(
        lambda: caller.idempotent(
            Opened,
            lambda tx, secrets: platform.databases.rotate_password(
                tx, caller.actor, database_id, secrets.password()
            ),
        )
    )
    heading = f"The new password of {words.title(opened.row)}"
    return _opened(request, platform, opened.row, heading, opened.password.reveal())


@router.get("/databases/{database_id}/settings")
async def settings(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show what a database is and its limits, which can be changed, and how to delete it."""
    row = await platform.databases.show(caller.actor, database_id)
    async with platform.store.transaction(caller.actor) as tx:
        offered = {each.name: each for each in await plans.every(tx)}
    return await page_of(
        request,
        platform,
        caller,
        row,
        "database_settings.html",
        tab="/settings",
        plans=list(offered),
        granted=offered[row.plan],
    )


@router.post("/databases/{database_id}/settings")
async def change_settings(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Change what was changed in the form; a limit that is emptied is the plan's again."""
    changed: Form = {
        name: form[name]
        for name in ("name", "friendly_name", "environment", "plan")
        if name in form and is_changed(form, name)
    }
    if "name" in form and "friendly_name" not in form and is_changed(form, "friendly_name"):
        changed["friendly_name"] = form["name"]
    given: dict[str, object] = {}
    if is_changed(form, "tags"):
        given["tags"] = tags_of(form)
    if is_changed(form, "disk_gib"):
        given["disk_quota_bytes"] = _bytes(form, "disk_gib")
    if is_changed(form, "max_connections"):
        given["max_connections"] = number(form, "max_connections")
    body = read(UpdateDatabase, changed, **given)
    await once(lambda: platform.provisioning.update(caller, database_id, body.changes()))
    return pages.go(request, f"/databases/{database_id}/settings?done=updated")


def _bytes(form: Form, field: str) -> int | None:
    """Return a size that is given in GiB; None if none is. Raises InvalidInput."""
    if field not in form:
        return None
    try:
        return round(float(form[field]) * words.GIB)
    except (ValueError, OverflowError):  # NaN, and infinity
        raise InvalidInput.of(field, "must be a number") from None


@router.get("/databases/{database_id}/delete")
async def ask_to_delete(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Say what a deletion takes away, and ask for the name."""
    row = await platform.databases.show(caller.actor, database_id)
    return pages.dialog(request, "delete.html", row=row, path=f"/databases/{row.id}")


@router.post("/databases/{database_id}/delete")
async def delete(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Delete a database whose name was typed."""
    row = await platform.databases.show(caller.actor, database_id)
    require_typed(row, form)
    deleted = await platform.provisioning.delete(
        caller, database_id, keep_backups=form.get("keep_backups") == "yes"
    )
    return pages.go(request, f"/databases?done={'deleted' if deleted.gone else 'deleting'}")


def require_typed(row: DatabaseRow, form: Form) -> None:
    """Raise InvalidInput unless the database's name was typed."""
    require_word(words.title(row), form)


def require_word(word: str, form: Form) -> None:
    """Raise InvalidInput unless this was typed."""
    if form.get("typed", "").strip() != word:
        raise InvalidInput.of("name", f"is not {word}: nothing was done")
