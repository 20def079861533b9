"""Texts of SQL that a user or a key has saved, or, without a name, has run."""

import datetime as dt
import uuid
from dataclasses import dataclass, field

from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.control.audit import Actor
from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class SqlTextRow:
    """A sealed text. One without a ``name`` was run, the last time at ``used_at``."""

    id: uuid.UUID
    name: str | None
    text: bytes = field(repr=False)
    used_at: dt.datetime


async def of_owner(tx: Tx, actor: Actor, database_id: uuid.UUID) -> list[SqlTextRow]:
    """Return an actor's texts: those saved by name, then those that were run, the last first."""
    async with tx.cursor(row_factory=class_row(SqlTextRow)) as cursor:
        await cursor.execute(
            "SELECT id, name, text, used_at FROM sql_texts"
            " WHERE database_id = %s AND owner_id = %s ORDER BY name, used_at DESC, id",
            (database_id, actor.id),
        )
        return await cursor.fetchall()


async def put(
    tx: Tx, actor: Actor, database_id: uuid.UUID, name: str | None, text: bytes
) -> uuid.UUID:
    """Insert a text, and return its ID; one with the same name is replaced."""
    cursor = await tx.execute(
        "INSERT INTO sql_texts (id, database_id, owner_id, name, text)"
        " VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (database_id, owner_id, name) WHERE name IS NOT NULL"
        " DO UPDATE SET text = excluded.text, used_at = clock_timestamp() RETURNING id",
        (new_id(), database_id, actor.id, name, text),
    )
    [(text_id,)] = await cursor.fetchall()
    return uuid.UUID(str(text_id))


async def remove(tx: Tx, actor: Actor, database_id: uuid.UUID, text_ids: list[uuid.UUID]) -> int:
    """Delete texts of an actor; return how many there were."""
    cursor = await tx.execute(
        "DELETE FROM sql_texts WHERE database_id = %s AND owner_id = %s AND id = ANY (%s)",
        (database_id, actor.id, text_ids),
    )
    return cursor.rowcount
