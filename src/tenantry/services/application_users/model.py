"""The users of a tenant's application, as their routes and their rows have them. Values only.

Answers, errors and claims have the form of GoTrue, Supabase's auth server, whose clients read them.
"""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from psycopg import AsyncConnection

Connect = Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]
Kind = Literal["signup", "recovery", "email_change"]  # of links in e-mails
Scope = Literal["local", "global", "others"]
Method = Literal["password", "otp"]


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """What the owner of a database decides about the users of its application.

    ``site_url`` is the application's page to which links in e-mails lead, and ``redirect_urls`` are
    further ones that a client may ask for. Without ``signup`` nobody signs up.
    """

    site_url: str | None = None
    redirect_urls: tuple[str, ...] = ()
    signup: bool = True

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> "AuthSettings | None":
        """Return the settings that a row has; None if it has none."""
        if stored is None:
            return None
        return cls(stored["site_url"], tuple(stored["redirect_urls"]), stored["signup"])


@dataclass
class AuthError(Exception):
    """A refusal: a status of HTTP, GoTrue's code of the error, and a text for people."""

    status: int
    code: str
    message: str
    retry_seconds: float | None = None
    more: Mapping[str, object] = field(default_factory=dict)

    def body(self) -> dict[str, object]:
        """Return the content of the answer."""
        return {"code": self.status, "error_code": self.code, "msg": self.message, **self.more}


@dataclass(frozen=True, slots=True)
class Site:
    """A database whose application's users are asked about.

    ``secrets`` are valid now, the current one first; ``url`` is where its routes are; ``client`` is
    the network of who asks.
    """

    database: str
    settings: AuthSettings
    secrets: tuple[bytes, ...] = field(repr=False)
    url: str
    connect: Connect
    client: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What the token of a link gave: a session, or a code for one.

    Neither, if a second link was sent: to the new address that the present one has consented to.
    """

    session: dict[str, object] | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A row of ``auth.users``. ``banned_until`` is a moment in the future, or None.

    Metadata are None if no token can have them.
    """

    id: uuid.UUID
    email: str
    password_hash: str | None = field(repr=False)
    confirmed_at: dt.datetime | None
    last_sign_in_at: dt.datetime | None
    banned_until: dt.datetime | None
    app_metadata: Mapping[str, Any] | None
    user_metadata: Mapping[str, Any] | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in. ``counter`` is that of its valid refresh token, ``age`` seconds old."""

    id: uuid.UUID
    user_id: uuid.UUID
    counter: int
    age: float
    method: Method
    created_at: dt.datetime
