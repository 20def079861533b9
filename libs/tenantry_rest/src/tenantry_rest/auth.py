"""Who asks: the role and the claims of a JSON Web Token."""

import base64
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jwt
from jwt.algorithms import Algorithm, get_default_algorithms

from tenantry_rest.config import BadConfig, Config
from tenantry_rest.errors import UNREADABLE, ApiError, bad_token, token_required
from tenantry_rest.request.claims import Step, parse_path, walk

SKEW = 30  # seconds that clocks may differ
LEAST_SECRET = 32  # bytes
HMAC = ("HS256", "HS384", "HS512")
KINDS = {
    "oct": HMAC,
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
CURVES = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
PARTS = 3


@dataclass(frozen=True)
class Caller:
    """The role that a request has, and the claims of its token with that role in them.

    ``write_refusal`` is the answer to whatever is not read-only, if the caller may only read.
    """

    role: str
    claims: Mapping[str, Any]
    has_token: bool = True
    write_refusal: ApiError | None = None

    @cached_property
    def claims_text(self) -> str:
        """The claims as JSON."""
        return json.dumps(dict(self.claims), ensure_ascii=False, separators=(",", ":"))


@dataclass
class _Verified:
    """The claims of a token, and the caller by them once it is known."""

    claims: dict[str, Any]
    caller: Caller | None = None


@dataclass(frozen=True)
class Key:
    """A key with the only algorithms that it verifies, whatever a token's header says."""

    material: Any
    algorithms: tuple[str, ...]
    name: str | None = None


def read_keys(secret: bytes) -> tuple[Key, ...]:
    """The keys of a setting: a secret, a JWK or a JWK set.

    Raises:
        BadConfig: the secret is too short, or the JWK is none.
    """
    if not secret:
        return ()
    try:
        given = json.loads(secret)
    except UNREADABLE:
        given = None
    if not isinstance(given, dict):
        if len(secret) < LEAST_SECRET:
            raise BadConfig("The JWT secret must be at least 32 characters long.")
        return (Key(secret, HMAC),)
    try:
        return tuple(_key(each) for each in given.get("keys", [given]))
    except (jwt.PyJWTError, *UNREADABLE) as error:
        raise BadConfig(f"jwt-secret is not a JWK or a JWK set: {error}") from error


def _key(given: dict[str, Any]) -> Key:
    kind = given["kty"]
    algorithms = CURVES.get(given.get("crv", ""), KINDS[kind]) if kind == "EC" else KINDS[kind]
    if (named := given.get("alg")) is not None:
        algorithms = tuple(each for each in algorithms if each == named)
    name = given.get("kid")
    if name is not None and not isinstance(name, str):
        raise ValueError("its kid is no text")
    return Key(_algorithms()[KINDS[kind][0]].from_jwk(given), algorithms, name)


def _algorithms() -> dict[str, Algorithm]:
    return get_default_algorithms()


class Authenticator:
    """Finds out who asks; keeps the callers of tokens whose signatures it has verified."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._keys = read_keys(config.secret())
        try:
            self._path: tuple[Step, ...] = parse_path(config.jwt_role_claim_key)
        except ValueError as error:
            raise BadConfig(str(error)) from error
        self._clock = clock
        self._verified: OrderedDict[str, _Verified] = OrderedDict()
        self._anonymous: Caller | None = None

    def caller(self, authorization: str | None) -> Caller:
        """The caller by the header ``Authorization``.

        Raises:
            ApiError: its token is not valid, or it needs one.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme not in {"Bearer", "bearer"}:
            if self._anonymous is None:
                self._anonymous = replace(self._as(None, {}), has_token=False)
            return self._anonymous
        if not self._keys:
            raise ApiError(500, "PGRST300", "Server lacks JWT secret")
        known = self._verified.get(token)
        if known is None:
            known = self._verified[token] = _Verified(self._decode(token.strip()))
            while len(self._verified) > self._config.jwt_cache_max_entries:
                self._verified.popitem(last=False)
        else:
            self._verified.move_to_end(token)
        self._check(known.claims)
        if known.caller is None:
            known.caller = self._as(walk(known.claims, self._path), known.claims)
        return known.caller

    def _as(self, role: object, claims: dict[str, Any]) -> Caller:
        """The caller by a role, and by claims whose times are checked for each request."""
        if role is None:
            role = self._config.db_anon_role or None
        if role is None:
            raise token_required()
        name = role if isinstance(role, str) else json.dumps(role)
        return Caller(name, {**claims, "role": name})

    def _decode(self, token: str) -> dict[str, Any]:
        if not token:
            raise bad_token("PGRST301", "Empty JWT is sent in Authorization header")
        parts = token.split(".")
        if len(parts) != PARTS:
            raise bad_token("PGRST301", f"Expected 3 parts in JWT; got {len(parts)}")
        try:
            header = json.loads(_unpacked(parts[0]))
            content, signature = _unpacked(parts[1]), _unpacked(parts[2])
            algorithm, name = str(header["alg"]), header.get("kid")
            if name is not None and not isinstance(name, str):
                raise TypeError(name)
        except UNREADABLE:
            raise bad_token("PGRST301", "JWT cryptographic operation failed") from None
        if algorithm not in {each for some in KINDS.values() for each in some}:
            raise bad_token(
                "PGRST301",
                "Wrong or unsupported encoding algorithm",
                "JWT is unsecured but expected 'alg' was not 'none'"
                if algorithm == "none"
                else f"Algorithm '{algorithm}' is not supported",
            )
        signed = f"{parts[0]}.{parts[1]}".encode()
        if not any(
            _algorithms()[algorithm].verify(signed, key.material, signature)
            for key in self._keys
            if algorithm in key.algorithms and (None in {key.name, name} or key.name == name)
        ):
            raise bad_token(
                "PGRST301",
                "No suitable key or wrong key type",
                "None of the keys was able to decode the JWT",
            )
        try:
            claims = json.loads(content)
            # They are written again for PostgreSQL, which has no halves of characters.
            json.dumps(claims, ensure_ascii=False).encode()
        except UNREADABLE:
            claims = None
        if not isinstance(claims, dict):
            raise bad_token("PGRST303", "Parsing claims failed")
        return claims

    def _check(self, claims: dict[str, Any]) -> None:
        now = self._clock()
        late = ("nbf", "JWT not yet valid"), ("iat", "JWT issued at future")
        if (expires := _time(claims, "exp")) is not None and now - SKEW > expires:
            raise bad_token("PGRST303", "JWT expired")
        for name, message in late:
            if (starts := _time(claims, name)) is not None and now + SKEW < starts:
                raise bad_token("PGRST303", message)
        audience = claims.get("aud")
        listed = [audience] if isinstance(audience, str) else audience
        if listed is None:
            return
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            message = "The JWT 'aud' claim must be a string or an array of strings"
            raise bad_token("PGRST303", message)
        if listed and self._config.jwt_aud and self._config.jwt_aud not in listed:
            raise bad_token("PGRST303", "JWT not in audience")


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_token("PGRST303", f"The JWT '{name}' claim must be a number")
    return value  # as it is: an integer may be larger than any float


def _unpacked(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
