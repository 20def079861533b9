"""Findings about databases that their owners do not want to be reported again."""

import datetime as dt
import uuid

from tenantry.control.store import Tx

MOST = 1000  # of one database


async def of_database(tx: Tx, database_id: uuid.UUID) -> dict[tuple[str, str], dt.datetime]:
    """Return when each was muted, by its code and object."""
    cursor = await tx.execute(
        "SELECT code, object, muted_at FROM advice_mutes WHERE database_id = %s", (database_id,)
    )
    return {(code, object_): muted_at for code, object_, muted_at in await cursor.fetchall()}


async def put(tx: Tx, database_id: uuid.UUID, code: str, object_: str) -> None:
    await tx.execute(
        "INSERT INTO advice_mutes (database_id, code, object) VALUES (%s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (database_id, code, object_),
    )


async def remove(tx: Tx, database_id: uuid.UUID, code: str, object_: str) -> bool:
    """Return whether it was muted."""
    cursor = await tx.execute(
        "DELETE FROM advice_mutes WHERE database_id = %s AND code = %s AND object = %s",
        (database_id, code, object_),
    )
    return bool(cursor.rowcount)
