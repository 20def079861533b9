"""People's passwords: which are good enough, and Argon2id (RFC 9106) for keeping them."""

import asyncio
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from tenantry.base.secrets import Secret

SHORTEST = 16
LONGEST = 256
_SHORTEST_PHRASE = 12
_PHRASE_WORDS = 4
_GOOD_SCORE = 3  # zxcvbn: safely unguessable even where hashes were stolen
_MOST_JUDGED = 72  # characters; zxcvbn takes no more
_AT_ONCE = 2  # each takes 64 MiB and all cores for a moment

# zxcvbn keeps the words of its caller in a global.
_judging = threading.Lock()

# Of no password; compared with where there is no user, so that it takes as long.
_NOBODYS = (
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA"
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


def fault(password: Secret, *, email: str) -> str | None:
    """What is wrong with a password that this person wants, or None. Takes milliseconds."""
    text = _normal(password)
    phrase = len(text.split()) >= _PHRASE_WORDS and len(text) >= _SHORTEST_PHRASE
    if len(text) < SHORTEST and not phrase:
        return f"needs at least {SHORTEST} characters, or {_PHRASE_WORDS} words"
    # Its dictionaries take 25 ms, in every process that can make a user.
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
    """The same letters, however a keyboard composes them (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password.reveal())


class Hashing:
    """Hashes and compares in threads, few at a time: a flood of logins takes no more memory."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()  # RFC 9106's second choice: 64 MiB, 3 passes, 4 lanes
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def hash(self, password: Secret) -> str:
        """What is stored of a password."""
        async with self._places:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def verify(self, password: Secret, kept: str | None) -> bool:
        """Whether it is the password of this hash; without one no, after the same time."""
        async with self._places:
            return await asyncio.to_thread(self._verify, password, kept)

    def _verify(self, password: Secret, kept: str | None) -> bool:
        try:
            self._hasher.verify(kept or _NOBODYS, _normal(password))
        except VerificationError:
            return False
        return kept is not None

    async def fault(self, password: Secret, *, email: str) -> str | None:
        """``fault``, in a thread."""
        async with self._places:
            return await asyncio.to_thread(fault, password, email=email)
