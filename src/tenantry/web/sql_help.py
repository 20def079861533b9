"""What helps with SQL: texts that were saved or run, names for completion, plans, a branch."""

import dataclasses
from typing import Annotated

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from tenantry.base.errors import TenantryError
from tenantry.services.bodies.copies import CreateBranch
from tenantry.services.bodies.insights import Explain, SaveSql
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs.service import READS
from tenantry.web import branches, pages, words
from tenantry.web.database_sql import page, text_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
    new_router,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("data:read")]
Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/databases/{database_id}"
_TRIED_DAYS = 1  # a branch on which something is tried is deleted after
_LONGEST_NAME = 100


@router.get(f"{_PATH}/sql/texts")
async def texts(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show the caller's texts, as a part of the page."""
    found = await platform.sql_runs.texts.every(caller.actor, database_id)
    return pages.render(request, "_sql_texts.html", texts=found, path=f"/databases/{database_id}")


@router.post(f"{_PATH}/sql/texts")
async def save(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Save the text of the editor by a name."""
    text = text_of(form)
    body = read(SaveSql, {"name": form.get("name", "")}, sql=text)
    await platform.sql_runs.texts.save(caller.actor, database_id, body.name, body.sql)
    if pages.is_fragment(request):
        return await texts(request, platform, caller, database_id)
    row = await platform.databases.show(caller.actor, database_id)
    return await page(request, platform, caller, row, text, form.get("read_only") == "yes")


@router.post(f"{_PATH}/sql/texts/{{text_id}}/delete")
async def forget(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    text_id: str,
) -> Response:
    """Delete a text."""
    await platform.sql_runs.texts.remove(caller.actor, database_id, parsed(text_id, "text"))
    if pages.is_fragment(request):
        return await texts(request, platform, caller, database_id)
    return pages.go(request, f"/databases/{database_id}/sql")


@router.get(f"{_PATH}/sql/names")
async def names(platform: CurrentPlatform, caller: Reader, database_id: DatabaseId) -> Response:
    """Return the names of tables, columns and functions for the editor."""
    found = await platform.sql_runs.names(caller, database_id)
    return JSONResponse(dataclasses.asdict(found))


@router.post(f"{_PATH}/explain")
async def explain(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Show how PostgreSQL would run a statement, or has run it; nothing of that lasts."""
    text, read_only = text_of(form), form.get("read_only") == "yes"
    wanted = read(Explain, {}, sql=text, analyze=form.get("explain") == "measured",
                  read_only=read_only).wanted()  # fmt: skip
    by_script = pages.is_fragment(request)
    found, problem = None, None
    try:
        found = await platform.insights.explain(caller.actor, database_id, wanted)
    except TenantryError as error:
        if by_script:
            raise
        problem = error
    if by_script:
        return pages.render(request, "_plan.html", plan=found)
    await caller.require(READS)
    row = await platform.databases.show(caller.actor, database_id)
    return await page(request, platform, caller, row, text, read_only, plan=found, problem=problem)


@router.post(f"{_PATH}/sql/branch")
async def try_on_branch(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to make a branch that lasts a day, with the text in its editor."""
    await caller.require(READS)
    row = await platform.databases.show(caller.actor, database_id)
    body = read(CreateBranch, {"name": form.get("name", "")}, expires_in=_TRIED_DAYS * 86_400)
    made = await branches.make(platform, caller, database_id, body)
    branch = made.opened.row
    name = f"From {words.title(row)}"[:_LONGEST_NAME]
    text = read(SaveSql, {}, name=name, sql=text_of(form))
    text_id = await platform.sql_runs.texts.save(caller.actor, branch.id, name, text.sql)
    onward = f"/databases/{branch.id}/sql?text={text_id}"
    return branches.strings_of(request, platform, made, onward=onward)
