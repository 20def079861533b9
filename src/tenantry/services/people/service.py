"""Logging in and out, and what users change about their own login.

What administrators change about other users is ``services.users``.

Each attempt is counted before anything is compared, and taken back if it succeeds; ``plan`` defines
the counters. An unknown address, a wrong password and a disabled user get the same answer after the
same time.
"""

import datetime as dt
import uuid
from dataclasses import dataclass

from tenantry.base.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    WrongCredentials,
)
from tenantry.base.ids import new_id
from tenantry.base.passwords import Hashing
from tenantry.base.secrets import (
    Seal,
    Secret,
    device_token,
    new_challenge,
    new_session_token,
    read_device_token,
)
from tenantry.control import attempts, audit, pages, sessions, users
from tenantry.control.attempts import Attempt
from tenantry.control.audit import Actor
from tenantry.control.pages import Page
from tenantry.control.sessions import SessionRow
from tenantry.control.store import ControlStore, Tx, as_platform
from tenantry.control.users import UserRow
from tenantry.services.access.service import Principal
from tenantry.services.people import login_attempts, plan
from tenantry.services.people.plan import Counter

CHALLENGE_LASTS = dt.timedelta(minutes=5)
DEVICE_LASTS = dt.timedelta(days=90)


@dataclass(frozen=True, slots=True)
class SessionRules:
    """The longest duration of a session, and the longest time that it may be idle."""

    lasts: dt.timedelta
    idle: dt.timedelta


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session. Its token and the device's are shown only now."""

    token: Secret
    device: Secret
    session: SessionRow
    user: UserRow


@dataclass(frozen=True, slots=True)
class Challenge:
    """The password was right; a code is required too, before ``expires_at``."""

    token: Secret
    expires_at: dt.datetime


class People:
    """The verbs on users' own logins.

    They use transactions of the platform: customers have no rights on passwords and codes.
    """

    def __init__(
        self, store: ControlStore, seal: Seal, hashing: Hashing, rules: SessionRules
    ) -> None:
        self._store = store
        self._seal = seal
        self._hashing = hashing
        self._rules = rules

    # Logging in

    def device_of(self, token: Secret | None, email: str) -> str | None:
        """Return the device of this token, if this user has logged in from it before.

        It does not authenticate: its failures are only counted apart from those of others.
        """
        if token is None:
            return None
        return read_device_token(self._seal, token, email, dt.datetime.now(dt.UTC))

    async def device_at(self, challenge: Secret, token: Secret | None) -> str | None:
        """As ``device_of``, for the user to whom a challenge was issued."""
        user = None if token is None else await self._challenged(challenge)
        return None if user is None else self.device_of(token, user.email)

    async def login(
        self,
        email: str,
        password: Secret,
        caller: Actor,
        *,
        user_agent: str | None,
        device: str | None,
    ) -> SignedIn | Challenge:
        """Begin a session, or require a code as well.

        Raises WrongCredentials, and LoginLocked after too many failures.
        """
        counters = plan.password_counters(email, caller.address, device)
        counted = await login_attempts.begin(self._store, counters)
        async with self._store.transaction(audit.PLATFORM) as tx:
            user = await users.find_by_email(tx, email)
        right = await self._hashing.verify(password, user.password_hash if user else None)
        if user is None or not right or user.disabled_at is not None:
            reason = "unknown user" if user is None else "disabled" if right else "wrong password"
            async with self._store.transaction(audit.PLATFORM) as tx:
                await login_attempts.refuse(tx, caller, user, counted, reason)
            raise login_attempts.wrong_password()
        async with self._store.transaction(audit.PLATFORM) as tx:
            if not user.has_totp:
                return await self._open(
                    tx,
                    user,
                    caller,
                    counters,
                    counted,
                    method="password",
                    user_agent=user_agent,
                    device=device,
                )
            await login_attempts.take_back(tx, counted)
            token = new_challenge()
            ends = await sessions.insert_challenge(
                tx, token, user_id=user.id, lasts=CHALLENGE_LASTS
            )
        return Challenge(token, ends)

    async def answer(
        self,
        challenge: Secret,
        code: str,
        caller: Actor,
        *,
        user_agent: str | None,
        device: str | None,
    ) -> SignedIn:
        """Begin a session with a code of the authenticator, or with a recovery code.

        Raises as ``login``.
        """
        user = await self._challenged(challenge)
        if user is None:
            raise WrongCredentials(
                "This login is not known, or has taken too long.", hint="Log in again."
            )
        counters = plan.code_counters(user.email, caller.address, device)
        counted = await login_attempts.begin(self._store, counters)
        async with self._store.transaction(audit.PLATFORM) as tx:
            method = await self._take_code(tx, user, code)
            if method and await sessions.take_challenge(tx, challenge):
                return await self._open(
                    tx,
                    user,
                    caller,
                    counters,
                    counted,
                    method=method,
                    user_agent=user_agent,
                    device=device,
                )
            await login_attempts.refuse(tx, caller, user, counted, "wrong code")
        raise login_attempts.wrong_code()

    async def logout(self, principal: Principal) -> None:
        """End the caller's session."""
        session_id = _session_of(principal)
        async with self._store.transaction(audit.PLATFORM) as tx:
            await sessions.revoke(tx, session_id)
            await _record(tx, principal.actor, "logout", principal.caller_id)

    # Sessions

    async def page_of_sessions(
        self, principal: Principal, *, cursor: str | None, limit: int
    ) -> Page[SessionRow]:
        """Return the caller's own valid sessions, newest first."""
        user_id = _user_of(principal)
        after = pages.read_key(cursor)
        async with self._store.transaction(audit.PLATFORM) as tx:
            found = await sessions.page(
                tx, user_id=user_id, idle=self._rules.idle, after=after, limit=limit + 1
            )
        return pages.cut(found, limit, lambda row: (row.created_at, row.id))

    async def revoke_session(self, principal: Principal, session_id: uuid.UUID) -> SessionRow:
        """End one of the caller's own sessions. Raises NotFound."""
        user_id = _user_of(principal)
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await sessions.find(tx, session_id, user_id=user_id)
            if row is None:
                raise NotFound("There is no such session.")
            await sessions.revoke(tx, session_id)
            await _record(tx, principal.actor, "session.revoke", session_id)
        return row

    # The caller's own login

    async def me(self, principal: Principal) -> tuple[UserRow, int]:
        """Return the caller, and how many recovery codes they have left."""
        user_id = _user_of(principal)
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await _found(tx, user_id), await users.count_recovery_codes(tx, user_id)

    async def prove(self, principal: Principal, password: Secret) -> None:
        """Verify the password of the session's user, so that an open session alone changes nothing.

        Raises WrongCredentials, and LoginLocked after too many failures.
        """
        user_id = _user_of(principal)
        counted = await login_attempts.begin(
            self._store, plan.session_counters(principal.actor.name, _session_of(principal))
        )
        async with self._store.transaction(audit.PLATFORM) as tx:
            user = await _found(tx, user_id)
        right = await self._hashing.verify(password, user.password_hash)
        async with self._store.transaction(audit.PLATFORM) as tx:
            if right:
                await login_attempts.take_back(tx, counted)
                return
            await login_attempts.refuse(tx, principal.actor, user, counted, "wrong password")
        raise login_attempts.wrong_password()

    async def change_password(self, principal: Principal, current: Secret, new: Secret) -> None:
        """Change the caller's own password; their other sessions end.

        Raises as ``prove``, and InvalidInput for a password that is too weak.
        """
        user_id = _user_of(principal)
        await self.prove(principal, current)
        if wrong := await self._hashing.fault(new, email=principal.actor.name):
            raise InvalidInput.of("new_password", wrong)
        hashed = await self._hashing.hash(new)
        async with self._store.transaction(audit.PLATFORM) as tx:
            await users.set_password(tx, user_id, hashed)
            await sessions.revoke_all(tx, user_id, besides=principal.session_id)
            await _record(tx, principal.actor, "user.change_password", user_id)

    async def begin_totp(self, tx: Tx, principal: Principal, secret: Secret) -> None:
        """Store a secret for an authenticator; it is in force once a code of it has been entered.

        Raises Conflict if one is in force already.
        """
        user_id = _user_of(principal)
        sealed = self._seal.close(secret, owner=user_id.bytes)
        async with as_platform(tx):
            started = await users.begin_totp(tx, user_id, sealed)
        if not started:
            raise Conflict(
                "An authenticator is in use already.",
                hint="Take it off first: tenantry totp off, or POST /api/auth/totp/remove.",
            )

    async def confirm_totp(
        self, tx: Tx, principal: Principal, code: str, recovery: list[Secret]
    ) -> None:
        """Require codes at each login from now on.

        Raises InvalidInput for a wrong code, Conflict if no authenticator waits for one.
        """
        async with as_platform(tx):
            user = await _found(tx, _user_of(principal))
            if user.totp_secret is None or user.has_totp:
                raise Conflict(
                    "No authenticator waits to be confirmed.",
                    hint="Begin with tenantry totp on, or POST /api/auth/totp.",
                )
            if await self._take_code(tx, user, code) != "totp":
                raise InvalidInput.of("code", "is not what the authenticator shows now")
            await users.confirm_totp(tx, user.id)
            await users.replace_recovery_codes(tx, user.id, recovery)
        await _record(tx, principal.actor, "user.totp_on", user.id)

    async def remove_totp(self, principal: Principal, code: str) -> None:
        """Require no codes any more. Raises WrongCredentials, LoginLocked, Conflict."""
        counted = await login_attempts.begin(
            self._store, plan.session_counters(principal.actor.name, _session_of(principal))
        )
        async with self._store.transaction(audit.PLATFORM) as tx:
            user = await _found(tx, _user_of(principal))
            if not user.has_totp:
                raise Conflict("No authenticator is in use.")
            if await self._take_code(tx, user, code):
                await login_attempts.take_back(tx, counted)
                await users.remove_totp(tx, user.id)
                await _record(tx, principal.actor, "user.totp_off", user.id)
                return
            await login_attempts.refuse(tx, principal.actor, user, counted, "wrong code")
        raise login_attempts.wrong_code()

    async def replace_recovery_codes(
        self, tx: Tx, principal: Principal, recovery: list[Secret]
    ) -> None:
        """Replace the recovery codes; the old ones are void. Raises Conflict without TOTP."""
        async with as_platform(tx):
            user = await _found(tx, _user_of(principal))
            if not user.has_totp:
                raise Conflict(
                    "No authenticator is in use.",
                    hint="Begin with tenantry totp on, or POST /api/auth/totp.",
                )
            await users.replace_recovery_codes(tx, user.id, recovery)
        await _record(tx, principal.actor, "user.recovery_codes", user.id)

    # Helpers

    async def _challenged(self, challenge: Secret) -> UserRow | None:
        async with self._store.transaction(audit.PLATFORM) as tx:
            user_id = await sessions.find_challenge(tx, challenge)
            return await users.find(tx, user_id) if user_id else None

    async def _open(
        self,
        tx: Tx,
        user: UserRow,
        caller: Actor,
        counters: list[Counter],
        counted: list[Attempt],
        *,
        method: str,
        user_agent: str | None,
        device: str | None,
    ) -> SignedIn:
        if not await users.note_login(tx, user.id, password_hash=user.password_hash):
            # It was disabled, or given another password, a moment ago.
            raise login_attempts.wrong_password()
        await login_attempts.take_back(tx, counted)
        # A right code completes a login that began with the right password.
        passwords = plan.password_counters(user.email, caller.address, device)
        for counter in dict.fromkeys([*counters, *passwords]):
            if counter.clears:
                await attempts.clear(tx, counter.subject)
        token = new_session_token()
        ends = dt.datetime.now(dt.UTC) + DEVICE_LASTS
        known = device_token(self._seal, device or new_id().hex, user.email, ends)
        row = await sessions.insert(
            tx,
            token,
            user_id=user.id,
            address=caller.address,
            user_agent=user_agent,
            lasts=self._rules.lasts,
        )
        await audit.record(
            tx,
            _as_user(caller, user),
            "login",
            resource_kind="session",
            resource_id=row.id,
            details={"method": method},
        )
        return SignedIn(token, known, row, await _found(tx, user.id))

    async def _take_code(self, tx: Tx, user: UserRow, code: str) -> str | None:
        """Use a code up. Return its kind, or None if it is wrong."""
        secret = (
            self._seal.open(user.totp_secret, owner=user.id.bytes) if user.totp_secret else None
        )
        if secret is not None:
            step = plan.totp_step(secret, code, dt.datetime.now(dt.UTC))
            if step is not None:
                return "totp" if await users.take_step(tx, user.id, step) else None
        if await users.take_recovery_code(tx, user.id, plan.recovery_code(code)):
            return "recovery_code"
        return None


def _user_of(principal: Principal) -> uuid.UUID:
    if principal.actor.kind != "user" or principal.actor.id is None:
        raise Forbidden("This is for people who have logged in, not for API keys.")
    return principal.actor.id


def _session_of(principal: Principal) -> uuid.UUID:
    _user_of(principal)
    return principal.caller_id


async def _found(tx: Tx, user_id: uuid.UUID) -> UserRow:
    user = await users.find(tx, user_id)
    if user is None:
        raise NotFound("There is no such user any more.")
    return user


def _as_user(caller: Actor, user: UserRow) -> Actor:
    return Actor(
        kind="user",
        name=user.email,
        id=user.id,
        customer_id=user.customer_id,
        customer_email=user.customer_email,
        address=caller.address,
        request_id=caller.request_id,
    )


async def _record(tx: Tx, actor: Actor, action: str, resource_id: uuid.UUID) -> None:
    kind = "user" if action.startswith("user.") else "session"
    await audit.record(
        tx,
        actor,
        action,
        resource_kind=kind,
        resource_id=resource_id,
        resource_name=actor.name if kind == "user" else None,
    )
