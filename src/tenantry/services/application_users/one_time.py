"""One-time tokens: those of links in e-mails, and codes that a client exchanges (PKCE). Pure.

A token carries what its use needs to know. Only its hash is stored, which covers that too: what a
valid token carries is what it was made with.
"""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from typing import Any

_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a client has to prove that it knows: a text, or the SHA-256 of one (RFC 7636)."""

    text: str
    is_hash: bool

    def is_met(self, verifier: str) -> bool:
        """Whether this is the text that the client has proved to know."""
        known = verifier.encode()
        if self.is_hash:
            known = base64.urlsafe_b64encode(hashlib.sha256(known).digest()).rstrip(b"=")
        return hmac.compare_digest(known, self.text.encode())


@dataclass(frozen=True, slots=True)
class Handover:
    """How an application gets the session of a link: at which page, and by which proof."""

    page: str | None
    challenge: Challenge | None


@dataclass(frozen=True, slots=True)
class Carried:
    """What a token carries: the challenge of whoever asked for it, and a change of an address.

    ``email`` is the new address. The token that asks for the present one's consent is ``first``.
    """

    challenge: Challenge | None = None
    email: str | None = None
    first: bool = False


def made(carried: Carried) -> str:
    """Return a new token."""
    random = secrets.token_urlsafe(_RANDOM_BYTES)
    if carried == Carried():
        return random
    content = json.dumps(asdict(carried)).encode()
    return f"{random}.{base64.urlsafe_b64encode(content).decode().rstrip('=')}"


def carried_by(token: str) -> Carried:
    """Return what a token carries; nothing if it is none of ours."""
    content = token.partition(".")[2]
    try:
        raw = base64.b64decode(content + "=" * (-len(content) % 4), altchars=b"-_", validate=True)
        found: dict[str, Any] = json.loads(raw)
        json.dumps(found, ensure_ascii=False).encode()  # a tenant can make one with anything
        challenge = found["challenge"]
        proof = None
        if challenge is not None:
            proof = Challenge(str(challenge["text"]), challenge["is_hash"] is True)
        return Carried(
            proof,
            None if found["email"] is None else str(found["email"]),
            found["first"] is True,
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return Carried()


def digest(token: str) -> bytes:
    """Return what is stored of a token, which has 256 random bits."""
    return hashlib.sha256(token.encode()).digest()
