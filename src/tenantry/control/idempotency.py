"""Stored results of requests that may be repeated, without the secrets in them.

Implements the draft HTTP header Idempotency-Key: the same key and request get the same answer;
the same key with another request is refused; while the first request runs, so is a second one.
The key's advisory lock lasts as long as the transaction that does the work and stores the
result, so a crash leaves neither.
"""

import uuid
from dataclasses import dataclass

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class StoredResult:
    """The result of a request, as JSON; its secrets can be derived again with ``salt``."""

    fingerprint: bytes
    salt: bytes
    result: str


async def try_lock(tx: Tx, caller_id: uuid.UUID, key: str) -> bool:
    """Lock this key until the transaction ends. Returns False if another one has the lock."""
    row = await (
        await tx.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (f"{caller_id} {key}",)
        )
    ).fetchone()
    return bool(row and row[0])


async def find(tx: Tx, caller_id: uuid.UUID, key: str) -> StoredResult | None:
    """Return the result of the request with this key, or None."""
    row = await (
        await tx.execute(
            """
            SELECT fingerprint, salt, result FROM idempotency_keys
            WHERE caller_id = %s AND key = %s
            """,
            (caller_id, key),
        )
    ).fetchone()
    return StoredResult(bytes(row[0]), bytes(row[1]), row[2]) if row else None


async def keep(tx: Tx, caller_id: uuid.UUID, key: str, stored: StoredResult) -> None:
    """Store a result, in the transaction of the work."""
    await tx.execute(
        """
        INSERT INTO idempotency_keys (caller_id, key, fingerprint, salt, result)
        VALUES (%s, %s, %s, %s, %s)
        """,
        (caller_id, key, stored.fingerprint, stored.salt, stored.result),
    )


async def forget(tx: Tx, caller_id: uuid.UUID, key: str) -> None:
    """Delete the result of a request, whose key can then be used again."""
    await tx.execute(
        "DELETE FROM idempotency_keys WHERE caller_id = %s AND key = %s", (caller_id, key)
    )


async def forget_old(tx: Tx) -> None:
    """Delete results older than a day."""
    await tx.execute("DELETE FROM idempotency_keys WHERE created_at < now() - interval '1 day'")
