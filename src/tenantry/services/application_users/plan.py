"""Tokens, answers and e-mails of application users. Pure.

A refresh token names its session and a number that grows with each refresh, and proves both by an
HMAC: nothing of it is stored, an old one is recognised however old it is, and the one that follows
can be computed again for a client that asks twice.
"""

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import jwt
from email_validator import EmailNotValidError, validate_email

from tenantry.pg.api_roles import AUTHENTICATED
from tenantry.services.application_users.model import (
    AuthError,
    AuthSettings,
    Kind,
    Session,
    User,
)

# OWASP's choice for many logins, so that those of one application leave the processor to others.
HASH_KIB, HASH_PASSES, HASH_LANES = 19_456, 2, 1
HASHES_OF_OURS = f"$argon2id$v=19$m={HASH_KIB},t={HASH_PASSES},p={HASH_LANES}$"
ACCESS_SECONDS = 3600
MOST_READ = 16_384  # characters of metadata that an owner has written
DEEPEST = 32  # objects and arrays within each other, of what clients send and of metadata
REUSE_SECONDS = 10.0  # in which a refresh token is accepted twice: two tabs refresh at once
_PURPOSE = b"tenantry refresh token 1\n"
_ID_BYTES, _COUNTER_BYTES, _MAC_BYTES = 16, 8, 32
_SUBJECTS: Mapping[Kind, str] = {
    "signup": "Confirm your e-mail address",
    "recovery": "Set a new password",
    "email_change": "Change your e-mail address",
}
_TEXTS: Mapping[Kind, str] = {
    "signup": "Somebody, probably you, has signed up with this address at",
    "recovery": "Somebody, probably you, has asked for a new password at",
    "email_change": "Somebody, probably you, wants to change the address of an account at",
}


def hash_of_ours(stored: str | None) -> str | None:
    """Return the hash of a password if it was made here; None for any other.

    A hash says how much memory and time its comparison takes, and a tenant can write any.
    """
    return stored if stored is not None and stored.startswith(HASHES_OF_OURS) else None


# ── refresh tokens ───────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """The session of a refresh token, and its number within it."""

    session_id: uuid.UUID
    counter: int

    def sealed(self, secret: bytes) -> str:
        """Return the token for a client."""
        content = self.session_id.bytes + self.counter.to_bytes(_COUNTER_BYTES, "big")
        return base64.urlsafe_b64encode(content + _mac(secret, content)).decode().rstrip("=")


def read_refresh_token(text: str, secrets: Sequence[bytes]) -> RefreshToken | None:
    """Return a refresh token that one of these secrets has made; None for anything else."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    if len(raw) != _ID_BYTES + _COUNTER_BYTES + _MAC_BYTES:
        return None
    content, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if not any(hmac.compare_digest(_mac(secret, content), mac) for secret in secrets):
        return None
    counter = int.from_bytes(content[_ID_BYTES:], "big")
    return RefreshToken(uuid.UUID(bytes=content[:_ID_BYTES]), counter)


def _mac(secret: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + content, hashlib.sha256)


def refreshing(token: RefreshToken, session: Session) -> Literal["rotate", "repeat", "reuse"]:
    """Return what becomes of a session for which a refresh token of its own is sent.

    One that is ahead of its session is one of a database that was restored to an earlier time.
    """
    if token.counter >= session.counter:
        return "rotate"
    if token.counter == session.counter - 1 and session.age <= REUSE_SECONDS:
        return "repeat"
    return "reuse"


# ── access tokens and answers ────────────────────────────────────────────────


def signed_in(
    user: User, session: Session, *, secret: bytes, issuer: str, now: dt.datetime
) -> dict[str, object]:
    """Return the answer to a sign-in: an access token, a refresh token, and the user.

    Raises AuthError as ``shown`` does.
    """
    shown_user = shown(user)
    issued = int(now.timestamp())
    expires = issued + ACCESS_SECONDS
    claims = {
        "iss": issuer,
        "sub": str(user.id),
        "aud": AUTHENTICATED,
        "exp": expires,
        "iat": issued,
        "email": user.email,
        "phone": "",
        "app_metadata": shown_user["app_metadata"],
        "user_metadata": shown_user["user_metadata"],
        "role": AUTHENTICATED,
        "aal": "aal1",
        "amr": [{"method": session.method, "timestamp": int(session.created_at.timestamp())}],
        "session_id": str(session.id),
        "is_anonymous": False,
    }
    return {
        "access_token": jwt.encode(claims, secret, algorithm="HS256"),
        "token_type": "bearer",
        "expires_in": ACCESS_SECONDS,
        "expires_at": expires,
        "refresh_token": RefreshToken(session.id, session.counter).sealed(secret),
        "user": shown_user,
    }


def shown(user: User) -> dict[str, object]:
    """Return a user as clients see it.

    Raises AuthError if metadata cannot be shown: a policy may deny what a claim says, and let in
    whose claim is missing.
    """
    moments = {
        "email_confirmed_at": user.confirmed_at,
        "confirmed_at": user.confirmed_at,
        "last_sign_in_at": user.last_sign_in_at,
    }
    known = {name: _moment(at) for name, at in moments.items() if at is not None}
    created, updated = _moment(user.created_at), _moment(user.updated_at)
    identity = {
        "identity_id": str(user.id),
        "id": str(user.id),
        "user_id": str(user.id),
        "identity_data": {
            "email": user.email,
            "email_verified": user.confirmed_at is not None,
            "phone_verified": False,
            "sub": str(user.id),
        },
        "provider": "email",
        "last_sign_in_at": known.get("last_sign_in_at", created),
        "created_at": created,
        "updated_at": updated,
        "email": user.email,
    }
    return {
        "id": str(user.id),
        "aud": AUTHENTICATED,
        "role": AUTHENTICATED,
        "email": user.email,
        "phone": "",
        **known,
        "app_metadata": readable(user.app_metadata, "raw_app_meta_data"),
        "user_metadata": readable(user.user_metadata, "raw_user_meta_data"),
        "identities": [identity],
        "created_at": created,
        "updated_at": updated,
        "is_anonymous": False,
    }


def _moment(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def readable(metadata: Mapping[str, Any] | None, column: str) -> Mapping[str, Any]:
    """Return metadata. Raises AuthError if no token can have them."""
    if metadata is None:
        message = (
            f"auth.users.{column} of this user is no JSON object of at most {MOST_READ:,} "
            f"characters and {DEEPEST} levels. The owner of the database can change it."
        )
        raise AuthError(500, "unexpected_failure", message)
    return metadata


def is_too_deep(content: object) -> bool:
    """Whether JSON has more than ``DEEPEST`` objects and arrays within each other."""
    level = _containers([content])
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _containers(outer)]
    return bool(level)


def _containers(values: Any) -> list[Any]:
    """Return the objects and arrays in an object or array."""
    inside = values.values() if isinstance(values, dict) else values
    return [each for each in inside if isinstance(each, dict | list)]


def merged(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with changes, of which null removes what there is."""
    return {name: value for name, value in {**present, **changes}.items() if value is not None}


def size_of(metadata: Mapping[str, Any]) -> int:
    """Return how many bytes metadata takes as JSON."""
    return len(json.dumps(metadata).encode())


# ── e-mails ──────────────────────────────────────────────────────────────────


def is_address(text: str) -> bool:
    """Whether a text, which a tenant may have written, is one e-mail address and nothing more."""
    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


def redirect_of(settings: AuthSettings, wanted: str | None) -> str | None:
    """Return the page to which a link leads: the one that is wanted, if that is allowed."""
    if wanted is not None and (wanted in settings.redirect_urls or _is_below(settings, wanted)):
        return wanted
    return settings.site_url


def _is_below(settings: AuthSettings, wanted: str) -> bool:
    """Whether a page is of the application's site: of the same origin, and read as we read it."""
    if settings.site_url is None or not wanted.isascii() or not wanted.isprintable():
        return False
    if "\\" in wanted or " " in wanted:
        return False
    try:
        one, site = urlsplit(wanted), urlsplit(settings.site_url)
    except ValueError:
        return False
    return (one.scheme, one.netloc) == (site.scheme, site.netloc) and "@" not in one.netloc


def with_fragment(page: str, content: Mapping[str, object]) -> str:
    """Return the URL of a page that is given something which its server does not see."""
    return f"{page.partition('#')[0]}#{urlencode({k: str(v) for k, v in content.items()})}"


def with_code(page: str, code: str) -> str:
    """Return the URL of a page whose application exchanges a code for a session."""
    parts = urlsplit(page)
    given = f"{parts.query}&" if parts.query else ""
    return parts._replace(query=f"{given}{urlencode({'code': code})}").geturl()


def link(url: str, kind: Kind, token: str, redirect: str | None) -> str:
    """Return the link of an e-mail; ``url`` is where the routes are."""
    query = {"token": token, "type": kind}
    if redirect is not None:
        query["redirect_to"] = redirect
    return f"{url}/verify?{urlencode(query)}"


def subject(kind: Kind) -> str:
    """Return the subject of an e-mail."""
    return _SUBJECTS[kind]


def text(kind: Kind, site: str, address: str, new: str | None) -> str:
    """Return the text of an e-mail for a site, with the address of its link.

    ``new`` is the e-mail address to which one is to be changed.
    """
    what = _SUBJECTS[kind] if new is None else f"{_SUBJECTS[kind]} to {new}"
    return (
        f"{_TEXTS[kind]}\n\n  {site}\n\n{what} by this link, once and within an hour:"
        f"\n\n  {address}\n\nIf it was not you, ignore this message.\n"
    )
