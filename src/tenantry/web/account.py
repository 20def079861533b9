"""Who has signed in, and their sessions."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import CurrentPlatform, calling, new_router, parsed

router = new_router()

Anybody = Annotated[Caller, calling()]

_A_PAGE = 50


@router.get("/account")
async def account(request: Request, platform: CurrentPlatform, caller: Anybody) -> Response:
    """Show who has signed in, what they may do, and where else they are signed in."""
    sessions = None
    if caller.principal.session_id is not None:
        page = await platform.people.page_of_sessions(caller.principal, cursor=None, limit=_A_PAGE)
        sessions = page.rows
    return pages.render(request, "account.html", sessions=sessions)


@router.post("/account/sessions/{session_id}/end")
async def end_session(
    request: Request, platform: CurrentPlatform, caller: Anybody, session_id: str
) -> Response:
    """End one of the caller's own sessions."""
    await platform.people.revoke_session(caller.principal, parsed(session_id, "session"))
    return pages.go(request, "/account?done=session-ended")
