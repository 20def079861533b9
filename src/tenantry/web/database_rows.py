"""The rows of a table, page by page, and as CSV."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from tenantry.base.errors import Conflict, InvalidInput, Unavailable
from tenantry.services.bodies.fields import Storable
from tenantry.services.bodies.table_rows import SomeRows, TableName
from tenantry.services.requests import leaving
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs.service import WRITES
from tenantry.services.table_rows import plan
from tenantry.services.table_rows.plan import MOST_SKIPPED
from tenantry.services.table_rows.service import A_PAGE, Browsed
from tenantry.web import pages
from tenantry.web.database_pages import page_of
from tenantry.web.database_sql import gone
from tenantry.web.routing import CurrentPlatform, DatabaseId, calling, form_of, new_router

router = new_router()

Reader = Annotated[Caller, calling("data:read")]

_PATH = "/databases/{database_id}/rows"
_CSV = "text/csv"
_NOTHING: dict[str, Any] = {
    "columns": {},
    "result": None,
    "following": None,
    "sql": "",
    "fixed": None,
    "may_grow": False,
    "problem": None,
}


class Shown(SomeRows):
    """A page's rows: those after a key, or after so many; ``loaded`` were just inserted."""

    key: list[Annotated[Storable, Field(max_length=1000)]] = Field(default=[], max_length=32)
    skip: Annotated[int, Field(ge=0, le=MOST_SKIPPED)] = 0
    loaded: Annotated[int, Field(ge=0)] | None = None


@router.get(_PATH)
async def rows(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    wanted: Annotated[Shown, Query()],
) -> Response:
    """Show rows in the order of the table's key, or of a column."""
    page = wanted.page(after=wanted.key, skip=wanted.skip)
    working = platform.table_rows.browse(caller, database_id, wanted.schema_, wanted.table, page)
    found = _NOTHING
    try:
        found = _shown(await leaving.unless(gone(request), working), wanted)
    except (Conflict, InvalidInput, Unavailable) as error:
        found = {**_NOTHING, "problem": error}
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_rows.html",
        tab="/tables",
        wanted=wanted,
        filters=urlencode(_filters(wanted)),
        here=pages.here(request, without=("loaded",)),
        sorted_by=lambda column, order: pages.here(
            request, without=("key", "skip", "loaded"), sort=column, order=order
        ),
        may_change=caller.principal.may(WRITES),
        **found,
    )


def _shown(browsed: Browsed, wanted: Shown) -> dict[str, Any]:
    result = browsed.result
    shape = browsed.table.shape
    following = None
    keys: list[list[str]] = []
    if shape.is_changeable:  # the version is the first column
        del result["columns"][0]
        places = [list(shape.columns).index(each) for each in shape.key]
        for row in result["rows"]:
            version = row.pop(0)
            keys.append([*(str(plan.as_text(row[place])) for place in places), version])
    if len(result["rows"]) > A_PAGE or result["truncated"]:
        del result["rows"][A_PAGE:]
        following = _following(keys, len(result["rows"]), wanted)
    return {
        "columns": shape.columns,
        "result": result,
        "following": following,
        "sql": browsed.sql,
        "fixed": plan.fixed_because(shape),
        "may_grow": shape.is_table,
        "keys": keys,
        "problem": None,
    }


def _filters(wanted: SomeRows) -> list[tuple[str, object]]:
    chosen = wanted.model_dump(
        by_alias=True, exclude={"key", "skip", "loaded"}, exclude_defaults=True
    )
    return [("schema", wanted.schema_), *chosen.items()]


def _following(keys: list[list[str]], shown: int, wanted: Shown) -> str | None:
    """Return the query of the next page's address; None if there is no way to it."""
    if not shown:
        return None
    filters = _filters(wanted)
    if keys and not wanted.sort:
        return urlencode([*filters, *(("key", each) for each in keys[shown - 1][:-1])])
    skip = wanted.skip + shown
    return urlencode([*filters, ("skip", skip)]) if skip <= MOST_SKIPPED else None


# ── as CSV ───────────────────────────────────────────────────────────────────


@router.get(f"{_PATH}/csv")
async def export(
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    wanted: Annotated[SomeRows, Query()],
) -> Response:
    """Send all rows that pass the filter as a file."""
    pieces = await platform.table_rows.export(
        caller, database_id, wanted.schema_, wanted.table, wanted.page()
    )
    name = "".join(each if each.isascii() and each.isalnum() else "_" for each in wanted.table)
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(pieces, media_type=_CSV, headers=headers)


@router.get(f"{_PATH}/load")
async def ask_to_load(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    table: Annotated[TableName, Query()],
) -> Response:
    """Ask for a CSV file."""
    row = await platform.databases.show(caller.actor, database_id)
    found = await platform.table_rows.table(caller, database_id, table.schema_, table.table)
    return pages.dialog(
        request, "rows_load.html", row=row, table=found, path=f"/databases/{database_id}"
    )


@router.post(f"{_PATH}/csv")
async def load(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    table: Annotated[TableName, Query()],
) -> Response:
    """Insert the rows of a file, which a script sends as it is, or of a text in a form."""
    chunks = request.stream() if request.state.media_type == _CSV else _pasted(request)
    count = await platform.table_rows.load(caller, database_id, table.schema_, table.table, chunks)
    query = urlencode({"schema": table.schema_, "table": table.table, "loaded": count})
    return pages.go(request, f"/databases/{database_id}/rows?{query}")


async def _pasted(request: Request) -> AsyncIterator[bytes]:
    form = await form_of(request)
    yield form.get("csv", "").encode()
