"""Sessions of users, and the challenges before them; both are found by their hash."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.base.secrets import Secret, hash_token
from tenantry.control.pages import Key
from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session with its user's attributes, and without its secret."""

    id: uuid.UUID
    user_id: uuid.UUID
    email: str
    customer_id: uuid.UUID | None
    customer_email: str | None
    address: str | None
    user_agent: str | None
    created_at: dt.datetime
    last_used_at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None

    def is_good(self, now: dt.datetime, *, idle: dt.timedelta) -> bool:
        """Whether it has not ended; ``idle`` is how long it may be unused.

        For its user's rights see ``grants.of_user``.
        """
        return self.revoked_at is None and now < self.expires_at and now < self.last_used_at + idle


_SELECT = """
    SELECT s.id, s.user_id, u.email, u.customer_id, c.email AS customer_email,
           host(s.address) AS address, s.user_agent,
           s.created_at, s.last_used_at, s.expires_at, s.revoked_at
    FROM sessions s JOIN users u ON u.id = s.user_id LEFT JOIN customers c ON c.id = u.customer_id
"""


async def insert(
    tx: Tx,
    token: Secret,
    *,
    user_id: uuid.UUID,
    address: str | None,
    user_agent: str | None,
    lasts: dt.timedelta,
) -> SessionRow:
    """Insert a new session's hash."""
    session_id = new_id()
    await tx.execute(
        """
        INSERT INTO sessions (id, user_id, hash, address, user_agent, expires_at)
        VALUES (%s, %s, %s, %s, %s, now() + %s)
        """,
        (session_id, user_id, hash_token(token), address, user_agent, lasts),
    )
    row = await find(tx, session_id, user_id=user_id)
    if row is None:
        raise RuntimeError("a session that was just kept is not there")
    return row


async def find_by_secret(tx: Tx, token: Secret) -> SessionRow | None:
    """Return the session with this token, valid or not; None if there is none."""
    async with tx.cursor(row_factory=class_row(SessionRow)) as cursor:
        await cursor.execute(_SELECT + "WHERE s.hash = %s", (hash_token(token),))
        return await cursor.fetchone()


async def find(tx: Tx, session_id: uuid.UUID, *, user_id: uuid.UUID) -> SessionRow | None:
    """Return a user's session by its id, or None."""
    async with tx.cursor(row_factory=class_row(SessionRow)) as cursor:
        await cursor.execute(_SELECT + "WHERE s.id = %s AND s.user_id = %s", (session_id, user_id))
        return await cursor.fetchone()


async def page(
    tx: Tx, *, user_id: uuid.UUID, idle: dt.timedelta, after: Key, limit: int
) -> list[SessionRow]:
    """Return up to ``limit`` valid sessions of a user, newest first, starting after ``after``."""
    async with tx.cursor(row_factory=class_row(SessionRow)) as cursor:
        await cursor.execute(
            _SELECT
            + """
            WHERE s.user_id = %s AND s.revoked_at IS NULL AND s.expires_at > now()
              AND s.last_used_at + %s > now() AND (s.created_at, s.id) < (%s, %s)
            ORDER BY s.created_at DESC, s.id DESC LIMIT %s
            """,
            (user_id, idle, *after, limit),
        )
        return await cursor.fetchall()


async def touch(tx: Tx, session_id: uuid.UUID) -> None:
    """Record that a session has just been used."""
    await tx.execute("UPDATE sessions SET last_used_at = now() WHERE id = %s", (session_id,))


async def revoke(tx: Tx, session_id: uuid.UUID) -> None:
    """End a session permanently."""
    await tx.execute(
        "UPDATE sessions SET revoked_at = now() WHERE id = %s AND revoked_at IS NULL",
        (session_id,),
    )


async def revoke_all(tx: Tx, user_id: uuid.UUID, *, besides: uuid.UUID | None = None) -> None:
    """End a user's sessions and unfinished logins, all but ``besides``."""
    await tx.execute(
        """
        UPDATE sessions SET revoked_at = now()
        WHERE user_id = %s AND id IS DISTINCT FROM %s AND revoked_at IS NULL
        """,
        (user_id, besides),
    )
    await tx.execute("DELETE FROM login_challenges WHERE user_id = %s", (user_id,))


async def end_all(tx: Tx) -> None:
    """End all users' sessions and unfinished logins."""
    await tx.execute("UPDATE sessions SET revoked_at = now() WHERE revoked_at IS NULL")
    await tx.execute("DELETE FROM login_challenges")


async def insert_challenge(
    tx: Tx, token: Secret, *, user_id: uuid.UUID, lasts: dt.timedelta
) -> dt.datetime:
    """Insert a challenge's hash. Returns when it expires."""
    row = await (
        await tx.execute(
            """
            INSERT INTO login_challenges (hash, user_id, expires_at)
            VALUES (%s, %s, now() + %s) RETURNING expires_at
            """,
            (hash_token(token), user_id, lasts),
        )
    ).fetchone()
    if row is None:
        raise RuntimeError("a challenge that was just kept is not there")
    ends: dt.datetime = row[0]
    return ends


async def find_challenge(tx: Tx, token: Secret) -> uuid.UUID | None:
    """Return the user of a valid challenge, or None."""
    row = await (
        await tx.execute(
            "SELECT user_id FROM login_challenges WHERE hash = %s AND expires_at > now()",
            (hash_token(token),),
        )
    ).fetchone()
    return row[0] if row else None


async def take_challenge(tx: Tx, token: Secret) -> bool:
    """Consume a challenge. Returns False if it was consumed already."""
    cursor = await tx.execute("DELETE FROM login_challenges WHERE hash = %s", (hash_token(token),))
    return cursor.rowcount == 1


async def forget_old(tx: Tx) -> None:
    """Delete sessions a week after they have expired, and expired challenges."""
    await tx.execute("DELETE FROM sessions WHERE expires_at < now() - interval '7 days'")
    await tx.execute("DELETE FROM login_challenges WHERE expires_at < now()")
