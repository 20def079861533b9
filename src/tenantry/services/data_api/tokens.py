"""Tokens that the platform signs for a data API: JSON Web Tokens with HS256 (RFC 7519)."""

import datetime as dt
from dataclasses import dataclass

import jwt

from tenantry.base.secrets import Secret

KEYS_LAST = dt.timedelta(days=3652)  # ten years, as those of Supabase
_ISSUER = "tenantry"


@dataclass(frozen=True, slots=True)
class Claims:
    """The content of a token: ``ref`` names the database, ``sub`` is left out if None."""

    ref: str
    role: str
    sub: str | None
    issued_at: dt.datetime
    expires_at: dt.datetime


def issue(secret: Secret, claims: Claims) -> Secret:
    """Return a signed token; the same for the same secret and claims."""
    payload: dict[str, object] = {
        "iss": _ISSUER,
        "ref": claims.ref,
        "role": claims.role,
        **({} if claims.sub is None else {"sub": claims.sub}),
        "iat": int(claims.issued_at.timestamp()),
        "exp": int(claims.expires_at.timestamp()),
    }
    return Secret(jwt.encode(payload, secret.reveal(), algorithm="HS256"))
