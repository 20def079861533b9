"""The rows of application users, in the tenant's database.

Statements run as ``service_role``, which has what that database's owner has given it, and no more.
The tenant can change everything there: values are cast and cut to size before they are read.
"""

import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import psycopg
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from tenantry.pg.api_roles import SERVICE
from tenantry.services.application_users import one_time, plan
from tenantry.services.application_users.model import (
    AuthError,
    Connect,
    Kind,
    Method,
    Session,
    User,
)

Connection = AsyncConnection[Any]

Stored = Kind | Literal["code"]  # the types of one-time tokens
_VALID_SECONDS: dict[Stored, float] = {
    "signup": 3600,
    "recovery": 3600,
    "email_change": 3600,
    "code": 300,
}
MOST_SESSIONS = 100  # of one user
_STATEMENT_MS = 5000
_READ = plan.MOST_READ + 1  # characters, of which the last shows that there are too many
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _near(column: str) -> str:
    """Return an expression for a moment, or the nearest one that Python has too.

    PostgreSQL has years before 1 and after 9999, and infinity.
    """
    moment = f"{column}::pg_catalog.timestamptz"
    return (
        f"CASE WHEN {column} IS NOT NULL THEN greatest(least({moment},"
        " pg_catalog.to_timestamp(253e9)), pg_catalog.to_timestamp(-62e9)) END"
    )


def _microseconds(column: str) -> str:
    """Return an expression for a moment, whatever DateStyle and TimeZone a tenant has set."""
    return f"(extract(epoch FROM {_near(column)}) * 1000000.0)::pg_catalog.int8"


_USER = f"""
    u.id::pg_catalog.uuid, pg_catalog.left(u.email::pg_catalog.text, 320),
    pg_catalog.left(u.encrypted_password::pg_catalog.text, 500),
    {_microseconds("u.email_confirmed_at")}, {_microseconds("u.last_sign_in_at")},
    CASE WHEN u.banned_until::pg_catalog.timestamptz > pg_catalog.clock_timestamp()
         THEN {_microseconds("u.banned_until")} END,
    {_microseconds("u.created_at")}, {_microseconds("u.updated_at")},
    pg_catalog.left(u.raw_app_meta_data::pg_catalog.text, {_READ}),
    pg_catalog.left(u.raw_user_meta_data::pg_catalog.text, {_READ})
"""
_SESSION = f"""
    s.id::pg_catalog.uuid, s.user_id::pg_catalog.uuid,
    greatest(s.refresh_token_counter::pg_catalog.int8, 0),
    coalesce(extract(epoch FROM pg_catalog.clock_timestamp()
        - {_near("s.refreshed_at")})::pg_catalog.float8, 0),
    CASE WHEN s.method = 'otp' THEN 'otp' ELSE 'password' END,
    {_microseconds("s.created_at")}
"""


@asynccontextmanager
async def transaction(connect: Connect) -> AsyncIterator[Connection]:
    """Open a transaction. Raises AuthError for what PostgreSQL or a trigger there refuses."""
    try:
        async with connect() as connection, connection.transaction():
            await connection.execute(
                "SELECT pg_catalog.set_config('role', %s, true),"
                " pg_catalog.set_config('search_path', 'auth, public', true),"
                " pg_catalog.set_config('statement_timeout', %s, true)",
                (SERVICE, str(_STATEMENT_MS)),
            )
            yield connection
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise AuthError(
            500,
            "unexpected_failure",
            "The tables of the schema auth are not those that enabling made. Their owner can "
            "restore them, and enable the users of the data API again.",
        ) from error
    except psycopg.OperationalError as error:
        raise AuthError(503, "unexpected_failure", "The database does not answer", 1) from error
    except psycopg.Error as error:
        raise AuthError(500, "unexpected_failure", "The database refused it") from error


# ── users ────────────────────────────────────────────────────────────────────


async def by_email(inside: Connection, email: str) -> User | None:
    """Return the user of an address."""
    return await _user(inside, f"SELECT {_USER} FROM auth.users u WHERE u.email = %s", (email,))


async def by_id(inside: Connection, user_id: uuid.UUID) -> User | None:
    """Return a user."""
    return await _user(inside, f"SELECT {_USER} FROM auth.users u WHERE u.id = %s", (user_id,))


async def lock(inside: Connection, user_id: uuid.UUID) -> None:
    """Lock a user's row: whatever changes a user or its sessions holds this lock."""
    query = "SELECT FROM auth.users WHERE id = %s LIMIT 1 FOR NO KEY UPDATE"
    await inside.execute(query, (user_id,))


async def sign_up(
    inside: Connection,
    email: str,
    password_hash: str,
    metadata: Mapping[str, Any],
    *,
    confirmed: bool,
    same: str | None,
) -> User | None:
    """Create a user; None if the address is that of another one, who stays as it is.

    One who has not confirmed is returned too. ``same`` is the hash there, if it is of this
    password. Otherwise two have signed up with the address, of whom one may not read its e-mails:
    which of them confirms is unknown, so that neither's password is valid.
    """
    query = f"""
        INSERT INTO auth.users AS u
            (id, email, encrypted_password, raw_user_meta_data, email_confirmed_at)
        VALUES (%s, %s, %s, %s, CASE WHEN %s THEN pg_catalog.now() END)
        ON CONFLICT (email) DO UPDATE
            SET encrypted_password = CASE WHEN u.encrypted_password = %s
                    OR NOT pg_catalog.starts_with(u.encrypted_password::pg_catalog.text, %s)
                    THEN u.encrypted_password END,
                raw_user_meta_data = CASE WHEN u.encrypted_password = %s
                    THEN excluded.raw_user_meta_data ELSE u.raw_user_meta_data END,
                updated_at = pg_catalog.now()
            WHERE u.email_confirmed_at IS NULL AND excluded.email_confirmed_at IS NULL
        RETURNING {_USER}
        """
    made = (uuid.uuid4(), email, password_hash, Jsonb(metadata), confirmed)
    values = (*made, same, plan.HASHES_OF_OURS, same)
    return await _user(inside, query, values)


async def update(
    inside: Connection,
    user: User,
    password_hash: str | None,
    metadata: Mapping[str, Any] | None,
) -> User | None:
    """Replace a user's metadata, the password, or both: what is not None."""
    query = f"""
        UPDATE auth.users u
        SET encrypted_password = coalesce(%s, u.encrypted_password),
            raw_user_meta_data = coalesce(%s, u.raw_user_meta_data),
            updated_at = pg_catalog.now()
        WHERE u.id = %s RETURNING {_USER}
        """
    content = None if metadata is None else Jsonb(metadata)
    return await _user(inside, query, (password_hash, content, user.id))


async def as_stored(inside: Connection, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return metadata as they are read once they are stored; None if no token can have them.

    PostgreSQL writes numbers out: 1e308 has 309 digits.
    """
    query = "SELECT pg_catalog.left(%s::pg_catalog.jsonb::pg_catalog.text, %s)"
    row = await _first(inside, query, (Jsonb(metadata), _READ))
    return _metadata(row[0])


async def _user(inside: Connection, query: str, values: tuple[object, ...]) -> User | None:
    row = await _first(inside, query, values)
    if row is None or row[0] is None:
        return None
    identity, email, hashed, *moments, app, own = row
    confirmed, signed_in, banned, created, updated = map(_moment, moments)
    now = dt.datetime.now(dt.UTC)
    return User(
        id=identity,
        email=email or "",
        password_hash=hashed,
        confirmed_at=confirmed,
        last_sign_in_at=signed_in,
        banned_until=banned,
        app_metadata=_metadata(app),
        user_metadata=_metadata(own),
        created_at=created or now,
        updated_at=updated or now,
    )


async def _first(inside: Connection, query: str, values: tuple[object, ...]) -> Any:
    """Return the first row; more are not sent, however many a tenant's table has."""
    limited = f"WITH found AS ({query}) SELECT * FROM found LIMIT 1"
    return await (await inside.execute(limited.encode(), values)).fetchone()


def _moment(microseconds: int | None) -> dt.datetime | None:
    return None if microseconds is None else _EPOCH + dt.timedelta(microseconds=microseconds)


def _metadata(text: str | None) -> dict[str, Any] | None:
    """Return the metadata of a row; None if they are no object that a token can have."""
    if text is not None and len(text) >= _READ:
        return None
    try:
        found = json.loads(text or "{}")
        if not isinstance(found, dict) or plan.is_too_deep(found):
            return None
        json.dumps(found, allow_nan=False)  # a number may be beyond Python's
    except (ValueError, RecursionError):
        return None
    return found


# ── sessions ─────────────────────────────────────────────────────────────────


async def begin_session(inside: Connection, user: User, method: Method) -> tuple[User, Session]:
    """Create a session of a user, and note the sign-in. The oldest sessions of many end."""
    updated = await _user(
        inside,
        "UPDATE auth.users u SET last_sign_in_at = pg_catalog.now(), updated_at = pg_catalog.now()"
        f" WHERE u.id = %s RETURNING {_USER}",
        (user.id,),
    )
    await inside.execute(
        "DELETE FROM auth.sessions WHERE id IN (SELECT id FROM auth.sessions WHERE user_id = %s"
        " ORDER BY refreshed_at DESC OFFSET %s)",
        (user.id, MOST_SESSIONS - 1),
    )
    made = await _session(
        inside,
        "INSERT INTO auth.sessions AS s (id, user_id, method) VALUES (%s, %s, %s)"
        f" RETURNING {_SESSION}",
        (uuid.uuid4(), user.id, method),
    )
    if made is None or updated is None:  # a trigger of the tenant's has prevented it
        raise AuthError(500, "unexpected_failure", "The database refused the sign-in")
    return updated, made


async def session(inside: Connection, session_id: uuid.UUID) -> Session | None:
    """Return a session."""
    query = f"SELECT {_SESSION} FROM auth.sessions s WHERE s.id = %s"
    return await _session(inside, query, (session_id,))


async def rotate(inside: Connection, session_id: uuid.UUID, counter: int) -> Session | None:
    """Note which refresh token of a session is valid now."""
    query = f"""
        UPDATE auth.sessions s
        SET refresh_token_counter = %s, refreshed_at = pg_catalog.clock_timestamp()
        WHERE s.id = %s RETURNING {_SESSION}
        """
    return await _session(inside, query, (counter, session_id))


async def end_sessions(
    inside: Connection,
    user_id: uuid.UUID,
    *,
    but: uuid.UUID | None = None,
    only: uuid.UUID | None = None,
) -> None:
    """End the sessions of a user: all of them, all ``but`` one, or ``only`` one."""
    await inside.execute(
        "DELETE FROM auth.sessions WHERE user_id = %s"
        " AND (%s::pg_catalog.uuid IS NULL OR id <> %s)"
        " AND (%s::pg_catalog.uuid IS NULL OR id = %s)",
        (user_id, but, but, only, only),
    )


async def _session(inside: Connection, query: str, values: tuple[object, ...]) -> Session | None:
    row = await _first(inside, query, values)
    if row is None:
        return None
    identity, user_id, counter, age, method, created = row
    began = _moment(created) or dt.datetime.now(dt.UTC)
    return Session(identity, user_id, counter, age, method, began)


# ── one-time tokens ──────────────────────────────────────────────────────────


async def put_token(inside: Connection, user: User, kind: Stored, token: str) -> None:
    """Store the only valid one-time token of a user and kind."""
    await inside.execute(
        "INSERT INTO auth.one_time_tokens (token_hash, user_id, token_type) VALUES (%s, %s, %s)"
        " ON CONFLICT (user_id, token_type) DO UPDATE"
        " SET token_hash = excluded.token_hash, created_at = pg_catalog.now()",
        (one_time.digest(token), user.id, kind),
    )


async def take_token(inside: Connection, kind: Stored, token: str) -> User | None:
    """Use a one-time token up. Return its user, locked; None if it is not valid."""
    taken = await _first(
        inside,
        "DELETE FROM auth.one_time_tokens WHERE token_hash = %s AND token_type = %s"
        " RETURNING user_id::pg_catalog.uuid,"
        " created_at > pg_catalog.now() - pg_catalog.make_interval(secs => %s)",
        (one_time.digest(token), kind, _VALID_SECONDS[kind]),
    )
    if taken is None or taken[1] is not True:
        return None
    await lock(inside, taken[0])
    return await by_id(inside, taken[0])


async def confirm(inside: Connection, user: User, kind: Kind) -> User | None:
    """Note that a user has confirmed the address.

    A password of somebody who has not confirmed is not valid after a recovery: it need not be the
    same person's.
    """
    query = f"""
        UPDATE auth.users u
        SET encrypted_password = CASE WHEN u.email_confirmed_at IS NOT NULL OR %s = 'signup'
                THEN u.encrypted_password END,
            email_confirmed_at = coalesce(u.email_confirmed_at, pg_catalog.now()),
            updated_at = pg_catalog.now()
        WHERE u.id = %s RETURNING {_USER}
        """
    return await _user(inside, query, (kind, user.id))


async def change_email(inside: Connection, user: User, email: str) -> User | None:
    """Replace the address of a user. Raises AuthError if it is that of another one."""
    if await by_email(inside, email) is not None:
        message = "A user with this email address has already been registered"
        raise AuthError(422, "email_exists", message)
    query = f"""
        UPDATE auth.users u SET email = %s, updated_at = pg_catalog.now()
        WHERE u.id = %s RETURNING {_USER}
        """
    return await _user(inside, query, (email, user.id))
