"""Databases to which clients cannot connect for a while, because of what they wrote."""

import uuid
from typing import Literal

from tenantry.control.store import Tx

PauseReason = Literal["wal", "notify", "log", "temp", "settings"]


async def set_pause(
    tx: Tx, database_id: uuid.UUID, reason: PauseReason | None, *, seconds: int = 0
) -> None:
    """Pause a database for so many seconds, or (with a reason of None) end its pause."""
    await tx.execute(
        """
        UPDATE databases SET paused_for = %(reason)s, paused_until = CASE
            WHEN %(reason)s::text IS NOT NULL THEN clock_timestamp() + make_interval(secs => %(s)s)
        END WHERE id = %(id)s
        """,
        {"reason": reason, "s": seconds, "id": database_id},
    )


async def pauses_over(tx: Tx) -> list[uuid.UUID]:
    """Return the databases whose pause has ended."""
    cursor = await tx.execute("SELECT id FROM databases WHERE paused_until <= clock_timestamp()")
    return [row[0] for row in await cursor.fetchall()]


async def count_paused(tx: Tx) -> dict[str, int]:
    """Return the number of paused databases by reason."""
    cursor = await tx.execute(
        "SELECT paused_for, count(*) FROM databases WHERE paused_for IS NOT NULL GROUP BY 1"
    )
    return dict(await cursor.fetchall())
