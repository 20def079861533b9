"""Answers kept for repeated requests, without the secrets that they showed.

The draft HTTP header Idempotency-Key: the same key and request get the same
answer; the same key with another request is refused; while the first runs, so
is the second. The key's advisory lock lasts as long as the transaction that
does the work and keeps the answer, so a crash leaves neither.
"""

import uuid
from dataclasses import dataclass

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered; each secret is replaced by a mark made from ``salt``."""

    fingerprint: bytes
    salt: bytes
    status: int
    body: str


async def try_lock(tx: Tx, caller_id: uuid.UUID, key: str) -> bool:
    """Be the only transaction that works under this key. False if another one does."""
    row = await (
        await tx.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (f"{caller_id} {key}",)
        )
    ).fetchone()
    return bool(row and row[0])


async def find(tx: Tx, caller_id: uuid.UUID, key: str) -> KeptAnswer | None:
    """The answer that was given under this key, if any."""
    row = await (
        await tx.execute(
            """
            SELECT fingerprint, salt, status, body FROM idempotency_keys
            WHERE caller_id = %s AND key = %s
            """,
            (caller_id, key),
        )
    ).fetchone()
    return KeptAnswer(bytes(row[0]), bytes(row[1]), row[2], row[3]) if row else None


async def keep(tx: Tx, caller_id: uuid.UUID, key: str, answer: KeptAnswer) -> None:
    """Keep an answer, in the transaction of the work that it tells of."""
    await tx.execute(
        """
        INSERT INTO idempotency_keys (caller_id, key, fingerprint, salt, status, body)
        VALUES (%s, %s, %s, %s, %s, %s)
        """,
        (caller_id, key, answer.fingerprint, answer.salt, answer.status, answer.body),
    )


async def forget_old(tx: Tx) -> None:
    """Answers are kept for a day."""
    await tx.execute("DELETE FROM idempotency_keys WHERE created_at < now() - interval '1 day'")
