"""The blueprint of each database; its actual version is recorded in the database itself."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class BlueprintRow:
    """``version`` is the last one that the platform applied. ``files`` are a custom blueprint's."""

    name: str
    version: int
    files: dict[str, str] | None


async def find(tx: Tx, database_id: uuid.UUID) -> BlueprintRow | None:
    """Return the blueprint of a database, or None."""
    async with tx.cursor(row_factory=class_row(BlueprintRow)) as cursor:
        await cursor.execute(
            "SELECT name, version, files FROM database_blueprints WHERE database_id = %s",
            (database_id,),
        )
        return await cursor.fetchone()


async def record(
    tx: Tx, database_id: uuid.UUID, name: str, version: int, files: Mapping[str, str] | None
) -> None:
    """Record the version of a blueprint that a database has now."""
    await tx.execute(
        """
        INSERT INTO database_blueprints (database_id, name, version, files)
        VALUES (%s, %s, %s, %s)
        ON CONFLICT (database_id) DO UPDATE SET name = excluded.name, version = excluded.version,
            files = excluded.files, updated_at = excluded.updated_at
        """,
        (database_id, name, version, None if files is None else Jsonb(dict(files))),
    )


async def follow(tx: Tx, source_id: uuid.UUID, target_id: uuid.UUID) -> None:
    """Copy the blueprint, or its absence, to a database that now has the source's contents."""
    await tx.execute("DELETE FROM database_blueprints WHERE database_id = %s", (target_id,))
    await tx.execute(
        """
        INSERT INTO database_blueprints (database_id, name, version, files)
        SELECT %s, name, version, files FROM database_blueprints WHERE database_id = %s
        """,
        (target_id, source_id),
    )
