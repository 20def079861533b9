"""Secrets: made here, shown once, kept as hashes.

An answer that showed a secret must be shown again to whoever repeats the same
``Idempotency-Key``, and yet the secret is stored nowhere. So a secret that is
made under such a key is *derived* (HKDF, RFC 5869) from what only the caller
holds, the raw API key and the idempotency key, and from a random salt that we
keep. The database alone gives nobody the secret.
"""

import base64
import hashlib
import hmac
import secrets as random
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
PASSWORD_LENGTH = 24  # 143 bits
API_KEY_PREFIX = "tnt_"
SALT_BYTES = 16
_SCRAM_ITERATIONS = 4096  # as PostgreSQL itself (scram_iterations)


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


def _spell(material: bytes) -> str:
    """``material`` in letters and digits. 32 bytes for 24 characters leave no bias to speak of."""
    number = int.from_bytes(material, "big")
    letters = []
    for _ in range(PASSWORD_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where a request's new secrets come from: chance, or the caller's own two keys."""

    salt: bytes = field(default_factory=lambda: random.token_bytes(SALT_BYTES), repr=False)
    caller_secret: Secret = field(default_factory=lambda: Secret(random.token_hex(32)))

    @classmethod
    def derived(cls, *, api_key: Secret, idempotency_key: str, salt: bytes) -> "SecretSource":
        """A source that gives the same secrets again for the same keys and salt."""
        return cls(salt, Secret(f"{api_key.reveal()}\n{idempotency_key}"))

    def _material(self, purpose: str) -> bytes:
        kdf = HKDF(
            algorithm=SHA256(), length=32, salt=self.salt, info=f"tenantry {purpose}".encode()
        )
        return kdf.derive(self.caller_secret.reveal().encode())

    def password(self) -> Secret:
        """A database password: 24 letters and digits, which no URL or shell has to escape."""
        return Secret(_spell(self._material("password")))

    def api_key(self) -> Secret:
        """An API key: 256 bits."""
        return Secret(API_KEY_PREFIX + self._material("api key").hex())


def hash_api_key(key: Secret) -> bytes:
    """What is stored of an API key. 256 random bits need no slow hash."""
    return hashlib.sha256(key.reveal().encode()).digest()


def scram_verifier(password: Secret, *, salt: bytes | None = None) -> str:
    """What PostgreSQL keeps of a password of ASCII letters and digits (RFC 5803).

    Computed here, so that the server and its logs never see the password; and not by libpq,
    which takes five times as long and holds up every other request meanwhile.
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
