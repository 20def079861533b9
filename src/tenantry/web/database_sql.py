"""SQL in one database: the text, and its results."""

import hashlib
import json
import secrets
import uuid
from typing import Annotated, Any, NoReturn

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from tenantry.base.errors import TenantryError
from tenantry.control.databases import DatabaseRow
from tenantry.pg.sql_runs import Ran
from tenantry.services.bodies.insights import RunSql
from tenantry.services.requests import leaving
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs.service import WRITES, Estimated, is_read_only
from tenantry.web import assets, messages, pages
from tenantry.web.database_pages import page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    Form,
    calling,
    new_router,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("data:read")]

_PATH = "/databases/{database_id}/sql"
MOST_ROWS = 200  # in a page without scripts
_BRANCHES = "databases:write"  # the scope for a branch
_NOTHING: dict[str, Any] = {
    "results": None,
    "dangers": [],
    "confirmed": "",
    "problem": None,
    "plan": None,
}


async def gone(request: Request) -> NoReturn:
    """Wait until the browser has closed the connection. Raises ClientDisconnect then."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect


def text_of(form: Form) -> str:
    """Return the text of a form; browsers send lines with two characters at their ends."""
    return form.get("sql", "").replace("\r\n", "\n")


@router.get(_PATH)
async def show(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    text: uuid.UUID | None = None,
) -> Response:
    """Show the editor, with one of the caller's texts, or what was typed last."""
    row = await platform.databases.show(caller.actor, database_id)
    sql = ""
    if text is not None:
        sql = (await platform.sql_runs.texts.find(caller.actor, database_id, text)).sql
    return await page(request, platform, caller, row, sql, is_read_only(caller, row, None))


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
    text = text_of(form)
    read_only = form.get("read_only") == "yes"
    by_script = pages.is_fragment(request)
    rows = {} if by_script else {"max_rows": MOST_ROWS}
    row = await platform.databases.show(caller.actor, database_id)
    body = read(RunSql, {}, sql=text, read_only=read_only, remember=True, **rows)
    digest = hashlib.sha256(text.encode()).hexdigest()
    found = _NOTHING
    try:
        if not read_only and form.get("confirmed") != digest:
            await caller.require(WRITES)
            dangers = await platform.sql_runs.dangers(caller, database_id, text)
            if dangers and by_script:
                shown = _to_confirm(caller, row, dangers, digest)
                return pages.render(request, "_dangers.html", row=row, text=text, **shown)
            found = {**_NOTHING, **_to_confirm(caller, row, dangers, digest)}
        if not found["dangers"]:
            working = platform.sql_runs.run(
                caller, database_id, body.wanted(), application="tenantry console"
            )
            ran = await leaving.unless(gone(request), working)
            if by_script:
                return Response(ran.document, media_type="application/json")
            found = {**_NOTHING, "results": results_of(ran)}
    except TenantryError as error:
        if by_script and "line" in error.about:
            return _failed(error)
        if by_script:
            raise
        found = {**_NOTHING, "problem": error, "status": error.status}
    return await page(request, platform, caller, row, text, read_only, **found)


def results_of(ran: Ran) -> list[Any]:
    """Return what the statements of a run have returned."""
    found: list[Any] = json.loads(ran.document)["results"]
    return found


def _to_confirm(
    caller: Caller, row: DatabaseRow, dangers: list[Estimated], digest: str
) -> dict[str, Any]:
    return {
        "dangers": dangers,
        "confirmed": digest,
        "may_branch": caller.principal.may(_BRANCHES) and row.parent_id is None,
    }


def _failed(error: TenantryError) -> Response:
    about = {
        "message": error.detail.removeprefix("sql: "),
        "hint": messages.plain(error.hint),
        **error.about,
    }
    return JSONResponse(about, error.status)


async def page(
    request: Request,
    platform: CurrentPlatform,
    caller: Caller,
    row: DatabaseRow,
    text: str,
    read_only: bool,
    **values: Any,
) -> Response:
    """Return the page with this text in its editor."""
    nonce = secrets.token_urlsafe(16)
    shown: dict[str, Any] = {
        "nonce": nonce,
        "editor": assets.editor(),
        "text": text,
        "read_only": read_only,
        "may_change": caller.principal.may(WRITES),
        "may_explain": caller.principal.may(_BRANCHES),
        "texts": await platform.sql_runs.texts.every(caller.actor, row.id),
    }
    return await page_of(
        request,
        platform,
        caller,
        row,
        "database_sql.html",
        tab="/sql",
        headers={"Content-Security-Policy": pages.policy_with(nonce)},
        **{**_NOTHING, **shown, **values},
    )
