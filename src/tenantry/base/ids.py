"""Identifiers: create and parse them."""

import secrets
import uuid

# No vowels and no look-alikes: names are read aloud, and must not form words.
_LETTERS = "bcdfghjkmnpqrstvwxz23456789"
_SUFFIX_LENGTH = 12  # 57 bits: no collisions on one cluster


def new_id() -> uuid.UUID:
    """Return a random identifier (RFC 9562, version 4)."""
    return uuid.uuid4()


def new_suffix() -> str:
    """Return the random end of a database's and its role's name."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_SUFFIX_LENGTH))


def parse_id(text: str) -> uuid.UUID | None:
    """Parse an identifier in its usual form. Returns None for anything else."""
    try:
        value = uuid.UUID(text)
    except ValueError:
        return None
    return value if str(value) == text.lower() else None
