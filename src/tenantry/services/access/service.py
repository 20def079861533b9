"""API keys and sessions recognised; keys made and revoked; refusals told to the audit."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Literal, NoReturn

from tenantry.base.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from tenantry.base.secrets import SESSION_PREFIX, Secret
from tenantry.control import audit, customers, keys, pages, sessions
from tenantry.control.audit import Actor, AuditRow
from tenantry.control.keys import ApiKeyRow
from tenantry.control.pages import Page
from tenantry.control.sessions import SessionRow
from tenantry.control.store import ControlStore, Tx

ADMIN = "admin"
# What a customer's users may do, of what is their customer's.
CUSTOMER_SCOPES = frozenset(
    {
        "databases:read",
        "databases:write",
        "backups:read",
        "backups:write",
        "keys:read",
        "keys:write",
        "audit:read",
    }
)
_TOUCH_EVERY = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as proven by an API key or by a session of a user."""

    actor: Actor
    scopes: frozenset[str]
    secret: Secret
    session_id: uuid.UUID | None = None

    @property
    def caller_id(self) -> uuid.UUID:
        """The key or session that proves it."""
        proof = self.session_id or self.actor.id
        if proof is None:
            raise TypeError("a principal always has a key or a session")
        return proof


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nobody who may come in; ``stranger`` says whose key or session it was, if anybody's."""

    stranger: Actor
    kind: Literal["api_key", "session"]
    reason: str


class Access:
    """The verbs on API keys and on the audit."""

    def __init__(self, store: ControlStore, *, session_idle: dt.timedelta) -> None:
        self._store = store
        self._session_idle = session_idle

    async def recognise(
        self, secret: Secret | None, *, address: str | None, request_id: str
    ) -> Principal | Refusal:
        """Who presents this key or session token, or why that is nobody."""
        now = dt.datetime.now(dt.UTC)
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await _find(tx, secret)
            if row is not None and secret is not None and self._is_good(row, now):
                await _touch(tx, row, now)
                return _principal(row, secret, address=address, request_id=request_id)
            stranger = Actor(
                kind="anonymous",
                name="anonymous" if row is None else _name(row),
                id=None if row is None else row.id,
                customer_id=None if row is None else row.customer_id,
                address=address,
                request_id=request_id,
            )
        return Refusal(
            stranger,
            "session" if isinstance(row, SessionRow) else "api_key",
            _reason(secret, row),
        )

    async def refuse(self, refusal: Refusal, *, action: str, audited: bool) -> NoReturn:
        """Raises Unauthenticated, for whatever reason always in the same words."""
        if audited:
            async with self._store.transaction(audit.PLATFORM) as tx:
                await audit.record(
                    tx,
                    refusal.stranger,
                    "login",
                    resource_kind=refusal.kind,
                    resource_id=refusal.stranger.id,
                    result="refused",
                    details={"request": action, "reason": refusal.reason},
                )
        raise Unauthenticated(
            "The request carries no API key or session that is valid here.",
            hint="Send an API key as X-API-Key (tenantry key create makes one), or log in.",
        )

    def _is_good(self, row: ApiKeyRow | SessionRow, now: dt.datetime) -> bool:
        if isinstance(row, SessionRow):
            return row.is_good(now, idle=self._session_idle)
        return row.is_good(now)

    async def authorize(self, principal: Principal, scope: str, *, action: str) -> None:
        """Raises Forbidden unless the key has the scope or is an administrator's; audited."""
        if {scope, ADMIN} & principal.scopes:
            return
        async with self._store.transaction(principal.actor) as tx:
            await audit.record(
                tx,
                principal.actor,
                "access",
                resource_kind=principal.actor.kind,
                resource_id=principal.actor.id,
                resource_name=principal.actor.name,
                result="refused",
                details={"request": action, "reason": f"lacks the scope {scope}"},
            )
        raise Forbidden(
            f"This API key or session lacks the scope {scope}.",
            hint="Use a key that has it, or have an administrator make one.",
        )

    async def create_key(
        self,
        tx: Tx,
        principal: Principal,
        secret: Secret,
        *,
        name: str,
        scopes: list[str],
        customer_email: str | None,
        expires_at: dt.datetime | None,
    ) -> ApiKeyRow:
        """Make a key that may do no more than its maker.

        Raises Forbidden for scopes or a customer beyond the maker's, InvalidInput for an
        expiry that has passed.
        """
        if expires_at is not None and expires_at <= dt.datetime.now(dt.UTC):
            raise InvalidInput.of("expires_at", "has already passed")
        if ADMIN not in principal.scopes and (beyond := set(scopes) - principal.scopes):
            raise Forbidden(
                f"You lack {', '.join(sorted(beyond))} and cannot pass it on.",
                hint="Ask for scopes that you have, or have an administrator make the key.",
            )
        actor = principal.actor
        if actor.customer_id is not None:
            if customer_email not in {None, actor.customer_email}:
                raise Forbidden("You can make keys for your own customer only.")
            customer_id: uuid.UUID | None = actor.customer_id
        elif customer_email is not None:
            customer_id = await customers.ensure(tx, customer_email)
        else:
            customer_id = None
        row = await keys.insert(
            tx,
            secret,
            name=name,
            scopes=scopes,
            customer_id=customer_id,
            expires_at=expires_at,
            created_by=actor.id if actor.kind == "user" else None,
        )
        await self._record(tx, actor, "api_key.create", row)
        return row

    async def administrator_exists(self) -> bool:
        """Whether any good administrator's key exists."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await keys.administrator_exists(tx)

    async def create_first_key(self, secret: Secret) -> None:
        """Make the administrator's key of a new installation."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await keys.insert(
                tx,
                secret,
                name="administrator",
                scopes=[ADMIN],
                customer_id=None,
                expires_at=None,
            )
            await self._record(tx, audit.PLATFORM, "api_key.create", row)

    async def page_of_keys(
        self, principal: Principal, *, cursor: str | None, limit: int
    ) -> Page[ApiKeyRow]:
        """Keys without their secrets, newest first."""
        after = pages.read_key(cursor)
        async with self._store.transaction(principal.actor) as tx:
            found = await keys.page(
                tx, customer_id=principal.actor.customer_id, after=after, limit=limit + 1
            )
        return pages.cut(found, limit, lambda row: (row.created_at, row.id))

    async def revoke_key(self, tx: Tx, principal: Principal, key_id: uuid.UUID) -> ApiKeyRow:
        """End a key for good; done twice, it is done once.

        Raises NotFound, and Conflict for the last administrator's key.
        """
        row = await keys.find(tx, key_id, customer_id=principal.actor.customer_id)
        if row is None:
            raise NotFound("There is no such API key.", hint="GET /api/api-keys lists them.")
        if ADMIN in row.scopes and not await keys.administrator_exists(tx, besides=row.id):
            raise Conflict(
                "This is the last administrator's key; without it nobody could get in.",
                hint="Make another key with the scope admin first.",
            )
        if row.revoked_at is None:
            await keys.revoke(tx, row.id)
            await self._record(tx, principal.actor, "api_key.revoke", row)
        return await keys.find(tx, key_id, customer_id=None) or row

    async def page_of_audit(
        self, principal: Principal, wanted: audit.Filter, *, cursor: str | None, limit: int
    ) -> Page[AuditRow]:
        """What was done, newest first; a customer's key sees what concerns its customer."""
        before = pages.read_number(cursor)
        async with self._store.transaction(principal.actor) as tx:
            found = await audit.page(
                tx,
                wanted,
                customer_id=principal.actor.customer_id,
                before=before,
                limit=limit + 1,
            )
        return pages.cut(found, limit, lambda row: (row.id,))

    async def _record(self, tx: Tx, actor: Actor, action: str, row: ApiKeyRow) -> None:
        await audit.record(
            tx,
            actor,
            action,
            resource_kind="api_key",
            resource_id=row.id,
            resource_name=row.name,
            details={"scopes": row.scopes, "prefix": row.prefix},
        )


async def _find(tx: Tx, secret: Secret | None) -> ApiKeyRow | SessionRow | None:
    if secret is None:
        return None
    if secret.reveal().startswith(SESSION_PREFIX):
        return await sessions.find_by_secret(tx, secret)
    return await keys.find_by_secret(tx, secret)


async def _touch(tx: Tx, row: ApiKeyRow | SessionRow, now: dt.datetime) -> None:
    if row.last_used_at is not None and now - row.last_used_at <= _TOUCH_EVERY:
        return
    if isinstance(row, SessionRow):
        await sessions.touch(tx, row.id)
    else:
        await keys.touch(tx, row.id)


def _name(row: ApiKeyRow | SessionRow) -> str:
    return row.email if isinstance(row, SessionRow) else row.name


def _principal(
    row: ApiKeyRow | SessionRow, secret: Secret, *, address: str | None, request_id: str
) -> Principal:
    actor = Actor(
        kind="user" if isinstance(row, SessionRow) else "api_key",
        name=_name(row),
        id=row.user_id if isinstance(row, SessionRow) else row.id,
        customer_id=row.customer_id,
        customer_email=row.customer_email,
        address=address,
        request_id=request_id,
    )
    if not isinstance(row, SessionRow):
        return Principal(actor, frozenset(row.scopes), secret)
    scopes = frozenset({ADMIN}) if row.role == "administrator" else CUSTOMER_SCOPES
    return Principal(actor, scopes, secret, session_id=row.id)


def _reason(secret: Secret | None, row: ApiKeyRow | SessionRow | None) -> str:
    """Why a key or session that is not good is refused."""
    if secret is None:
        return "no key"
    if row is None:
        return "unknown key"
    disabled = row.user_disabled_at if isinstance(row, SessionRow) else row.maker_disabled_at
    if disabled is not None:
        return "user disabled"
    return "expired" if row.revoked_at is None else "revoked"
