"""API keys: whose they are, what they may do, and new ones."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.base.secrets import Secret, SecretSource
from tenantry.control.grants import ADMIN
from tenantry.control.keys import SCOPES
from tenantry.control.store import Tx
from tenantry.services.access.service import ShownKey
from tenantry.services.bodies.access import CreateKey
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Cursor,
    calling,
    chosen,
    moment,
    new_router,
    once,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("keys:read")]
Writer = Annotated[Caller, calling("keys:write")]

_A_PAGE = 50


@router.get("/keys")
async def index(
    request: Request, platform: CurrentPlatform, caller: Reader, cursor: Cursor = None
) -> Response:
    """Show the API keys, newest first, without their secrets."""
    page = await platform.access.page_of_keys(caller.principal, cursor=cursor, limit=_A_PAGE)
    principal = caller.principal
    return pages.render(
        request,
        "keys.html",
        keys=page.rows,
        following=pages.following(request, page.next_cursor),
        scopes=[scope for scope in SCOPES if scope in principal.scopes or principal.may(ADMIN)],
        names_customer=principal.oversees(ADMIN),
        may_write=principal.may("keys:write"),
    )


@router.post("/keys")
async def create(
    request: Request, platform: CurrentPlatform, caller: Writer, form: CurrentForm
) -> Response:
    """Create an API key, and show it, this once."""
    ends = {"expires_at": moment(form, "expires_at")} if "expires_at" in form else {}
    body = read(
        CreateKey,
        form,
        scopes=chosen(form, "scope"),
        new_customer=form.get("new_customer") == "yes",
        **ends,
    )

    async def work(tx: Tx, secrets: SecretSource) -> tuple[ShownKey, Secret]:
        secret = secrets.api_key()
        made = await platform.access.create_key(tx, caller.principal, secret, body.wanted())
        return made, secret

    made, secret = await once(lambda: caller.idempotent(tuple[ShownKey, Secret], work))
    return pages.shown_once(
        request,
        {"API key": secret},
        heading=f"The API key {made.row.name} is ready",
        note="Send it as the header X-API-Key, or set TENANTRY_API_KEY for the command line.",
        onward="/keys",
        section="API keys",
    )


@router.post("/keys/{key_id}/revoke")
async def revoke(
    request: Request, platform: CurrentPlatform, caller: Writer, key_id: str
) -> Response:
    """Revoke an API key, and those created with it."""
    found = parsed(key_id, "API key")
    async with caller.transaction() as tx:
        await platform.access.revoke_key(tx, caller.principal, found)
    return pages.go(request, "/keys?done=key-revoked")
