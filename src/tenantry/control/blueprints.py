"""Which blueprint a database has: a row each. How far it really is, the database itself knows."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class BlueprintRow:
    """``version`` is where the platform last brought it. ``files`` are those of somebody's own."""

    name: str
    version: int
    files: dict[str, str] | None


async def find(tx: Tx, database_id: uuid.UUID) -> BlueprintRow | None:
    """The blueprint of a database, if it has one."""
    async with tx.cursor(row_factory=class_row(BlueprintRow)) as cursor:
        await cursor.execute(
            "SELECT name, version, files FROM database_blueprints WHERE database_id = %s",
            (database_id,),
        )
        return await cursor.fetchone()


async def record(
    tx: Tx, database_id: uuid.UUID, name: str, version: int, files: Mapping[str, str] | None
) -> None:
    """A database is at a version of a blueprint now."""
    await tx.execute(
        """
        INSERT INTO database_blueprints (database_id, name, version, files)
        VALUES (%s, %s, %s, %s)
        ON CONFLICT (database_id) DO UPDATE SET name = excluded.name, version = excluded.version,
            files = excluded.files, updated_at = excluded.updated_at
        """,
        (database_id, name, version, None if files is None else Jsonb(dict(files))),
    )


async def follow(tx: Tx, source_id: uuid.UUID, heir_id: uuid.UUID) -> None:
    """A database has what is in another one now, and so its blueprint, or none."""
    await tx.execute("DELETE FROM database_blueprints WHERE database_id = %s", (heir_id,))
    await tx.execute(
        """
        INSERT INTO database_blueprints (database_id, name, version, files)
        SELECT %s, name, version, files FROM database_blueprints WHERE database_id = %s
        """,
        (heir_id, source_id),
    )
