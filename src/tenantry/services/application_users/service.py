"""The verbs of application users: sign up, sign in, refresh, change, sign out, recover, verify.

What an answer shows of an account does not depend on whether it exists, nor does the time that it
takes: a password is always compared with a hash, and e-mails are made after the answer.
"""

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog
from argon2 import PasswordHasher

from tenantry.base.passwords import Hashing
from tenantry.base.secrets import Secret
from tenantry.base.setting_groups import Smtp
from tenantry.base.shares import NoPlace, Shares
from tenantry.services.application_users import limits, one_time, plan, rows
from tenantry.services.application_users.limits import Limit, Limits
from tenantry.services.application_users.model import (
    AuthError,
    Kind,
    Method,
    Scope,
    Session,
    Site,
    User,
    Verified,
)
from tenantry.services.application_users.one_time import Carried, Handover
from tenantry.services.application_users.sending import Sending

log = structlog.get_logger()

Answer = dict[str, object]

_HASH_SECONDS = 10.0  # that a request waits for its turn
_MOST_METADATA = 4096  # bytes, which are in each token


@dataclass(frozen=True, slots=True)
class AddressChange:
    """The address that a user is to have, and where the links that confirm it lead."""

    email: str
    handover: Handover


class ApplicationUsers:
    """The users of all databases; one for each process that answers."""

    def __init__(self, smtp: Smtp | None, domain: str) -> None:
        self._hashing = Hashing(
            PasswordHasher(
                time_cost=plan.HASH_PASSES, memory_cost=plan.HASH_KIB, parallelism=plan.HASH_LANES
            )
        )
        self._turns = Shares(each=1)
        self._limits = Limits()
        self._sending = Sending(smtp, domain)

    def sends_mail(self, site: Site) -> bool:
        """Whether addresses are confirmed, and passwords recovered, by e-mail."""
        return self._sending.serves(site)

    async def close(self) -> None:
        """Let what is being sent end."""
        await self._sending.close()

    # ── without a session ────────────────────────────────────────────────────

    async def sign_up(
        self,
        site: Site,
        email: str,
        password: Secret,
        metadata: Mapping[str, Any],
        handover: Handover,
    ) -> Answer:
        """Create a user. Return a session, or the user if the address has to be confirmed.

        Raises AuthError. Without e-mails the one for an address that is taken cannot be avoided:
        whoever signs up can try to sign in.
        """
        if not site.settings.signup:
            raise AuthError(422, "signup_disabled", "Signups not allowed for this instance")
        self._limits.take(site.database, limits.SIGN_UPS, site.client)
        _check_size(metadata)
        async with AsyncExitStack() as held:
            if confirming := self.sends_mail(site):
                # Before the user is stored: one who gets no e-mail could not confirm.
                self._take_mail(site, email)
                await held.enter_async_context(self._sending.place(site))
                self._limits.take(site.database, limits.SIGN_UP_MAILS)
            hashed, same = await self._hashed(site, email, password, metadata)
            async with rows.transaction(site.connect) as inside:
                user = await rows.sign_up(
                    inside, email, hashed, metadata, confirmed=not confirming, same=same
                )
                if user is not None and not confirming:
                    return await self._begin(site, inside, user, "password")
            if not confirming:
                raise AuthError(422, "user_already_exists", "User already registered")
            self._sending.begin(held.pop_all(), self._send(site, email, "signup", handover))
        return _waiting(email, metadata)

    async def _hashed(
        self, site: Site, email: str, password: Secret, metadata: Mapping[str, Any]
    ) -> tuple[str, str | None]:
        """Return the hash for a new user, and that of the address if it is of this password."""
        async with rows.transaction(site.connect) as inside:
            _check_size(await rows.as_stored(inside, metadata))
            there = await rows.by_email(inside, email)
        stored = None if there is None else plan.hash_of_ours(there.password_hash)
        async with self._turn(site):
            is_same = await self._hashing.verify(password, stored)
            hashed = await self._hashing.hash(password)
        return hashed, stored if is_same else None

    async def sign_in(self, site: Site, email: str, password: Secret) -> Answer:
        """Begin a session by a password. Raises AuthError."""
        self._limits.take(site.database, limits.REQUESTS, site.client)
        self._limits.take(site.database, limits.FAILURES, site.client)
        self._limits.take(site.database, limits.SIGN_INS, email, site.client)
        self._limits.take(site.database, limits.ACCOUNTS, email)
        async with rows.transaction(site.connect) as inside:
            user = await rows.by_email(inside, email)
        stored = None if user is None else user.password_hash
        async with self._turn(site):
            is_right = await self._hashing.verify(password, plan.hash_of_ours(stored))
        if not is_right or user is None:
            raise AuthError(400, "invalid_credentials", "Invalid login credentials")
        self._limits.clear(site.database, limits.SIGN_INS, email, site.client)
        self._limits.give_back(site.database, limits.ACCOUNTS, email)
        self._limits.give_back(site.database, limits.FAILURES, site.client)
        if user.confirmed_at is None:
            raise AuthError(400, "email_not_confirmed", "Email not confirmed")
        async with rows.transaction(site.connect) as inside:
            await rows.lock(inside, user.id)
            now = await rows.by_id(inside, user.id)
            if now is None or now.password_hash != stored:  # it was changed meanwhile
                raise AuthError(400, "invalid_credentials", "Invalid login credentials")
            return await self._begin(site, inside, now, "password")

    async def refresh(self, site: Site, token: str) -> Answer:
        """Continue a session by its refresh token, which another one replaces. Raises AuthError.

        A token that was used already ends its session: one of those who have it has stolen it.
        """
        self._limits.take(site.database, limits.REQUESTS, site.client)
        missing = "Invalid Refresh Token: Refresh Token Not Found"
        read = plan.read_refresh_token(token, site.secrets)
        if read is None:
            raise AuthError(400, "refresh_token_not_found", missing)
        async with rows.transaction(site.connect) as inside:
            if (known := await rows.session(inside, read.session_id)) is None:
                raise AuthError(400, "refresh_token_not_found", missing)
            await rows.lock(inside, known.user_id)
            session = await rows.session(inside, known.id)
            user = await rows.by_id(inside, known.user_id)
            if session is None or user is None:
                raise AuthError(400, "refresh_token_not_found", missing)
            _check_not_banned(user)
            match plan.refreshing(read, session):
                case "repeat":
                    return self._signed_in(site, user, session)
                case "rotate":
                    rotated = await rows.rotate(inside, session.id, read.counter + 1)
                    return self._signed_in(site, user, rotated or session)
                case "reuse":
                    await rows.end_sessions(inside, user.id, only=session.id)
        log.warning("application_user.refresh_token_reused", database=site.database)
        message = "Invalid Refresh Token: Already Used"
        raise AuthError(400, "refresh_token_already_used", message)

    # ── with a session ───────────────────────────────────────────────────────

    async def show(self, site: Site, claims: Mapping[str, Any]) -> Answer:
        """Return the user of a token. Raises AuthError, also if its session has ended."""
        async with rows.transaction(site.connect) as inside:
            user, _ = await _of_token(inside, claims)
        return plan.shown(user)

    async def change(
        self,
        site: Site,
        claims: Mapping[str, Any],
        password: Secret | None,
        metadata: Mapping[str, Any],
        change: AddressChange | None,
    ) -> Answer:
        """Change the user of a token; with a new password all other sessions end.

        A new address is that of the user once both addresses have confirmed the change, or at once
        where no e-mails are sent. Raises AuthError.
        """
        self._limits.take(site.database, limits.REQUESTS, site.client)
        confirming = self.sends_mail(site)
        if change is not None and confirming:
            self._take_mail(site, change.email)
        hashed = None
        if password is not None:
            async with self._turn(site):
                hashed = await self._hashing.hash(password)
        async with rows.transaction(site.connect) as inside:
            user, session = await _of_token(inside, claims, lock=True)
            merged = None
            if metadata:
                present = plan.readable(user.user_metadata, "raw_user_meta_data")
                merged = plan.merged(present, metadata)
                _check_size(merged)
                _check_size(await rows.as_stored(inside, merged))
            changed = await rows.update(inside, user, hashed, merged) or user
            if hashed is not None:
                await rows.end_sessions(inside, user.id, but=session.id)
            if change is None or change.email == user.email:
                return plan.shown(changed)
            if not confirming:
                return plan.shown(await rows.change_email(inside, user, change.email) or changed)
        first = Carried(change.handover.challenge, change.email, first=True)
        await self._begin_change(site, user, user.email, first, change.handover.page)
        return {**plan.shown(changed), "new_email": change.email}

    async def sign_out(self, site: Site, claims: Mapping[str, Any], scope: Scope) -> None:
        """End the session of a token, or all of its user's, or all the others. Raises AuthError."""
        async with rows.transaction(site.connect) as inside:
            user, session = await _of_token(inside, claims, lock=True)
            await rows.end_sessions(
                inside,
                user.id,
                only=session.id if scope == "local" else None,
                but=session.id if scope == "others" else None,
            )

    # ── by e-mail ────────────────────────────────────────────────────────────

    async def send(
        self,
        site: Site,
        email: str,
        kind: Kind,
        handover: Handover,
    ) -> None:
        """Send a link to an address, after the answer, if there is a user who needs one.

        Raises AuthError.
        """
        if not self.sends_mail(site):
            raise AuthError(
                422,
                "email_provider_disabled",
                "This server sends no e-mails: it has no mail server (TENANTRY_SMTP_HOST), or the "
                "data API has no site_url.",
            )
        self._limits.take(site.database, limits.REQUESTS, site.client)
        self._take_mail(site, email)
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._sending.place(site))
            work = self._send(site, email, kind, handover, limits.LINK_MAILS)
            self._sending.begin(held.pop_all(), work)

    async def verify(
        self, site: Site, kind: Kind, token: str, page: str | None, *, by_link: bool
    ) -> Verified:
        """Use the token of an e-mail. Raises AuthError.

        A browser that follows the link gets no session but a code, if that was asked for: only who
        asked for the e-mail can exchange it.
        """
        self._limits.take(site.database, limits.REQUESTS, site.client)
        carried = one_time.carried_by(token)
        async with rows.transaction(site.connect) as inside:
            user = await rows.take_token(inside, kind, token)
            if user is None:
                message = "Email link is invalid or has expired"
                raise AuthError(403, "otp_expired", message)
            if carried.email is not None and not carried.first:
                await rows.change_email(inside, user, carried.email)
            if carried.first:
                verified = Verified()
            elif (now := await rows.confirm(inside, user, kind)) is None:
                raise AuthError(500, "unexpected_failure", "The database refused it")
            elif by_link and carried.challenge is not None:
                code = one_time.made(Carried(carried.challenge))
                await rows.put_token(inside, now, "code", code)
                verified = Verified(code=code)
            else:
                verified = Verified(await self._begin(site, inside, now, "otp"))
        if carried.first and carried.email is not None:
            second = replace(carried, first=False)
            await self._begin_change(site, user, carried.email, second, page)
        self._limits.clear(site.database, limits.SIGN_INS, user.email, site.client)
        self._limits.clear(site.database, limits.ACCOUNTS, user.email)
        return verified

    async def exchange(self, site: Site, code: str, verifier: str) -> Answer:
        """Begin a session by a code that a link gave (PKCE). Raises AuthError."""
        self._limits.take(site.database, limits.REQUESTS, site.client)
        challenge = one_time.carried_by(code).challenge
        async with rows.transaction(site.connect) as inside:
            user = await rows.take_token(inside, "code", code)
            if user is None or challenge is None:
                raise AuthError(404, "flow_state_not_found", "This code is invalid or has expired")
            if not challenge.is_met(verifier):  # and the code is not used up
                message = "code challenge does not match previously saved code verifier"
                raise AuthError(400, "bad_code_verifier", message)
            return await self._begin(site, inside, user, "otp")

    def _take_mail(self, site: Site, email: str) -> None:
        self._limits.take(site.database, limits.MAILS_ASKED, email, site.client)
        self._limits.take(site.database, limits.MAILS_FROM, site.client)

    async def _send(
        self,
        site: Site,
        email: str,
        kind: Kind,
        handover: Handover,
        limit: Limit | None = None,
    ) -> None:
        async with rows.transaction(site.connect) as inside:
            user = await rows.by_email(inside, email)
            if user is None or (kind == "signup" and user.confirmed_at is not None):
                return
            self._limits.take(site.database, limits.MAILS_TO_ONE, email)
            if limit is not None:
                self._limits.take(site.database, limit)
            token = one_time.made(Carried(handover.challenge))
            await rows.put_token(inside, user, kind, token)
        # To the address as it was checked, whatever the row has.
        link = plan.link(site.url, kind, token, handover.page)
        await self._sending.deliver(site, email, kind, link)

    async def _begin_change(
        self, site: Site, user: User, to: str, carried: Carried, page: str | None
    ) -> None:
        """Send a link by which one of two addresses confirms a change. Raises AuthError."""
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._sending.place(site))
            work = self._send_change(site, user.id, to, carried, page)
            self._sending.begin(held.pop_all(), work)

    async def _send_change(
        self, site: Site, user_id: uuid.UUID, to: str, carried: Carried, page: str | None
    ) -> None:
        token = one_time.made(carried)
        async with rows.transaction(site.connect) as inside:
            user = await rows.by_id(inside, user_id)
            if user is None or not plan.is_address(to):
                return
            self._limits.take(site.database, limits.MAILS_TO_ONE, to)
            self._limits.take(site.database, limits.LINK_MAILS)
            await rows.put_token(inside, user, "email_change", token)
        link = plan.link(site.url, "email_change", token, page)
        await self._sending.deliver(site, to, "email_change", link, carried.email)

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _begin(
        self, site: Site, inside: rows.Connection, user: User, method: Method
    ) -> Answer:
        _check_not_banned(user)
        return self._signed_in(site, *await rows.begin_session(inside, user, method))

    @staticmethod
    def _signed_in(site: Site, user: User, session: Session) -> Answer:
        now = dt.datetime.now(dt.UTC)
        return plan.signed_in(user, session, secret=site.secrets[0], issuer=site.url, now=now)

    @asynccontextmanager
    async def _turn(self, site: Site) -> AsyncIterator[None]:
        """Hash one password of a database at a time. Raises AuthError after a while."""
        try:
            async with self._turns.place(site.database, within=_HASH_SECONDS):
                yield
        except NoPlace:
            code, message = limits.SIGN_INS.code, "Too many sign-ins at the same time"
            raise AuthError(429, code, message, 1) from None


async def _of_token(
    inside: rows.Connection, claims: Mapping[str, Any], *, lock: bool = False
) -> tuple[User, Session]:
    """Return the user and the session of a token. Raises AuthError if one of them is gone."""
    try:
        user_id, session_id = uuid.UUID(claims["sub"]), uuid.UUID(claims["session_id"])
    except (KeyError, ValueError, TypeError, AttributeError):
        message = "This token is of no session: sign in"
        raise AuthError(403, "bad_jwt", message) from None
    if lock:
        await rows.lock(inside, user_id)
    session = await rows.session(inside, session_id)
    if session is None or session.user_id != user_id:
        message = "Session from session_id claim in JWT does not exist"
        raise AuthError(403, "session_not_found", message)
    user = await rows.by_id(inside, user_id)
    if user is None:
        raise AuthError(403, "user_not_found", "User from sub claim in JWT does not exist")
    _check_not_banned(user)
    return user, session


def _waiting(email: str, metadata: Mapping[str, Any]) -> Answer:
    """Return a user who has to confirm; the same whether or not the address was known before."""
    now = dt.datetime.now(dt.UTC)
    provider = {"provider": "email", "providers": ["email"]}
    user = User(uuid.uuid4(), email, None, None, None, None, provider, metadata, now, now)
    return {**plan.shown(user), "confirmation_sent_at": now.isoformat().replace("+00:00", "Z")}


def _check_not_banned(user: User) -> None:
    if user.banned_until is not None:
        raise AuthError(400, "user_banned", "User is banned")


def _check_size(metadata: Mapping[str, Any] | None) -> None:
    """Raise AuthError for metadata that are too large, or None, which is so."""
    if metadata is None or plan.size_of(metadata) > _MOST_METADATA:
        message = f"data may take {_MOST_METADATA:,} bytes with numbers written out, as in tokens"
        raise AuthError(422, "validation_failed", message)
