"""Passwords of tenants' roles: their age, rotations that are due, and unfinished changes."""

import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.control.store import Tx

NOTICE_DAYS = 7  # between the announcement of a rotation and the rotation


@dataclass(frozen=True, slots=True)
class Due:
    """A role whose password has to be replaced: an additional role, or (None) the owner role."""

    database_id: uuid.UUID
    role_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Ages:
    """The number of roles whose password is too old, and of those whose rotation is near."""

    old: int
    rotating: int


def rotates_at(login: str) -> str:
    """Return SQL over ``databases d`` for when a role's password is replaced; null: never."""
    return f"""
        greatest({login}.password_changed_at + make_interval(days => d.rotate_password_days),
            CASE WHEN d.rotate_password_days IS NOT NULL
                THEN d.rotation_set_at + interval '{NOTICE_DAYS} days' END)
    """


# greatest() ignores nulls, so both of its arguments have to be null together.
_LOGINS = f"""
    SELECT d.id AS database_id, NULL::uuid AS role_id, d.password_changed_at,
        {rotates_at("d")} AS rotates_at
    FROM databases d WHERE d.status = 'active' AND d.missing_since IS NULL
    UNION ALL
    SELECT d.id, r.id, r.password_changed_at, {rotates_at("r")}
    FROM database_roles r JOIN databases d ON d.id = r.database_id
    WHERE d.status = 'active' AND d.missing_since IS NULL AND r.status = 'active'
"""


async def due(tx: Tx, database_id: uuid.UUID | None = None) -> list[Due]:
    """Return the roles, of one database if given, whose password has to be replaced now."""
    async with tx.cursor(row_factory=class_row(Due)) as cursor:
        await cursor.execute(
            f"""
            SELECT database_id, role_id FROM ({_LOGINS}) logins
            WHERE rotates_at <= clock_timestamp() AND (%(id)s::uuid IS NULL OR database_id = %(id)s)
            ORDER BY rotates_at
            """,
            {"id": database_id},
        )
        return await cursor.fetchall()


async def ages(tx: Tx, *, days: int) -> Ages:
    """Count the roles with a password older than ``days`` (0: none) and those that rotate soon."""
    async with tx.cursor(row_factory=class_row(Ages)) as cursor:
        await cursor.execute(
            f"""
            SELECT count(*) FILTER (WHERE %(days)s > 0
                    AND password_changed_at < now() - make_interval(days => %(days)s)) AS old,
                count(*) FILTER (WHERE rotates_at < now() + interval '{NOTICE_DAYS} days')
                    AS rotating
            FROM ({_LOGINS}) logins
            """,
            {"days": days},
        )
        return await cursor.fetchone() or Ages(0, 0)


# ── unfinished changes of passwords ──────────────────────────────────────────


async def insert_rotation(tx: Tx, database_id: uuid.UUID, verifier_before: str) -> None:
    """Store the verifier to restore if a change of password is not finished."""
    await tx.execute(
        """
        INSERT INTO password_rotations (database_id, verifier_before) VALUES (%s, %s)
        ON CONFLICT (database_id) DO NOTHING
        """,
        (database_id, verifier_before),
    )


async def find_rotation(tx: Tx, database_id: uuid.UUID) -> str | None:
    """Return the verifier to restore after an unfinished change of password, or None."""
    row = await (
        await tx.execute(
            "SELECT verifier_before FROM password_rotations WHERE database_id = %s", (database_id,)
        )
    ).fetchone()
    return str(row[0]) if row else None


async def unfinished_rotations(tx: Tx) -> list[uuid.UUID]:
    """Return the databases with an unfinished change of password."""
    cursor = await tx.execute("SELECT database_id FROM password_rotations")
    return [row[0] for row in await cursor.fetchall()]


async def note_password_change(tx: Tx, database_id: uuid.UUID) -> None:
    """Record that the owner role's password has just been changed."""
    await tx.execute(
        "UPDATE databases SET password_changed_at = clock_timestamp() WHERE id = %s",
        (database_id,),
    )


async def remove_rotation(tx: Tx, database_id: uuid.UUID) -> None:
    await tx.execute("DELETE FROM password_rotations WHERE database_id = %s", (database_id,))
