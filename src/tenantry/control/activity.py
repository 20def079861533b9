"""When databases were last used by their tenants."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class Look:
    """What a check of a database found: its sessions so far, and whether it was used since."""

    database_id: uuid.UUID
    sessions: int
    used: bool


async def sessions_seen(tx: Tx, cluster_id: uuid.UUID) -> Mapping[uuid.UUID, int]:
    """Return the session count of each database of a cluster at the last check."""
    cursor = await tx.execute(
        """
        SELECT database_id, sessions FROM database_activity
        WHERE database_id IN (SELECT id FROM databases WHERE cluster_id = %s)
        """,
        (cluster_id,),
    )
    return dict(await cursor.fetchall())


async def keep(tx: Tx, looks: Sequence[Look]) -> None:
    """Record checks, of databases that still exist."""
    await tx.execute(
        """
        INSERT INTO database_activity (database_id, sessions, last_active_at)
        SELECT l.id, l.sessions, CASE WHEN l.used THEN clock_timestamp() END
        FROM unnest(%s::uuid[], %s::bigint[], %s::boolean[]) l (id, sessions, used)
        WHERE EXISTS (SELECT FROM databases d WHERE d.id = l.id)
        ON CONFLICT (database_id) DO UPDATE SET sessions = excluded.sessions,
            last_active_at = coalesce(excluded.last_active_at, database_activity.last_active_at)
        """,
        (
            [each.database_id for each in looks],
            [each.sessions for each in looks],
            [each.used for each in looks],
        ),
    )
