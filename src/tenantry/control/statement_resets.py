"""When the counts of a database's statements were last reset, and what its server had done then."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.control.store import Tx, as_platform


@dataclass(frozen=True, slots=True)
class StatementReset:
    """A reset. ``counted_since`` and ``evictions`` are of the server, at that time."""

    reset_at: dt.datetime
    counted_since: dt.datetime
    evictions: int


async def find(tx: Tx, database_id: uuid.UUID) -> StatementReset | None:
    """Return the last reset of a database's statements; None if there was none."""
    async with tx.cursor(row_factory=class_row(StatementReset)) as cursor:
        await cursor.execute(
            "SELECT reset_at, counted_since, evictions FROM statement_resets"
            " WHERE database_id = %s",
            (database_id,),
        )
        return await cursor.fetchone()


async def note(
    tx: Tx, database_id: uuid.UUID, *, counted_since: dt.datetime, evictions: int
) -> None:
    """Record that a database's statements are being reset."""
    async with as_platform(tx):
        await tx.execute(
            """
            INSERT INTO statement_resets (database_id, counted_since, evictions)
            VALUES (%s, %s, %s)
            ON CONFLICT (database_id) DO UPDATE SET reset_at = clock_timestamp(),
                counted_since = excluded.counted_since, evictions = excluded.evictions
            """,
            (database_id, counted_since, evictions),
        )
