"""Who has signed in, and their sessions."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.services.bodies.access import ChangePassword
from tenantry.services.bodies.fields import secret
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import CurrentForm, CurrentPlatform, calling, new_router, parsed, read

router = new_router()

Anybody = Annotated[Caller, calling()]

_A_PAGE = 50


@router.get("/account")
async def account(request: Request, platform: CurrentPlatform, caller: Anybody) -> Response:
    """Show who has signed in, what they may do, and where else they are signed in."""
    sessions, has_totp, codes_left = None, False, 0
    if caller.principal.session_id is not None:
        page = await platform.people.page_of_sessions(caller.principal, cursor=None, limit=_A_PAGE)
        sessions = page.rows
        me, codes_left = await platform.people.me(caller.principal)
        has_totp = me.has_totp
    return pages.render(
        request, "account.html", sessions=sessions, has_totp=has_totp, codes_left=codes_left
    )


@router.post("/account/password")
async def change_password(
    request: Request, platform: CurrentPlatform, caller: Anybody, form: CurrentForm
) -> Response:
    """Replace the caller's own password; their other sessions end."""
    body = read(ChangePassword, form)
    await platform.people.change_password(
        caller.principal, secret(body.current_password), secret(body.new_password)
    )
    return pages.go(request, "/account?done=password-changed")


@router.post("/account/sessions/{session_id}/end")
async def end_session(
    request: Request, platform: CurrentPlatform, caller: Anybody, session_id: str
) -> Response:
    """End one of the caller's own sessions."""
    await platform.people.revoke_session(caller.principal, parsed(session_id, "session"))
    return pages.go(request, "/account?done=session-ended")
