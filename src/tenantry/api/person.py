"""Answers about users: users, sessions, and the two steps of a login."""

import datetime as dt
import uuid
from typing import Literal

from pydantic import BaseModel, Field

from tenantry.base.secrets import Secret
from tenantry.control.sessions import SessionRow
from tenantry.control.users import Role, UserRow
from tenantry.services.access.service import Principal
from tenantry.services.people.service import Challenge, SignedIn


class User(BaseModel):
    id: uuid.UUID
    email: str = Field(examples=["ann@example.com"])
    name: str | None
    role: Role
    customer_email: str | None
    customer_databases: int | None = Field(
        description="How many databases that customer has, which are those that the user sees."
    )
    mfa: bool = Field(description="Whether a login needs a code, too.")
    disabled_at: dt.datetime | None
    locked_until: dt.datetime | None = Field(
        description="Until when some logins wait after failures, if that is still to come."
    )
    last_login_at: dt.datetime | None
    created_at: dt.datetime


class NewUser(User):
    """A user, with the generated password if any, which is shown only once and stored as a hash."""

    password: str | None


class Me(BaseModel):
    """The caller: a user in a session, or an API key."""

    kind: Literal["user", "api_key"]
    id: uuid.UUID
    name: str
    scopes: list[str]
    customer_email: str | None
    user: User | None
    recovery_codes_left: int | None


class Session(BaseModel):
    id: uuid.UUID
    current: bool = Field(description="Whether it is the one that asks.")
    address: str | None
    user_agent: str | None
    created_at: dt.datetime
    last_used_at: dt.datetime
    expires_at: dt.datetime


class Login(BaseModel):
    """Either a session, or a challenge that a code answers at POST /api/auth/mfa."""

    status: Literal["signed_in", "mfa_required"]
    token: str | None = Field(description="Send it as Authorization: Bearer. Shown this once.")
    challenge: str | None
    device_token: str | None = Field(
        description="Send it with later logins from this device: it proves nothing, but failures "
        "from elsewhere do not keep it waiting then. Good for 90 days."
    )
    expires_at: dt.datetime
    user: User | None


class Done(BaseModel):
    """The answer to a request that succeeds without further data."""

    done: Literal[True] = True


class TotpSecret(BaseModel):
    secret: str = Field(description="For the authenticator, in Base32. Shown this once.")
    uri: str = Field(description="The same as an otpauth:// URI, for a QR code.")


class RecoveryCodes(BaseModel):
    recovery_codes: list[str] = Field(description="Each opens once. Shown this once.")


def user(row: UserRow) -> User:
    return User(
        id=row.id,
        email=row.email,
        name=row.name,
        role=row.role,
        customer_email=row.customer_email,
        customer_databases=row.customer_databases,
        mfa=row.has_totp,
        disabled_at=row.disabled_at,
        locked_until=row.locked_until,
        last_login_at=row.last_login_at,
        created_at=row.created_at,
    )


def new_user(made: User, password: Secret | None) -> NewUser:
    return NewUser(**dict(made), password=None if password is None else password.reveal())


def session(row: SessionRow, principal: Principal) -> Session:
    return Session(
        id=row.id,
        current=row.id == principal.session_id,
        address=row.address,
        user_agent=row.user_agent,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
    )


def login(result: SignedIn | Challenge) -> Login:
    if isinstance(result, Challenge):
        return Login(
            status="mfa_required",
            token=None,
            challenge=result.token.reveal(),
            device_token=None,
            expires_at=result.expires_at,
            user=None,
        )
    return Login(
        status="signed_in",
        token=result.token.reveal(),
        challenge=None,
        device_token=result.device.reveal(),
        expires_at=result.session.expires_at,
        user=user(result.user),
    )
