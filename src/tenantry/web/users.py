"""Users, for administrators."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.base.secrets import Secret, SecretSource
from tenantry.control.store import Tx
from tenantry.services.bodies.access import CreateUser, UpdateUser
from tenantry.services.requests.service import Caller
from tenantry.web import pages, words
from tenantry.web.database_pages import require_word
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Cursor,
    calling,
    new_router,
    once,
    parsed,
    read,
)

router = new_router()

Administrator = Annotated[Caller, calling("admin")]

_A_PAGE = 50
_ONE = "/users/{user_id}"


@router.get("/users")
async def index(
    request: Request, platform: CurrentPlatform, caller: Administrator, cursor: Cursor = None
) -> Response:
    """Show the users, newest first."""
    page = await platform.users.page(caller.principal, cursor=cursor, limit=_A_PAGE)
    return pages.render(
        request,
        "users.html",
        users=page.rows,
        following=pages.following(request, page.next_cursor),
    )


@router.post("/users")
async def create(
    request: Request, platform: CurrentPlatform, caller: Administrator, form: CurrentForm
) -> Response:
    """Create a user, and show the password, this once."""
    consent = form.get("new_customer") == "yes"
    wanted = read(CreateUser, form, new_customer=consent).wanted()

    async def work(tx: Tx, secrets: SecretSource) -> tuple[str, str, Secret]:
        password = secrets.password()
        row = await platform.users.create(
            tx, caller.principal, wanted, password_hash=None, generated=password
        )
        return str(row.id), words.sees(row), password

    made, sees, password = await once(lambda: caller.idempotent(tuple[str, str, Secret], work))
    return _password(request, f"{wanted.email} can log in", password, made, sees)


def _password(
    request: Request, heading: str, password: Secret, user_id: str, said: str = ""
) -> Response:
    return pages.shown_once(
        request,
        {"Password": password},
        heading=heading,
        note=f"{said} Hand it over by a safe way; they change it under Account, or with tenantry"
        " password.".lstrip(),
        onward=f"/users/{user_id}",
        section="Users",
    )


@router.get(_ONE)
async def show(
    request: Request, platform: CurrentPlatform, caller: Administrator, user_id: str
) -> Response:
    """Show a user, and what can be done about their login."""
    user = await platform.users.show(caller.principal, parsed(user_id, "user"))
    return pages.render(request, "user.html", user=user)


@router.post(f"{_ONE}/update")
async def update(
    request: Request,
    platform: CurrentPlatform,
    caller: Administrator,
    user_id: str,
    form: CurrentForm,
) -> Response:
    """Rename a user, or disable or enable one."""
    given = {"disabled": form["disabled"] == "yes"} if "disabled" in form else {}
    body = read(UpdateUser, form, **given)
    found = parsed(user_id, "user")
    async with caller.transaction() as tx:
        await platform.users.update(
            tx, caller.principal, found, name=body.name, disabled=body.disabled
        )
    return pages.go(request, f"/users/{found}?done=user-updated")


@router.post(f"{_ONE}/unlock")
async def unlock(
    request: Request, platform: CurrentPlatform, caller: Administrator, user_id: str
) -> Response:
    """Reset the failed logins of a user."""
    found = parsed(user_id, "user")
    async with caller.transaction() as tx:
        await platform.users.unlock(tx, caller.principal, found)
    return pages.go(request, f"/users/{found}?done=user-updated")


@router.post(f"{_ONE}/reset-password")
async def reset_password(
    request: Request, platform: CurrentPlatform, caller: Administrator, user_id: str
) -> Response:
    """Set a new password, and show it, this once."""
    found = parsed(user_id, "user")

    async def work(tx: Tx, secrets: SecretSource) -> tuple[str, Secret]:
        password = secrets.password()
        row = await platform.users.reset_password(tx, caller.principal, found, password)
        return row.email, password

    email, password = await once(lambda: caller.idempotent(tuple[str, Secret], work))
    return _password(request, f"The new password of {email}", password, str(found))


@router.post(f"{_ONE}/remove-totp")
async def remove_totp(
    request: Request, platform: CurrentPlatform, caller: Administrator, user_id: str
) -> Response:
    """Remove the authenticator of a user who has lost it."""
    found = parsed(user_id, "user")
    async with caller.transaction() as tx:
        await platform.users.remove_totp(tx, caller.principal, found)
    return pages.go(request, f"/users/{found}?done=user-updated")


@router.post(f"{_ONE}/delete")
async def delete(
    request: Request,
    platform: CurrentPlatform,
    caller: Administrator,
    user_id: str,
    form: CurrentForm,
) -> Response:
    """Delete a user whose address was typed."""
    user = await platform.users.show(caller.principal, parsed(user_id, "user"))
    require_word(user.email, form)
    async with caller.transaction() as tx:
        await platform.users.delete(tx, caller.principal, user.id)
    return pages.go(request, "/users?done=user-deleted")
