"""Branches: databases made from others, and the SQL that masks them."""

import datetime as dt
import uuid
from collections.abc import Mapping

import psycopg

from tenantry.base.ids import new_id
from tenantry.control import attributes, databases, plans
from tenantry.control.attributes import Attributes
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import Tx, as_platform
from tenantry.pg import names

_COLUMNS = ", ".join((*attributes.NAMES, *plans.NAMES))
_VALUES = ", ".join(f"%({name})s" for name in (*attributes.NAMES, *plans.NAMES))


async def insert(
    tx: Tx,
    parent: DatabaseRow,
    wanted: Attributes,
    *,
    suffix: str,
    limits: Mapping[str, int | None],
    verifier: str,
) -> uuid.UUID:
    """Insert a branch to be made. ``limits`` are those that differ from its pricing plan.

    Raises NameTaken, and InvalidInput if the pricing plan does not exist.
    """
    database_id = new_id()
    await plans.require(tx, wanted.plan)
    try:
        async with tx.transaction(), as_platform(tx):
            await tx.execute(
                f"""
                INSERT INTO databases (id, cluster_id, database_name, username, status,
                    customer_id, parent_id, {_COLUMNS})
                SELECT %(id)s, cluster_id, %(database_name)s, %(username)s, 'branching',
                    customer_id, id, {_VALUES}
                FROM databases WHERE id = %(parent_id)s
                """,
                {
                    "id": database_id,
                    "database_name": names.main(suffix),
                    "username": names.owner(suffix),
                    "parent_id": parent.id,
                    **wanted.values(),
                    **dict.fromkeys(plans.NAMES),
                    **limits,
                },
            )
            await tx.execute(
                "INSERT INTO branch_passwords (database_id, verifier) VALUES (%s, %s)",
                (database_id, verifier),
            )
    except psycopg.errors.UniqueViolation:
        raise databases.name_taken(wanted.name, wanted.environment) from None
    return database_id


async def count(tx: Tx, parent_id: uuid.UUID) -> int:
    """Return how many branches a database has."""
    row = await (
        await tx.execute(
            "SELECT count(*) FROM databases WHERE parent_id = %s AND status <> 'deleting'",
            (parent_id,),
        )
    ).fetchone()
    return int(row[0]) if row else 0


async def finish(tx: Tx, database_id: uuid.UUID, branched_at: dt.datetime | None) -> None:
    """Mark a database as made; a branch with the moment of its parent's state that it has."""
    await tx.execute(
        """
        UPDATE databases SET status = 'active', branched_at = %s, updated_at = clock_timestamp()
        WHERE id = %s
        """,
        (branched_at, database_id),
    )
    await tx.execute("DELETE FROM branch_passwords WHERE database_id = %s", (database_id,))


async def set_branched_at(tx: Tx, database_id: uuid.UUID, branched_at: dt.datetime) -> None:
    """Record the moment of its parent's state that a branch has."""
    await tx.execute(
        "UPDATE databases SET branched_at = %s, updated_at = clock_timestamp() WHERE id = %s",
        (branched_at, database_id),
    )


async def verifier(tx: Tx, database_id: uuid.UUID) -> str | None:
    """Return the SCRAM verifier of an unfinished database's password, or None."""
    row = await (
        await tx.execute(
            "SELECT verifier FROM branch_passwords WHERE database_id = %s", (database_id,)
        )
    ).fetchone()
    return str(row[0]) if row else None


async def expired(tx: Tx) -> list[uuid.UUID]:
    """Return the branches that have expired."""
    cursor = await tx.execute(
        "SELECT id FROM databases WHERE expires_at <= now() AND status = 'active'"
    )
    return [row[0] for row in await cursor.fetchall()]


# ── masking ──────────────────────────────────────────────────────────────────


async def masking(tx: Tx, database_id: uuid.UUID) -> tuple[str, dt.datetime] | None:
    """Return the SQL that masks a database's branches, and when it was last set."""
    row = await (
        await tx.execute(
            "SELECT sql, updated_at FROM maskings WHERE database_id = %s", (database_id,)
        )
    ).fetchone()
    return None if row is None else (row[0], row[1])


async def set_masking(tx: Tx, database_id: uuid.UUID, sql: str | None) -> None:
    """Set the SQL that masks a database's branches; None removes it."""
    if sql is None:
        await tx.execute("DELETE FROM maskings WHERE database_id = %s", (database_id,))
        return
    await tx.execute(
        """
        INSERT INTO maskings (database_id, sql) VALUES (%s, %s) ON CONFLICT (database_id)
        DO UPDATE SET sql = excluded.sql, updated_at = clock_timestamp()
        """,
        (database_id, sql),
    )
