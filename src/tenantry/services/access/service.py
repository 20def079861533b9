"""Authentication by API key or session, authorization, creation and revocation of keys.

Refusals are recorded in the audit. The rights of a key are evaluated at each request from the chain
of its grantors (``control.grants``); so are the rights over a key.
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Literal, NoReturn

from tenantry.base.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from tenantry.base.secrets import SESSION_PREFIX, Secret
from tenantry.control import audit, audit_filters, customers, grants, keys, pages, sessions
from tenantry.control.audit import Actor, AuditRow
from tenantry.control.grants import ADMIN, OF_DATA, Chain, Rights
from tenantry.control.keys import ApiKeyRow
from tenantry.control.pages import Page
from tenantry.control.sessions import SessionRow
from tenantry.control.store import ControlStore, Tx

_TOUCH_EVERY = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller, by an API key or by a session of a user."""

    actor: Actor
    scopes: frozenset[str]
    secret: Secret
    session_id: uuid.UUID | None = None

    @property
    def caller_id(self) -> uuid.UUID:
        """The ID of the API key or session that authenticates the caller."""
        proof = self.session_id or self.actor.id
        if proof is None:
            raise TypeError("a principal always has a key or a session")
        return proof

    def may(self, scope: str) -> bool:
        """Whether the caller has the scope; ``admin`` stands for all but those of data."""
        return scope in self.scopes or (ADMIN in self.scopes and scope not in OF_DATA)

    def oversees(self, scope: str) -> bool:
        """Whether the caller has the scope for the whole platform, and not for one customer."""
        return self.actor.customer_id is None and self.may(scope)

    def require_unbound(self) -> None:
        """Raise Forbidden for a caller that is bound to one customer."""
        if self.actor.customer_id is not None:
            raise Forbidden(
                "This API key is a customer's and does not see the platform's own state."
            )


@dataclass(frozen=True, slots=True)
class NewKey:
    """A wanted key, bound to a customer if ``customer_email`` names one, who may be new."""

    name: str
    scopes: list[str]
    customer_email: str | None
    new_customer: bool
    expires_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key with the chain of its grantors and what it may do now."""

    row: ApiKeyRow
    chain: Chain

    @property
    def is_administrators(self) -> bool:
        """Whether it is one of the platform's own keys, on which administrators' keys depend."""
        row = self.row
        granted = row.parent_id is not None or row.created_by is not None
        return ADMIN in row.scopes and row.customer_id is None and not granted


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rejected authentication. ``claimed`` names the key or session, or is anonymous."""

    claimed: Actor
    kind: Literal["api_key", "session"]
    reason: str


class Access:
    """The service for API keys and the audit."""

    def __init__(self, store: ControlStore, *, session_idle: dt.timedelta) -> None:
        self._store = store
        self._session_idle = session_idle

    async def recognise(
        self, secret: Secret | None, *, address: str | None, request_id: str
    ) -> Principal | Refusal:
        """Return the caller that presents this key or session token, or why it is rejected."""
        now = dt.datetime.now(dt.UTC)
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await _find(tx, secret)
            rights = await self._rights(tx, row, now)
            if row is not None and secret is not None and rights.status == "active":
                await _touch(tx, row, now)
                return _principal(row, rights, secret, address=address, request_id=request_id)
            claimed = Actor(
                kind="anonymous",
                name="anonymous" if row is None else _name(row),
                id=None if row is None else row.id,
                customer_id=None if row is None else row.customer_id,
                address=address,
                request_id=request_id,
            )
        return Refusal(
            claimed,
            "session" if isinstance(row, SessionRow) else "api_key",
            "no key" if secret is None else rights.reason or "unknown key",
        )

    async def refuse(self, refusal: Refusal, *, action: str, audited: bool) -> NoReturn:
        """Raise Unauthenticated, with the same words for every reason."""
        if audited:
            async with self._store.transaction(audit.PLATFORM) as tx:
                await audit.record(
                    tx,
                    refusal.claimed,
                    "login",
                    resource_kind=refusal.kind,
                    resource_id=refusal.claimed.id,
                    result="refused",
                    details={"request": action, "reason": refusal.reason},
                )
        raise Unauthenticated(
            "The request carries no API key or session that is valid here.",
            hint="Send an API key as X-API-Key (tenantry key create makes one), or log in.",
        )

    async def record_login(self, principal: Principal) -> None:
        """Record that somebody logged in to the console with an API key, or a session's token."""
        async with self._store.transaction(principal.actor) as tx:
            await audit.record(
                tx,
                principal.actor,
                "login",
                resource_kind="api_key" if principal.session_id is None else "session",
                resource_id=principal.caller_id,
                resource_name=principal.actor.name,
                details={"method": "console"},
            )

    async def _rights(self, tx: Tx, row: ApiKeyRow | SessionRow | None, now: dt.datetime) -> Rights:
        if isinstance(row, ApiKeyRow):
            return await grants.of_key(tx, row.id)
        if row is None:
            return Rights(frozenset(), status="revoked", reason="unknown key")
        rights = await grants.of_user(tx, row.user_id)
        if rights.status != "active" or row.is_good(now, idle=self._session_idle):
            return rights
        if row.revoked_at is not None:
            return Rights(frozenset(), status="revoked", reason="revoked")
        return Rights(frozenset(), status="expired", reason="expired")

    async def authorize(self, principal: Principal, scope: str, *, action: str) -> None:
        """Raise Forbidden unless the caller may do what the scope is for; audited."""
        if principal.may(scope):
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
        self, tx: Tx, principal: Principal, secret: Secret, wanted: NewKey
    ) -> ShownKey:
        """Create a key that never has more rights than its creator, now or at any later use.

        Raises Forbidden for scopes or a customer beyond the creator's, InvalidInput for an expiry
        that has passed, Conflict for a chain of keys that is too long, UnknownCustomer unless the
        customer exists or may be new.
        """
        if wanted.expires_at is not None and wanted.expires_at <= dt.datetime.now(dt.UTC):
            raise InvalidInput.of("expires_at", "has already passed")
        if ADMIN not in principal.scopes and (beyond := set(wanted.scopes) - principal.scopes):
            raise Forbidden(
                f"You lack {', '.join(sorted(beyond))} and cannot pass it on.",
                hint="Ask for scopes that you have, or have an administrator make the key.",
            )
        actor = principal.actor
        customer_id = await self._customer_of_key(
            tx, principal, wanted.customer_email, may_be_new=wanted.new_customer
        )
        parent_id = None if actor.kind == "user" else principal.caller_id
        if parent_id is not None:
            await self._require_short_chain(tx, parent_id)
        row = await keys.insert(
            tx,
            secret,
            name=wanted.name,
            scopes=wanted.scopes,
            customer_id=customer_id,
            expires_at=wanted.expires_at,
            created_by=actor.id if actor.kind == "user" else None,
            parent_id=parent_id,
        )
        await self._record(tx, actor, "api_key.create", row)
        (shown,) = await _shown(tx, [row])
        return shown

    @staticmethod
    async def _customer_of_key(
        tx: Tx, principal: Principal, email: str | None, *, may_be_new: bool
    ) -> uuid.UUID | None:
        if principal.actor.customer_id is not None:
            if email not in {None, principal.actor.customer_email}:
                raise Forbidden("You can make keys for your own customer only.")
            return principal.actor.customer_id
        if email is None:
            return None
        if ADMIN not in principal.scopes:
            raise Forbidden(
                "Only administrators create keys for a customer.",
                hint="Use a key with the scope admin.",
            )
        return await customers.ensure(tx, email, field="customer_email", may_be_new=may_be_new)

    @staticmethod
    async def _require_short_chain(tx: Tx, parent_id: uuid.UUID) -> None:
        above = (await grants.chains(tx, [parent_id])).get(parent_id)
        if above is not None and len(above.links) >= grants.LONGEST_CHAIN:
            raise Conflict(
                f"The key is the last of {len(above.links)} keys that created each other.",
                hint="Create the key with an earlier one of them, or as a user.",
            )

    async def administrator_exists(self) -> bool:
        """Whether a lasting administrator's key exists (see ``keys.administrator_exists``)."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await keys.administrator_exists(tx)

    async def create_first_key(self, secret: Secret) -> None:
        """Create the administrator's key of a new installation."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await keys.insert(
                tx,
                secret,
                name="administrator",
                scopes=[ADMIN, *sorted(OF_DATA)],
                customer_id=None,
                expires_at=None,
            )
            await self._record(tx, audit.PLATFORM, "api_key.create", row)

    async def opens(self, secret: Secret) -> bool:
        """Whether an API key is active now."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await keys.find_by_secret(tx, secret)
            return row is not None and (await grants.of_key(tx, row.id)).status == "active"

    async def may_go_on(self, actor: Actor, customer_id: uuid.UUID | None) -> bool:
        """Whether an actor may still do what it began for this customer (None: the platform)."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await grants.may_go_on(tx, actor, customer_id=customer_id)

    async def page_of_keys(
        self, principal: Principal, *, cursor: str | None, limit: int
    ) -> Page[ShownKey]:
        """Return a page of keys without their secrets, newest first."""
        after = pages.read_key(cursor)
        async with self._store.transaction(principal.actor) as tx:
            found = await keys.page(
                tx, customer_id=principal.actor.customer_id, after=after, limit=limit + 1
            )
            shown = await _shown(tx, found)
        return pages.cut(shown, limit, lambda key: (key.row.created_at, key.row.id))

    async def revoke_key(self, tx: Tx, principal: Principal, key_id: uuid.UUID) -> ShownKey:
        """Revoke a key permanently, and with it the keys that it created. Idempotent.

        Raises NotFound, Forbidden for a key beyond the caller's own rights, and Conflict for the
        last administrator's key.
        """
        row = await keys.find(tx, key_id, customer_id=principal.actor.customer_id)
        if row is None:
            raise NotFound("There is no such API key.", hint="GET /api/api-keys lists them.")
        (shown,) = await _shown(tx, [row])
        if not _may_revoke(principal, shown):
            raise Forbidden(
                "This API key has rights that you lack, and you did not create it.",
                hint="Have an administrator revoke it.",
            )
        if shown.is_administrators:
            await keys.lock_administrators(tx)
            if not await keys.administrator_exists(tx, besides=row.id):
                raise Conflict(
                    "This is the last administrator's key; without it nobody could get in. "
                    "Those that it created end with it.",
                    hint="To replace it, empty admin.key on the machine and run tenantry up: "
                    "it creates another one.",
                )
        if row.revoked_at is None:
            await keys.revoke(tx, row.id)
            await self._record(tx, principal.actor, "api_key.revoke", row)
        row = await keys.find(tx, key_id, customer_id=None) or row
        (shown,) = await _shown(tx, [row])
        return shown

    async def page_of_audit(
        self, principal: Principal, wanted: audit.Filter, *, cursor: str | None, limit: int
    ) -> Page[AuditRow]:
        """Return audit rows, newest first; a customer's key sees what concerns its customer.

        Raises InvalidInput if there are none, since no such action, resource or actor exists.
        """
        before = pages.read_number(cursor)
        async with self._store.transaction(principal.actor) as tx:
            found = await audit.page(
                tx,
                wanted,
                customer_id=principal.actor.customer_id,
                before=before,
                limit=limit + 1,
            )
            if not found and cursor is None:
                await audit_filters.explain_nothing(
                    tx, wanted, customer_id=principal.actor.customer_id
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


async def _shown(tx: Tx, rows: list[ApiKeyRow]) -> list[ShownKey]:
    chains = await grants.chains(tx, [row.id for row in rows])
    return [ShownKey(row, chains[row.id]) for row in rows]


def _may_revoke(principal: Principal, key: ShownKey) -> bool:
    """Whether a caller who sees a key may revoke it.

    Without ``admin`` these are its own key, keys that descend from it or from its user, and its
    customer's keys with no more scopes than it has.
    """
    if ADMIN in principal.scopes:
        return True
    links = key.chain.links
    if principal.session_id is None:
        if principal.actor.id in {link.id for link in links}:
            return True
    elif links[0].created_by == principal.actor.id:
        return True
    return principal.actor.customer_id is not None and principal.scopes.issuperset(key.row.scopes)


def _principal(
    row: ApiKeyRow | SessionRow,
    rights: Rights,
    secret: Secret,
    *,
    address: str | None,
    request_id: str,
) -> Principal:
    session_id = row.id if isinstance(row, SessionRow) else None
    actor = Actor(
        kind="api_key" if session_id is None else "user",
        name=_name(row),
        id=row.user_id if isinstance(row, SessionRow) else row.id,
        customer_id=rights.customer_id,
        customer_email=row.customer_email,
        address=address,
        request_id=request_id,
    )
    return Principal(actor, rights.scopes, secret, session_id=session_id)
