"""Keys and users' secrets that were valid at one moment and must not be at another.

For a control database that was restored to the past: what has been revoked since, or has another
secret now, must not be valid again. Both databases are read as a superuser.
"""

import datetime as dt
import uuid
from dataclasses import dataclass, field

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from tenantry.control import keys, users
from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class Person:
    """A user and their credentials. All but the first four fields are secret."""

    id: uuid.UUID
    email: str
    role: str
    customer_id: uuid.UUID | None
    password_hash: str = field(repr=False)
    totp_secret: bytes | None = field(repr=False)
    totp_confirmed_at: dt.datetime | None
    totp_last_step: int
    disabled_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Openings:
    """All valid credentials: the names of keys by id, users by id, recovery codes."""

    keys: dict[uuid.UUID, str]
    people: dict[uuid.UUID, Person]
    codes: set[tuple[uuid.UUID, bytes]] = field(repr=False)


async def openings(connection: AsyncConnection[TupleRow]) -> Openings:
    """Return the valid credentials of a control database."""
    cursor = await connection.execute("SELECT id, name FROM api_keys WHERE revoked_at IS NULL")
    valid: dict[uuid.UUID, str] = dict(await cursor.fetchall())
    async with connection.cursor(row_factory=class_row(Person)) as people:
        await people.execute(
            """
            SELECT id, email, role, customer_id, password_hash, totp_secret, totp_confirmed_at,
                totp_last_step, disabled_at
            FROM users
            """
        )
        found = {person.id: person for person in await people.fetchall()}
    cursor = await connection.execute("SELECT user_id, hash FROM recovery_codes")
    return Openings(valid, found, {(user, code) for user, code in await cursor.fetchall()})


async def revoke_again(tx: Tx, now: Openings) -> list[str]:
    """Revoke in ``tx``'s database what is not valid in ``now``, and copy users' current secrets.

    Returns the keys and users that lost access, as text.
    """
    then = await openings(tx)
    locked = []
    for key_id in then.keys.keys() - now.keys.keys():
        await keys.revoke(tx, key_id)
        locked.append(f"key {then.keys[key_id]}")
    for person in then.people.values():
        current = now.people.get(person.id)
        same = current and (current.role, current.customer_id) == (person.role, person.customer_id)
        if current is None or not same:
            await users.set_disabled(tx, person.id, disabled=True)
            locked.append(f"user {person.email}")
        elif current != person:
            await _carry(tx, current)
            if current.disabled_at and not person.disabled_at:
                locked.append(f"user {person.email}")
    for user_id, code in then.codes - now.codes:
        await tx.execute(
            "DELETE FROM recovery_codes WHERE user_id = %s AND hash = %s", (user_id, code)
        )
    return sorted(locked)


async def _carry(tx: Tx, current: Person) -> None:
    await tx.execute(
        """
        UPDATE users SET password_hash = %s, totp_secret = %s, totp_confirmed_at = %s,
            totp_last_step = %s, disabled_at = %s
        WHERE id = %s
        """,
        (
            current.password_hash,
            current.totp_secret,
            current.totp_confirmed_at,
            current.totp_last_step,
            current.disabled_at,
            current.id,
        ),
    )
