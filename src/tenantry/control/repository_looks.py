"""The last observed state of each backup repository, by cluster and place."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.control.store import Tx

_FORGOTTEN = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class LookRow:
    """The state at ``looked_at``. If ``problem`` says why it is unknown, all else is None."""

    cluster_id: uuid.UUID
    place: str
    looked_at: dt.datetime
    problem: str | None
    last_backup_at: dt.datetime | None
    last_full_at: dt.datetime | None
    restorable_from: dt.datetime | None


async def record(tx: Tx, row: LookRow) -> None:
    """Replace the recorded state, and delete that of places unused for long."""
    await tx.execute(
        """
        INSERT INTO repository_looks (cluster_id, place, looked_at, problem, last_backup_at,
            last_full_at, restorable_from)
        SELECT id, %s, %s, %s, %s, %s, %s FROM clusters WHERE id = %s
        ON CONFLICT (cluster_id, place) DO UPDATE
        SET looked_at = excluded.looked_at, problem = excluded.problem,
            last_backup_at = excluded.last_backup_at, last_full_at = excluded.last_full_at,
            restorable_from = excluded.restorable_from
        """,
        (
            row.place,
            row.looked_at,
            row.problem,
            row.last_backup_at,
            row.last_full_at,
            row.restorable_from,
            row.cluster_id,
        ),
    )
    await tx.execute(
        "DELETE FROM repository_looks WHERE looked_at < %s", (row.looked_at - _FORGOTTEN,)
    )


async def of_places(tx: Tx, places: list[str]) -> list[LookRow]:
    """Return the last recorded states of the repositories at these places."""
    async with tx.cursor(row_factory=class_row(LookRow)) as cursor:
        await cursor.execute("SELECT * FROM repository_looks WHERE place = ANY (%s)", (places,))
        return await cursor.fetchall()
