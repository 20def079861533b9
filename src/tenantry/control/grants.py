"""The rights of a key or a user: no more than those of each of its grantors.

Rights are evaluated when they are used, from the whole chain: a user or the platform, the key
that it created, the key that this one created, and so on. Nothing is copied when a key is
created, so nothing remains when a grantor loses its rights.
"""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from psycopg.rows import class_row

from tenantry.control.audit import Actor
from tenantry.control.store import Tx, as_platform
from tenantry.control.users import Role

ADMIN = "admin"
# The scopes on the rows in databases, which ``admin`` does not stand for.
OF_DATA = frozenset({"data:read", "data:write"})
# The scopes of a customer's users on what belongs to their customer.
CUSTOMER_SCOPES = frozenset(
    {
        "databases:read",
        "databases:write",
        "backups:read",
        "backups:write",
        "keys:read",
        "keys:write",
        "audit:read",
        "metrics:read",
        *OF_DATA,
    }
)
# Those of its viewers. With ``backups:read`` they could download all rows, and with ``audit:read``
# read the constants of statements.
VIEWER_SCOPES = frozenset({"databases:read", "metrics:read"})
# Keys in one chain. Each request reads the whole chain.
LONGEST_CHAIN = 32

Status = Literal["active", "revoked", "expired", "suspended"]


@dataclass(frozen=True, slots=True)
class Link:
    """One key of a chain, with the user who created it, if a user did."""

    of: uuid.UUID
    id: uuid.UUID
    name: str
    scopes: list[str]
    customer_id: uuid.UUID | None
    parent_id: uuid.UUID | None
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    created_by: uuid.UUID | None
    user_email: str | None
    user_role: Role | None
    user_customer_id: uuid.UUID | None
    user_disabled_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights at one moment.

    ``customer_id`` limits them to one customer's resources. ``expires_at`` is the earliest expiry
    in the chain. ``reason`` says why ``status`` is not active; then there are no scopes.
    """

    scopes: frozenset[str]
    customer_id: uuid.UUID | None = None
    expires_at: dt.datetime | None = None
    status: Status = "active"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """A key after its grantors, the first grantor first, and the resulting rights."""

    links: Sequence[Link] = field(repr=False)
    rights: Rights

    @property
    def parent(self) -> Link | None:
        """The key that created it, if any."""
        return self.links[-2] if len(self.links) > 1 else None


def _of_role(role: Role, customer_id: uuid.UUID | None) -> Rights:
    if role == "administrator":
        return Rights(frozenset({ADMIN, *OF_DATA}))
    return Rights(CUSTOMER_SCOPES if role == "customer" else VIEWER_SCOPES, customer_id)


def _lost(status: Status, reason: str, expires_at: dt.datetime | None = None) -> Rights:
    return Rights(frozenset(), expires_at=expires_at, status=status, reason=reason)


def _of_first(link: Link) -> Rights:
    """Return the rights of the creator of a chain's first key: the platform, or a user."""
    if link.parent_id is not None:
        return _lost("suspended", "grantor unknown")
    if link.created_by is None:
        return Rights(frozenset({ADMIN}))
    if link.user_role is None:
        return _lost("revoked", "user deleted")
    if link.user_disabled_at is not None:
        return _lost("suspended", "user disabled")
    return _of_role(link.user_role, link.user_customer_id)


def evaluate(links: Sequence[Link], now: dt.datetime) -> Rights:
    """Return the rights of the last key of a chain: the intersection along it."""
    rights = _of_first(links[0]) if links else _lost("suspended", "grantor unknown")
    for link in links:
        if rights.reason is not None:
            return rights
        whose = "" if link is links[-1] else "grantor "
        ends = [each for each in (rights.expires_at, link.expires_at) if each is not None]
        expires_at = min(ends, default=None)
        if link.revoked_at is not None:
            return _lost("revoked", f"{whose}revoked", expires_at)
        if link.expires_at is not None and link.expires_at <= now:
            return _lost("expired", f"{whose}expired", expires_at)
        if rights.customer_id not in {None, link.customer_id}:
            return _lost("suspended", "grantor belongs to another customer", expires_at)
        rights = Rights(_both(rights.scopes, frozenset(link.scopes)), link.customer_id, expires_at)
    return rights


def _both(granted: frozenset[str], own: frozenset[str]) -> frozenset[str]:
    """Return what is in both sets of scopes.

    Who has ``admin`` can grant all scopes; a key that has it has all but ``OF_DATA`` by that.
    """
    if ADMIN in granted:
        return own
    return (granted - OF_DATA) | (granted & own) if ADMIN in own else granted & own


async def chains(tx: Tx, key_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Chain]:
    """Return the chain of each key, with its rights now."""
    if not key_ids:
        return {}
    # A customer's transaction sees no grantor outside of the customer.
    async with as_platform(tx), tx.cursor(row_factory=class_row(Link)) as cursor:
        await cursor.execute(
            """
            WITH RECURSIVE chain AS (
                SELECT id AS of, id, parent_id, 1 AS length FROM api_keys WHERE id = ANY (%s)
                UNION ALL
                SELECT c.of, p.id, p.parent_id, c.length + 1
                FROM chain c JOIN api_keys p ON p.id = c.parent_id
                WHERE c.length < %s
            )
            SELECT c.of, k.id, k.name, k.scopes, k.customer_id, k.parent_id, k.expires_at,
                k.revoked_at, k.created_by, u.email AS user_email, u.role AS user_role,
                u.customer_id AS user_customer_id, u.disabled_at AS user_disabled_at
            FROM chain c JOIN api_keys k ON k.id = c.id LEFT JOIN users u ON u.id = k.created_by
            ORDER BY c.length DESC
            """,
            (list(key_ids), LONGEST_CHAIN),
        )
        links: defaultdict[uuid.UUID, list[Link]] = defaultdict(list)
        for link in await cursor.fetchall():
            links[link.of].append(link)
    now = dt.datetime.now(dt.UTC)
    return {key_id: Chain(found, evaluate(found, now)) for key_id, found in links.items()}


async def of_key(tx: Tx, key_id: uuid.UUID) -> Rights:
    """Return the current rights of a key."""
    found = (await chains(tx, [key_id])).get(key_id)
    return found.rights if found else _lost("revoked", "unknown key")


async def of_user(tx: Tx, user_id: uuid.UUID) -> Rights:
    """Return the current rights of a user."""
    row = await (
        await tx.execute(
            "SELECT role, customer_id, disabled_at FROM users WHERE id = %s", (user_id,)
        )
    ).fetchone()
    if row is None:
        return _lost("revoked", "user deleted")
    role, customer_id, disabled_at = row
    if disabled_at is not None:
        return _lost("suspended", "user disabled")
    return _of_role(role, customer_id)


async def may_go_on(tx: Tx, actor: Actor, *, customer_id: uuid.UUID | None) -> bool:
    """Whether an actor may still do what it began for this customer (None: for the platform).

    ``tx`` is the platform's. The end of a session does not end what the user began in it.
    """
    if actor.kind == "platform":
        return True
    if actor.id is None:
        return False
    rights = await (of_user if actor.kind == "user" else of_key)(tx, actor.id)
    return rights.status == "active" and rights.customer_id in {None, customer_id}
