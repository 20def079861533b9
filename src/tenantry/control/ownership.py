"""What was found in tenants' databases that does not belong to their tenants."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence

from psycopg.types.json import Jsonb

from tenantry.control.store import Tx


async def take_due(
    tx: Tx, cluster_id: uuid.UUID, names: Collection[str], *, before: dt.datetime, limit: int
) -> list[str]:
    """Those of the databases named that were not checked since ``before``.

    They come in the order in which they were last taken, and are the last of all from then on,
    whatever comes of their checks. Forgets databases of the cluster that are not named.
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
    """Note what the check of a database that was taken has found; nothing is noted as well."""
    await tx.execute(
        """
        UPDATE ownership_checks SET found = %s, checked_at = clock_timestamp()
        WHERE cluster_id = %s AND database_name = %s
        """,
        (Jsonb(list(found)), cluster_id, name),
    )


async def findings(tx: Tx) -> dict[str, list[str]]:
    """What does not belong to its tenant, by database."""
    cursor = await tx.execute(
        "SELECT database_name, found FROM ownership_checks WHERE found <> '[]' ORDER BY 1"
    )
    return dict(await cursor.fetchall())
