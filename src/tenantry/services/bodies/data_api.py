"""Bodies of data APIs, their keys and tokens."""

import datetime as dt
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from tenantry.pg.api_roles import AUTHENTICATED
from tenantry.services.application_users.model import AuthSettings
from tenantry.services.bodies.fields import Body, readable, secret, typed
from tenantry.services.data_api.model import (
    LONGEST_NAME,
    MAX_ROWS,
    STATEMENT_TIMEOUT_MS,
    Configuration,
    NewDataApi,
    NewToken,
    check_schema,
)

_SHORTEST_SECRET = 32  # of HS256, RFC 7518, 3.2
_MOST_SECONDS = 3652 * 24 * 3600
_NO_PAGES = frozenset({"", "blob", "data", "file", "javascript", "vbscript"})
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+")


def _schema(name: str) -> str:
    return readable(check_schema(name))


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError("is no origin, such as https://app.example.com")
    return text.lower()


def _jwks_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    visible = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme != "https" or not parts.hostname or not visible:
        raise ValueError("is not an https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("has a user or a password in it, which is not supported")
    return text


def _page(text: str) -> str:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    visible = text.isascii() and text.isprintable() and not set(text) & set(' \\"<>')
    if not visible or parts.username is not None or parts.scheme in _NO_PAGES:
        raise ValueError("is no URL of a page, such as https://app.example.com/welcome")
    if parts.scheme in {"http", "https"} and not parts.hostname:
        raise ValueError("has no host name")
    return text


Page = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_page)]


class AuthBody(Body):
    """Who may become a user of the application, and where links in e-mails lead."""

    site_url: Page | None = Field(
        default=None,
        description="The page of the application to which links in e-mails lead. E-mails are sent "
        "if it is given and the platform has a mail server.",
        examples=["https://app.example.com"],
    )
    redirect_urls: Annotated[list[Page], Field(max_length=50)] = Field(
        default=[], description="Further pages, beside those of site_url's origin."
    )
    signup: bool = Field(default=True, description="Whether anybody may sign up.")

    def wanted(self) -> AuthSettings:
        return AuthSettings(self.site_url, tuple(dict.fromkeys(self.redirect_urls)), self.signup)


class PutDataApi(Body):
    """The whole configuration of a data API; what is left out has its default."""

    schemas: Annotated[
        list[Annotated[str, AfterValidator(_schema)]], Field(min_length=1, max_length=20)
    ] = Field(
        default=["public"],
        description="The schemas whose tables and functions it shows; the first is the default.",
    )
    anonymous: bool = Field(
        default=True, description="Whether requests without a token are answered, as anon."
    )
    open: bool = Field(
        default=False,
        description="Whether requests without a token may write, where anon may: for demos.",
    )
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=MAX_ROWS, description="The most rows in an answer; null: no limit."
    )
    statement_timeout_ms: Annotated[int, Field(ge=1, le=3_600_000)] | None = Field(
        default=STATEMENT_TIMEOUT_MS,
        description="The longest that a statement runs; null: the database's own.",
    )
    jwks_url: (
        Annotated[str, StringConstraints(max_length=2000), AfterValidator(_jwks_url)] | None
    ) = Field(
        default=None,
        description="Where further public keys for tokens are (a JWK set).",
        examples=["https://login.example.com/.well-known/jwks.json"],
    )
    allowed_origins: Annotated[
        list[Annotated[str, StringConstraints(max_length=300), AfterValidator(_origin)]],
        Field(max_length=50),
    ] = Field(default=[], description="The websites that may call it (CORS); none: all.")
    auth: AuthBody | None = Field(
        default=None, description="The application's users; null: it has none here."
    )
    jwt_secret: (
        Annotated[
            SecretStr, Field(min_length=_SHORTEST_SECRET, max_length=512), AfterValidator(typed)
        ]
        | None
    ) = Field(
        default=None,
        description="The secret that your tokens are signed with already. Default: a new one.",
    )

    def wanted(self) -> NewDataApi:
        return NewDataApi(
            Configuration(
                schemas=tuple(dict.fromkeys(self.schemas)),
                anonymous=self.anonymous,
                open=self.open,
                max_rows=self.max_rows,
                statement_timeout_ms=self.statement_timeout_ms,
                jwks_url=self.jwks_url,
                allowed_origins=tuple(dict.fromkeys(self.allowed_origins)),
                auth=None if self.auth is None else self.auth.wanted(),
            ),
            None if self.jwt_secret is None else secret(self.jwt_secret),
        )


class RotateDataApi(Body):
    """A new secret, and how long tokens of the present one remain valid."""

    overlap_seconds: Annotated[int, Field(ge=0, le=90 * 24 * 3600)] = Field(
        default=24 * 3600, description="0 ends the present keys at once."
    )

    def overlap(self) -> dt.timedelta:
        return dt.timedelta(seconds=self.overlap_seconds)


class CreateToken(Body):
    """A token for one user of an application."""

    role: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)] = Field(
        default=AUTHENTICATED,
        description="anon, authenticated, service_role, or an additional role's name.",
    )
    sub: (
        Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(readable)]
        | None
    ) = Field(default=None, description="Who it is for (the claim sub).", examples=["ann"])
    expires_in_seconds: Annotated[int, Field(ge=1, le=_MOST_SECONDS)] = 3600

    def wanted(self) -> NewToken:
        return NewToken(self.role, self.sub, dt.timedelta(seconds=self.expires_in_seconds))
