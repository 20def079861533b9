"""Secrets: created here, shown once, stored as hashes.

A result with a secret in it must be returned again for a repeated ``Idempotency-Key``, although
the secret is not stored. Therefore a secret that is created under such a key is *derived* (HKDF,
RFC 5869) from what only the caller holds, the raw API key and the idempotency key, and from a
stored random salt. The database alone does not disclose the secret.
"""

import base64
import datetime as dt
import hashlib
import hmac
import json
import secrets as random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

if TYPE_CHECKING:  # a command that reads no results does not load it
    from pydantic_core import CoreSchema

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
PASSWORD_LENGTH = 24  # 143 bits
API_KEY_PREFIX = "tnt_"
SESSION_PREFIX = "tns_"
CHALLENGE_PREFIX = "tnc_"
DEVICE_PREFIX = "tnd_"
SIGNING_PREFIX = "whsec_"
SITE_PREFIX = "tnx_"
RECOVERY_CODES = 10
ROLE_PASSWORDS = 8  # in one answer
SALT_BYTES = 16
# No vowels and no look-alikes: recovery codes are written down and typed in again.
_CODE_ALPHABET = "bcdfghjkmnpqrstvwxz23456789"
_CODE_LENGTH = 16  # 76 bits
_TOTP_BYTES = 20  # as RFC 4226 recommends
_NONCE_BYTES = 12
_SCRAM_ITERATIONS = 4096  # PostgreSQL's default (scram_iterations)


class Secret:
    """A secret text that does not print itself: logs and tracebacks show dots."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(
            self._text.encode(), other._text.encode()
        )

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> "CoreSchema":
        """Serialize as the secret's name in its source, the context; there is no other form."""
        from pydantic_core import core_schema  # noqa: PLC0415 (see above)

        return core_schema.with_info_plain_validator_function(
            lambda name, info: _source_of(info).named(name),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda secret, info: _source_of(info).name_of(secret), info_arg=True
            ),
        )


def _spell(material: bytes, *, alphabet: str = _ALPHABET, length: int = PASSWORD_LENGTH) -> str:
    """Spell ``material`` in letters and digits. 32 bytes for 24 characters: negligible bias."""
    number = int.from_bytes(material, "big")
    letters = []
    for _ in range(length):
        number, index = divmod(number, len(alphabet))
        letters.append(alphabet[index])
    return "".join(letters)


@dataclass(frozen=True, slots=True)
class SecretSource:
    """The source of a request's new secrets: random, or derived from the caller's two keys."""

    salt: bytes = field(default_factory=lambda: random.token_bytes(SALT_BYTES), repr=False)
    caller_secret: Secret = field(default_factory=lambda: Secret(random.token_hex(32)))

    @classmethod
    def derived(cls, *, api_key: Secret, idempotency_key: str, salt: bytes) -> "SecretSource":
        """Return a source that derives the same secrets for the same keys and salt."""
        return cls(salt, Secret(f"{api_key.reveal()}\n{idempotency_key}"))

    def _material(self, purpose: str) -> bytes:
        kdf = HKDF(
            algorithm=SHA256(), length=32, salt=self.salt, info=f"tenantry {purpose}".encode()
        )
        return kdf.derive(self.caller_secret.reveal().encode())

    def password(self) -> Secret:
        """Return a database password: 24 letters and digits, safe in URLs and shells."""
        return Secret(_spell(self._material("password")))

    def role_password(self, number: int) -> Secret:
        """Return a password as ``password`` does, for one of several roles created at once."""
        return Secret(_spell(self._material(f"role password {number}")))

    def api_key(self) -> Secret:
        """Return an API key: 256 bits."""
        return Secret(API_KEY_PREFIX + self._material("api key").hex())

    def site_key(self) -> Secret:
        """Return the key of a site of the AI cache: 256 bits."""
        return Secret(SITE_PREFIX + self._material("site key").hex())

    def signing_key(self) -> Secret:
        """Return the key of a webhook's signatures: 256 bits, as Standard Webhooks write it."""
        raw = base64.b64encode(self._material("signing key")).decode()
        return Secret(SIGNING_PREFIX + raw)

    def jwt_secret(self) -> Secret:
        """Return the secret that a data API's tokens are signed with: 256 bits, 64 characters."""
        return Secret(self._material("jwt secret").hex())

    def totp_secret(self) -> Secret:
        """Return a secret for an authenticator app, in Base32 (RFC 6238)."""
        return Secret(base64.b32encode(self._material("totp secret")[:_TOTP_BYTES]).decode())

    def recovery_code(self, number: int) -> Secret:
        """Return a code that replaces the authenticator once: ``xxxx-xxxx-xxxx-xxxx``."""
        letters = _spell(
            self._material(f"recovery code {number}"), alphabet=_CODE_ALPHABET, length=_CODE_LENGTH
        )
        return Secret("-".join(letters[at : at + 4] for at in range(0, _CODE_LENGTH, 4)))

    def recovery_codes(self) -> list[Secret]:
        return [self.recovery_code(number) for number in range(RECOVERY_CODES)]

    def name_of(self, secret: Secret) -> str:
        """Return the name of a secret of this source. Raises ValueError for any other."""
        for name, derive in _NAMED.items():
            if derive(self) == secret:
                return name
        raise ValueError("a secret that was not made for this request cannot be kept")

    def named(self, name: object) -> Secret:
        """Return the secret of this name. Raises ValueError if there is none."""
        derive = _NAMED.get(name) if isinstance(name, str) else None
        if derive is None:
            raise ValueError("there is no such secret")
        return derive(self)


_NAMED: dict[str, Callable[[SecretSource], Secret]] = {
    "password": SecretSource.password,
    "api_key": SecretSource.api_key,
    "site_key": SecretSource.site_key,
    "signing_key": SecretSource.signing_key,
    "jwt_secret": SecretSource.jwt_secret,
    "totp_secret": SecretSource.totp_secret,
    **{
        f"recovery_code_{number}": partial(SecretSource.recovery_code, number=number)
        for number in range(RECOVERY_CODES)
    },
    **{
        f"role_password_{number}": partial(SecretSource.role_password, number=number)
        for number in range(ROLE_PASSWORDS)
    },
}


def _source_of(info: Any) -> SecretSource:
    if not isinstance(info.context, SecretSource):
        raise TypeError("a secret is written only as its source names it")
    return info.context


def new_session_token() -> Secret:
    """Return a new session token: 256 bits."""
    return Secret(SESSION_PREFIX + random.token_hex(32))


def new_challenge() -> Secret:
    """Return a new token for the challenge of a login: 256 bits."""
    return Secret(CHALLENGE_PREFIX + random.token_hex(32))


def hash_token(token: Secret) -> bytes:
    """Return the hash to store for a random secret. So many random bits need no slow hash."""
    return hashlib.sha256(token.reveal().encode()).digest()


def hash_api_key(key: Secret) -> bytes:
    """Return the hash to store for an API key."""
    return hash_token(key)


class Seal:
    """Encrypts what must be read again, such as TOTP secrets: AES-256-GCM with a key in the home.

    A sealed value is bound to its owner, so that it is useless in another row.
    """

    KEY_BYTES = 32

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def new_key(cls) -> bytes:
        return random.token_bytes(cls.KEY_BYTES)

    @classmethod
    def of(cls, key: Secret, *, purpose: str) -> "Seal":
        """Return a seal for one purpose, derived from a key with other uses (RFC 5869)."""
        kdf = HKDF(
            algorithm=SHA256(), length=cls.KEY_BYTES, salt=None, info=f"tenantry {purpose}".encode()
        )
        return cls(kdf.derive(key.reveal().encode()))

    def close(self, secret: Secret, *, owner: bytes) -> bytes:
        """Return the sealed form."""
        nonce = random.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.reveal().encode(), owner)

    def open(self, sealed: bytes, *, owner: bytes) -> Secret | None:
        """Return the secret; None if it was sealed with another key or owner, or was changed."""
        if len(sealed) < _NONCE_BYTES:
            return None
        try:
            text = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner)
        except InvalidTag:
            return None
        return Secret(text.decode())


def derived_secret(key: bytes, *, purpose: str) -> Secret:
    """Return the one secret that a key and a purpose give (RFC 5869): 256 bits, in hexadecimal."""
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"tenantry {purpose}".encode())
    return Secret(kdf.derive(key).hex())


_DEVICE = b"device"


def device_token(seal: Seal, device: str, email: str, ends: dt.datetime) -> Secret:
    """Return a token that proves a device's earlier login of a user: sealed, stored on it only."""
    text = json.dumps([device, email, int(ends.timestamp())])
    sealed = seal.close(Secret(text), owner=_DEVICE)
    return Secret(DEVICE_PREFIX + base64.urlsafe_b64encode(sealed).decode().rstrip("="))


def read_device_token(seal: Seal, token: Secret, email: str, now: dt.datetime) -> str | None:
    """Return the device, if the token is this user's and has not expired."""
    text = token.reveal().removeprefix(DEVICE_PREFIX)
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    opened = seal.open(sealed, owner=_DEVICE)
    if opened is None:
        return None
    device, owner, ends = json.loads(opened.reveal())
    return str(device) if owner == email and now.timestamp() < ends else None


def scram_verifier(password: Secret, *, salt: bytes | None = None) -> str:
    """Return PostgreSQL's SCRAM verifier of a password of ASCII letters and digits (RFC 5803).

    Computed here, so that the server and its logs never see the password; and not by libpq, which
    takes five times as long and blocks every other request meanwhile.
    """
    salt = salt or random.token_bytes(SALT_BYTES)
    kdf = PBKDF2HMAC(SHA256(), length=32, salt=salt, iterations=_SCRAM_ITERATIONS)
    salted = kdf.derive(password.reveal().encode("ascii"))
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (
        base64.b64encode(part).decode() for part in (salt, stored_key, server_key)
    )
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{salt64}${stored64}:{server64}"
