"""Administration of users: create, change, disable and enable again.

What users do about their own login is ``services.people``, whose rules apply here, too.
"""

import uuid
from dataclasses import dataclass

from tenantry.base.errors import Forbidden, InvalidInput, NotFound
from tenantry.base.passwords import Hashing
from tenantry.base.secrets import Secret
from tenantry.control import attempts, audit, customers, keys, pages, sessions, users
from tenantry.control.grants import ADMIN
from tenantry.control.pages import Page
from tenantry.control.store import ControlStore, Tx
from tenantry.control.users import Role, UserRow
from tenantry.services.access.service import Principal


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to create. Without a password they get a random one.

    ``new_customer`` is whether ``customer_email``, or else ``email``, may be a new customer's.
    """

    email: str
    name: str | None
    role: Role
    customer_email: str | None
    password: Secret | None
    new_customer: bool = True


class Users:
    """The verbs on users. Each raises Forbidden unless an unbound administrator calls it."""

    def __init__(self, store: ControlStore, hashing: Hashing) -> None:
        self._store = store
        self._hashing = hashing

    async def good_hash(self, wanted: NewUser) -> str | None:
        """Return the hash of the requested password, if there is one.

        Raises InvalidInput if it is too weak. It takes a while: call it outside of a transaction.
        """
        if wanted.password is None:
            return None
        if wrong := await self._hashing.fault(wanted.password, email=wanted.email):
            raise InvalidInput.of("password", wrong)
        return await self._hashing.hash(wanted.password)

    async def create(
        self,
        tx: Tx,
        principal: Principal,
        wanted: NewUser,
        *,
        password_hash: str | None,
        generated: Secret,
    ) -> UserRow:
        """Create a user, with the password ``generated`` unless a hash is given.

        Raises Conflict for an e-mail address that has a user, UnknownCustomer.
        """
        _administrators_only(principal)
        customer_id = None
        if wanted.role != "administrator":
            customer_id = await customers.ensure(
                tx,
                wanted.customer_email or wanted.email,
                field="customer_email",
                may_be_new=wanted.new_customer,
            )
        row = await users.insert(
            tx,
            email=wanted.email,
            name=wanted.name,
            role=wanted.role,
            customer_id=customer_id,
            password_hash=password_hash or await self._hashing.hash(generated),
        )
        await _record(tx, principal, "user.create", row, {"role": row.role})
        return row

    async def page(self, principal: Principal, *, cursor: str | None, limit: int) -> Page[UserRow]:
        """Return users, newest first."""
        _administrators_only(principal)
        after = pages.read_key(cursor)
        async with self._store.transaction(principal.actor) as tx:
            found = await users.page(tx, after=after, limit=limit + 1)
        return pages.cut(found, limit, lambda row: (row.created_at, row.id))

    async def show(self, principal: Principal, user_id: uuid.UUID) -> UserRow:
        """Return one user. Raises NotFound."""
        async with self._store.transaction(principal.actor) as tx:
            return await _find(tx, principal, user_id)

    async def update(
        self,
        tx: Tx,
        principal: Principal,
        user_id: uuid.UUID,
        *,
        name: str | None,
        disabled: bool | None,
    ) -> UserRow:
        """Rename a user; disable one and all their sessions and keys, or enable one again."""
        row = await _find(tx, principal, user_id)
        if name is not None:
            await users.set_name(tx, user_id, name)
            await _record(tx, principal, "user.update", row)
        if disabled is not None and disabled != (row.disabled_at is not None):
            await users.set_disabled(tx, user_id, disabled=disabled)
            if disabled:
                await sessions.revoke_all(tx, user_id)
            await _record(tx, principal, "user.disable" if disabled else "user.enable", row)
        return await _find(tx, principal, user_id)

    async def unlock(self, tx: Tx, principal: Principal, user_id: uuid.UUID) -> UserRow:
        """Delete the record of an account's failed logins."""
        row = await _find(tx, principal, user_id)
        await attempts.clear_account(tx, row.email)
        await _record(tx, principal, "user.unlock", row)
        return await _find(tx, principal, user_id)

    async def reset_password(
        self, tx: Tx, principal: Principal, user_id: uuid.UUID, password: Secret
    ) -> UserRow:
        """Give a user another password; their sessions end and the account is unlocked."""
        row = await _find(tx, principal, user_id)
        await users.set_password(tx, user_id, await self._hashing.hash(password))
        await sessions.revoke_all(tx, user_id)
        await attempts.clear_account(tx, row.email)
        await _record(tx, principal, "user.reset_password", row)
        return await _find(tx, principal, user_id)

    async def remove_totp(self, tx: Tx, principal: Principal, user_id: uuid.UUID) -> UserRow:
        """Require no code of a user who has lost the authenticator; their sessions end."""
        row = await _find(tx, principal, user_id)
        await users.remove_totp(tx, user_id)
        await sessions.revoke_all(tx, user_id)
        await _record(tx, principal, "user.totp_off", row)
        return await _find(tx, principal, user_id)

    async def delete(self, tx: Tx, principal: Principal, user_id: uuid.UUID) -> UserRow:
        """Delete a user; their sessions end, and the keys that they or these keys have created."""
        row = await _find(tx, principal, user_id)
        await keys.revoke_made_by(tx, user_id)
        await users.delete(tx, user_id)
        await attempts.clear_account(tx, row.email)
        await _record(tx, principal, "user.delete", row)
        return row


def _administrators_only(principal: Principal) -> None:
    if ADMIN not in principal.scopes or principal.actor.customer_id is not None:
        raise Forbidden("Only administrators of the platform manage users.")


async def _find(tx: Tx, principal: Principal, user_id: uuid.UUID) -> UserRow:
    _administrators_only(principal)
    row = await users.find(tx, user_id)
    if row is None:
        raise NotFound("There is no such user.", hint="GET /api/users lists them.")
    return row


async def _record(
    tx: Tx,
    principal: Principal,
    action: str,
    row: UserRow,
    details: dict[str, object] | None = None,
) -> None:
    await audit.record(
        tx,
        principal.actor,
        action,
        resource_kind="user",
        resource_id=row.id,
        resource_name=row.email,
        details=details,
    )
