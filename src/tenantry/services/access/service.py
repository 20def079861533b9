"""API keys: made, recognised, revoked; and every refusal told to the audit."""

import datetime as dt
import uuid
from dataclasses import dataclass

from tenantry.base.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from tenantry.base.secrets import Secret
from tenantry.control import audit, customers, keys, pages
from tenantry.control.audit import Actor, AuditRow
from tenantry.control.keys import ApiKeyRow
from tenantry.control.pages import Page
from tenantry.control.store import ControlStore, Tx

ADMIN = "admin"
_TOUCH_EVERY = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as proven by an API key."""

    actor: Actor
    scopes: frozenset[str]
    secret: Secret

    @property
    def key_id(self) -> uuid.UUID:
        if self.actor.id is None:
            raise TypeError("a principal always has a key")
        return self.actor.id


class Access:
    """The verbs on API keys and on the audit."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    async def authenticate(
        self, secret: Secret | None, *, address: str | None, request_id: str, action: str
    ) -> Principal:
        """Who presents this key. A refusal is audited.

        Raises Unauthenticated for a missing, unknown, expired or revoked key, always in
        the same words.
        """
        now = dt.datetime.now(dt.UTC)
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = None if secret is None else await keys.find_by_secret(tx, secret)
            if row is not None and row.is_good(now) and secret is not None:
                if row.last_used_at is None or now - row.last_used_at > _TOUCH_EVERY:
                    await keys.touch(tx, row.id)
                actor = Actor(
                    kind="api_key",
                    name=row.name,
                    id=row.id,
                    customer_id=row.customer_id,
                    customer_email=row.customer_email,
                    address=address,
                    request_id=request_id,
                )
                return Principal(actor, frozenset(row.scopes), secret)
            stranger = Actor(
                kind="anonymous",
                name="anonymous" if row is None else row.name,
                id=None if row is None else row.id,
                customer_id=None if row is None else row.customer_id,
                address=address,
                request_id=request_id,
            )
            await audit.record(
                tx,
                stranger,
                "login",
                resource_kind="api_key",
                resource_id=None if row is None else row.id,
                result="refused",
                details={"request": action, "reason": _reason(secret, row, now)},
            )
        raise Unauthenticated(
            "The request carries no API key that is valid here.",
            hint="Send one as X-API-Key; tenantry key create makes one.",
        )

    async def authorize(self, principal: Principal, scope: str, *, action: str) -> None:
        """Raises Forbidden unless the key has the scope or is an administrator's; audited."""
        if {scope, ADMIN} & principal.scopes:
            return
        async with self._store.transaction(principal.actor) as tx:
            await audit.record(
                tx,
                principal.actor,
                "access",
                resource_kind="api_key",
                resource_id=principal.key_id,
                resource_name=principal.actor.name,
                result="refused",
                details={"request": action, "reason": f"lacks the scope {scope}"},
            )
        raise Forbidden(
            f"This API key lacks the scope {scope}.",
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
                f"This API key lacks {', '.join(sorted(beyond))} and cannot pass it on.",
                hint="Ask for scopes that it has, or have an administrator make the key.",
            )
        actor = principal.actor
        if actor.customer_id is not None:
            if customer_email not in {None, actor.customer_email}:
                raise Forbidden("This API key makes keys for its own customer only.")
            customer_id: uuid.UUID | None = actor.customer_id
        elif customer_email is not None:
            customer_id = await customers.ensure(tx, customer_email)
        else:
            customer_id = None
        row = await keys.insert(
            tx, secret, name=name, scopes=scopes, customer_id=customer_id, expires_at=expires_at
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


def _reason(secret: Secret | None, row: ApiKeyRow | None, now: dt.datetime) -> str:
    if secret is None:
        return "no key"
    if row is None:
        return "unknown key"
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if not row.is_good(now) else "refused"
