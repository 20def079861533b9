"""A served database in the library's terms: its settings, and who asks. Pure."""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tenantry.services.data_api.model import ServedDatabase
from tenantry_rest import ApiError, Authenticator, Caller, Config

Keys = Sequence[dict[str, object]]  # JWKs

_MOST_BYTES = 16 * 1024 * 1024  # of the body of an answer
_TOKENS = 200  # verified ones, whose claims are held
_REFUSED = ("WWW-Authenticate", "Bearer")


def config_of(served: ServedDatabase, url: str, keys: Keys) -> Config:
    """Return the settings of a database's API.

    ``url`` is that of the API's root, as clients reach it; ``keys`` are JWKs besides its secrets.
    """
    settings: tuple[tuple[str, str], ...] = ()
    if served.statement_timeout_ms is not None:
        settings = (("statement_timeout", str(served.statement_timeout_ms)),)
    return Config(
        db_schemas=served.schemas,
        db_anon_role=served.anonymous_role or "",
        db_max_rows=served.max_rows,
        db_max_bytes=_MOST_BYTES,
        db_aggregates_enabled=True,
        db_prepared_statements=False,
        db_config=False,
        jwt_secret=json.dumps({"keys": [*map(_secret_key, served.jwt_secrets), *keys]}),
        jwt_cache_max_entries=_TOKENS,
        openapi_server_proxy_uri=url,
        openapi_security_active=True,
        server_cors_allowed_origins=served.allowed_origins,
        app_settings=settings,
    )


def _secret_key(secret: bytes) -> dict[str, object]:
    """Return a secret as a JWK, of which a set can have several (RFC 7518, section 6.4)."""
    value = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return {"kty": "oct", "k": value}


class Callers(Authenticator):
    """Finds out who asks, and as which of PostgreSQL's roles."""

    def __init__(self, served: ServedDatabase, config: Config) -> None:
        super().__init__(config)
        self._served = served

    def caller(self, authorization: str | None) -> Caller:
        """Return the caller by the header ``Authorization``.

        Its role is one that the database's API can take; claims have it as the token names it.

        Raises ApiError if the token is not valid, names another role, or is needed.
        """
        found = super().caller(authorization)
        refusal = self._write_refusal(has_token=found.has_token)
        return found if refusal is None else replace(found, write_refusal=refusal)

    def _as(self, role: object, claims: dict[str, Any]) -> Caller:
        found = super()._as(role, claims)
        name = self._served.roles.get(found.role)
        if name is None:
            message = f'role "{found.role}" does not exist'
            raise ApiError(401, "22023", message, headers=[_REFUSED])
        return replace(found, role=name)

    def _write_refusal(self, *, has_token: bool) -> ApiError | None:
        if self._served.read_only:
            return ApiError(
                503,
                "53100",
                "The database is read-only: its quota, or the server's disk, is used up",
                hint="Delete rows by its connection string, or have the quota raised.",
            )
        if not has_token and not self._served.open:
            return ApiError(
                401,
                "42501",
                "Only requests with a token may write",
                hint="Send the header Authorization: Bearer, with a token of this database.",
                headers=[_REFUSED],
            )
        return None
