"""Databases at a past moment that can be read for a while. The id is their operation's."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class PastSession:
    """A database at ``moment``; it can be read until ``expires_at``, None while it is made."""

    id: uuid.UUID
    database_id: uuid.UUID
    moment: dt.datetime
    created_at: dt.datetime
    expires_at: dt.datetime | None


async def lock(tx: Tx) -> None:
    """Let one transaction at a time take a place, until ``tx`` ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtext('past_sessions'))")


async def count_others(tx: Tx, database_id: uuid.UUID) -> tuple[int, int]:
    """Return how many other databases have one, in all and of the same customer.

    The role of ``tx`` has to see all rows.
    """
    cursor = await tx.execute(
        """
        SELECT count(*), count(*) FILTER (WHERE d.customer_id = own.customer_id)
        FROM past_sessions p JOIN databases d ON d.id = p.database_id, databases own
        WHERE own.id = %s AND p.database_id <> own.id
          AND (p.expires_at IS NULL OR p.expires_at > clock_timestamp())
        """,
        (database_id,),
    )
    [(total, of_customer)] = await cursor.fetchall()
    return total, of_customer


async def insert(tx: Tx, session_id: uuid.UUID, database_id: uuid.UUID, to: dt.datetime) -> None:
    """Take a place for an operation."""
    await tx.execute(
        "INSERT INTO past_sessions (id, database_id, moment) VALUES (%s, %s, %s)",
        (session_id, database_id, to),
    )


async def open_for(tx: Tx, session_id: uuid.UUID, minutes: int) -> PastSession | None:
    """Begin the time of one; repeated, it begins no second time. None if it is gone."""
    async with tx.cursor(row_factory=class_row(PastSession)) as cursor:
        await cursor.execute(
            """
            UPDATE past_sessions SET expires_at =
                coalesce(expires_at, clock_timestamp() + make_interval(mins => %s))
            WHERE id = %s RETURNING *
            """,
            (minutes, session_id),
        )
        return await cursor.fetchone()


async def end(
    tx: Tx, database_id: uuid.UUID, session_id: uuid.UUID | None = None
) -> list[PastSession]:
    """Let a database's sessions that can be read expire now, or one of them. Return those."""
    async with tx.cursor(row_factory=class_row(PastSession)) as cursor:
        await cursor.execute(
            """
            UPDATE past_sessions SET expires_at = clock_timestamp()
            WHERE database_id = %s AND id = coalesce(%s, id) AND expires_at > clock_timestamp()
            RETURNING *
            """,
            (database_id, session_id),
        )
        return await cursor.fetchall()


async def is_made(tx: Tx, database_id: uuid.UUID) -> bool:
    """Whether one of this database is being made."""
    cursor = await tx.execute(
        "SELECT FROM past_sessions WHERE database_id = %s AND expires_at IS NULL", (database_id,)
    )
    return bool(cursor.rowcount)


async def of_database(tx: Tx, database_id: uuid.UUID) -> list[PastSession]:
    """Return those of a database that are made or can be read, newest first."""
    async with tx.cursor(row_factory=class_row(PastSession)) as cursor:
        await cursor.execute(
            """
            SELECT * FROM past_sessions WHERE database_id = %s
              AND (expires_at IS NULL OR expires_at > clock_timestamp())
            ORDER BY created_at DESC
            """,
            (database_id,),
        )
        return await cursor.fetchall()


async def all_ids(tx: Tx) -> set[uuid.UUID]:
    """Return the operations whose files belong to a row."""
    cursor = await tx.execute("SELECT id FROM past_sessions")
    return {session_id for (session_id,) in await cursor.fetchall()}


async def open_ids(tx: Tx) -> set[uuid.UUID]:
    """Return those that can be read."""
    cursor = await tx.execute("SELECT id FROM past_sessions WHERE expires_at > clock_timestamp()")
    return {session_id for (session_id,) in await cursor.fetchall()}


async def over(tx: Tx) -> set[uuid.UUID]:
    """Return those that have expired, or whose operation has ended without opening them."""
    cursor = await tx.execute(
        """
        SELECT id FROM past_sessions p WHERE expires_at <= clock_timestamp()
          OR (expires_at IS NULL AND NOT EXISTS (
              SELECT FROM operations o WHERE o.id = p.id AND o.status IN ('queued', 'running')))
        """
    )
    return {session_id for (session_id,) in await cursor.fetchall()}


async def remove(tx: Tx, session_id: uuid.UUID) -> None:
    await tx.execute("DELETE FROM past_sessions WHERE id = %s", (session_id,))
