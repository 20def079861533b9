"""Additional roles of databases: wanted state, one row each.

Work on a role holds the lock of its database's row.
"""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Literal

import psycopg
from psycopg.rows import class_row

from tenantry.base.errors import NameTaken
from tenantry.base.ids import new_id
from tenantry.control.store import Tx
from tenantry.pg.logins import Access


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A role's wanted state; ``verifier_before`` is set while its password is being changed."""

    id: uuid.UUID
    database_id: uuid.UUID
    name: str
    username: str
    access: Access
    max_connections: int
    status: Literal["active", "deleting"]
    verifier_before: str | None = field(repr=False)
    password_changed_at: dt.datetime
    created_at: dt.datetime
    updated_at: dt.datetime


async def insert(
    tx: Tx,
    database_id: uuid.UUID,
    *,
    name: str,
    username: str,
    access: Access,
    max_connections: int,
) -> RoleRow:
    """Insert a new role. Raises NameTaken if the database has one of that name."""
    try:
        async with tx.cursor(row_factory=class_row(RoleRow)) as cursor:
            await cursor.execute(
                """
                INSERT INTO database_roles (id, database_id, name, username, access,
                    max_connections, created_at)
                VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp()) RETURNING *
                """,
                (new_id(), database_id, name, username, access, max_connections),
            )
            row = await cursor.fetchone()
    except psycopg.errors.UniqueViolation:
        raise NameTaken(
            f"This database has a role named {name}.",
            hint="Choose another name, or delete the other one first.",
        ) from None
    if row is None:
        raise RuntimeError("an insert returned nothing")
    return row


async def of_database(tx: Tx, database_id: uuid.UUID) -> list[RoleRow]:
    """Return a database's additional roles, oldest first."""
    async with tx.cursor(row_factory=class_row(RoleRow)) as cursor:
        await cursor.execute(
            "SELECT * FROM database_roles WHERE database_id = %s ORDER BY created_at, id",
            (database_id,),
        )
        return await cursor.fetchall()


async def find(tx: Tx, database_id: uuid.UUID, role_id: uuid.UUID) -> RoleRow | None:
    """Return one role of a database, or None."""
    async with tx.cursor(row_factory=class_row(RoleRow)) as cursor:
        await cursor.execute(
            "SELECT * FROM database_roles WHERE id = %s AND database_id = %s",
            (role_id, database_id),
        )
        return await cursor.fetchone()


async def by_database(tx: Tx, cluster_id: uuid.UUID) -> dict[uuid.UUID, list[RoleRow]]:
    """Return all additional roles of the databases of one cluster, by database."""
    found: dict[uuid.UUID, list[RoleRow]] = {}
    async with tx.cursor(row_factory=class_row(RoleRow)) as cursor:
        await cursor.execute(
            """
            SELECT r.* FROM database_roles r JOIN databases d ON d.id = r.database_id
            WHERE d.cluster_id = %s
            """,
            (cluster_id,),
        )
        for row in await cursor.fetchall():
            found.setdefault(row.database_id, []).append(row)
    return found


async def set_status(tx: Tx, role_id: uuid.UUID, status: Literal["active", "deleting"]) -> None:
    await tx.execute(
        "UPDATE database_roles SET status = %s, updated_at = clock_timestamp() WHERE id = %s",
        (status, role_id),
    )


async def set_max_connections(tx: Tx, role_id: uuid.UUID, max_connections: int) -> None:
    await tx.execute(
        "UPDATE database_roles SET max_connections = %s, updated_at = clock_timestamp()"
        " WHERE id = %s",
        (max_connections, role_id),
    )


async def begin_rotation(tx: Tx, role_id: uuid.UUID, verifier_before: str) -> None:
    """Store the verifier to restore if a change of password is not finished."""
    await tx.execute(
        "UPDATE database_roles SET verifier_before = coalesce(verifier_before, %s) WHERE id = %s",
        (verifier_before, role_id),
    )


async def end_rotation(tx: Tx, role_id: uuid.UUID) -> None:
    """Delete the stored verifier: the change of password is finished."""
    await tx.execute(
        "UPDATE database_roles SET verifier_before = NULL, updated_at = clock_timestamp()"
        " WHERE id = %s",
        (role_id,),
    )


async def note_password_change(tx: Tx, role_id: uuid.UUID) -> None:
    """Record that a role's password has just been changed."""
    await tx.execute(
        "UPDATE database_roles SET password_changed_at = clock_timestamp() WHERE id = %s",
        (role_id,),
    )


async def remove(tx: Tx, role_id: uuid.UUID) -> None:
    """Delete the row of a role that no longer exists anywhere."""
    await tx.execute("DELETE FROM database_roles WHERE id = %s", (role_id,))
