"""Logging in with an API key, or with a password and the code that may have to follow.

It is the same at any entry point. A device that has logged in before is recognized first, since the
limit on attempts is less strict for it; then the attempt is charged, and only then anything is
compared.
"""

from tenantry.base.secrets import Secret
from tenantry.services.people.service import Challenge, SignedIn
from tenantry.services.platform import Platform
from tenantry.services.requests.model import Call

_LONGEST_AGENT = 200


async def with_password(
    platform: Platform,
    call: Call,
    email: str,
    password: Secret,
    *,
    device_token: Secret | None,
    user_agent: str,
) -> SignedIn | Challenge:
    """Return a session, or a challenge if the user has an authenticator. Raises as People.login."""
    device = platform.people.device_of(device_token, email)
    await platform.requests.charge_login(call, device)
    return await platform.people.login(
        email, password, call.anonymous_actor, user_agent=_shown(user_agent), device=device
    )


async def with_key(platform: Platform, call: Call) -> None:
    """Log in to the console with the call's credential; audited. Raises as authenticate."""
    caller = await platform.requests.authenticate(call)
    await platform.access.record_login(caller.principal)


async def with_code(
    platform: Platform,
    call: Call,
    challenge: Secret,
    code: str,
    *,
    device_token: Secret | None,
    user_agent: str,
) -> SignedIn:
    """Answer a challenge by an authenticator or recovery code. Raises as People.answer."""
    async with platform.requests.limits.recognising(call.address):
        device = await platform.people.device_at(challenge, device_token)
    await platform.requests.charge_login(call, device)
    return await platform.people.answer(
        challenge, code, call.anonymous_actor, user_agent=_shown(user_agent), device=device
    )


def _shown(user_agent: str) -> str | None:
    return "".join(c for c in user_agent[:_LONGEST_AGENT] if c.isprintable()) or None
