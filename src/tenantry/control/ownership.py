"""Objects found in tenants' databases that do not belong to their tenants."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence

from psycopg.types.json import Jsonb

from tenantry.control.store import Tx


async def take_due(
    tx: Tx, cluster_id: uuid.UUID, names: Collection[str], *, before: dt.datetime, limit: int
) -> list[str]:
    """Return which of the named databases were not checked since ``before``.

    They are ordered by when they were last taken, and are last in that order from then on, whatever
    the result of their check. Deletes the records of databases of the cluster that are not named.
    """
    await tx.execute(
        "DELETE FROM ownership_checks WHERE cluster_id = %s AND database_name <> ALL (%s)",
        (cluster_id, list(names)),
    )
    cursor = await tx.execute(
        """
        WITH due AS (
            SELECT name, row_number() OVER (ORDER BY c.tried_at NULLS FIRST, name) AS place
            FROM unnest(%s::text[]) name
                LEFT JOIN ownership_checks c ON c.cluster_id = %s AND c.database_name = name
            WHERE c.checked_at IS NULL OR c.checked_at < %s
            ORDER BY place LIMIT %s
        ), taken AS (
            INSERT INTO ownership_checks (cluster_id, database_name)
            SELECT clusters.id, due.name FROM clusters, due WHERE clusters.id = %s
            ON CONFLICT (cluster_id, database_name) DO UPDATE SET tried_at = excluded.tried_at
        )
        SELECT name FROM due ORDER BY place
        """,
        (list(names), cluster_id, before, limit, cluster_id),
    )
    return [name for (name,) in await cursor.fetchall()]


async def record(tx: Tx, cluster_id: uuid.UUID, name: str, found: Sequence[str]) -> None:
    """Record the findings of a check, also if there are none."""
    await tx.execute(
        """
        UPDATE ownership_checks SET found = %s, checked_at = clock_timestamp()
        WHERE cluster_id = %s AND database_name = %s
        """,
        (Jsonb(list(found)), cluster_id, name),
    )


async def findings(tx: Tx) -> dict[str, list[str]]:
    """Return the objects that do not belong to their tenant, by database."""
    cursor = await tx.execute(
        "SELECT database_name, found FROM ownership_checks WHERE found <> '[]' ORDER BY 1"
    )
    return dict(await cursor.fetchall())
