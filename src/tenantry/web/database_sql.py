"""SQL in one database: the text, and its results."""

import hashlib
import json
import secrets
from typing import Annotated, Any, NoReturn

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from tenantry.base.errors import TenantryError
from tenantry.pg.sql_runs import Ran
from tenantry.services.bodies.insights import RunSql
from tenantry.services.requests import leaving
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs.service import WRITES, Estimated, is_read_only
from tenantry.web import assets, pages
from tenantry.web.database_pages import page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
    new_router,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("data:read")]

_PATH = "/databases/{database_id}/sql"
_MOST_ROWS = 200  # in a page without scripts
_NOTHING: dict[str, Any] = {"results": None, "dangers": [], "confirmed": "", "problem": None}


async def gone(request: Request) -> NoReturn:
    """Wait until the browser has closed the connection. Raises ClientDisconnect then."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect


@router.get(_PATH)
async def show(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show the editor."""
    row = await platform.databases.show(caller.actor, database_id)
    return await _page(request, platform, caller, database_id, "", is_read_only(caller, row, None))


@router.post(_PATH)
async def run(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Run what was sent, unless it should be confirmed first.

    A script gets the results as JSON, or what there is to confirm as a part of a page.
    """
    text = form.get("sql", "").replace("\r\n", "\n")  # browsers send lines so
    read_only = form.get("read_only") == "yes"
    by_script = pages.is_fragment(request)
    rows = {} if by_script else {"max_rows": _MOST_ROWS}
    body = read(RunSql, {}, sql=text, read_only=read_only, **rows)
    digest = hashlib.sha256(text.encode()).hexdigest()
    found = _NOTHING
    try:
        if not read_only and form.get("confirmed") != digest:
            await caller.require(WRITES)
            dangers = await platform.sql_runs.dangers(caller, database_id, text)
            if dangers and by_script:
                return _to_confirm(request, dangers, digest)
            found = {**_NOTHING, "dangers": dangers, "confirmed": digest}
        if not found["dangers"]:
            working = platform.sql_runs.run(caller, database_id, body.wanted())
            ran = await leaving.unless(gone(request), working)
            if by_script:
                return Response(ran.document, media_type="application/json")
            found = {**_NOTHING, "results": _results(ran)}
    except TenantryError as error:
        if by_script and "line" in error.about:
            return _failed(error)
        if by_script:
            raise
        found = {**_NOTHING, "problem": error, "status": error.status}
    return await _page(request, platform, caller, database_id, text, read_only, **found)


def _results(ran: Ran) -> list[Any]:
    found: list[Any] = json.loads(ran.document)["results"]
    return found


def _to_confirm(request: Request, dangers: list[Estimated], digest: str) -> Response:
    return pages.render(request, "_dangers.html", dangers=dangers, confirmed=digest)


def _failed(error: TenantryError) -> Response:
    about = {"message": error.detail.removeprefix("sql: "), "hint": error.hint, **error.about}
    return JSONResponse(about, error.status)


async def _page(
    request: Request,
    platform: CurrentPlatform,
    caller: Caller,
    database_id: DatabaseId,
    text: str,
    read_only: bool,
    **values: Any,
) -> Response:
    nonce = secrets.token_urlsafe(16)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_sql.html",
        tab="/sql",
        headers={"Content-Security-Policy": pages.policy_with(nonce)},
        nonce=nonce,
        editor=assets.editor(),
        text=text,
        read_only=read_only,
        may_change=caller.principal.may(WRITES),
        **{**_NOTHING, **values},
    )
