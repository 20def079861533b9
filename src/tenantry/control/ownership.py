"""What was found in tenants' databases that does not belong to their tenants."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence

from psycopg.types.json import Jsonb

from tenantry.control.store import Tx


async def due(
    tx: Tx, cluster_id: uuid.UUID, names: Collection[str], *, before: dt.datetime, limit: int
) -> list[str]:
    """Those of the databases named that were not checked since ``before``, the oldest first.

    Forgets databases of the cluster that are not named.
    """
    await tx.execute(
        "DELETE FROM ownership_checks WHERE cluster_id = %s AND database_name <> ALL (%s)",
        (cluster_id, list(names)),
    )
    cursor = await tx.execute(
        """
        SELECT name FROM unnest(%s::text[]) name
            LEFT JOIN ownership_checks c ON c.cluster_id = %s AND c.database_name = name
        WHERE c.checked_at IS NULL OR c.checked_at < %s
        ORDER BY c.checked_at NULLS FIRST, name LIMIT %s
        """,
        (list(names), cluster_id, before, limit),
    )
    return [name for (name,) in await cursor.fetchall()]


async def record(tx: Tx, cluster_id: uuid.UUID, name: str, found: Sequence[str]) -> None:
    """Note what a check of a database found; nothing is noted as well."""
    await tx.execute(
        """
        INSERT INTO ownership_checks (cluster_id, database_name, found)
        SELECT id, %s, %s FROM clusters WHERE id = %s
        ON CONFLICT (cluster_id, database_name)
            DO UPDATE SET found = excluded.found, checked_at = clock_timestamp()
        """,
        (name, Jsonb(list(found)), cluster_id),
    )


async def findings(tx: Tx) -> dict[str, list[str]]:
    """What does not belong to its tenant, by database."""
    cursor = await tx.execute(
        "SELECT database_name, found FROM ownership_checks WHERE found <> '[]' ORDER BY 1"
    )
    return dict(await cursor.fetchall())
