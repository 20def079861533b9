"""/api/users: for administrators"""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from tenantry.api import answers, person
from tenantry.api.answers import Answer, Listing
from tenantry.api.asking import Cursor, Limit, PlatformHere, UserId, allowed, once
from tenantry.api.person import NewUser, User
from tenantry.api.requests.access import CreateUser, UpdateUser
from tenantry.base.secrets import SecretSource
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal

router = APIRouter(prefix="/api/users", tags=["people"])

Administrator = Annotated[Principal, allowed("admin")]


@router.post("", status_code=201, response_model=Answer[NewUser])
async def create(
    request: Request, body: CreateUser, platform: PlatformHere, principal: Administrator
) -> Response:
    """Make a user. A password that was made for them is in this answer and nowhere else."""
    wanted = body.wanted()
    hashed = await platform.users.good_hash(wanted)

    async def work(tx: Tx, secrets: SecretSource) -> JSONResponse:
        generated = secrets.password()
        row = await platform.users.create(
            tx, principal, wanted, password_hash=hashed, generated=generated
        )
        told = generated.reveal() if wanted.password is None else None
        return answers.answer(person.new_user(row, told), message="User made.", status=201)

    return await once(request, principal, work)


@router.get("", response_model=Listing[User])
async def index(
    platform: PlatformHere, principal: Administrator, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Users, newest first."""
    page = await platform.users.page(principal, cursor=cursor, limit=limit)
    return answers.listing([person.user(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/{identifier}", response_model=Answer[User])
async def show(platform: PlatformHere, principal: Administrator, user_id: UserId) -> Response:
    """One user."""
    return answers.answer(person.user(await platform.users.show(principal, user_id)))


@router.patch("/{identifier}", response_model=Answer[User])
async def update(
    body: UpdateUser, platform: PlatformHere, principal: Administrator, user_id: UserId
) -> Response:
    """Rename a user, or shut one out (``disabled``): sessions end, keys of theirs stop."""
    async with platform.store.transaction(principal.actor) as tx:
        row = await platform.users.update(
            tx, principal, user_id, name=body.name, disabled=body.disabled
        )
    return answers.answer(person.user(row), message="User updated.")


@router.delete("/{identifier}", response_model=Answer[User])
async def delete(platform: PlatformHere, principal: Administrator, user_id: UserId) -> Response:
    """Delete a user, with sessions and with the keys that they made. The audit stays."""
    async with platform.store.transaction(principal.actor) as tx:
        row = await platform.users.delete(tx, principal, user_id)
    return answers.answer(person.user(row), message="User deleted.")


@router.post("/{identifier}/unlock", response_model=Answer[User])
async def unlock(
    request: Request, platform: PlatformHere, principal: Administrator, user_id: UserId
) -> Response:
    """Forget the failed logins of an account."""

    async def work(tx: Tx, _: SecretSource) -> JSONResponse:
        row = await platform.users.unlock(tx, principal, user_id)
        return answers.answer(person.user(row), message="User unlocked.")

    return await once(request, principal, work)


@router.post("/{identifier}/reset-password", response_model=Answer[NewUser])
async def reset_password(
    request: Request, platform: PlatformHere, principal: Administrator, user_id: UserId
) -> Response:
    """Give a user a new password, shown here only; their sessions end."""

    async def work(tx: Tx, secrets: SecretSource) -> JSONResponse:
        password = secrets.password()
        row = await platform.users.reset_password(tx, principal, user_id, password)
        return answers.answer(
            person.new_user(row, password.reveal()),
            message="Password changed. Keep it: it is not shown again.",
        )

    return await once(request, principal, work)


@router.post("/{identifier}/remove-totp", response_model=Answer[User])
async def remove_totp(
    request: Request, platform: PlatformHere, principal: Administrator, user_id: UserId
) -> Response:
    """Ask no code of a user who has lost the authenticator; their sessions end."""

    async def work(tx: Tx, _: SecretSource) -> JSONResponse:
        row = await platform.users.remove_totp(tx, principal, user_id)
        return answers.answer(person.user(row), message="The user logs in without a code.")

    return await once(request, principal, work)
