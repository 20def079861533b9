"""The databases whose reconciliation failed, and why."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class FailingRow:
    """A database, and the failure as its owner sees it."""

    database_name: str
    detail: str


async def record(tx: Tx, seen: Collection[uuid.UUID], failed: Mapping[uuid.UUID, str]) -> None:
    """Record the failures of a pass over the databases ``seen``; the others of them succeeded."""
    await tx.execute(
        """
        DELETE FROM failing_reconciliations
        WHERE database_id = ANY (%s) AND database_id <> ALL (%s)
        """,
        (list(seen), list(failed)),
    )
    if failed:
        # FOR KEY SHARE waits for a concurrent deletion of the database.
        await tx.execute(
            """
            INSERT INTO failing_reconciliations (database_id, detail)
            SELECT d.id, failed.detail FROM databases d
            JOIN unnest(%s::uuid[], %s::text[]) AS failed (id, detail) USING (id)
            FOR KEY SHARE OF d
            ON CONFLICT (database_id) DO UPDATE SET detail = excluded.detail
            """,
            (list(failed), list(failed.values())),
        )


async def failing(connection: AsyncConnection[TupleRow]) -> list[FailingRow]:
    """Return all failing databases, those that have failed longest first."""
    async with connection.cursor(row_factory=class_row(FailingRow)) as cursor:
        await cursor.execute(
            """
            SELECT d.database_name, f.detail FROM failing_reconciliations f
            JOIN databases d ON d.id = f.database_id ORDER BY f.since, d.id
            """
        )
        return await cursor.fetchall()
