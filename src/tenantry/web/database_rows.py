"""The rows of a table, page by page."""

import json
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request, Response

from tenantry.base.errors import Conflict, InvalidInput, Unavailable
from tenantry.services.bodies.fields import Storable
from tenantry.services.requests import leaving
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs.browsing import MOST_SKIPPED, Page, Test
from tenantry.services.sql_runs.service import A_PAGE, Browsed
from tenantry.web.database_pages import page_of
from tenantry.web.database_sql import gone
from tenantry.web.routing import CurrentPlatform, DatabaseId, calling, new_router

router = new_router()

Reader = Annotated[Caller, calling("data:read")]
Name = Annotated[Storable, Query(min_length=1, max_length=63)]
Text = Annotated[Storable, Query(max_length=1000)]


@router.get("/databases/{database_id}/rows")
async def rows(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    schema: Name,
    table: Name,
    column: Text = "",
    test: Test = "is",
    value: Text = "",
    key: Annotated[list[Storable] | None, Query(max_length=32)] = None,
    skip: Annotated[int, Query(ge=0, le=MOST_SKIPPED)] = 0,
) -> Response:
    """Show rows in the order of the table's key."""
    page = Page(column or None, test, value, key or (), skip)
    working = platform.sql_runs.browse(caller, database_id, schema, table, page)
    found: dict[str, Any] = {"columns": {}, "result": None, "following": None, "sql": ""}
    problem = None
    try:
        browsed = await leaving.unless(gone(request), working)
        found = _shown(
            browsed,
            page,
            {"schema": schema, "table": table, "column": column, "test": test, "value": value},
        )
    except (Conflict, InvalidInput, Unavailable) as error:
        problem = error
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_rows.html",
        tab="/tables",
        schema=schema,
        table=table,
        page=page,
        problem=problem,
        **found,
    )


def _shown(browsed: Browsed, page: Page, filters: dict[str, str]) -> dict[str, Any]:
    [result] = json.loads(browsed.document)["results"]
    following = None
    if len(result["rows"]) > A_PAGE or result["truncated"]:
        del result["rows"][A_PAGE:]
        following = _following(browsed, result, page, filters)
    return {
        "columns": browsed.shape.columns,
        "result": result,
        "following": following,
        "sql": browsed.sql,
    }


def _following(
    browsed: Browsed, result: dict[str, Any], page: Page, filters: dict[str, str]
) -> str | None:
    """Return the query of the next page's address; None if there is no way to it."""
    chosen: list[tuple[str, object]] = [each for each in filters.items() if each[1]]
    names = [each["name"] for each in result["columns"]]
    if not result["rows"]:
        return None
    if browsed.shape.key:
        places = [names.index(each) for each in browsed.shape.key]
        return urlencode([*chosen, *(("key", result["rows"][-1][place]) for place in places)])
    skip = page.skip + len(result["rows"])
    return urlencode([*chosen, ("skip", skip)]) if skip <= MOST_SKIPPED else None
