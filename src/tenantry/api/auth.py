"""/api/auth: log in and out, and manage one's own password, authenticator and sessions.

``login``, ``mfa``, ``logout`` and ``password`` ignore an Idempotency-Key: a repeated login is a
login of its own, a repeated change fails on the old password, and no token is stored.
"""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from tenantry.api import answers, person
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import (
    CurrentCall,
    CurrentPlatform,
    Cursor,
    Limit,
    SessionId,
    allowed,
    calling,
)
from tenantry.api.person import Done, Login, Me, RecoveryCodes, Session, TotpSecret
from tenantry.base.secrets import Secret, SecretSource
from tenantry.control.store import Tx
from tenantry.services import logging_in
from tenantry.services.access.service import Principal
from tenantry.services.bodies.access import ChangePassword, LoginCode, Proof, RemoveTotp, TotpCode
from tenantry.services.bodies.access import Login as Credentials
from tenantry.services.bodies.fields import secret
from tenantry.services.people import plan
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/auth", tags=["people"])

Anybody = Annotated[Principal, allowed()]
AnyCaller = Annotated[Caller, calling()]


def _agent(request: Request) -> str:
    return request.headers.get("user-agent", "")


def _device(body: Credentials | LoginCode) -> Secret | None:
    return None if body.device_token is None else secret(body.device_token)


@router.post("/login", response_model=Answer[Login])
async def login(
    request: Request, body: Credentials, platform: CurrentPlatform, call: CurrentCall
) -> Response:
    """Log in. Returns a session token, or a challenge if the user has an authenticator."""
    result = await logging_in.with_password(
        platform,
        call,
        body.email,
        secret(body.password),
        device_token=_device(body),
        user_agent=_agent(request),
    )
    return answers.answer(person.login(result))


@router.post("/mfa", response_model=Answer[Login])
async def mfa(
    request: Request, body: LoginCode, platform: CurrentPlatform, call: CurrentCall
) -> Response:
    """Complete a login: answer its challenge with an authenticator or recovery code."""
    result = await logging_in.with_code(
        platform,
        call,
        secret(body.challenge),
        body.code,
        device_token=_device(body),
        user_agent=_agent(request),
    )
    return answers.answer(person.login(result))


@router.post("/logout", response_model=Answer[Done])
async def logout(platform: CurrentPlatform, principal: Anybody) -> Response:
    """End the current session."""
    await platform.people.logout(principal)
    return answers.answer(Done(), message="Logged out.")


@router.get("/me", response_model=Answer[Me])
async def me(platform: CurrentPlatform, principal: Anybody) -> Response:
    """Return the caller's identity and permissions."""
    row, codes = None, None
    if principal.actor.kind == "user":
        row, codes = await platform.people.me(principal)
    return answers.answer(
        Me(
            kind="api_key" if row is None else "user",
            id=principal.caller_id if row is None else row.id,
            name=principal.actor.name,
            scopes=sorted(principal.scopes),
            customer_email=principal.actor.customer_email,
            user=None if row is None else person.user(row),
            recovery_codes_left=codes,
        )
    )


@router.get("/sessions", response_model=Listing[Session])
async def sessions(
    platform: CurrentPlatform, principal: Anybody, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the caller's own sessions, newest first."""
    page = await platform.people.page_of_sessions(principal, cursor=cursor, limit=limit)
    return answers.listing(
        [person.session(row, principal) for row in page.rows], next_cursor=page.next_cursor
    )


@router.delete("/sessions/{identifier}", response_model=Answer[Session])
async def revoke_session(
    platform: CurrentPlatform, principal: Anybody, session_id: SessionId
) -> Response:
    """End one of the caller's own sessions."""
    row = await platform.people.revoke_session(principal, session_id)
    return answers.answer(person.session(row, principal), message="Session ended.")


@router.post("/password", response_model=Answer[Done])
async def change_password(
    body: ChangePassword, platform: CurrentPlatform, principal: Anybody
) -> Response:
    """Change the caller's own password and end all other sessions of the caller."""
    await platform.people.change_password(
        principal, secret(body.current_password), secret(body.new_password)
    )
    return answers.answer(Done(), message="Password changed. Your other sessions have ended.")


@router.post("/totp", response_model=Answer[TotpSecret])
async def begin_totp(body: Proof, platform: CurrentPlatform, caller: AnyCaller) -> Response:
    """Create a secret for an authenticator; it takes effect once .../totp/confirm gets a code."""
    await platform.people.prove(caller.principal, secret(body.password))

    async def work(tx: Tx, secrets: SecretSource) -> Secret:
        made = secrets.totp_secret()
        await platform.people.begin_totp(tx, caller.principal, made)
        return made

    made = await caller.idempotent(Secret, work)
    uri = plan.totp_uri(made, email=caller.actor.name, domain=platform.settings.domain)
    return answers.answer(TotpSecret(secret=made.reveal(), uri=uri.reveal()))


@router.post("/totp/confirm", response_model=Answer[RecoveryCodes])
async def confirm_totp(body: TotpCode, platform: CurrentPlatform, caller: AnyCaller) -> Response:
    """Confirm the new authenticator with a code. From then on every login requires one."""

    async def work(tx: Tx, secrets: SecretSource) -> list[Secret]:
        codes = secrets.recovery_codes()
        await platform.people.confirm_totp(tx, caller.principal, body.code, codes)
        return codes

    codes = await caller.idempotent(list[Secret], work)
    return answers.answer(
        RecoveryCodes(recovery_codes=[code.reveal() for code in codes]),
        message="Keep these codes: each opens once, and they are not shown again.",
    )


@router.post("/totp/remove", response_model=Answer[Done])
async def remove_totp(body: RemoveTotp, platform: CurrentPlatform, principal: Anybody) -> Response:
    """Remove the authenticator. Logins then require no code."""
    await platform.people.prove(principal, secret(body.password))
    await platform.people.remove_totp(principal, body.code)
    return answers.answer(Done(), message="Logins need no code any more.")


@router.post("/recovery-codes", response_model=Answer[RecoveryCodes])
async def recovery_codes(body: Proof, platform: CurrentPlatform, caller: AnyCaller) -> Response:
    """Create new recovery codes and invalidate the old ones."""
    await platform.people.prove(caller.principal, secret(body.password))

    async def work(tx: Tx, secrets: SecretSource) -> list[Secret]:
        codes = secrets.recovery_codes()
        await platform.people.replace_recovery_codes(tx, caller.principal, codes)
        return codes

    codes = await caller.idempotent(list[Secret], work)
    return answers.answer(RecoveryCodes(recovery_codes=[code.reveal() for code in codes]))
