"""What is wrong with one database, and what to do."""

from typing import Annotated

from fastapi import Query, Request, Response

from tenantry.services.bodies.insights import MuteAdvice
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs.service import READS
from tenantry.web import pages
from tenantry.web.database_pages import attempt, page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
    new_router,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/databases/{database_id}/advice"


@router.get(_PATH)
async def advice(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    muted: Annotated[bool, Query()] = False,
) -> Response:
    """Show the findings, the most severe first."""
    found = []
    with attempt() as tried:
        async with caller.visiting():
            found = await platform.advisor.advice(caller.actor, database_id, muted=muted)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_advice.html",
        tab="/advice",
        found=found,
        problem=tried.problem,
        muted=muted,
        may_read=caller.principal.may(READS),
    )


@router.post(f"{_PATH}/mute")
async def mute(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Report a finding no more."""
    body = read(MuteAdvice, form)
    async with caller.transaction() as tx:
        await platform.advisor.mute(tx, caller.actor, database_id, body.code, body.object)
    return pages.go(request, f"/databases/{database_id}/advice?done=muted")


@router.post(f"{_PATH}/unmute")
async def unmute(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Report a muted finding again."""
    body = read(MuteAdvice, form)
    async with caller.transaction() as tx:
        await platform.advisor.unmute(tx, caller.actor, database_id, body.code, body.object)
    return pages.go(request, f"/databases/{database_id}/advice?done=unmuted")
