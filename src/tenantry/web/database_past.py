"""A database as it was: its timeline, its rows then and now, and bringing lost ones back."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Request, Response

from tenantry.base.errors import Conflict, InvalidInput, NotFound, TenantryError, Unavailable
from tenantry.pg.lost_rows import LOST
from tenantry.services.bodies.insights import RunSql
from tenantry.services.bodies.lost_rows import BringBack, CompareTable, CreateMark, LookBack
from tenantry.services.platform import Platform
from tenantry.services.requests import leaving
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_pages import page_of
from tenantry.web.database_sql import MOST_ROWS, gone, results_of, text_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
    chosen,
    moment,
    new_router,
    once,
    parsed,
    read,
)

router = new_router()

Looker = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
Reader = Annotated[Caller, calling("data:read")]
RowWriter = Annotated[Caller, calling("data:write")]

_PATH = "/databases/{database_id}"
_COMPARISON = f"{_PATH}/past/{{past_id}}/comparisons/{{comparison_id}}"
_A_PAGE = 50
Count = Annotated[int | None, Query(ge=0)]


@router.post(f"{_PATH}/marks")
async def mark(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Mark this moment."""
    body = read(CreateMark, form)
    async with caller.transaction() as tx:
        await platform.marks.create(tx, caller.actor, database_id, body.label, body.at)
    return pages.go(request, f"/databases/{database_id}/backups?done=marked")


@router.post(f"{_PATH}/marks/{{mark_id}}/delete")
async def unmark(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    mark_id: str,
) -> Response:
    """Delete a mark."""
    found = parsed(mark_id, "mark of this database")
    async with caller.transaction() as tx:
        await platform.marks.remove(tx, caller.actor, database_id, found)
    return pages.go(request, f"/databases/{database_id}/backups?done=unmarked")


@router.get(f"{_PATH}/past")
async def past(
    request: Request, platform: CurrentPlatform, caller: Looker, database_id: DatabaseId
) -> Response:
    """Show how far the past is, or the rows of each table then and now."""
    return await _page(request, platform, caller, database_id)


async def _page(
    request: Request,
    platform: Platform,
    caller: Caller,
    database_id: uuid.UUID,
    *,
    text: str = "",
    results: Sequence[Any] = (),
    refused: TenantryError | None = None,
) -> Response:
    found = await platform.lost_rows.sessions(caller.actor, database_id)
    tables: list[dict[str, Any]] = []
    problem = None
    if found and found[0].expires_at is not None:
        try:
            tables = await platform.lost_rows.tables(caller, database_id, found[0].id)
        except (Conflict, NotFound, Unavailable) as error:
            problem = error
    operation = None
    if found and found[0].expires_at is None:
        operation = await platform.operations.show(caller.actor, found[0].id)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_past.html",
        tab="/backups",
        status=200 if refused is None else refused.status,
        session=found[0] if found else None,
        operation=operation,
        tables=tables,
        problem=refused or problem,
        may_read=caller.principal.may("data:read"),
        text=text,
        results=results,
    )


@router.post(f"{_PATH}/past/{{past_id}}/sql")
async def run(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    past_id: str,
    form: CurrentForm,
) -> Response:
    """Run statements in the database as it was, and show their results below it."""
    text = text_of(form)
    body = read(RunSql, {}, sql=text, read_only=True, max_rows=MOST_ROWS)
    past, by_script = _past(past_id), pages.is_fragment(request)
    results: Sequence[Any] = ()
    refused = None
    try:
        working = platform.lost_rows.sql(caller, database_id, past, body.wanted())
        results = results_of(await leaving.unless(gone(request), working))
    except TenantryError as error:
        if by_script:
            raise
        refused = error  # on the page that has the text
    if by_script:
        headers = {"HX-Retarget": "#results"}
        return pages.render(request, "_sql_results.html", headers=headers, results=results)
    await caller.require("databases:read")
    return await _page(
        request, platform, caller, database_id, text=text, results=results, refused=refused
    )


@router.post(f"{_PATH}/past")
async def begin(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to make the database readable as it was."""
    body = read(LookBack, {}, to=moment(form, "moment"))
    await once(
        lambda: caller.begin(
            lambda tx: platform.lost_rows.begin(tx, caller.actor, database_id, body.to)
        )
    )
    return pages.go(request, f"/databases/{database_id}/past")


@router.post(f"{_PATH}/past/{{past_id}}/end")
async def end(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    past_id: str,
) -> Response:
    """End it before it expires."""
    async with caller.transaction() as tx:
        await platform.lost_rows.end(tx, caller.actor, database_id, _past(past_id))
    return pages.go(request, f"/databases/{database_id}/backups?done=past-ended")


@router.post(f"{_PATH}/past/{{past_id}}/comparisons")
async def compare(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    past_id: str,
    form: CurrentForm,
) -> Response:
    """Compare a table with what it was."""
    body = read(CompareTable, form)
    found = await platform.lost_rows.compare(caller, database_id, _past(past_id), *body.named())
    return pages.go(request, f"/databases/{database_id}/past/{past_id}/comparisons/{found.id}")


@router.get(_COMPARISON)
async def comparison(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    past_id: str,
    comparison_id: str,
    after: Annotated[int, Query(ge=0)] = 0,
    inserted: Count = None,
    updated: Count = None,
    skipped: Count = None,
) -> Response:
    """Show the rows that differ, and what became of those that were brought back."""
    here = (caller, database_id, _past(past_id))
    compared = await platform.lost_rows.comparison(*here, _comparison(comparison_id))
    page: dict[str, Any] = {"rows": [], "next": None}
    problem = None
    try:
        page = await platform.lost_rows.page(
            *here,
            comparison_id=compared.id,
            kinds=["deleted", "changed", "added"],
            after=after,
            limit=_A_PAGE,
        )
    except (Conflict, InvalidInput, Unavailable) as error:
        problem = error
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_comparison.html",
        tab="/backups",
        past_id=past_id,
        compared=compared,
        page=page,
        after=after,
        problem=problem,
        brought=None if inserted is None else (inserted, updated or 0, skipped or 0),
        may_bring_back=caller.principal.may("data:write"),
    )


@router.post(f"{_COMPARISON}/bring-back")
async def bring_back(
    request: Request,
    platform: CurrentPlatform,
    caller: RowWriter,
    database_id: DatabaseId,
    past_id: str,
    comparison_id: str,
    form: CurrentForm,
) -> Response:
    """Bring the chosen rows back, or all that were lost."""
    await caller.require("databases:write")
    places = [int(each) for each in chosen(form, "place") if each.isdecimal()]
    every = form.get("which") == "all"
    if not places and not every:
        raise InvalidInput.of("places", "choose a row, or bring all of them back")
    if places and every:  # without scripts nothing takes one of them back
        raise InvalidInput.of("places", "are ticked, and all rows are chosen: take back one of it")
    wanted = None if every else places
    body = read(BringBack, {}, kinds=[*LOST], places=wanted)
    done = await platform.lost_rows.bring_back(
        caller,
        database_id,
        _past(past_id),
        comparison_id=_comparison(comparison_id),
        kinds=body.kinds,
        places=body.places,
    )
    counts = "&".join(f"{each}={done[each]}" for each in ("inserted", "updated", "skipped"))
    where = f"/databases/{database_id}/past/{past_id}/comparisons/{comparison_id}"
    return pages.go(request, f"{where}?{counts}")


def _past(text: str) -> uuid.UUID:
    return parsed(text, "past session of this database")


def _comparison(text: str) -> uuid.UUID:
    return parsed(text, "comparison of this past session")
