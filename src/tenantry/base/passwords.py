"""Users' passwords: their strength, and Argon2id (RFC 9106) hashes."""

import asyncio
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tenantry.base.secrets import Secret

SHORTEST = 16
LONGEST = 256
_SHORTEST_PHRASE = 12
_PHRASE_WORDS = 4
_GOOD_SCORE = 3  # zxcvbn: safely unguessable even if the hashes are stolen
_MOST_JUDGED = 72  # characters; zxcvbn accepts no more
_AT_ONCE = 2  # each takes 64 MiB and all cores for a moment

# zxcvbn stores its caller's words in a global.
_judging = threading.Lock()

# A hash of no password, compared for unknown users so that they take as long.
_NOBODYS = (
    "$argon2id$v=19$m={0.memory_cost},t={0.time_cost},p={0.parallelism}$c29tZXNhbHRzb21lc2FsdA"
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


def fault(password: Secret, *, email: str) -> str | None:
    """Return what is wrong with a new password of this user, or None. Takes milliseconds."""
    text = _normal(password)
    phrase = len(text.split()) >= _PHRASE_WORDS and len(text) >= _SHORTEST_PHRASE
    if len(text) < SHORTEST and not phrase:
        return f"needs at least {SHORTEST} characters, or {_PHRASE_WORDS} words"
    # Its dictionaries take 25 ms to load, in every process that can create a user.
    from zxcvbn import zxcvbn  # noqa: PLC0415

    with _judging:
        found = zxcvbn(
            text[:_MOST_JUDGED], user_inputs=[email, *email.replace("@", ".").split(".")]
        )
    if found["score"] < _GOOD_SCORE:
        why = found["feedback"]["warning"].rstrip(".")
        return "is too easy to guess" + (f": {why[0].lower()}{why[1:]}" if why else "")
    return None


def _normal(password: Secret) -> str:
    """Return the password in NFKC, which does not depend on the keyboard (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password.reveal())


class Hashing:
    """Hash and compare in threads, few at a time: a flood of logins takes no more memory.

    By default with RFC 9106's second choice: 64 MiB, 3 passes, 4 lanes.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._nobodys = _NOBODYS.format(self._hasher)
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def hash(self, password: Secret) -> str:
        """Return the hash to store for a password."""
        async with self._places:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def verify(self, password: Secret, stored: str | None) -> bool:
        """Whether the password matches the hash; without a hash False, after the same time."""
        async with self._places:
            return await asyncio.to_thread(self._verify, password, stored)

    def _verify(self, password: Secret, stored: str | None) -> bool:
        try:
            self._hasher.verify(stored or self._nobodys, _normal(password))
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    async def fault(self, password: Secret, *, email: str) -> str | None:
        """Run ``fault`` in a thread."""
        async with self._places:
            return await asyncio.to_thread(fault, password, email=email)
