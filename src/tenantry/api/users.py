"""/api/users: for administrators"""

from typing import Annotated

from fastapi import APIRouter, Response

from tenantry.api import answers, person
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, Cursor, Limit, UserId, calling
from tenantry.api.person import NewUser, User
from tenantry.base.secrets import Secret, SecretSource
from tenantry.control.store import Tx
from tenantry.services.bodies.access import CreateUser, UpdateUser
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/users", tags=["people"])

Administrator = Annotated[Caller, calling("admin")]


@router.post("", status_code=201, response_model=Answer[NewUser])
async def create(body: CreateUser, platform: CurrentPlatform, caller: Administrator) -> Response:
    """Create a user. A generated password is shown only in this answer."""
    wanted = body.wanted()
    hashed = await platform.users.good_hash(wanted)

    async def work(tx: Tx, secrets: SecretSource) -> tuple[User, Secret | None]:
        generated = secrets.password()
        row = await platform.users.create(
            tx, caller.principal, wanted, password_hash=hashed, generated=generated
        )
        return person.user(row), generated if wanted.password is None else None

    made, password = await caller.idempotent(tuple[User, Secret | None], work)
    return answers.answer(person.new_user(made, password), message="User made.", status=201)


@router.get("", response_model=Listing[User])
async def index(
    platform: CurrentPlatform, caller: Administrator, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List users, newest first."""
    page = await platform.users.page(caller.principal, cursor=cursor, limit=limit)
    return answers.listing([person.user(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/{identifier}", response_model=Answer[User])
async def show(platform: CurrentPlatform, caller: Administrator, user_id: UserId) -> Response:
    """Return one user."""
    return answers.answer(person.user(await platform.users.show(caller.principal, user_id)))


@router.patch("/{identifier}", response_model=Answer[User])
async def update(
    body: UpdateUser, platform: CurrentPlatform, caller: Administrator, user_id: UserId
) -> Response:
    """Rename a user, or disable one: their sessions end and their keys stop working."""
    async with caller.transaction() as tx:
        row = await platform.users.update(
            tx, caller.principal, user_id, name=body.name, disabled=body.disabled
        )
    return answers.answer(person.user(row), message="User updated.")


@router.delete("/{identifier}", response_model=Answer[User])
async def delete(platform: CurrentPlatform, caller: Administrator, user_id: UserId) -> Response:
    """Delete a user with their sessions and the keys that they created. Audit entries remain."""
    async with caller.transaction() as tx:
        row = await platform.users.delete(tx, caller.principal, user_id)
    return answers.answer(person.user(row), message="User deleted.")


@router.post("/{identifier}/unlock", response_model=Answer[User])
async def unlock(platform: CurrentPlatform, caller: Administrator, user_id: UserId) -> Response:
    """Reset the failed logins of an account."""

    async def work(tx: Tx, _: SecretSource) -> User:
        return person.user(await platform.users.unlock(tx, caller.principal, user_id))

    return answers.answer(await caller.idempotent(User, work), message="User unlocked.")


@router.post("/{identifier}/reset-password", response_model=Answer[NewUser])
async def reset_password(
    platform: CurrentPlatform, caller: Administrator, user_id: UserId
) -> Response:
    """Set a new password for a user, shown only in this answer, and end their sessions."""

    async def work(tx: Tx, secrets: SecretSource) -> tuple[User, Secret]:
        password = secrets.password()
        row = await platform.users.reset_password(tx, caller.principal, user_id, password)
        return person.user(row), password

    changed, password = await caller.idempotent(tuple[User, Secret], work)
    return answers.answer(
        person.new_user(changed, password),
        message="Password changed. Keep it: it is not shown again.",
    )


@router.post("/{identifier}/remove-totp", response_model=Answer[User])
async def remove_totp(
    platform: CurrentPlatform, caller: Administrator, user_id: UserId
) -> Response:
    """Remove the authenticator of a user who has lost it, and end their sessions."""

    async def work(tx: Tx, _: SecretSource) -> User:
        return person.user(await platform.users.remove_totp(tx, caller.principal, user_id))

    return answers.answer(
        await caller.idempotent(User, work), message="The user logs in without a code."
    )
