"""API keys: bearers of scopes, found by their hash."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.base.secrets import Secret, hash_api_key
from tenantry.control.pages import Key
from tenantry.control.store import Tx

SCOPES = (
    "admin",
    "databases:read",
    "databases:write",
    "backups:read",
    "backups:write",
    "keys:read",
    "keys:write",
    "data:read",
    "data:write",
    "audit:read",
    "metrics:read",
    "platform:read",
)
_PREFIX_LENGTH = 12


@dataclass(frozen=True, slots=True)
class ApiKeyRow:
    """An API key without its secret, as it was granted; see ``grants`` for its current rights.

    ``prefix`` lets its owner recognise it. A user (``created_by``) or a key (``parent_id``) granted
    it, or the platform itself if both are None.
    """

    id: uuid.UUID
    name: str
    prefix: str
    scopes: list[str]
    customer_id: uuid.UUID | None
    customer_email: str | None
    created_by: uuid.UUID | None
    parent_id: uuid.UUID | None
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None
    created_at: dt.datetime


_SELECT = """
    SELECT k.id, k.name, k.prefix, k.scopes, k.customer_id, c.email AS customer_email,
           k.created_by, k.parent_id, k.expires_at, k.revoked_at, k.last_used_at, k.created_at
    FROM api_keys k LEFT JOIN customers c ON c.id = k.customer_id
"""


async def insert(
    tx: Tx,
    secret: Secret,
    *,
    name: str,
    scopes: list[str],
    customer_id: uuid.UUID | None,
    expires_at: dt.datetime | None,
    created_by: uuid.UUID | None = None,
    parent_id: uuid.UUID | None = None,
) -> ApiKeyRow:
    """Insert a new key's hash, and the user or key that grants it (neither: the platform)."""
    key_id = new_id()
    await tx.execute(
        """
        INSERT INTO api_keys (id, name, prefix, hash, scopes, customer_id, expires_at,
            created_by, parent_id)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (
            key_id,
            name,
            secret.reveal()[:_PREFIX_LENGTH],
            hash_api_key(secret),
            scopes,
            customer_id,
            expires_at,
            created_by,
            parent_id,
        ),
    )
    row = await find(tx, key_id, customer_id=None)
    if row is None:
        raise RuntimeError("a key that was just kept is not there")
    return row


async def find_by_secret(tx: Tx, secret: Secret) -> ApiKeyRow | None:
    """Return the key with this secret, valid or not; None if there is none."""
    async with tx.cursor(row_factory=class_row(ApiKeyRow)) as cursor:
        await cursor.execute(_SELECT + "WHERE k.hash = %s", (hash_api_key(secret),))
        return await cursor.fetchone()


async def find(tx: Tx, key_id: uuid.UUID, *, customer_id: uuid.UUID | None) -> ApiKeyRow | None:
    """Return a key by its id; with ``customer_id``, only if it is bound to that customer."""
    async with tx.cursor(row_factory=class_row(ApiKeyRow)) as cursor:
        await cursor.execute(
            _SELECT + "WHERE k.id = %s AND (%s::uuid IS NULL OR k.customer_id = %s)",
            (key_id, customer_id, customer_id),
        )
        return await cursor.fetchone()


async def page(tx: Tx, *, customer_id: uuid.UUID | None, after: Key, limit: int) -> list[ApiKeyRow]:
    """Return up to ``limit`` keys, newest first, starting after ``after``."""
    async with tx.cursor(row_factory=class_row(ApiKeyRow)) as cursor:
        await cursor.execute(
            _SELECT
            + """
            WHERE (k.created_at, k.id) < (%s, %s) AND (%s::uuid IS NULL OR k.customer_id = %s)
            ORDER BY k.created_at DESC, k.id DESC LIMIT %s
            """,
            (*after, customer_id, customer_id, limit),
        )
        return await cursor.fetchall()


async def revoke(tx: Tx, key_id: uuid.UUID) -> None:
    """Revoke a key permanently. The row stays, so that the audit can name it."""
    await tx.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE id = %s AND revoked_at IS NULL", (key_id,)
    )


async def revoke_made_by(tx: Tx, user_id: uuid.UUID) -> None:
    """Revoke all keys that a user created."""
    await tx.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE created_by = %s AND revoked_at IS NULL",
        (user_id,),
    )


async def touch(tx: Tx, key_id: uuid.UUID) -> None:
    """Record that a key has just been used."""
    await tx.execute("UPDATE api_keys SET last_used_at = now() WHERE id = %s", (key_id,))


async def administrator_exists(tx: Tx, *, besides: uuid.UUID | None = None) -> bool:
    """Whether a permanent administrator's key exists, not counting ``besides``.

    Permanent are the platform's own keys without a customer or an expiry: every other key ends with
    one of them, with a user, or by its expiry.
    """
    row = await (
        await tx.execute(
            """
            SELECT EXISTS (SELECT 1 FROM api_keys
                WHERE id IS DISTINCT FROM %s AND 'admin' = ANY (scopes) AND customer_id IS NULL
                  AND parent_id IS NULL AND created_by IS NULL
                  AND revoked_at IS NULL AND expires_at IS NULL)
            """,
            (besides,),
        )
    ).fetchone()
    return bool(row and row[0])


async def lock_administrators(tx: Tx) -> None:
    """Block other transactions that revoke an administrator's key until this one ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('administrators'' keys', 0))")
