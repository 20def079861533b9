"""Users who can log in. Passwords and codes are stored only as hashes, TOTP secrets sealed."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg.rows import class_row

from tenantry.base.errors import Conflict
from tenantry.base.ids import new_id
from tenantry.base.secrets import Secret, hash_token
from tenantry.control.pages import Key
from tenantry.control.store import Tx

Role = Literal["administrator", "customer", "viewer"]


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user, and how many databases they see: those of their customer, if they are of one.

    ``locked_until`` is in the past, or None, if logins need not wait after failures.
    """

    id: uuid.UUID
    email: str
    name: str | None
    role: Role
    customer_id: uuid.UUID | None
    customer_email: str | None
    customer_databases: int | None
    password_hash: str
    totp_secret: bytes | None
    totp_confirmed_at: dt.datetime | None
    disabled_at: dt.datetime | None
    locked_until: dt.datetime | None
    last_login_at: dt.datetime | None
    created_at: dt.datetime

    @property
    def has_totp(self) -> bool:
        """Whether a login needs a code; an enrolment that was not confirmed does not count."""
        return self.totp_confirmed_at is not None


_SELECT = """
    SELECT u.id, u.email, u.name, u.role, u.customer_id, c.email AS customer_email,
           CASE WHEN c.id IS NOT NULL THEN (SELECT count(*) FROM databases d
               WHERE d.customer_id = c.id AND d.status IN ('active', 'branching', 'deleting')) END
               AS customer_databases,
           u.password_hash, u.totp_secret, u.totp_confirmed_at, u.disabled_at,
           (SELECT max(f.locked_until) FROM failed_logins f WHERE f.account = u.email)
               AS locked_until, u.last_login_at, u.created_at
    FROM users u LEFT JOIN customers c ON c.id = u.customer_id
"""


async def insert(
    tx: Tx,
    *,
    email: str,
    name: str | None,
    role: Role,
    customer_id: uuid.UUID | None,
    password_hash: str,
) -> UserRow:
    """Insert a new user. Raises Conflict if the address is another user's."""
    user_id = new_id()
    try:
        await tx.execute(
            """
            INSERT INTO users (id, email, name, role, customer_id, password_hash)
            VALUES (%s, %s, %s, %s, %s, %s)
            """,
            (user_id, email, name, role, customer_id, password_hash),
        )
    except psycopg.errors.UniqueViolation:
        raise Conflict(
            f"There is already a user {email}.", hint="GET /api/users lists them."
        ) from None
    row = await find(tx, user_id)
    if row is None:
        raise RuntimeError("a user that was just kept is not there")
    return row


async def find(tx: Tx, user_id: uuid.UUID) -> UserRow | None:
    """Return a user by id, or None."""
    async with tx.cursor(row_factory=class_row(UserRow)) as cursor:
        await cursor.execute(_SELECT + "WHERE u.id = %s", (user_id,))
        return await cursor.fetchone()


async def find_by_email(tx: Tx, email: str) -> UserRow | None:
    """Return a user by (lower-case) address, or None."""
    async with tx.cursor(row_factory=class_row(UserRow)) as cursor:
        await cursor.execute(_SELECT + "WHERE u.email = %s", (email,))
        return await cursor.fetchone()


async def page(tx: Tx, *, after: Key, limit: int) -> list[UserRow]:
    """Return up to ``limit`` users, newest first, starting after ``after``."""
    async with tx.cursor(row_factory=class_row(UserRow)) as cursor:
        await cursor.execute(
            _SELECT
            + """
            WHERE (u.created_at, u.id) < (%s, %s)
            ORDER BY u.created_at DESC, u.id DESC LIMIT %s
            """,
            (*after, limit),
        )
        return await cursor.fetchall()


async def set_password(tx: Tx, user_id: uuid.UUID, password_hash: str) -> None:
    """Replace a password's hash."""
    await tx.execute("UPDATE users SET password_hash = %s WHERE id = %s", (password_hash, user_id))


async def set_name(tx: Tx, user_id: uuid.UUID, name: str) -> None:
    """Replace the user's name."""
    await tx.execute("UPDATE users SET name = %s WHERE id = %s", (name, user_id))


async def set_disabled(tx: Tx, user_id: uuid.UUID, *, disabled: bool) -> None:
    """Disable or enable a user."""
    await tx.execute(
        """
        UPDATE users SET disabled_at = CASE WHEN %s THEN coalesce(disabled_at, now()) END
        WHERE id = %s
        """,
        (disabled, user_id),
    )


async def note_login(tx: Tx, user_id: uuid.UUID, *, password_hash: str) -> bool:
    """Record a login with this password, and lock the row.

    Returns False if the user is disabled, or has another password by now.
    """
    cursor = await tx.execute(
        """
        UPDATE users SET last_login_at = now()
        WHERE id = %s AND password_hash = %s AND disabled_at IS NULL
        """,
        (user_id, password_hash),
    )
    return cursor.rowcount == 1


async def delete(tx: Tx, user_id: uuid.UUID) -> None:
    """Delete a user with their sessions, codes and texts of SQL."""
    await tx.execute("DELETE FROM sql_texts WHERE owner_id = %s", (user_id,))
    await tx.execute("DELETE FROM users WHERE id = %s", (user_id,))


# TOTP (RFC 6238) and recovery codes


async def begin_totp(tx: Tx, user_id: uuid.UUID, sealed: bytes) -> bool:
    """Store a secret that is not yet in force. Returns False if another one is in force."""
    cursor = await tx.execute(
        "UPDATE users SET totp_secret = %s WHERE id = %s AND totp_confirmed_at IS NULL",
        (sealed, user_id),
    )
    return cursor.rowcount == 1


async def confirm_totp(tx: Tx, user_id: uuid.UUID) -> None:
    """Put the secret in force."""
    await tx.execute("UPDATE users SET totp_confirmed_at = now() WHERE id = %s", (user_id,))


async def remove_totp(tx: Tx, user_id: uuid.UUID) -> None:
    """Delete the secret and the recovery codes; logins need only the password again."""
    await tx.execute(
        "UPDATE users SET totp_secret = NULL, totp_confirmed_at = NULL WHERE id = %s", (user_id,)
    )
    await tx.execute("DELETE FROM recovery_codes WHERE user_id = %s", (user_id,))


async def take_step(tx: Tx, user_id: uuid.UUID, step: int) -> bool:
    """Consume a TOTP step and all before it. Returns False if it was consumed already."""
    cursor = await tx.execute(
        "UPDATE users SET totp_last_step = %s WHERE id = %s AND totp_last_step < %s",
        (step, user_id, step),
    )
    return cursor.rowcount == 1


async def replace_recovery_codes(tx: Tx, user_id: uuid.UUID, codes: Sequence[Secret]) -> None:
    """Replace the user's recovery codes."""
    await tx.execute("DELETE FROM recovery_codes WHERE user_id = %s", (user_id,))
    async with tx.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO recovery_codes (user_id, hash) VALUES (%s, %s)",
            [(user_id, hash_token(code)) for code in codes],
        )


async def take_recovery_code(tx: Tx, user_id: uuid.UUID, code: Secret) -> bool:
    """Consume a recovery code. Returns False if it is unknown or was used."""
    cursor = await tx.execute(
        "DELETE FROM recovery_codes WHERE user_id = %s AND hash = %s", (user_id, hash_token(code))
    )
    return cursor.rowcount == 1


async def count_recovery_codes(tx: Tx, user_id: uuid.UUID) -> int:
    """Return how many recovery codes are left."""
    row = await (
        await tx.execute("SELECT count(*) FROM recovery_codes WHERE user_id = %s", (user_id,))
    ).fetchone()
    return row[0] if row else 0
